"""Question -> candidate sentences, best first.

Owns: which passages are candidates, and the score that ranks them before anything has read them: the cosines
of the three scales, mixed, plus a share for the words. Refuses to know of thresholds, quotes and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qabot.embedding import Encoder, Vectors
from qabot.index import Index, StoredPassage

SCALE_WEIGHTS = np.array([0.4, 0.35, 0.25], np.float32)
"""Shares of sentence, window and block in the dense score."""
LEXICAL_WEIGHT = 0.2
FURNITURE_PENALTY = 0.1
DENSE_ROWS = 150
LEXICAL_HITS = 100


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that may answer.

    dense: mixed cosine, -1..1. lexical: its BM25 as a share of the best possible for the question, 0..1.
    score: what ranks it.
    """

    stored: StoredPassage
    dense: float
    lexical: float
    score: float


def retrieve(index: Index, encoder: Encoder, question: str, documents: Sequence[int] | None = None) -> list[Candidate]:
    """The candidates for a question, best first.

    documents: ids of the documents to search, or None for all of them.
    """
    vector = encoder.embed_question(question)
    rows = [row for row, _ in index.search(vector, DENSE_ROWS, documents)]
    lexical = dict(index.lexical.search(question, LEXICAL_HITS, documents))
    stored = {passage.id: passage for passage in index.passages_at(rows)}
    if documents is not None:
        allowed = set(documents)
        stored = {number: passage for number, passage in stored.items() if passage.document in allowed}
    stored |= {passage.id: passage for passage in index.passages([n for n in lexical if n not in stored])}
    passages = list(stored.values())
    dense = dense_scores(index, vector, passages)
    candidates = []
    for passage, cosine in zip(passages, dense, strict=True):
        words = lexical.get(passage.id, 0.0)
        score = float(cosine) + LEXICAL_WEIGHT * words - FURNITURE_PENALTY * passage.passage.furniture
        candidates.append(Candidate(passage, float(cosine), words, score))
    # Ties go to the earlier passage, so that equal indexes give equal answers.
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.stored.id))


def dense_scores(index: Index, question: Vectors, passages: Sequence[StoredPassage]) -> Vectors:
    """(len(passages),) weighted means of the cosines of each passage's scales."""
    rows = sorted({row for passage in passages for row in passage.rows})
    position = {row: n for n, row in enumerate(rows)}
    cosines = index.vectors(rows) @ question
    places = np.array([[position[row] for row in passage.rows] for passage in passages], np.int64).reshape(-1, 3)
    mixed: Vectors = cosines[places] @ SCALE_WEIGHTS
    return mixed
