"""The index: an immutable snapshot behind one manifest, open for reading.

Owns: what the data files of a snapshot hold, and looking things up in them. faiss lives only here and where they are
built. Refuses to know how the files come to be there (`snapshot`), how texts become vectors, or what a good answer is.

Data files are named by their content; `manifest.json` names them and is replaced last. Nothing in the
folder is ever changed in place, so a reader sees one whole snapshot or another, and a build that dies at any
moment leaves the old one serving. Rows are read on demand: opening costs the same at any size.

    manifest.json            which files, their digests, the recipe, the counts
    text-<digest>.sqlite     documents (with their text), passages, and the key of each vector
    vectors-<digest>.faiss   one unit vector a distinct text
    lexical-<digest>/        words, for BM25
    lock                     held by the process that builds
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from rapidfuzz import process
from rapidfuzz.distance import OSA

from qabot.errors import IndexDamaged
from qabot.lexical import Lexical
from qabot.passages import Passage
from qabot.snapshot import content_digest, parse_manifest, read_manifest, size_of
from qabot.types import Source, Span

SHORTEST_MISSPELT, LONG_WORD = 4, 8
OPEN_TRIES = 5
"""A reader may see a manifest whose files the next build has just removed; it then looks again."""

SCHEMA = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, sha256 TEXT NOT NULL, encoding TEXT NOT NULL,
    title TEXT NOT NULL, publisher TEXT, author TEXT, date TEXT, kind TEXT, url TEXT,
    passages INTEGER NOT NULL, text TEXT NOT NULL
);
CREATE TABLE passages (
    id INTEGER PRIMARY KEY, document INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL,
    block INTEGER NOT NULL, block_start INTEGER NOT NULL, block_end INTEGER NOT NULL,
    heading_start INTEGER, heading_end INTEGER, line INTEGER NOT NULL,
    fragment INTEGER NOT NULL, furniture INTEGER NOT NULL,
    sentence_row INTEGER NOT NULL, block_row INTEGER NOT NULL
);
CREATE TABLE vectors (
    row INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, document INTEGER NOT NULL, start INTEGER NOT NULL, end INTEGER NOT NULL
);
CREATE TABLE words (word TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE names (initials TEXT, name TEXT, count INTEGER NOT NULL, PRIMARY KEY (initials, name)) WITHOUT ROWID;
"""
INDICES = """
CREATE INDEX passages_document ON passages (document, start);
CREATE INDEX passages_sentence ON passages (sentence_row);
CREATE INDEX passages_block ON passages (block);
CREATE INDEX passages_block_row ON passages (block_row);
"""


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document of the index without its text; `passages` counts its passages."""

    id: int
    path: str
    sha256: str
    encoding: str
    source: Source
    passages: int


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """A passage of the index. block: number of its block. rows: of its vectors, for the sentence and the block."""

    id: int
    document: int
    block: int
    passage: Passage
    rows: tuple[int, int]


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
        database = (self.folder / self.manifest.files["text"][0]).resolve()
        vectors = self.folder / self.manifest.files["vectors"][0]
        try:
            # Open for good, and one for all threads: the next build removes the file under its name.
            self._reading = threading.Lock()
            self._database = sqlite3.connect(
                f"{database.as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            self._faiss = faiss.read_index(str(vectors), faiss.IO_FLAG_MMAP_IFC)
            self.lexical = Lexical(self.folder / self.manifest.files["lexical"][0])
            stored = self._query("SELECT coalesce(max(row), -1) + 1 FROM vectors")[0][0]
        except (RuntimeError, ValueError, sqlite3.DatabaseError) as error:
            raise IndexDamaged(
                f"The index in {self.folder} can't be read ({str(error).splitlines()[0]}). Run `qabot index --rebuild`."
            ) from error
        counts = (self._faiss.ntotal, self._faiss.d, stored)
        expected = (self.manifest.vectors, self.manifest.dimension, self.manifest.vectors)
        if counts != expected:
            raise IndexDamaged(
                f"{vectors} and its texts hold {counts} vectors, dimensions and keys; the manifest says {expected}. "
                "Run `qabot index --rebuild`."
            )

    def documents(self) -> list[StoredDocument]:
        """Every document, sorted by path."""
        rows = self._query(f"SELECT {_DOCUMENT} FROM documents ORDER BY path")
        return [_document(row) for row in rows]

    def document(self, number: int) -> StoredDocument:
        """The document with this id."""
        return _document(self._query(f"SELECT {_DOCUMENT} FROM documents WHERE id = ?", (number,))[0])

    def find_document(self, path: str) -> StoredDocument | None:
        """The document at exactly this path, if the index has it."""
        rows = self._query(f"SELECT {_DOCUMENT} FROM documents WHERE path = ?", (path,))
        return _document(rows[0]) if rows else None

    def find_digest(self, digest: str) -> StoredDocument | None:
        """The first document whose sha256 begins with `digest`, if the index has one."""
        sql = f"SELECT {_DOCUMENT} FROM documents WHERE substr(sha256, 1, ?) = ? ORDER BY path LIMIT 1"
        rows = self._query(sql, (len(digest), digest.lower()))
        return _document(rows[0]) if rows else None

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
        return [_passage(row) for row in self._select(_PASSAGE, "passages", "id", ids)]

    def passages_of(self, document: int, start: int, end: int) -> list[StoredPassage]:
        """The passages of a document that overlap `[start, end)`, in text order."""
        sql = (
            f"SELECT {_PASSAGE} FROM passages WHERE document = ?1 AND start < ?3 AND start >= "
            "coalesce((SELECT max(start) FROM passages WHERE document = ?1 AND start <= ?2), 0) ORDER BY id"
        )
        return [_passage(row) for row in self._query(sql, (document, start, end)) if row[3] > start]

    def neighbours(self, document: int, first: int, last: int) -> list[StoredPassage]:
        """The passages of a document with ids from `first` to `last`, in text order; fewer at its ends."""
        sql = f"SELECT {_PASSAGE} FROM passages WHERE id BETWEEN ? AND ? AND document = ? ORDER BY id"
        return [_passage(row) for row in self._query(sql, (first, last, document))]

    def passages_at(self, rows: Sequence[int]) -> list[StoredPassage]:
        """Every passage that has one of these vectors at any scale, by id."""
        found = {}
        for column in ("sentence_row", "block_row"):
            for row in self._select(_PASSAGE, "passages", column, rows):
                found[row[0]] = _passage(row)
        return [found[number] for number in sorted(found)]

    def passages_in(self, blocks: Sequence[int]) -> list[StoredPassage]:
        """Every passage of these blocks, by id."""
        return [_passage(row) for row in self._select(_PASSAGE, "passages", "block", blocks)]

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

        documents: search only these.
        """
        if not self.manifest.vectors:
            return []
        parameters = None
        if documents is not None:
            rows = np.asarray(self._rows_of(documents), np.int64)
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBatch(rows))  # type: ignore[call-arg]
        k = min(k, self.manifest.vectors)
        scores, found = self._faiss.search(question[None, :], k, params=parameters)
        # faiss fills what it didn't find with the id -1.
        return [(int(row), float(score)) for row, score in zip(found[0], scores[0], strict=True) if row >= 0]

    def vectors(self, rows: Sequence[int]) -> NDArray[np.float32]:
        """(len(rows), dimension) unit vectors."""
        if not rows:
            return np.empty((0, self.manifest.dimension), np.float32)
        batch: NDArray[np.float32] = self._faiss.reconstruct_batch(np.asarray(rows, np.int64))
        return batch

    def rows_of_keys(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Key -> row, for the keys that have a vector here."""
        return {key: row for row, key in self._select("row, key", "vectors", "key", keys)}

    def check(self) -> list[str]:
        """Read every byte and say what differs from the manifest: empty when nothing does."""
        wrong = []
        for name, expected, _ in self.manifest.files.values():
            found = content_digest(self.folder / name)
            if found != expected:
                wrong.append(f"{self.folder / name} has sha256 {found}; the manifest says {expected}")
        return wrong

    def _rows_of(self, documents: Sequence[int]) -> list[int]:
        columns = "sentence_row, block_row"
        found = self._select(columns, "passages", "document", documents)
        return sorted({row for rows in found for row in rows})

    def _select(self, columns: str, table: str, column: str, values: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
        # In slices: SQLite takes at most 32,766 parameters.
        for first in range(0, len(values), 10_000):
            part = tuple(values[first : first + 10_000])
            marks = ",".join("?" * len(part))
            yield from self._query(f"SELECT {columns} FROM {table} WHERE {column} IN ({marks}) ORDER BY rowid", part)

    def _query(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with self._reading:
            return list(self._database.execute(sql, values))


_DOCUMENT = "id, path, sha256, encoding, title, publisher, author, date, kind, url, passages"
_PASSAGE = (
    "id, document, start, end, block, block_start, block_end, heading_start, heading_end, line, fragment, "
    "furniture, sentence_row, block_row"
)


def _document(row: tuple[Any, ...]) -> StoredDocument:
    number, path, sha256, encoding, *facts, passages = row
    return StoredDocument(number, path, sha256, encoding, Source(*facts), passages)


def _passage(row: tuple[Any, ...]) -> StoredPassage:
    number, document, start, end, block, block_start, block_end, *rest, sentence_row, block_row = row
    heading_start, heading_end, line, fragment, furniture = rest
    heading = None if heading_start is None else Span(heading_start, heading_end)
    passage = Passage(start, end, Span(block_start, block_end), heading, line, bool(fragment), bool(furniture))
    return StoredPassage(number, document, block, passage, (sentence_row, block_row))


def passage_row(stored: StoredPassage) -> tuple[Any, ...]:
    """The row of table `passages` for a passage: what `Index.passages` reads back."""
    passage = stored.passage
    heading = (passage.heading.start, passage.heading.end) if passage.heading else (None, None)
    block = (stored.block, passage.block.start, passage.block.end)
    facts = (passage.line, int(passage.fragment), int(passage.furniture))
    return (stored.id, stored.document, passage.start, passage.end, *block, *heading, *facts, *stored.rows)
