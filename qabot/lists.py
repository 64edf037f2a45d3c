"""Vectors in lists: finding near ones among very many without looking at all of them.

Owns: how lists are made and tuned, and the search in them (faiss lives only here and in `vectors`). The vectors
are shared out among lists by the nearest of some centres, a byte a dimension; a search looks through the lists whose
centres are nearest to the question. What it finds is scored again by the vectors themselves (`vectors`), so scores
are exact, and only a vector in a far list can be missed: how often is measured when the lists are made.

The file is one that `faiss.read_index` reads: faiss writes its head, and the lists follow here, one after the other, so
that never more than a few blocks of vectors are in memory.
"""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

from qabot.vectors import BLOCK_ROWS, Rows, VectorFile, Vectors, forget, top

MOST_LISTS = 4096
SAMPLE_A_LIST = 40
MOST_SAMPLED = 100_000
TRAINING_STEPS = 10
SEED = 7
HELD_OUT = 400
"""Vectors of the corpus that are searched for to measure what lists miss, and as many between two of them each."""
NEAREST = 10
RECALL = 0.995
"""Share of the `NEAREST` nearest that lists must find on average for vectors of the corpus."""
BETWEEN, RECALL_BETWEEN = 0.7, 0.992
"""The same for sums of a vector and `BETWEEN` times another. Questions are about as far from any text: where 68 of 2,048
lists were enough for vectors of the corpus, real questions found .956 of their nearest; with 256, .993, and these sums .992."""
SPARE = 2
"""How many times more are taken from the lists than asked for: a byte a dimension may swap near ones."""
EMPTY_LISTS = b"sprs" + struct.pack("<Q", 0)
"""How faiss ends the file of an index without vectors, and what the lists are put in the place of."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """lists: how many there are. probes: how many of them a search looks through. recall, recall_between: measured, at
    `NEAREST`, for vectors of the corpus and for some as far from any text as questions are."""

    lists: int
    probes: int
    recall: float
    recall_between: float


class Lists:
    """The lists in `path`, open for reading. Raises `RuntimeError` when faiss can't read them."""

    def __init__(self, path: Path, probes: int) -> None:
        self.probes = probes
        # faiss maps lists on POSIX only.
        self._index = cast(Any, faiss.read_index(str(path), faiss.IO_FLAG_MMAP if os.name == "posix" else 0))
        lists = faiss.downcast_InvertedLists(self._index.invlists)
        if isinstance(lists, faiss.OnDiskInvertedLists):
            # Else every search starts 32 threads to read ahead.
            lists.prefetch_nthread = 0

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def search(self, questions: Vectors, k: int, probes: int = 0) -> Rows:
        """(len(questions), k) rows, roughly best first; -1 where there are fewer."""
        parameters = faiss.SearchParametersIVF(nprobe=probes or self.probes)  # type: ignore[call-arg]
        _, found = self._index.search(questions, k, params=parameters)
        return np.asarray(found, np.int64)

    def best(self, vectors: VectorFile, question: Vectors, k: int) -> tuple[Rows, Vectors]:
        """The `k` best rows with their exact scores, best first, equal ones by row."""
        found = self.search(question[None, :], min(k * SPARE, len(self)))[0]
        rows = np.sort(found[found >= 0])
        return top(rows, vectors.take(rows) @ question, k)


def make_lists(vectors: VectorFile, path: Path, advance: Callable[[int], None] = lambda vectors: None) -> Tuning:
    """Write the lists of all `vectors` to `path`, and tune them; `advance(n)` is told of each n that have their list.

    The same vectors give the same bytes on the same kind of processor.
    """
    head = _trained(vectors)
    codes = path.with_suffix(".codes")
    numbers = _encode(vectors, head, codes, advance)
    _write(head, numbers, codes, path)
    codes.unlink()
    return _tune(vectors, path, head.nlist)


def lists_for(count: int) -> int:
    """How many lists share out `count` vectors: a power of two near twice its square root."""
    return min(MOST_LISTS, 1 << round(math.log2(2 * math.sqrt(count))))


def _trained(vectors: VectorFile) -> Any:
    """An empty index with its centres, from a sample."""
    count = lists_for(len(vectors))
    sample = min(len(vectors), SAMPLE_A_LIST * count, MOST_SAMPLED)
    rows = np.sort(np.random.default_rng(SEED).choice(len(vectors), sample, replace=False))
    quantizer = faiss.IndexFlatIP(vectors.dimension)
    kind, metric = faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    index: Any = faiss.IndexIVFScalarQuantizer(quantizer, vectors.dimension, count, kind, metric, True)
    index.cp.seed, index.cp.niter = SEED, TRAINING_STEPS
    index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 1, SAMPLE_A_LIST
    index.train(vectors.take(rows))
    return index


