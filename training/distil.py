"""Distils the teacher into a reader small enough to ship.

    python distil.py score --data DATA --mined mined.pickle --backbone TEACHER --weights reader.pt \\
        --shards FOLDER
    python distil.py train --data DATA --shards FOLDER --backbone STUDENT [--layers 4] --work FOLDER \\
        --seeds FOLDER SEEDS.jsonl --dev-mined candidates.pickle

`score` reads every training question with its mined windows and keeps the teacher's logits, 40
questions a shard; a shard that exists is not scored again. `train` runs on from its checkpoint.
The student sees questions with typos and as keywords; the teacher saw them clean.

Loss: cross-entropy of every sentence with the teacher's probability, Kullback-Leibler over the
sentences of a question (ranking), the same for passages, and the labels for the labelled share.
"""

import argparse
import csv
import json
import pickle
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812

import checkpoints
from augment import rewrite
from export_onnx import OnnxReads
from groups import Item
from questions import Collection, Question, read_collection
from reader import Packer, Reader, load_reader
from reading import READ_WORDS, SHOWN_WORDS, Candidate, Reads, TorchReads, spans_of
from scored import Scored, Task, read_shards
from sets import UNLABELLED, training
from texts import window
from train_reader import evaluate, groups_of_parameters, run

_SHARD = 40


def windows_of(
    c: Collection, q: Question, mined: list[Candidate], count: int
) -> list[tuple[tuple[str, int, int], int]]:
    """The window of a gold or tempting sentence, then the retriever's, at two widths."""
    rng = random.Random(f"{c.name}-{q.id}")
    found = []
    for name, i in sorted(q.gold | q.near)[:2]:
        words = rng.choice((26, SHOWN_WORDS, READ_WORDS))
        first, last = window(c.texts[name], i, words, rng.random() < 0.5)
        found.append(((name, first, last), i - first))
    for span, keep in spans_of(c, mined[:40], count):
        if len(found) < count and all(span != s for s, _ in found):
            found.append((span, keep))
    return found


def score(args: argparse.Namespace) -> None:
    """Writes the missing shards, in an order that mixes all collections."""
    packer = Packer(args.backbone)
    reads: Reads
    if args.onnx:
        reads = OnnxReads(args.onnx, packer, args.threads, batch=1)
    else:
        reads = TorchReads(load_reader(args.backbone, args.weights), packer)
    mined = pickle.loads(args.mined.read_bytes())
    rng = random.Random(7)
    work = []
    unlabelled = set()
    for c in training(args.data, args.written, args.unlabelled):
        pool = [q for q in c.questions if q.id in mined.get(c.name, {})]
        if c.source not in ("asked", "pairs"):
            crowd = [q for q in pool if q.kind != UNLABELLED]
            asked = [q for q in pool if q.kind == UNLABELLED]
            pool = rng.sample(crowd, min(args.others, len(crowd))) + asked
        unlabelled |= {(c.name, q.id) for q in pool if q.kind == UNLABELLED}
        work += [(c, q) for q in pool]
    rng.shuffle(work)
    args.shards.mkdir(parents=True, exist_ok=True)
    for number in range(0, len(work), _SHARD):
        path = args.shards / f"{number // _SHARD:05d}.pickle"
        part, parts = args.part
        if path.exists() or number // _SHARD % parts != part:
            continue
        rows, owners = [], []
        for c, q in work[number : number + _SHARD]:
            for (name, first, last), keep in windows_of(c, q, mined[c.name][q.id], args.windows):
                sentences = [s.text for s in c.texts[name].sentences[first : last + 1]]
                gold = tuple((name, i) in q.gold for i in range(first, last + 1))
                rows.append((q.text, sentences, keep))
                owners.append((c.name, q.id, gold))
        found: dict[tuple[str, str], tuple[str, list[Scored]]] = {}
        for row, (name, qid, gold), (logits, passage) in zip(rows, owners, reads(rows), strict=True):
            scored = Scored(tuple(row[1]), row[2], gold, tuple(logits), passage)
            found.setdefault((name, qid), (row[0], []))[1].append(scored)
        tasks = [Task(text, tuple(windows), key not in unlabelled) for key, (text, windows) in found.items()]
        beside = path.with_suffix(".tmp")
        beside.write_bytes(pickle.dumps(tasks))
        beside.replace(path)
        print(path.name, len(rows), flush=True)


def loss_of(
    chosen: list[list[Scored]],
    logits: torch.Tensor,
    passages: torch.Tensor,
    target: torch.Tensor,
    firsts: list[int],
    labelled: torch.Tensor,
    hard: float,
) -> torch.Tensor:
    """Scalar loss; rows of `logits` follow `chosen`, question after question.

    labelled: (rows,) 1.0 where the labels of a row count beside the teacher, 0.0 where there are none.
    """
    taught = torch.full_like(logits, -1e4)
    for row, w in enumerate(w for windows in chosen for w in windows):
        known = w.logits[firsts[row] : firsts[row] + logits.shape[1]]
        taught[row, : len(known)] = torch.tensor([-1e4 if x is None else x for x in known])
    real = (target >= 0) & (taught > -1e3)
    soft = torch.sigmoid(taught)
    each = F.binary_cross_entropy_with_logits(logits.clamp(min=-50), soft, reduction="none")
    loss = (each * real).sum() / real.sum()
    heard = torch.tensor([w.passage for windows in chosen for w in windows])
    loss = loss + 0.5 * F.binary_cross_entropy_with_logits(passages, torch.sigmoid(heard))
    row, lists = 0, []
    for windows in chosen:
        part = slice(row, row + len(windows))
        mask = real[part].flatten()
        own, its = logits[part].flatten()[mask], taught[part].flatten()[mask]
        lists.append(F.kl_div(F.log_softmax(own, 0), F.log_softmax(its, 0), log_target=True, reduction="sum"))
        lists.append(
            0.5
            * F.kl_div(
                F.log_softmax(passages[part], 0), F.log_softmax(heard[part], 0), log_target=True, reduction="sum"
            )
        )
        row += len(windows)
    loss = loss + torch.stack(lists).sum() / len(chosen)
    gold = (target > 0.5).float()
    cross = F.binary_cross_entropy_with_logits(logits.clamp(min=-50), gold, reduction="none")
    counted = real * labelled[:, None]
    return loss + hard * (cross * counted).sum() / counted.sum().clamp(min=1.0)


