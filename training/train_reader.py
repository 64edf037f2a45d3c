"""Trains a reader on labelled questions (the teacher, or a small reader without a teacher).

    python train_reader.py --data DATA --backbone MODEL --mined mined.pickle --work FOLDER \\
        --seeds FOLDER SEEDS.jsonl --dev-mined mined.pickle

Runs on from `FOLDER/reader.ckpt` when that exists; `--stop-after` ends a run by the clock.
Writes `loss.csv`, `dev.csv` (the learning curve on the development slice, measured with a running
average of the weights) and `reader.pt` (that average; refreshed at every measurement).

Loss, summed: binary cross-entropy of every sentence; listwise softmax over all sentences of a
question's windows; the same two over windows for the passage logit; for contrast pairs, the
sentence has to score higher for the question it answers than for its twin.
"""

import argparse
import csv
import json
import pickle
import time
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

import checkpoints
from groups import Groups, Item, Mix
from questions import Collection, read_collection
from reader import Packer, Reader
from reading import Candidates, TorchReads, measure, read
from sets import training

_ROWS = 8
_LISTWISE, _PASSAGE, _TWIN = 0.7, 0.5, 0.5


def run(model: Reader, packer: Packer, items: list[Item]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[int]]:
    """Sentence logits (N, S), passage logits (N,), targets (N, S): 1, 0, or -1 for no sentence, and
    the number of the sentence that column 0 stands for (0 unless a long window was cut in front).

    Forward passes of 8 rows padded to a multiple of 16 tokens, so that kernels are compiled once.
    """
    packed = [packer.pack_one(i.question, list(i.sentences), i.keep) for i in items]
    most = max(last - first + 1 for _, _, first, last in packed)
    target = torch.full((len(items), most), -1.0)
    for k, ((_, _, first, last), item) in enumerate(zip(packed, items, strict=True)):
        for j, flag in enumerate(item.gold[first : last + 1]):
            target[k, j] = float(flag)
    order = sorted(range(len(items)), key=lambda i: len(packed[i][0]))
    logits = [torch.empty(0)] * len(items)
    passages = [torch.empty(0)] * len(items)
    for at in range(0, len(order), _ROWS):
        part = order[at : at + _ROWS]
        filled = part + part[-1:] * (_ROWS - len(part))
        rows = packer.batch([packed[i][:2] for i in filled], multiple=16)
        a, b = model(rows.ids, rows.mask, rows.parts, most)
        for k, i in enumerate(part):
            logits[i], passages[i] = a[k], b[k]
    return torch.stack(logits), torch.stack(passages), target, [first for _, _, first, _ in packed]


def loss_of(
    logits: torch.Tensor, passages: torch.Tensor, target: torch.Tensor, items: list[Item]
) -> dict[str, torch.Tensor]:
    """The parts of the loss, each a scalar."""
    real = target >= 0
    soft = target.clamp(min=0) * 0.96 + 0.02
    even = torch.tensor([i.weight for i in items])
    weight = torch.where(target > 0.5, 2.0, 1.0) * even.unsqueeze(1)
    cross = F.binary_cross_entropy_with_logits(logits.clamp(min=-50), soft, weight, reduction="none")
    parts = {"sentence": (cross * real).sum() / real.sum()}
    window = (target > 0.5).any(dim=1).float()
    parts["passage"] = _PASSAGE * F.binary_cross_entropy_with_logits(
        passages, window * 0.96 + 0.02, torch.where(window > 0.5, 2.0, 1.0) * even
    )
    lists, plists, twins = [], [], []
    for group in {i.group for i in items}:
        rows = torch.tensor([k for k, i in enumerate(items) if i.group == group])
        gold = target[rows] > 0.5
        if gold.any():
            all_ = logits[rows].flatten()
            lists.append(torch.logsumexp(all_, 0) - torch.logsumexp(all_[gold.flatten()], 0))
            w = window[rows] > 0.5
            plists.append(torch.logsumexp(passages[rows], 0) - torch.logsumexp(passages[rows][w], 0))
    pairs: dict[int, list[int]] = {}
    for k, item in enumerate(items):
        if item.twin >= 0:
            pairs.setdefault(item.twin, []).append(k)
    for members in pairs.values():
        if len(members) == 2:
            a, b = members
            gold = target[a] > 0.5
            if gold.any():
                twins.append(F.softplus(logits[b][gold].max() - logits[a][gold].max()))
                twins.append(F.softplus(passages[b] - passages[a]))
    zero = logits.sum() * 0.0
    parts["list"] = _LISTWISE * (torch.stack(lists).mean() if lists else zero)
    parts["passage list"] = _PASSAGE * 0.7 * (torch.stack(plists).mean() if plists else zero)
    parts["twin"] = _TWIN * (torch.stack(twins).mean() if twins else zero)
    return parts


