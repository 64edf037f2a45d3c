"""An encoder that costs next to nothing, for measuring all that is around one.

A text's vector is the sum of fixed random directions, one a word, rare-looking words counting more: texts that share
words are near each other, as with a real model, and every text has a vector of its own.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Sequence

import numpy as np

from qabot.embedding import EncoderFacts, Vectors

DIMENSION, DIRECTIONS = 384, 16_384
WORD = re.compile(r"\w+")
TOKEN = re.compile(r"\w{1,8}|[^\w\s]")


class StandIn:
    """Implements `qabot.embedding.Encoder`."""

    def __init__(self) -> None:
        self.facts = EncoderFacts("stand-in", "stand-in", DIMENSION, 256, "", "")
        self.limit = 254
        self._directions = np.random.default_rng(1).standard_normal((DIRECTIONS, DIMENSION), np.float32)
        self._known: dict[str, int] = {}

    def token_ends(self, text: str) -> list[int]:
        return [match.end() for match in TOKEN.finditer(text)]

    def knows(self, word: str) -> bool:
        return False

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        vectors = np.empty((len(texts), DIMENSION), np.float32)
        for number, text in enumerate(texts):
            words = WORD.findall(text.lower()) or [""]
            weights = np.array([min(len(word), 8) ** 2 for word in words], np.float32) + 0.1
            sums = weights @ self._directions[[self._place(word) for word in words]]
            vectors[number] = sums / np.linalg.norm(sums)
        if advance:
            advance(len(texts))
        return vectors

    def embed_question(self, question: str) -> Vectors:
        vector: Vectors = self.embed([question])[0]
        return vector

    def _place(self, word: str) -> int:
        if len(self._known) > 100_000:
            self._known.clear()
        place = self._known.get(word)
        if place is None:
            place = self._known[word] = zlib.crc32(word.encode()) % DIRECTIONS
        return place
