"""The index: an immutable snapshot behind one manifest, open for reading.

Owns: looking things up in the data files of a snapshot, as if a snapshot and the small changes made to it since (its
delta) were one. Refuses to know how the files come to be there (`snapshot`), how texts become vectors, or what a good
answer is.

Data files are named by their content; `manifest.json` names them and is replaced last. Nothing in the
folder is ever changed in place, so a reader sees one whole snapshot or another, and a build that dies at any
moment leaves the old one serving. Rows are read on demand: opening costs the same at any size.

    manifest.json               which files, their digests, the recipe, the counts
    text-<digest>.sqlite        documents (with their text), passages, and the key of each vector
    vectors-<digest>.faiss      one unit vector a distinct text: an IndexFlatIP (not where they are in Qdrant: `qdrant`)
    lists-<digest>.faiss        the vectors once more, shared out among lists, where there are very many
    lexical-<digest>/           words, for BM25
    delta_text-<digest>.sqlite, delta_vectors-<digest>.faiss
                                documents added, changed and removed since, where a snapshot is large
    seen                        what the files looked like when they were read; see `seen`
    lock                        held by the process that builds
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from qabot.errors import IndexDamaged
from qabot.lexical import Lexical
from qabot.lists import Lists
from qabot.passages import Passage
from qabot.qdrant import Collection
from qabot.snapshot import LISTS, Manifest, content_digest, parse_manifest, read_manifest, size_of
from qabot.tables import DOCUMENT, PASSAGE, StoredDocument, StoredPassage, document_of, open_tables, passage_of
from qabot.vectors import Rows, VectorFile, VectorFiles, Vectors, top

__all__ = ["Index", "StoredDocument", "StoredPassage"]

SHORTEST_MISSPELT, LONG_WORD = 4, 8
CUTS_AT_ONCE = 2_000
OPEN_TRIES = 5
"""A reader may see a manifest whose files the next build has just removed; it then looks again."""


class Outline(NamedTuple):
    """A document in short; `passages` counts its passages."""

    id: int
    encoding: str
    passages: int


class Index:
    """One snapshot, open for reading; safe to use from several threads.

    Raises `IndexMissing` when `folder` holds no manifest, `IndexMismatch` when it was written in another format,
    `IndexDamaged` when the files aren't those that the manifest names.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for attempt in range(OPEN_TRIES):
            raw = read_manifest(folder)
            self.manifest = parse_manifest(folder, raw)
            try:
                self._open_files()
                break
            except (FileNotFoundError, IndexDamaged) as error:
                if attempt < OPEN_TRIES - 1 and read_manifest(folder) != raw:
                    continue
                if isinstance(error, IndexDamaged):
                    raise
                raise IndexDamaged(
                    f"{folder} lacks {error.filename}, which its manifest names. Run `qabot index --rebuild`."
                ) from error
        self.id = hashlib.sha256(raw).hexdigest()[:16]

    def _open_files(self) -> None:
        for name, _, size in self.manifest.files.values():
            path = self.folder / name
            found = size_of(path)
            if found != size:
                raise IndexDamaged(
                    f"{path} has {found:,} bytes; its manifest says {size:,}. Run `qabot index --rebuild`."
                )
        files = {part: self.folder / name for part, (name, _, _) in self.manifest.files.items()}
        try:
            # Open for good, and one for all threads: the next build removes the file under its name.
            self._reading = threading.Lock()
            self._database = open_tables(files["text"], files.get("delta_text"))
            self._vectors, self._lists = _open_vectors(self.manifest, files)
            self._collection = _open_collection(self.folder, self.manifest)
            self.lexical = Lexical(files["lexical"], self._removed if self.manifest.delta else None)
            base = self._query("SELECT coalesce(max(row), -1) + 1 FROM main.vectors")[0][0]
            stored = base
            self.first_of_delta = self._query("SELECT coalesce(max(id), -1) + 1 FROM main.documents")[0][0]
            if self.manifest.delta:
                stored += self._query("SELECT count(*) FROM delta.vectors")[0][0]
                self._query("SELECT 1 FROM dead, removed LIMIT 1")
        except (RuntimeError, ValueError, sqlite3.DatabaseError) as error:
            raise IndexDamaged(
                f"The index in {self.folder} can't be read ({str(error).splitlines()[0]}). Run `qabot index --rebuild`."
            ) from error
        counts = (
            (len(self._collection), base, base)
            if self._collection is not None
            else (len(self._vectors), len(self._vectors.files[0]), len(self._lists) if self._lists else base)
        )
        if counts != (self.manifest.vectors, base, base) or stored != self.manifest.vectors:
            raise IndexDamaged(
                f"The vectors in {self.folder}, their lists and their keys are {(*counts, stored)}; the manifest says "
                f"{self.manifest.vectors}. Run `qabot index --rebuild`."
            )

    def documents(self) -> list[StoredDocument]:
        """Every document, sorted by path."""
        rows = self._query(f"SELECT {DOCUMENT} FROM documents ORDER BY path")
        return [document_of(row) for row in rows]

    def outline(self) -> dict[str, Outline]:
        """Path -> what is needed to compare folders, of every document."""
        rows = self._query("SELECT path, id, encoding, passages FROM documents")
        return {path: Outline(number, encoding, passages) for path, number, encoding, passages in rows}

    def some_paths(self, count: int) -> list[str]:
        """The paths of `count` documents, or of all, if there are no more."""
        return [path for (path,) in self._query("SELECT path FROM documents LIMIT ?", (count,))]

    def cuts(self, document: int) -> Iterator[Passage]:
        """The passages of a document, in text order, as `cut_passages` gave them."""
        first = self._query("SELECT min(id) FROM passages WHERE document = ?", (document,))[0][0]
        while first is not None:
            sql = f"SELECT {PASSAGE} FROM passages WHERE id >= ? AND document = ? ORDER BY id LIMIT {CUTS_AT_ONCE}"
            rows = self._query(sql, (first, document))
            yield from (passage_of(row).passage for row in rows)
            first = rows[-1][0] + 1 if len(rows) == CUTS_AT_ONCE else None

    def document(self, number: int) -> StoredDocument:
        """The document with this id."""
        return document_of(self._query(f"SELECT {DOCUMENT} FROM documents WHERE id = ?", (number,))[0])

    def paths(self, ids: Sequence[int]) -> dict[int, str]:
        """Id -> path, of the documents with these ids."""
        return {number: str(path) for number, path in self._select("id, path", "documents", "id", ids)}

    def find_document(self, path: str) -> StoredDocument | None:
        """The document at exactly this path, if the index has it."""
        rows = self._query(f"SELECT {DOCUMENT} FROM documents WHERE path = ?", (path,))
        return document_of(rows[0]) if rows else None

    def find_digest(self, digest: str) -> StoredDocument | None:
        """The first document whose sha256 begins with `digest`, if the index has one."""
        sql = f"SELECT {DOCUMENT} FROM documents WHERE sha256 >= ?1 AND sha256 < ?1 || 'g' ORDER BY path LIMIT 1"
        rows = self._query(sql, (digest.lower(),))
        return document_of(rows[0]) if rows else None

    def length(self, document: int) -> int:
        """Code points of a document's text."""
        return int(self._query("SELECT length(text) FROM documents WHERE id = ?", (document,))[0][0])

    def text(self, document: int, start: int = 0, end: int | None = None) -> str:
        """`text[start:end]` of a document, in code points."""
        if end is None:
            found = self._query("SELECT substr(text, ?) FROM documents WHERE id = ?", (start + 1, document))
        else:
            span = (start + 1, end - start, document)
            found = self._query("SELECT substr(text, ?, ?) FROM documents WHERE id = ?", span)
        return str(found[0][0])

    def passages(self, ids: Sequence[int]) -> list[StoredPassage]:
        """The passages with these ids, by id; ids that no passage has are passed over."""
        return [passage_of(row) for row in self._select(PASSAGE, "passages", "id", ids)]

    def passages_of(self, document: int, start: int, end: int) -> list[StoredPassage]:
        """The passages of a document that overlap `[start, end)`, in text order."""
        # By the file's own table: SQLite finds the greatest start at once in a table, not in a view.
        passages = "delta.passages" if document >= self.first_of_delta and self.manifest.delta else "main.passages"
        sql = (
            f"SELECT {PASSAGE} FROM {passages} WHERE document = ?1 AND start < ?3 AND start >= "
            f"coalesce((SELECT max(start) FROM {passages} WHERE document = ?1 AND start <= ?2), 0) ORDER BY id"
        )
        return [passage_of(row) for row in self._query(sql, (document, start, end)) if row[3] > start]

    def neighbours(self, document: int, first: int, last: int) -> list[StoredPassage]:
        """The passages of a document with ids from `first` to `last`, in text order; fewer at its ends."""
        sql = f"SELECT {PASSAGE} FROM passages WHERE id BETWEEN ? AND ? AND document = ? ORDER BY id"
        return [passage_of(row) for row in self._query(sql, (first, last, document))]

    def passages_at(self, rows: Sequence[int]) -> list[StoredPassage]:
        """Every passage that has one of these vectors at any scale, by id."""
        found = {}
        for column in ("sentence_row", "block_row"):
            for row in self._select(PASSAGE, "passages", column, rows):
                found[row[0]] = passage_of(row)
        return [found[number] for number in sorted(found)]

    def passages_in(self, blocks: Sequence[int]) -> list[StoredPassage]:
        """Every passage of these blocks, by id."""
        return [passage_of(row) for row in self._select(PASSAGE, "passages", "block", blocks)]

    def words_like(self, word: str) -> Sequence[tuple[str, float]]:
        """Words of the documents that `word` may be a misspelling of, with their likeness, 0..1, best first.

        One slip is allowed in 4 to 7 letters, two from 8 (optimal string alignment distance: a letter added,
        lost, replaced, or swapped with the next). The first letter is right, or swapped with the second.
        """
        if len(word) < SHORTEST_MISSPELT or not word.isalpha():
            return []
        slips = 1 if len(word) < LONG_WORD else 2
        found: dict[str, int] = {}
        for initial in dict.fromkeys(word[:2]):
            sql = "SELECT word, count FROM words WHERE word >= ? AND word < ? AND length(word) BETWEEN ? AND ?"
            found |= dict(self._query(sql, (initial, chr(ord(initial) + 1), len(word) - slips, len(word) + slips)))
        near = process.extract(word, list(found), scorer=OSA.distance, score_cutoff=slips, limit=None)
        likely = [(other, 1 - distance / max(len(word), len(other))) for other, distance, _ in near if other.isalpha()]
        return sorted(likely, key=lambda item: (-item[1], -found[item[0]], item[0]))

    def name_of(self, initials: str) -> str | None:
        """The name in the documents that these initials (three capitals or more) stand for most often, if any."""
        sql = "SELECT name FROM names WHERE initials = ? ORDER BY count DESC, name LIMIT 1"
        found = self._query(sql, (initials,))
        return str(found[0][0]) if found else None

    def search(
        self, question: NDArray[np.float32], k: int, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The `k` best (row, score) for a unit vector, best first; fewer when there are fewer.

        documents: search only these. The scores are exact; whether all of the nearest are found, the manifest says
        (`search`). Some documents are always searched whole.
        """
        if self._collection is not None:
            rows, scores = self._collection.search(question, k, documents)
        elif documents is not None:
            rows, scores = self._vectors.best(question, k, self._rows_of(documents))
        else:
            rows, scores = self._nearest(question, k)
        return list(zip(rows.tolist(), scores.tolist(), strict=True))

    def _nearest(self, question: Vectors, k: int) -> tuple[Rows, Vectors]:
        wanted = k
        while True:
            base = self._vectors.files[0]
            parts = [self._lists.best(base, question, wanted) if self._lists else base.best(question, wanted)]
            for start, file in zip(self._vectors.starts[1:], self._vectors.files[1:], strict=True):
                rows, scores = file.best(question, wanted)
                parts.append((rows + start, scores))
            rows, scores = (np.concatenate(found) for found in zip(*parts, strict=True))
            if not self.manifest.delta:
                return rows, scores
            ascending = np.argsort(rows)
            rows, scores = top(rows[ascending], scores[ascending], wanted)
            dead = {row for (row,) in self._select("row", "dead", "row", rows.tolist())}
            alive = np.array([row not in dead for row in rows.tolist()], bool)
            if np.count_nonzero(alive) >= k or len(rows) < wanted:
                return rows[alive][:k], scores[alive][:k]
            # What was removed took places of what is there: look further.
            wanted *= 2

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(len(rows), dimension) unit vectors."""
        return (self._vectors if self._collection is None else self._collection).take(np.asarray(rows, np.int64))

    def rows_of_keys(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Key -> row, for the keys that have a vector here."""
        return {key: row for row, key in self._select("row, key", "vectors", "key", keys)}

    def check(self) -> list[str]:
        """Read every byte and say what differs from the manifest: empty when nothing does.

        The files are opened by name: of a snapshot that has been replaced they are missing, which is no damage.
        """
        wrong = []
        for name, expected, _ in self.manifest.files.values():
            try:
                found = content_digest(self.folder / name)
            except FileNotFoundError:
                wrong.append(f"{self.folder / name} is missing")
                continue
            if found != expected:
                wrong.append(f"{self.folder / name} has sha256 {found}; the manifest says {expected}")
        return [*wrong, *(self._collection.check() if self._collection is not None else ())]

    def _rows_of(self, documents: Sequence[int]) -> Rows:
        found = self._select("sentence_row, block_row", "passages", "document", documents)
        return np.unique(np.fromiter((row for rows in found for row in rows), np.int64))

    def _removed(self, documents: Sequence[int]) -> set[int]:
        """Those of these documents that are still in the snapshot's files but not in the index."""
        return {number for (number,) in self._select("document", "removed", "document", documents)}

    def _select(self, columns: str, table: str, column: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        # In slices: SQLite takes at most 32,766 parameters.
        for first in range(0, len(values), 10_000):
            part = tuple(values[first : first + 10_000])
            marks = ",".join("?" * len(part))
            yield from self._query(f"SELECT {columns} FROM {table} WHERE {column} IN ({marks}) ORDER BY 1", part)

    def _query(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reading:
            return list(self._database.execute(sql, values))


def _open_collection(folder: Path, manifest: Manifest) -> Collection | None:
    if manifest.search["type"] != "qdrant":
        return None
    return Collection(folder, manifest.search, manifest.vectors, manifest.dimension)


def _open_vectors(manifest: Manifest, files: dict[str, Path]) -> tuple[VectorFiles, Lists | None]:
    if "vectors" not in files:
        return VectorFiles([]), None
    count, dimension = manifest.vectors, manifest.dimension
    found = []
    if manifest.delta:
        found.append(VectorFile(files["delta_vectors"], manifest.delta["vectors"], dimension))
        count -= manifest.delta["vectors"]
    vectors = VectorFiles([VectorFile(files["vectors"], count, dimension), *found])
    if LISTS not in files:
        return vectors, None
    return vectors, Lists(files[LISTS], int(manifest.search["probes"]))