def groups_of_parameters(model: Reader, rate: float, head_rate: float) -> list[dict[str, object]]:
    """Backbone and heads at their own rates; no decay for vectors."""
    found = []
    for is_head, lr in ((False, rate), (True, head_rate)):
        for decay in (0.01, 0.0):
            chosen = [
                p
                for n, p in model.named_parameters()
                if p.requires_grad and n.startswith("backbone") != is_head and (p.ndim > 1) == (decay > 0)
            ]
            found.append({"params": chosen, "lr": lr, "weight_decay": decay})
    return found


def evaluate(model: Reader, packer: Packer, c: Collection, mined: Candidates, windows: int) -> dict[str, object]:
    """Figures on a collection, the cosine added with weight 5."""
    readings = read(TorchReads(model, packer), c, list(c.questions), mined, windows)
    return measure(c, list(c.questions), readings, mined, 5.0)


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--written", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--layers", type=int, help="keep only the first layers of the backbone")
    parser.add_argument("--mined", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, nargs=2, required=True)
    parser.add_argument("--dev-mined", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--warmup", type=int, default=25)
    parser.add_argument("--decay", type=int, default=80, help="steps of the final linear decay")
    parser.add_argument("--rate", type=float, default=4e-5)
    parser.add_argument("--head-rate", type=float, default=4e-4)
    parser.add_argument("--freeze", type=int, default=6)
    parser.add_argument("--keep", type=float, default=0.98, help="of the running average, a step")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--evaluate-every", type=int, default=100)
    parser.add_argument("--windows", type=int, default=8, help="windows a question in evaluation")
    parser.add_argument("--stop-after", type=float, help="minutes")
    for name, value in asdict(Mix()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / "settings.json").write_text(json.dumps({k: str(v) for k, v in vars(args).items()}, indent=1))

    model = Reader(args.backbone, layers=args.layers)
    model.freeze(args.freeze)
    packer = Packer(args.backbone)
    mix = Mix(**{name: getattr(args, name) for name in asdict(Mix())})
    sampler = Groups(
        [c for c in training(args.data, args.written) if c.source != "obliqa"],
        pickle.loads(args.mined.read_bytes()),
        args.seed,
        mix,
    )
    dev = read_collection(args.seeds[0], "asked", args.seeds[1])
    dev_mined = pickle.loads(args.dev_mined.read_bytes())[dev.name]
    optimizer = torch.optim.AdamW(groups_of_parameters(model, args.rate, args.head_rate))
    scheduler = checkpoints.schedule(optimizer, args.steps, args.warmup, args.decay)
    path = args.work / "reader.ckpt"
    average = checkpoints.Average(model, args.keep)
    step = checkpoints.load(path, model, optimizer, scheduler, average)
    print({k: len(v) for k, v in sampler.pools.items()}, "from step", step, flush=True)
    began = saved = time.monotonic()
    mean: dict[str, float] = {}
    model.train()
    with (args.work / "loss.csv").open("a") as file:
        log = csv.writer(file)
        while step < args.steps:
            items = sampler.batch(step)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits, passages, target, _ = run(model, packer, items)
                parts = loss_of(logits, passages, target, items)
            loss = sum(parts.values())
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            average.update(model)
            step += 1
            for name, part in parts.items():
                value = part.item()
                mean[name] = 0.95 * mean.get(name, value) + 0.05 * value
            if step % 10 == 0:
                seconds = round(time.monotonic() - began)
                log.writerow([step, len(items), seconds, *(f"{k} {v:.4f}" for k, v in mean.items())])
                file.flush()
            if time.monotonic() - saved > 240 or step == args.steps:
                checkpoints.save(path, step, model, optimizer, scheduler, average)
                saved = time.monotonic()
            if step == args.steps - args.decay:
                checkpoints.save(args.work / "stable.ckpt", step, model, optimizer, scheduler, average)
            if step % args.evaluate_every == 0 or step == args.steps:
                with average.applied(model):
                    torch.save(model.state_dict(), args.work / "reader.pt")
                    figures = evaluate(model, packer, dev, dev_mined, args.windows)
                row = {"step": step, "minutes": round((time.monotonic() - began) / 60, 1), **figures}
                new = not (args.work / "dev.csv").exists()
                with (args.work / "dev.csv").open("a") as out:
                    writer = csv.DictWriter(out, fieldnames=list(row))
                    if new:
                        writer.writeheader()
                    writer.writerow(row)
                print(json.dumps(row), flush=True)
            if args.stop_after and time.monotonic() - began > args.stop_after * 60:
                checkpoints.save(path, step, model, optimizer, scheduler, average)
                break
    with average.applied(model):
        torch.save(model.state_dict(), args.work / "reader.pt")


if __name__ == "__main__":
    main()
