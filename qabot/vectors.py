"""Vectors in a file of faiss, searched exactly.

Owns: the file (an `IndexFlatIP`, which `faiss.read_index` reads: faiss's head, then rows of little-endian float32) and
looking through all of it. Mapped into memory, so that opening costs nothing and processes share what is read. faiss lives
only here and in `lists`. Refuses to know what a row stands for.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import faiss
import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
ROW = np.dtype("<f4")
HEAD = struct.Struct("<4siqqq?iQ")
"""Kind, dimension, vectors, two numbers that faiss doesn't use any more, trained, metric, floats: 45 bytes."""
BLOCK_ROWS = 16_384
"""Rows looked at in one go where not all of them are: 25 MB of 384 dimensions."""


def head_of(count: int, dimension: int) -> bytes:
    """How faiss begins the file of `count` vectors; their rows follow, and end it. So a file can be written in a stream.

    Raises `RuntimeError` when faiss lays its files out in another way than this one was written for.
    """
    writer = faiss.VectorIOWriter()
    faiss.write_index(faiss.IndexFlatIP(dimension), writer)
    empty = faiss.vector_to_array(writer.data).tobytes()
    unused, metric = 1 << 20, faiss.METRIC_INNER_PRODUCT
    if empty != HEAD.pack(b"IxFI", dimension, 0, unused, unused, True, metric, 0):
        raise RuntimeError(f"faiss {faiss.__version__} begins the file of an IndexFlatIP otherwise than expected")
    return HEAD.pack(b"IxFI", dimension, count, unused, unused, True, metric, count * dimension)


class VectorFile:
    """`count` unit vectors of `dimension` in the file `path`, open for reading.

    Raises `ValueError` when the file's size or head is another, `RuntimeError` when faiss can't read it.
    """

    def __init__(self, path: Path, count: int, dimension: int) -> None:
        size, expected = path.stat().st_size, HEAD.size + count * dimension * ROW.itemsize
        if size != expected:
            raise ValueError(f"{path.name} has {size:,} bytes; {count:,} x {dimension} vectors have {expected:,}")
        with path.open("rb") as stream:
            if stream.read(HEAD.size) != head_of(count, dimension):
                raise ValueError(f"{path.name} is no IndexFlatIP of {count:,} x {dimension} vectors")
        shape = (count, dimension)
        # The head leaves the rows at odd addresses: whatever computes with them takes copies.
        self._rows: Vectors = np.memmap(path, ROW, "r", HEAD.size, shape) if count else np.empty(shape, ROW)
        self._index = cast(Any, faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC))

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

        def nearest(wanted: int) -> tuple[Rows, Vectors]:
            scores, rows = self._index.search(question[None, :], wanted)
            return rows[0], scores[0]

        return settled(nearest, len(self), k)

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


def settled(nearest: Callable[[int], tuple[Rows, Vectors]], count: int, k: int) -> tuple[Rows, Vectors]:
    """The `k` best rows and their scores, best first, equal ones by row, of a search that takes any of equal ones.

    nearest: n -> the n best, best first, fewer when there are fewer; n is at most `count`.
    """
    if k < 1 or not count:
        return np.empty(0, np.int64), np.empty(0, np.float32)
    wanted = k + 1
    while True:
        # More and more, until something comes that is less good than the k-th.
        asked = min(wanted, count)
        rows, scores = nearest(asked)
        if len(rows) < asked or asked == count or scores[-1] < scores[k - 1]:
            order = np.lexsort((rows, -scores))[:k]
            return rows[order].astype(np.int64), scores[order]
        wanted *= 2


def top(rows: Rows, scores: Vectors, k: int) -> tuple[Rows, Vectors]:
    """The `k` best of `rows` (ascending) and their scores, best first, equal ones by row."""
    if 0 < k < len(scores):
        # All that reach the k-th best score: of equal ones, the sort below keeps the first.
        chosen = np.flatnonzero(scores >= np.partition(scores, len(scores) - k)[len(scores) - k])
        rows, scores = rows[chosen], scores[chosen]
    order = np.argsort(-scores, kind="stable")[:k]
    return rows[order].astype(np.int64), scores[order]
