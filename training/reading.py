"""Reading candidates the way they are read at question time, and what comes of it.

Owns: windows for a list of candidate sentences, their scores, the measures on a collection.
Refuses to know: training.
"""

from dataclasses import dataclass
from typing import Protocol

import torch

from measures import auroc, auroc_interval, share
from questions import Collection, Position, Question
from reader import Packer, Reader
from texts import window

READ_WORDS = 80
SHOWN_WORDS = 60
_UNREAD = -1e9
Candidate = tuple[str, int, float]
Candidates = dict[str, list[Candidate]]
Span = tuple[str, int, int]


@dataclass(frozen=True)
class Reading:
    """What a reader says of one window: a logit a sentence (None: cut away), and a passage logit."""

    span: Span
    sentences: tuple[float | None, ...]
    passage: float


class Reads(Protocol):
    """Anything that reads windows: (question, sentences, keep) -> (logits, passage logit)."""

    def __call__(self, asked: list[tuple[str, list[str], int]]) -> list[tuple[list[float | None], float]]:
        """Logits and passage logit of every window, in order."""
        ...


class TorchReads:
    """A torch reader in bfloat16, in batches of similar length."""

    def __init__(self, model: Reader, packer: Packer, batch: int = 24) -> None:
        self.model, self.packer, self.batch = model, packer, batch

    def __call__(self, asked: list[tuple[str, list[str], int]]) -> list[tuple[list[float | None], float]]:
        """Logits and passage logit of every window, in order."""
        packed = [self.packer.pack_one(*row) for row in asked]
        order = sorted(range(len(packed)), key=lambda i: len(packed[i][0]))
        results: list[tuple[list[float | None], float]] = [([], 0.0)] * len(packed)
        was = self.model.training
        self.model.eval()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            for at in range(0, len(order), self.batch):
                part = order[at : at + self.batch]
                rows = self.packer.batch([packed[i][:2] for i in part])
                most = int(rows.parts.max())
                logits, passage = self.model(rows.ids, rows.mask, rows.parts, most)
                for k, i in enumerate(part):
                    _, _, first, last = packed[i]
                    inside = logits[k, : last - first + 1].tolist()
                    cut = len(asked[i][1]) - 1 - last
                    results[i] = ([None] * first + inside + [None] * cut, float(passage[k]))
        self.model.train(was)
        return results


def spans_of(c: Collection, candidates: list[Candidate], count: int) -> list[tuple[Span, int]]:
    """Windows around the first candidates; a candidate that a window already holds adds none."""
    found: list[tuple[Span, int]] = []
    for name, i, _ in candidates:
        if not any(n == name and a <= i <= b for (n, a, b), _ in found):
            first, last = window(c.texts[name], i, READ_WORDS)
            found.append(((name, first, last), i - first))
            if len(found) == count:
                break
    return found


def read(
    reads: Reads, c: Collection, questions: list[Question], candidates: Candidates, count: int
) -> dict[str, list[Reading]]:
    """Readings of the first `count` windows of every question."""
    rows, owners = [], []
    for q in questions:
        for span, keep in spans_of(c, candidates[q.id], count):
            name, first, last = span
            texts = [s.text for s in c.texts[name].sentences[first : last + 1]]
            rows.append((q.text, texts, keep))
            owners.append((q.id, span))
    results: dict[str, list[Reading]] = {q.id: [] for q in questions}
    for (qid, span), (sentences, passage) in zip(owners, reads(rows), strict=True):
        results[qid].append(Reading(span, tuple(sentences), passage))
    return results


def ranking(readings: list[Reading], candidates: list[Candidate], cosine: float) -> list[tuple[str, int, float]]:
    """Sentences by logit + `cosine` x the retriever's score (its lowest for those it did not list)."""
    known = {(n, i): s for n, i, s in candidates}
    least = min(known.values(), default=0.0)
    best: dict[Position, float] = {}
    for r in readings:
        for k, logit in enumerate(r.sentences):
            at = (r.span[0], r.span[1] + k)
            if logit is not None:
                score = logit + cosine * known.get(at, least)
                best[at] = max(best.get(at, -1e9), score)
    return sorted(((n, i, s) for (n, i), s in best.items()), key=lambda x: -x[2])


def shown(c: Collection, ranked: list[tuple[str, int, float]], count: int) -> list[Span]:
    """The first passages: windows of 60 words, none starting from a sentence an earlier one holds."""
    found: list[Span] = []
    for name, i, _ in ranked:
        if not any(n == name and a <= i <= b for n, a, b in found):
            found.append((name, *window(c.texts[name], i, SHOWN_WORDS)))
            if len(found) == count:
                break
    return found


def measure(
    c: Collection,
    questions: list[Question],
    readings: dict[str, list[Reading]],
    candidates: Candidates,
    cosine: float = 0.0,
) -> dict[str, object]:
    """hit@1, hit@3, sentence@1 (foreign questions apart); AUROC by the best sentence logit and by
    the best passage logit, against off-topic and on-topic unanswerable questions."""
    one, three, sentence, listed, foreign = [], [], [], [], []
    by_sentence: dict[str, list[float]] = {"answerable": [], "offtopic": [], "hardneg": []}
    by_passage: dict[str, list[float]] = {"answerable": [], "offtopic": [], "hardneg": []}
    for q in questions:
        ranked = ranking(readings[q.id], candidates[q.id], cosine)
        spans = shown(c, ranked, 3)
        hits = [any(n == m and a <= i <= b for m, i in q.gold) for n, a, b in spans]
        if q.kind == "foreign":
            foreign.append(any(hits[:1]))
            continue
        kind = "answerable" if q.answerable else q.kind if q.kind in by_passage else "hardneg"
        by_sentence[kind].append(ranked[0][2] if ranked else _UNREAD)
        by_passage[kind].append(max((r.passage for r in readings[q.id]), default=_UNREAD))
        if q.answerable:
            one.append(any(hits[:1]))
            three.append(any(hits))
            sentence.append(any(x[:2] in q.gold for x in ranked[:1]))
            listed.append(any(x[:2] in q.gold for x in ranked))
    result: dict[str, object] = {
        "n": len(one),
        "hit@1": share(one),
        "hit@3": share(three),
        "sentence@1": share(sentence),
        "gold among candidates": share(listed),
    }
    for label, scores in (("sentence", by_sentence), ("passage", by_passage)):
        for kind in ("offtopic", "hardneg"):
            if scores[kind]:
                area = auroc(scores["answerable"], scores[kind])
                low, high = auroc_interval(scores["answerable"], scores[kind])
                result[f"AUROC {kind} by {label} (n={len(scores[kind])})"] = f"{area:.3f} [{low:.2f}, {high:.2f}]"
    if foreign:
        result[f"foreign hit@1 (n={len(foreign)})"] = f"{sum(foreign) / len(foreign):.2f}"
    return result
