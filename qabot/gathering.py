"""Documents -> the tables of a snapshot, or of a delta to one.

Owns: numbering (documents, passages, blocks, rows) and what is written of each document. Bounded in memory whatever the
folder holds: what has to be looked up again is looked up in the file. Refuses to know which documents need writing
(`build`) and of vectors beyond their rows: equal texts share one, found by the digest of the text.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from qabot.documents import is_markdown
from qabot.embedding import Encoder
from qabot.lexical import LexicalEntry, names, words
from qabot.passages import Passage, cut_passages, model_text
from qabot.sentences import segment
from qabot.tables import DELTA_SCHEMA, INDICES, SCHEMA, StoredPassage, address, passage_row
from qabot.types import Document, Source, Span

LIMIT_MARGIN = 8
"""Tokens kept free: a span cut out of its text may need a few more than it did inside."""
CACHE_KIB = 64 * 1024
WORDS_HELD = 100_000
"""Different words counted in memory before they are added to the table."""
ROWS_HELD = 2_000

FOLD = """
UPDATE words SET count = count + coalesce((SELECT count FROM base.words AS old WHERE old.word = words.word), 0);
UPDATE names SET count = count + coalesce(
    (SELECT count FROM base.names AS old WHERE old.initials = names.initials AND old.name = names.name), 0);
INSERT INTO dead SELECT row FROM (
    SELECT sentence_row AS row FROM base.passages WHERE document IN removed
    UNION SELECT block_row FROM base.passages WHERE document IN removed
) AS old WHERE
    NOT EXISTS (SELECT 1 FROM base.passages WHERE sentence_row = old.row AND document NOT IN removed)
    AND NOT EXISTS (SELECT 1 FROM base.passages WHERE block_row = old.row AND document NOT IN removed)
    AND NOT EXISTS (SELECT 1 FROM main.passages WHERE sentence_row = old.row)
    AND NOT EXISTS (SELECT 1 FROM main.passages WHERE block_row = old.row);
