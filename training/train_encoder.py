"""Fine-tunes a sentence encoder on questions as people ask them.

    python train_encoder.py --data DATA --base MODEL --mined mined.pickle --work FOLDER --out MODEL [--shards FOLDER]

InfoNCE (in-batch and one mined negative, cosine x 20) over several scales of text: the answering
sentence, a short and a long window around it. For contrast pairs also the other direction: among
the batch's questions and the unanswerable twin, the sentence has to find its own question.
With --shards (of `distil.py score`), also what the teacher says: the Kullback-Leibler divergence over the sentences of a
question's windows, all of them near the question, which in-batch negatives are not.
General ability is kept by a low learning rate and by averaging with the base
(Wortsman et al. 2022, robust fine-tuning): `--mix` is the weight of the tuned model.
Runs on from `FOLDER/encoder.ckpt` when that exists.
"""

import argparse
import json
import pickle
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from sentence_transformers import SentenceTransformer

import checkpoints
from augment import rewrite
from groups import Mined
from questions import Collection, Position, Question
from scored import Task, read_shards
from sets import training
from texts import window

# Questions a step: asked and pairs from a few collections (so that in-batch negatives are hard).
_COLLECTIONS, _FROM_EACH = 4, 5
_SQUAD, _OBLIQA, _POLICY = 9, 2, 1
_SCALES = (("sentence", 0.6), (45, 0.25), (90, 0.15))
_COSINE_SCALE = 20.0
Span = tuple[str, str, int, int]
Weights = dict[str, torch.Tensor]
Batch = tuple[list[tuple[Collection, Question]], list[Span], list[Span], list[Question | None]]


class Sampler:
    """Batches as a function of (seed, step)."""

    def __init__(self, collections: list[Collection], mined: Mined, seed: int) -> None:
        self.by_name = {c.name: c for c in collections}
        self.mined, self.seed = mined, seed
        self.own = [c for c in collections if c.source in ("asked", "pairs")]

        def pick(source: str) -> list[tuple[Collection, Question]]:
            return [(c, q) for c in collections if c.source == source for q in c.questions if q.answerable]

        self.squad, self.obliqa, self.policy = pick("squad"), pick("obliqa"), pick("policyqa")
        self.twins = {(c.name, q.twin): q for c in self.own for q in c.questions if q.twin and not q.answerable}

    def span(self, c: Collection, at: Position, scale: str | int, rng: random.Random) -> Span:
        """The sentence `at`, or the window of `scale` words around it."""
        name, i = at
        if scale == "sentence":
            return c.name, name, i, i
        first, last = window(c.texts[name], i, int(scale), rng.random() < 0.5)
        return c.name, name, first, last

    def text(self, span: Span) -> str:
        """What a span says."""
        collection, name, first, last = span
        return self.by_name[collection].texts[name].window_text(first, last)

    def negative(self, c: Collection, q: Question, scale: str | int, rng: random.Random) -> Span:
        """A mined span (a random one of the same document when nothing was mined) without gold."""
        mined = self.mined.get(c.name, {}).get(q.id, [])[:20]
        places = [(n, i) for n, i, _ in mined if (n, i) not in q.gold]
        for _ in range(6):
            if places:
                at = rng.choice(places)
            else:
                name = next(iter(q.gold))[0]
                at = (name, rng.randrange(len(c.texts[name].sentences)))
            span = self.span(c, at, scale, rng)
            if not covers(span, c, q):
                return span
        return self.span(c, at, "sentence", rng)

    def batch(self, step: int) -> Batch:
        """Questions with collections, their spans, their negatives, their unanswerable twins."""
        rng = random.Random(f"{self.seed}-{step}")
        chosen = []
        for c in rng.sample(self.own, _COLLECTIONS):
            answerable = [q for q in c.questions if q.answerable]
            chosen += [(c, q) for q in rng.sample(answerable, _FROM_EACH)]
        chosen += rng.sample(self.squad, _SQUAD) + rng.sample(self.obliqa, _OBLIQA)
        chosen += rng.sample(self.policy, _POLICY)
        positives, negatives, twins = [], [], []
        for c, q in chosen:
            scale = rng.choices([s for s, _ in _SCALES], [w for _, w in _SCALES])[0]
            positives.append(self.span(c, rng.choice(sorted(q.gold)), scale, rng))
            negatives.append(self.negative(c, q, scale, rng))
            twins.append(self.twins.get((c.name, q.twin)) if q.twin else None)
        return chosen, positives, negatives, twins


def covers(span: Span, c: Collection, q: Question) -> bool:
    """Whether a span holds a sentence that answers `q`."""
    collection, name, first, last = span
    return collection == c.name and any((name, i) in q.gold for i in range(first, last + 1))


def encode(model: SentenceTransformer, texts: list[str]) -> torch.Tensor:
    """Unit rows with gradient, in texts' order; in chunks of similar length.

    Chunks hold 16 texts (the last is filled up) padded to a multiple of 16 tokens: oneDNN compiles
    a kernel for every new shape, which takes longer than the step itself.
    """
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    rows = [torch.empty(0)] * len(texts)
    for at in range(0, len(order), 16):
        part = order[at : at + 16]
        filled = part + part[-1:] * (16 - len(part))
        features = model.tokenizer(
            [texts[i] for i in filled],
            padding=True,
            truncation=True,
            pad_to_multiple_of=16,
            max_length=model.max_seq_length,
            return_tensors="pt",
        )
        out = model(dict(features))["sentence_embedding"].float()
        for i, row in zip(part, F.normalize(out, dim=1), strict=False):
            rows[i] = row
    return torch.stack(rows)