def _encode(vectors: VectorFile, head: Any, codes: Path, advance: Callable[[int], None]) -> NDArray[np.int32]:
    """Write the code of each vector to `codes`, in row order; gives the list that each belongs to."""
    numbers = np.empty(len(vectors), np.int32)
    with codes.open("wb") as stream:
        for first, block in vectors.blocks():
            nearest = np.ascontiguousarray(head.quantizer.search(block, 1)[1][:, 0])
            numbers[first : first + len(block)] = nearest
            made = np.empty((len(block), head.code_size), np.uint8)
            head.encode_vectors(len(block), faiss.swig_ptr(block), faiss.swig_ptr(nearest), faiss.swig_ptr(made))
            stream.write(made.tobytes())
            advance(len(block))
    return numbers


def _write(head: Any, numbers: NDArray[np.int32], codes: Path, path: Path) -> None:
    """faiss's head, then the sizes of the lists, then of each list the codes and the rows, as faiss lays them out."""
    head.ntotal = len(numbers)
    faiss.write_index(head, str(path))
    sizes = np.bincount(numbers, minlength=head.nlist).astype("<u8")
    order = np.argsort(numbers, kind="stable")
    mapped = np.memmap(codes, np.uint8, "r", shape=(len(numbers), head.code_size))
    with path.open("r+b") as stream:
        stream.seek(-len(EMPTY_LISTS), os.SEEK_END)
        if stream.read() != EMPTY_LISTS:
            raise RuntimeError(f"faiss {faiss.__version__} ends an empty index otherwise than expected")
        stream.seek(-len(EMPTY_LISTS), os.SEEK_END)
        stream.write(b"full" + struct.pack("<Q", head.nlist) + sizes.tobytes())
        first = 0
        since = 0
        for size in sizes.tolist():
            rows = order[first : first + size]
            stream.write(mapped[rows].tobytes())
            stream.write(rows.astype("<i8").tobytes())
            first, since = first + size, since + size
            if since > BLOCK_ROWS:
                forget(mapped)
                since = 0


def _tune(vectors: VectorFile, path: Path, count: int) -> Tuning:
    """The fewest probes that reach `RECALL` and `RECALL_BETWEEN`; no vector of the corpus counts as found by itself."""
    chance = np.random.default_rng(SEED + 1)
    rows = np.sort(chance.choice(len(vectors), HELD_OUT, replace=False))
    corpus = vectors.take(rows)
    between = corpus + BETWEEN * corpus[chance.permutation(HELD_OUT)]
    between /= np.maximum(np.linalg.norm(between, axis=1, keepdims=True), 1e-6)
    questions = np.concatenate([corpus, between])
    own = np.concatenate([rows, np.full(HELD_OUT, -1)])
    least = _exact(vectors, questions, own)
    lists = Lists(path, 1)

    def recall(probes: int) -> tuple[float, float]:
        found = lists.search(questions, (NEAREST + 1) * SPARE, probes)
        hits = np.zeros(len(questions))
        for number, near in enumerate(found):
            near = np.sort(near[(near >= 0) & (near != own[number])])
            _, scores = top(near, vectors.take(near) @ questions[number], NEAREST)
            hits[number] = np.count_nonzero(scores >= least[number] - 1e-5) / NEAREST
        return float(hits[:HELD_OUT].mean()), float(hits[HELD_OUT:].mean())

    def enough(probes: int) -> bool:
        corpus, between = recall(probes)
        return corpus >= RECALL and between >= RECALL_BETWEEN

    low, high = 0, 1
    while high < count and not enough(high):
        low, high = high, min(2 * high, count)
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return Tuning(count, high, *(round(found, 4) for found in recall(high)))


def _exact(vectors: VectorFile, questions: Vectors, own: Rows) -> Vectors:
    """The score of the `NEAREST`-th nearest of each question, by looking at all vectors but its own row."""
    best = np.full((len(questions), NEAREST), -2, np.float32)
    for first, block in vectors.blocks():
        scores = questions @ block.T
        for position, row in enumerate(own):
            if first <= row < first + len(block):
                scores[position, row - first] = -2
        best = np.concatenate([best, np.partition(scores, -NEAREST, axis=1)[:, -NEAREST:]], axis=1)
        best = np.partition(best, -NEAREST, axis=1)[:, -NEAREST:]
    return np.asarray(best.min(axis=1), np.float32)