"""


class Gathering:
    """The tables in the new file `database`, being written; documents come in order of their paths.

    base: the finished tables of the snapshot that this is a delta to. Numbers go on from there, and texts that it has
    keep their rows.
    """

    def __init__(self, database: Path, encoder: Encoder, language: str, base: Path | None = None) -> None:
        self._encoder, self._language, self._base = encoder, language, base
        self.connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=rwc", uri=True)
        # The file is synced once, when it is whole.
        self.connection.executescript(
            f"PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -{CACHE_KIB};" + SCHEMA
        )
        self.documents = self.passages = self.blocks = self.vectors = 0
        if base:
            self.connection.executescript(DELTA_SCHEMA)
            self.connection.execute("ATTACH ? AS base", (address(base),))
            ends = ("documents", "id"), ("passages", "id"), ("passages", "block"), ("vectors", "row")
            counts = [
                self._query(f"SELECT coalesce(max({column}), -1) + 1 FROM base.{table}") for table, column in ends
            ]
            self.documents, self.passages, self.blocks, self.vectors = counts
        self.first_document, self.first_passage = self.documents, self.passages
        self.first_block, self.first_vector = self.blocks, self.vectors
        self._words: Counter[str] = Counter()

    def add(self, document: Document, passages: Iterable[Passage] | None = None) -> None:
        """Write a document. passages: those of the same text, when they were cut before."""
        number, first = self.documents, self.passages
        self.documents += 1
        markdown = is_markdown(document.path)
        if passages is None:
            limit = max(self._encoder.limit - LIMIT_MARGIN, 1)
            segmentation = segment(document.text, markdown=markdown, language=self._language)
            passages = cut_passages(document.text, segmentation, self._encoder.token_ends, limit)
        block, block_row = Span(-1, -1), -1
        held = []
        for passage in passages:
            sentence, around = passage.scales()
            sentence_row = self._row(document, number, sentence, markdown)
            if passage.block != block:
                block, block_row = passage.block, self._row(document, number, around, markdown)
                self.blocks += 1
            stored = StoredPassage(self.passages, number, self.blocks - 1, passage, (sentence_row, block_row))
            held.append(passage_row(stored))
            self.passages += 1
            if len(held) == ROWS_HELD:
                self._write_passages(held)
        self._write_passages(held)
        self._count(document.text, 1)
        source = document.source
        facts = (source.title, source.publisher, source.author, source.date, source.kind, source.url)
        self.connection.execute(
            f"INSERT INTO documents VALUES ({','.join('?' * 12)})",
            (number, document.path, document.sha256, document.encoding, *facts, self.passages - first, document.text),
        )

    def finish(self, removed: Sequence[int] = ()) -> int:
        """Write what depends on all documents; gives how many passages `removed` take away.

        removed: the documents of `base` that are gone or replaced.
        """
        if self._base:
            self.connection.executemany("INSERT INTO removed VALUES (?)", [(number,) for number in removed])
            for number in removed:
                (text,) = self.connection.execute("SELECT text FROM base.documents WHERE id = ?", (number,)).fetchone()
                self._count(text, -1)
        self._write_words()
        self.connection.executescript(INDICES)
        if self._base:
            self.connection.executescript(FOLD)
        self.connection.commit()
        gone = "SELECT coalesce(sum(passages), 0) FROM base.documents WHERE id IN removed"
        return self._query(gone) if self._base else 0

    def texts(self) -> Iterator[tuple[bytes, str]]:
        """(key, text for the model) of every new vector, in row order; one document is in memory at a time."""
        current, text, markdown = -1, "", False
        rows = self.connection.execute("SELECT key, document, start, end FROM main.vectors ORDER BY row")
        for key, number, start, end in rows:
            if number != current:
                current = number
                sql = "SELECT path, text FROM main.documents WHERE id = ?"
                path, text = self.connection.execute(sql, (number,)).fetchone()
                markdown = is_markdown(path)
            yield key, model_text(text[start:end], markdown=markdown)

    def batches(self, size: int) -> Iterator[list[tuple[bytes, str]]]:
        """`texts`, up to `size` at a time."""
        texts = self.texts()
        while batch := list(islice(texts, size)):
            yield batch

    def documents_of(self, first: int, end: int) -> dict[int, list[int]]:
        """Row -> the documents that have it, of the rows from `first` to before `end`."""
        columns = ("sentence_row", "block_row")
        sql = " UNION ".join(
            f"SELECT {row}, document FROM passages WHERE {row} >= ?1 AND {row} < ?2" for row in columns
        )
        found: dict[int, list[int]] = {}
        for row, document in self.connection.execute(f"{sql} ORDER BY 1, 2", (first, end)):
            found.setdefault(row, []).append(document)
        return found

    def entries(self) -> Iterator[LexicalEntry]:
        """What the lexical side indexes of the documents written here, block by block."""
        columns = "id, title, publisher, author, date, kind, url, text"
        for number, *facts, text in self.connection.execute(f"SELECT {columns} FROM main.documents ORDER BY id"):
            source = Source(*facts).facts()
            blocks = self.connection.execute(
                "SELECT DISTINCT block, block_start, block_end FROM main.passages WHERE document = ? ORDER BY block",
                (number,),
            )
            for block, start, end in blocks:
                yield LexicalEntry(block, number, text[start:end], source)

    def close(self) -> None:
        """Let go of the files."""
        self.connection.close()

    def _row(self, document: Document, number: int, span: Span, markdown: bool) -> int:
        """The row of the vector for this span: a new one unless the same text has one."""
        text = model_text(document.text[span.start : span.end], markdown=markdown)
        key = hashlib.sha256(text.encode()).digest()[:16]
        for table in ("main.vectors", "base.vectors") if self._base else ("main.vectors",):
            found = self.connection.execute(f"SELECT row FROM {table} WHERE key = ?", (key,)).fetchone()
            if found:
                return int(found[0])
        row = self.vectors
        self.vectors += 1
        self.connection.execute(
            "INSERT INTO main.vectors VALUES (?, ?, ?, ?, ?)", (row, key, number, span.start, span.end)
        )
        return row

    def _write_passages(self, held: list[tuple[object, ...]]) -> None:
        self.connection.executemany(f"INSERT INTO passages VALUES ({','.join('?' * 14)})", held)
        held.clear()

    def _count(self, text: str, times: int) -> None:
        """Add to, or with -1 take from, the counts of words and names."""
        if times > 0:
            self._words.update(words(text))
        else:
            self._words.subtract(words(text))
        if len(self._words) > WORDS_HELD:
            self._write_words()
        self.connection.executemany(
            f"INSERT INTO main.names VALUES (?, ?, {times}) ON CONFLICT DO UPDATE SET count = count + {times}",
            names(text),
        )

    def _write_words(self) -> None:
        self.connection.executemany(
            "INSERT INTO main.words VALUES (?, ?) ON CONFLICT DO UPDATE SET count = count + excluded.count",
            sorted(self._words.items()),
        )
        self._words.clear()

    def _query(self, sql: str) -> int:
        return int(self.connection.execute(sql).fetchone()[0])
