"""The tables of a snapshot: documents with their text, passages, and the keys of vectors.

Owns: their columns, the records that rows become, and how the tables of a snapshot and of the small changes made to it
since (its delta) look like one. Refuses to know of vectors, of manifests, and of who reads.

A delta goes on counting where its snapshot ends, so a number names the same thing in both: its documents, passages,
blocks and rows come after those of the snapshot, and its passages may share rows with it. What it removes stays in the
snapshot's files and is looked past.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qabot.passages import Passage
from qabot.types import Source, Span

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
CREATE INDEX documents_sha256 ON documents (sha256);
CREATE INDEX documents_outline ON documents (path, encoding, passages);
CREATE INDEX passages_document ON passages (document, start);
CREATE INDEX passages_sentence ON passages (sentence_row);
CREATE INDEX passages_block ON passages (block);
CREATE INDEX passages_block_row ON passages (block_row);
"""
DELTA_SCHEMA = """
CREATE TABLE removed (document INTEGER PRIMARY KEY);
CREATE TABLE dead (row INTEGER PRIMARY KEY);
"""
"""Documents of the snapshot that are gone or replaced; its rows that no passage has any more. The words and names of a
delta hold the counts of both together: 0 for those that are gone."""
VIEWS = """
CREATE TEMP VIEW documents AS
    SELECT * FROM main.documents WHERE id NOT IN (SELECT document FROM delta.removed)
    UNION ALL SELECT * FROM delta.documents;
CREATE TEMP VIEW passages AS
    SELECT * FROM main.passages WHERE document NOT IN (SELECT document FROM delta.removed)
    UNION ALL SELECT * FROM delta.passages;
CREATE TEMP VIEW vectors AS SELECT * FROM main.vectors UNION ALL SELECT * FROM delta.vectors;
CREATE TEMP VIEW words AS
    SELECT word, count FROM main.words WHERE word NOT IN (SELECT word FROM delta.words)
    UNION ALL SELECT word, count FROM delta.words WHERE count > 0;
CREATE TEMP VIEW names AS
    SELECT initials, name, count FROM main.names AS old WHERE NOT EXISTS
        (SELECT 1 FROM delta.names AS new WHERE new.initials = old.initials AND new.name = old.name)
    UNION ALL SELECT initials, name, count FROM delta.names WHERE count > 0;
"""
DiskError = sqlite3.OperationalError
"""What SQLite raises, instead of an `OSError`, when a disk is full or refuses."""
DOCUMENT = "id, path, sha256, encoding, title, publisher, author, date, kind, url, passages"
PASSAGE = (
    "id, document, start, end, block, block_start, block_end, heading_start, heading_end, line, fragment, "
    "furniture, sentence_row, block_row"
)


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


def open_tables(text: Path, delta: Path | None) -> sqlite3.Connection:
    """The tables in the file `text`, read only, with those of `delta` as one; usable from any thread, one at a time.

    Raises `sqlite3.DatabaseError` when a file is no database or has no such tables.
    """
    connection = sqlite3.connect(address(text), uri=True, check_same_thread=False)
    if delta is not None:
        connection.execute("ATTACH ? AS delta", (address(delta),))
        connection.executescript("PRAGMA temp_store = MEMORY;" + VIEWS)
    return connection


def address(database: Path) -> str:
    """The address by which SQLite opens a finished file, which never changes: it takes no locks and writes nothing."""
    return f"{database.resolve().as_uri()}?mode=ro&immutable=1"


def document_of(row: tuple[Any, ...]) -> StoredDocument:
    """The record of a row with the columns `DOCUMENT`."""
    number, path, sha256, encoding, *facts, passages = row
    return StoredDocument(number, path, sha256, encoding, Source(*facts), passages)


def passage_of(row: tuple[Any, ...]) -> StoredPassage:
    """The record of a row with the columns `PASSAGE`."""
    number, document, start, end, block, block_start, block_end, *rest, sentence_row, block_row = row
    heading_start, heading_end, line, fragment, furniture = rest
    heading = None if heading_start is None else Span(heading_start, heading_end)
    passage = Passage(start, end, Span(block_start, block_end), heading, line, bool(fragment), bool(furniture))
    return StoredPassage(number, document, block, passage, (sentence_row, block_row))


def passage_row(stored: StoredPassage) -> tuple[Any, ...]:
    """The row of table `passages` for a passage: what `passage_of` reads back."""
    passage = stored.passage
    heading = (passage.heading.start, passage.heading.end) if passage.heading else (None, None)
    block = (stored.block, passage.block.start, passage.block.end)
    facts = (passage.line, int(passage.fragment), int(passage.furniture))
    return (stored.id, stored.document, passage.start, passage.end, *block, *heading, *facts, *stored.rows)