def loss_of(model: SentenceTransformer, sampler: Sampler, step: int) -> torch.Tensor:
    """Scalar loss of one step, both directions."""
    chosen, positives, negatives, twins = sampler.batch(step)
    rng = random.Random(f"rewrite-{sampler.seed}-{step}")
    n = len(chosen)
    asked = [rewrite(q.text, rng) for _, q in chosen]
    refused = [(i, rewrite(t.text, rng)) for i, t in enumerate(twins) if t]
    questions = encode(model, asked + [t for _, t in refused])
    passages = encode(model, [sampler.text(s) for s in positives + negatives])
    scores = questions[:n] @ passages.T * _COSINE_SCALE
    mask = torch.zeros_like(scores, dtype=torch.bool)
    for i, (c, q) in enumerate(chosen):
        for j, span in enumerate(positives + negatives):
            if j != i and (covers(span, c, q) or (q.doc and span[0] == c.name and span[1] != q.doc)):
                mask[i, j] = True
    target = torch.arange(n)
    loss = F.cross_entropy(scores.masked_fill(mask, -1e4), target)
    back = scores[:, :n].T.masked_fill(mask[:, :n].T, -1e4)
    extra = torch.full((n, 1), -1e4)
    for row, (i, _) in enumerate(refused):
        extra[i, 0] = questions[n + row] @ passages[i] * _COSINE_SCALE
    return loss + 0.4 * F.cross_entropy(torch.cat([back, extra], dim=1), target)


def taught(model: SentenceTransformer, tasks: list[Task], rng: random.Random) -> torch.Tensor:
    """Scalar: how far the order of each question's sentences is from the teacher's. Questions are rewritten."""
    lists = [
        {s: known for w in task.windows for s, known in zip(w.sentences, w.logits, strict=True) if known is not None}
        for task in tasks
    ]
    questions = encode(model, [rewrite(task.question, rng) for task in tasks])
    sentences = encode(model, [s for known in lists for s in known])
    losses, at = [], 0
    for row, known in zip(questions, lists, strict=True):
        own = F.log_softmax(sentences[at : at + len(known)] @ row * _COSINE_SCALE, 0)
        its = F.log_softmax(torch.tensor(list(known.values())), 0)
        losses.append(F.kl_div(own, its, log_target=True, reduction="sum"))
        at += len(known)
    return torch.stack(losses).mean()


def average(base: Weights, tuned: Weights, mix: float) -> Weights:
    """(1 - mix) x base + mix x tuned, weight by weight."""
    return {
        k: torch.lerp(base[k].float(), v.float(), mix).to(v.dtype) if v.is_floating_point() else v
        for k, v in tuned.items()
    }


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--written", type=Path)
    parser.add_argument("--base", required=True)
    parser.add_argument("--start", help="a tuned model to go on from; the base stays for averaging")
    parser.add_argument("--mined", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shards", type=Path, help="what a teacher says, as `distil.py score` wrote it")
    parser.add_argument("--tasks", type=int, default=8, help="of its questions, a step")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", type=float, default=3e-5)
    parser.add_argument("--mix", type=float, nargs="+", default=[0.5, 0.7, 1.0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    args.work.mkdir(parents=True, exist_ok=True)
    model = SentenceTransformer(args.base, device="cpu")
    model.max_seq_length = 144
    base = {k: v.clone() for k, v in model.state_dict().items()}
    if args.start:
        model.load_state_dict(SentenceTransformer(args.start, device="cpu").state_dict())
    sampler = Sampler(training(args.data, args.written), pickle.loads(args.mined.read_bytes()), args.seed)
    tasks = read_shards(args.shards) if args.shards else []
    decay = [p for p in model.parameters() if p.ndim > 1]
    rest = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], lr=args.rate
    )
    scheduler = checkpoints.schedule(optimizer, args.steps, args.steps // 12, args.steps * 11 // 12)
    path = args.work / "encoder.ckpt"
    step = checkpoints.load(path, model, optimizer, scheduler)
    saved = began = time.monotonic()
    model.train()
    mean = 0.0
    with (args.work / "encoder_loss.csv").open("a") as log:
        while step < args.steps:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = loss_of(model, sampler, step)
                if tasks:
                    rng = random.Random(f"taught-{args.seed}-{step}")
                    loss = loss + taught(model, rng.sample(tasks, args.tasks), rng)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            step += 1
            mean = loss.item() if not mean else 0.95 * mean + 0.05 * loss.item()
            if step % 10 == 0:
                log.write(f"{step},{mean:.4f},{time.monotonic() - began:.0f}\n")
                log.flush()
            if time.monotonic() - saved > 180 or step == args.steps:
                checkpoints.save(path, step, model, optimizer, scheduler)
                saved = time.monotonic()
    tuned = {k: v.clone() for k, v in model.state_dict().items()}
    model.max_seq_length = 256
    for mix in args.mix:
        model.load_state_dict(average(base, tuned, mix))
        folder = args.out.with_name(f"{args.out.name}_{mix:g}")
        model.save(str(folder), create_model_card=False)
        settings = {k: str(v) for k, v in vars(args).items()} | {"mix": mix}
        (folder / "training.json").write_text(json.dumps(settings, indent=1))


if __name__ == "__main__":
    main()