def train(args: argparse.Namespace) -> None:
    """Trains the student on all shards there are; writes `reader.pt`."""
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    settings = {k: str(v) for k, v in vars(args).items()}
    (args.work / "settings.json").write_text(json.dumps(settings, indent=1))
    tasks = read_shards(args.shards)
    model = Reader(args.backbone, layers=args.layers)
    if args.start:
        state = torch.load(args.start, map_location="cpu", weights_only=False)
        model.load_state_dict(state.get("model", state), strict=False)
    packer = Packer(args.backbone)
    dev = read_collection(args.seeds[0], "asked", args.seeds[1])
    dev_mined = pickle.loads(args.dev_mined.read_bytes())[dev.name]
    optimizer = torch.optim.AdamW(groups_of_parameters(model, args.rate, args.head_rate))
    scheduler = checkpoints.schedule(optimizer, args.steps, args.steps // 20, args.steps * 19 // 20)
    path = args.work / "reader.ckpt"
    step = checkpoints.load(path, model, optimizer, scheduler)
    print(len(tasks), "questions,", sum(len(t.windows) for t in tasks), "windows; from step", step, flush=True)
    began = saved = time.monotonic()
    mean = 0.0
    model.train()
    with (args.work / "loss.csv").open("a") as file:
        log = csv.writer(file)
        while step < args.steps:
            rng = random.Random(f"{args.seed}-{step}")
            group = rng.sample(tasks, args.questions)
            chosen = [rng.sample(t.windows, min(args.windows, len(t.windows))) for t in group]
            asked = [rewrite(t.question, rng) for t in group]
            items = [
                Item(text, w.sentences, w.keep, w.gold, n)
                for n, (text, windows) in enumerate(zip(asked, chosen, strict=True))
                for w in windows
            ]
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits, passages, target, firsts = run(model, packer, items)
                labelled = torch.tensor([float(t.labelled) for t, ws in zip(group, chosen, strict=True) for _ in ws])
                loss = loss_of(chosen, logits, passages, target, firsts, labelled, args.hard)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            mean = loss.item() if not mean else 0.95 * mean + 0.05 * loss.item()
            if step % 20 == 0:
                log.writerow([step, len(items), round(time.monotonic() - began), f"{mean:.4f}"])
                file.flush()
            if time.monotonic() - saved > 240 or step == args.steps:
                checkpoints.save(path, step, model, optimizer, scheduler)
                saved = time.monotonic()
            if step % args.evaluate_every == 0 or step == args.steps:
                print(json.dumps({"step": step, **evaluate(model, packer, dev, dev_mined, 10)}), flush=True)
    torch.save(model.state_dict(), args.work / "reader.pt")


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("score")
    one.set_defaults(run=score)
    one.add_argument("--data", type=Path, required=True)
    one.add_argument("--written", type=Path)
    one.add_argument("--unlabelled", type=Path, help="further questions, without labels")
    one.add_argument("--mined", type=Path, required=True)
    one.add_argument("--backbone", required=True)
    one.add_argument("--weights", type=Path, help="reader.pt of the teacher")
    one.add_argument("--onnx", type=Path, help="the teacher as ONNX instead: twice as fast in int8")
    one.add_argument("--part", type=int, nargs=2, default=(0, 1), help="I N: every N-th shard from the I-th on")
    one.add_argument("--shards", type=Path, required=True)
    one.add_argument("--windows", type=int, default=8)
    one.add_argument("--others", type=int, default=600, help="questions of each crowd-written set")
    two = commands.add_parser("train")
    two.set_defaults(run=train)
    two.add_argument("--shards", type=Path, required=True)
    two.add_argument("--backbone", required=True)
    two.add_argument("--layers", type=int)
    two.add_argument("--start", type=Path, help="weights to start from")
    two.add_argument("--work", type=Path, required=True)
    two.add_argument("--seeds", type=Path, nargs=2, required=True)
    two.add_argument("--dev-mined", type=Path, required=True)
    two.add_argument("--steps", type=int, default=2000)
    two.add_argument("--questions", type=int, default=8, help="a step")
    two.add_argument("--windows", type=int, default=5, help="of each question")
    two.add_argument("--rate", type=float, default=1e-4)
    two.add_argument("--head-rate", type=float, default=4e-4)
    two.add_argument("--hard", type=float, default=0.3, help="weight of the labels")
    two.add_argument("--seed", type=int, default=1)
    two.add_argument("--evaluate-every", type=int, default=250)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.run(args)


if __name__ == "__main__":
    main()
