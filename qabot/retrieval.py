"""Question -> candidate sentences, best first.

Owns: which passages are candidates, and the score that ranks them before anything has read them: the cosines
of the three scales, mixed, plus a share for the words. Refuses to know of thresholds, quotes and files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from qabot.embedding import Encoder, Vectors
from qabot.index import Index, StoredPassage
from qabot.lexical import QUOTED, expanded

RETRIEVAL_VERSION = 1
"""Part of a calibration's recipe: to be raised whenever the scores below change."""
SCALES = 3
"""Sentence, window and block count the same in the dense score."""
LEXICAL_WEIGHT = 20.0
"""Weight of the words, multiplied by the square of the share of the question that the best block has: where a
question was put in the documents' words they decide, and where it was put in other words they keep out of the way."""
FURNITURE_PENALTY = 0.1
FRAGMENT_PENALTY = 0.08
"""What titles, captions and buttons lose: their few words are close to any question on the subject."""
DENSE_ROWS = 200
LEXICAL_BLOCKS = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """A passage that may answer.

    dense: mixed cosine, -1..1. lexical: its block's share of the question's words, 0..1.
    score: what ranks it. reader: log odds, by a reader, that its sentence answers; weighed: both together, which then
    rank it; None when it wasn't read.
    """

    stored: StoredPassage
    dense: float
    lexical: float
    score: float
    reader: float | None = None
    weighed: float | None = None


def retrieve(index: Index, encoder: Encoder, question: str, documents: Sequence[int] | None = None) -> list[Candidate]:
    """The candidates for a question, best first.

    documents: ids of the documents to search, or None for all of them.
    """

    @cache  # asked once for the model and once for the words
    def spelling(word: str) -> Sequence[tuple[str, float]]:
        # A word that the model knows is one, even if the documents don't have it.
        return [] if encoder.knows(word) else index.words_like(word)

    question = expanded(question, index.name_of, index.lexical.knows)
    vector = encoder.embed_question(index.lexical.corrected(question, spelling))
    rows = [row for row, _ in index.search(vector, DENSE_ROWS, documents)]
    blocks = dict(index.lexical.search(question, LEXICAL_BLOCKS, spelling, documents))
    found = {stored.id: stored for stored in (*index.passages_at(rows), *index.passages_in(list(blocks)))}
    allowed = None if documents is None else set(documents)
    passages = [found[number] for number in sorted(found) if allowed is None or found[number].document in allowed]
    if QUOTED.search(question):
        # The search for words has seen to it that these blocks hold what stands in quotation marks.
        passages = [stored for stored in passages if stored.block in blocks]
    weight = LEXICAL_WEIGHT * max(blocks.values(), default=0.0) ** 2
    candidates = []
    for stored, dense in zip(passages, dense_scores(index, vector, passages), strict=True):
        lexical = blocks.get(stored.block, 0.0)
        penalty = FRAGMENT_PENALTY * stored.passage.fragment + FURNITURE_PENALTY * stored.passage.furniture
        score = float(dense) + weight * lexical - penalty
        candidates.append(Candidate(stored, float(dense), lexical, score))
    # Ties go to the earlier passage, so that equal indexes give equal answers.
    return sorted(candidates, key=lambda candidate: (-candidate.score, candidate.stored.id))


def dense_scores(index: Index, question: Vectors, passages: Sequence[StoredPassage]) -> Vectors:
    """(len(passages),) means of the cosines of each passage's sentence, window and block.

    The window is the sentence with its neighbours in the block; its vector is the mean of theirs, which saves
    embedding it and ranks as well.
    """
    ids = {number for stored in passages for number in (stored.id - 1, stored.id, stored.id + 1)}
    around = {stored.id: stored for stored in index.passages(sorted(ids))}
    rows = sorted({row for stored in around.values() for row in stored.rows})
    position = {row: n for n, row in enumerate(rows)}
    vectors = index.vectors(rows)
    cosines = vectors @ question
    scores = np.zeros(len(passages), np.float32)
    for n, stored in enumerate(passages):
        sentence, block = (position[row] for row in stored.rows)
        near = [around.get(number) for number in (stored.id - 1, stored.id, stored.id + 1)]
        window = vectors[[position[other.rows[0]] for other in near if other and other.block == stored.block]].sum(
            axis=0
        )
        scores[n] = (cosines[sentence] + window @ question / np.linalg.norm(window) + cosines[block]) / SCALES
    return scores
