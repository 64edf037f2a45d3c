"""Vectors in a file, searched exactly.

Owns: the file (rows of little-endian float32, nothing else) and looking through all of it. Mapped into memory, so that
opening costs nothing and processes share what is read. Refuses to know what a row stands for.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
ROW = np.dtype("<f4")
BLOCK_ROWS = 16_384
"""Rows looked at in one go where not all of them are: 25 MB of 384 dimensions."""


class VectorFile:
    """`count` unit vectors of `dimension` in the file `path`, open for reading.

    Raises `ValueError` when the file's size is another.
    """

    def __init__(self, path: Path, count: int, dimension: int) -> None:
        size, expected = path.stat().st_size, count * dimension * ROW.itemsize
        if size != expected:
            raise ValueError(f"{path.name} has {size:,} bytes; {count:,} x {dimension} vectors have {expected:,}")
        shape = (count, dimension)
        self._rows: Vectors = np.memmap(path, ROW, "r", shape=shape) if size else np.empty(shape, ROW)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def dimension(self) -> int:
        """Of each vector."""
        return int(self._rows.shape[1])

    def take(self, rows: Rows) -> Vectors:
        """(len(rows), dimension): a copy of these rows."""
        return np.asarray(self._rows[rows], np.float32)

    def best(self, question: Vectors, k: int) -> tuple[Rows, Vectors]:
        """The `k` best rows and their scores, best first, equal ones by row."""
        scores = self._rows @ question
        return top(np.arange(len(scores)), scores, k)

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """(first row, rows) of all, in order; what was read isn't kept in memory."""
        for first in range(0, len(self), BLOCK_ROWS):
            yield first, np.array(self._rows[first : first + BLOCK_ROWS], np.float32)
            forget(self._rows)


class VectorFiles:
    """Files of vectors seen as one: the rows of each are counted on from those of the file before."""

    def __init__(self, files: Sequence[VectorFile]) -> None:
        self.files = files
        self.starts = [sum(len(file) for file in files[:n]) for n in range(len(files))]

    def __len__(self) -> int:
        return sum(len(file) for file in self.files)

    def take(self, rows: Rows) -> Vectors:
        """(len(rows), dimension): a copy of these rows."""
        if len(self.files) == 1:
            return self.files[0].take(rows)
        taken = np.empty((len(rows), self.files[0].dimension), np.float32)
        for start, file in zip(self.starts, self.files, strict=True):
            here = (rows >= start) & (rows < start + len(file))
            taken[here] = file.take(rows[here] - start)
        return taken

    def best(self, question: Vectors, k: int, rows: Rows) -> tuple[Rows, Vectors]:
        """The `k` best among `rows` (ascending) and their scores, best first, equal ones by row."""
        blocks = range(0, len(rows), BLOCK_ROWS)
        scores = [self.take(rows[first : first + BLOCK_ROWS]) @ question for first in blocks]
        return top(rows, np.concatenate(scores) if scores else np.empty(0, np.float32), k)


def forget(mapped: NDArray[np.generic]) -> None:
    """Let the system take back the memory of a mapped file that was read; its content stays where it is."""
    source = getattr(mapped, "_mmap", None)
    if source is not None and hasattr(mmap, "MADV_DONTNEED"):
        source.madvise(mmap.MADV_DONTNEED)


def top(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The `k` best of `rows` (ascending) and their scores, best first, equal ones by row."""
    if 0 < k < len(scores):
        # All that reach the k-th best score: of equal ones, the sort below keeps the first.
        chosen = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        rows, scores = rows[chosen], scores[chosen]
    order = np.argsort(-scores, kind="stable")[:k]
    return rows[order].astype(np.int64), scores[order]
