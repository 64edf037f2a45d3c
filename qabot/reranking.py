"""Candidates read by a reader, and ranked again.

Owns: the windows that are read, and the order that a reader's word and the retriever's make together. Refuses to know
how either came to its score, what each counts (`Weighing`), and how much is worth reading (`Budget`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

from qabot.index import Index, StoredPassage
from qabot.reader import Reader, Window
from qabot.retrieval import Candidate

NEIGHBOURS = 12
"""How many sentences on each side a window may reach."""


def rerank(
    index: Index, reader: Reader, question: str, candidates: list[Candidate], *, thorough: bool = False
) -> list[Candidate]:
    """The candidates best first by log odds and weighted retrieval score; those not read come last.

    thorough: read as much as the reader's budget allows, however sure it is of an answer.
    """
    odds: dict[int, float] = {}
    budget = reader.budget
    windows = _windows(index, candidates, budget.words)
    for count in (budget.first, budget.most - budget.first):
        if odds and max(odds.values()) >= budget.sure and not thorough:
            break
        some = list(islice(windows, max(count, 0)))
        if not some:
            break
        scored = reader.read(question, [window for _, window in some])
        for (around, _), scores in zip(some, scored, strict=True):
            for stored, score in zip(around, scores, strict=True):
                if score is not None:
                    odds[stored.id] = max(odds.get(stored.id, score), score)
    read = [
        replace(c, reader=odds[c.stored.id], weighed=reader.weighing(odds[c.stored.id], c.score))
        for c in candidates
        if c.stored.id in odds
    ]
    unread = [c for c in candidates if c.stored.id not in odds]
    return [*sorted(read, key=lambda candidate: (-(candidate.weighed or 0.0), candidate.stored.id)), *unread]


def stopped_early(reader: Reader, candidates: Sequence[Candidate]) -> bool:
    """Whether `rerank`, which made `candidates`, left windows unread because a sentence was sure to answer."""
    budget = reader.budget
    return budget.first < budget.most and any(c.reader is not None and c.reader >= budget.sure for c in candidates)


def _windows(index: Index, candidates: Sequence[Candidate], words: int) -> Iterator[tuple[list[StoredPassage], Window]]:
    """Windows around the candidates, best first, each with its passages; a candidate that one holds gets none of its own."""
    covered: set[int] = set()
    for candidate in candidates:
        if candidate.stored.id in covered:
            continue
        around, keep = reading_window(index, candidate.stored, words)
        covered |= {stored.id for stored in around}
        first = around[0].passage.start
        text = index.text(candidate.stored.document, first, around[-1].passage.end)
        yield around, Window(tuple(text[s.passage.start - first : s.passage.end - first] for s in around), keep)


def spread(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates with the best of each document that a reader believes to answer (even odds or better) in front,
    so that, when several documents answer, none takes all the quotes. The best candidate stays first."""
    if not candidates:
        return []
    front, rest = [candidates[0]], []
    quoted = {candidates[0].stored.document}
    for candidate in candidates[1:]:
        believed = candidate.reader is not None and candidate.reader >= 0
        if believed and candidate.stored.document not in quoted:
            quoted.add(candidate.stored.document)
            front.append(candidate)
        else:
            rest.append(candidate)
    return [*front, *rest]


def probability(candidate: Candidate) -> float | None:
    """The reader's probability, 0..1, that the candidate's sentence answers; None when it wasn't read."""
    return None if candidate.reader is None else 1 / (1 + math.exp(-max(min(candidate.reader, 30.0), -30.0)))


def shown_score(candidate: Candidate) -> float:
    """What ranks the candidate, squeezed into 0..1: to compare the quotes of one answer, no probability."""
    if candidate.weighed is None:
        return max(candidate.score, 0.0) / (1 + max(candidate.score, 0.0))
    return 1 / (1 + math.exp(-max(min(candidate.weighed, 30.0), -30.0)))


def reading_window(index: Index, centre: StoredPassage, words: int) -> tuple[list[StoredPassage], int]:
    """The sentences around a candidate, of at most so many words together, and its position among them.

    Grows by turns to both sides; leaves the block only where fewer than half of the words are used (headings,
    list items).
    """
    around = index.neighbours(centre.document, centre.id - NEIGHBOURS, centre.id + NEIGHBOURS)
    here = next(position for position, stored in enumerate(around) if stored.id == centre.id)
    offset = around[0].passage.start
    text = index.text(centre.document, offset, around[-1].passage.end)
    counts = [len(text[s.passage.start - offset : s.passage.end - offset].split()) for s in around]
    first = last = here
    used = counts[here]
    open_sides = {"before", "after"}
    side = "after"
    while open_sides:
        side = "before" if side == "after" else "after"
        if side not in open_sides:
            continue
        position = first - 1 if side == "before" else last + 1
        inside = 0 <= position < len(around) and used + counts[position] <= words
        if not inside or (around[position].block != centre.block and used * 2 > words):
            open_sides.discard(side)
            continue
        used += counts[position]
        first, last = min(first, position), max(last, position)
    return around[first : last + 1], here - first
