"""Documents + previous index -> next index.

Owns: what changed, what must be embedded, and the account of it. Whole or nothing: any error leaves the old
index serving. A vector is found again by the digest of the text it was made of, so unchanged text is never
embedded again, wherever it moved.
"""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faiss
import filelock
import numpy as np

from qabot.documents import Folder, LeftOut, Listing, is_markdown
from qabot.embedding import Encoder
from qabot.errors import DocumentError, IndexBusy, IndexDamaged, IndexMismatch, IndexMissing
from qabot.index import INDICES, SCHEMA, Index, StoredPassage, passage_row
from qabot.lexical import LEXICAL_VERSION, LexicalEntry, names, words, write_lexical
from qabot.passages import PASSAGES_VERSION, cut_passages, model_text
from qabot.sentences import segment
from qabot.snapshot import LOCK, commit, remove_leftovers
from qabot.types import Document, Source, Span

BATCH_ROWS = 4096
"""Texts embedded at a time: enough to sort by length, few enough to hold in memory."""
LIMIT_MARGIN = 8
"""Tokens kept free: a span cut out of its text may need a few more than it did inside."""

Advance = Callable[[int], None]
Progress = Callable[[str, int], AbstractContextManager[Advance]]
"""`progress(stage, total)` opens a stage of `total` steps and gives the function that advances it."""


def no_progress(stage: str, total: int) -> AbstractContextManager[Advance]:
    """Shows nothing."""
    return nullcontext(lambda steps: None)


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What a build did. Paths are relative to the documents folder and sorted.

    renamed: (old, new). unreadable: left out because of `skip_unreadable`. decoded: (path, encoding) of files
    that are not UTF-8. committed: False when nothing had changed. embedded, kept: vectors made and reused.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    unchanged: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    unreadable: tuple[LeftOut, ...]
    decoded: tuple[tuple[str, str], ...]
    empty: tuple[str, ...]
    unknown_sources: tuple[str, ...]
    passages: int
    embedded: int
    kept: int
    committed: bool


@dataclass(slots=True)
class _Gathered:
    """What the reading pass found, filled as it goes."""

    digests: dict[str, str] = field(default_factory=dict)
    facts: dict[str, tuple[str, Source]] = field(default_factory=dict)
    unreadable: list[LeftOut] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    passages: int = 0
    blocks: int = 0
    words: Counter[str] = field(default_factory=Counter)
    rows: dict[bytes, int] = field(default_factory=dict)


def recipe_of(encoder: Encoder, language: str) -> dict[str, Any]:
    """Everything but the documents that decides what an index holds."""
    facts = encoder.facts
    return {
        "model": facts.name,
        "encoder": facts.fingerprint,
        "language": language,
        "passages": PASSAGES_VERSION,
        "lexical": LEXICAL_VERSION,
    }


def build_index(
    folder: Folder,
    target: Path,
    encoder: Encoder,
    *,
    language: str = "en",
    skip_unreadable: bool = False,
    rebuild: bool = False,
    progress: Progress = no_progress,
) -> BuildReport:
    """Bring the index in `target` in step with the documents.

    skip_unreadable: go on without files that can't be read as text. rebuild: embed everything again and don't
    trust what is in `target`.
    Raises `DocumentError` naming every file that can't be read, `IndexBusy` when another build runs,
    `IndexMissing` when there can be no folder at `target`, and `IndexDamaged` when the previous index can't be read (then `rebuild` helps).
    """
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IndexMissing(
            f"The folder of the index, {target}, can't be made ({error.strerror}). Name another with --index DIR."
        ) from error
    lock = filelock.FileLock(target / LOCK)
    try:
        # `with lock` would acquire it once more, and leave it held for as long as an error is looked at.
        held = lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise IndexBusy(
            f"Another process is building the index in {target}. Wait until it has finished, then run `qabot index` again."
        ) from error
    with held:
        previous = None if rebuild else _previous(target)
        if not rebuild:
            # A rebuild trusts nothing here, but until it commits, what is here goes on serving.
            remove_leftovers(target, [name for name, _, _ in previous.manifest.files.values()] if previous else [])
        with tempfile.TemporaryDirectory(prefix="build-", dir=target) as work:
            return _build(folder, target, Path(work), previous, encoder, language, skip_unreadable, progress)


def _build(
    folder: Folder,
    target: Path,
    work: Path,
    previous: Index | None,
    encoder: Encoder,
    language: str,
    skip_unreadable: bool,
    progress: Progress,
) -> BuildReport:
    recipe = recipe_of(encoder, language)
    listing = folder.listing()
    gathered = _Gathered()
    database = work / "text.sqlite"
    with closing(sqlite3.connect(database)) as connection:
        # The file is synced once, when it is whole.
        connection.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;" + SCHEMA)
        with progress("reading", len(listing.paths)) as advance:
            _write_texts(connection, folder, listing, encoder, language, gathered, advance)
        if gathered.unreadable and not skip_unreadable:
            raise DocumentError("\n".join(left.reason for left in gathered.unreadable))
        stored = {d.path: d for d in previous.documents()} if previous else {}
        same = {path: (d.encoding, d.source) for path, d in stored.items()} == gathered.facts
        same = same and {path: d.sha256 for path, d in stored.items()} == gathered.digests
        if previous and same and previous.manifest.recipe == recipe:
            return _report(listing, folder, gathered, stored, embedded=0, committed=False)
        connection.executescript(INDICES)
        connection.commit()
        usable = previous if previous and previous.manifest.recipe["encoder"] == recipe["encoder"] else None
        index = faiss.IndexFlatIP(encoder.facts.dimension)
        embedded = _write_vectors(connection, index, usable, encoder, progress)
        faiss.write_index(index, str(work / "vectors.faiss"))
        (work / "lexical").mkdir()
        write_lexical(work / "lexical", _entries(connection))
    parts = {"text": database, "vectors": work / "vectors.faiss", "lexical": work / "lexical"}
    counts = {"documents": len(gathered.digests), "passages": gathered.passages, "vectors": index.ntotal}
    commit(target, parts, {"recipe": recipe, **counts, "dimension": index.d})
    return _report(listing, folder, gathered, stored, embedded=embedded, committed=True)


def _previous(target: Path) -> Index | None:
    try:
        return Index(target)
    except (IndexMissing, IndexMismatch):
        return None
    except IndexDamaged as error:
        raise IndexDamaged(f"The previous index can't be used. {error}") from error


def _write_texts(
    connection: sqlite3.Connection,
    folder: Folder,
    listing: Listing,
    encoder: Encoder,
    language: str,
    gathered: _Gathered,
    advance: Advance,
) -> None:
    """Read every document and write its passages; unreadable ones are gathered."""
    for path in listing.paths:
        try:
            document = folder.read(path)
        except DocumentError as error:
            gathered.unreadable.append(LeftOut(path, str(error)))
        else:
            _write_document(connection, document, encoder, language, gathered)
        advance(1)
    connection.executemany("INSERT INTO words VALUES (?, ?)", sorted(gathered.words.items()))
    connection.commit()


def _write_document(
    connection: sqlite3.Connection, document: Document, encoder: Encoder, language: str, gathered: _Gathered
) -> None:
    number = len(gathered.digests)
    gathered.digests[document.path] = document.sha256
    gathered.facts[document.path] = (document.encoding, document.source)
    markdown = is_markdown(document.path)
    segmentation = segment(document.text, markdown=markdown, language=language)
    limit = max(encoder.limit - LIMIT_MARGIN, 1)
    first, block = gathered.passages, Span(-1, -1)
    rows = []
    for passage in cut_passages(document.text, segmentation, encoder.token_ends, limit):
        if passage.block != block:
            block = passage.block
            gathered.blocks += 1
        sentence_row, block_row = (
            _row(connection, document, number, span, markdown, gathered) for span in passage.scales()
        )
        stored = StoredPassage(gathered.passages, number, gathered.blocks - 1, passage, (sentence_row, block_row))
        rows.append(passage_row(stored))
        gathered.passages += 1
    connection.executemany(f"INSERT INTO passages VALUES ({','.join('?' * 14)})", rows)
    if gathered.passages == first:
        gathered.empty.append(document.path)
    gathered.words.update(words(document.text))
    connection.executemany(
        "INSERT INTO names VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", names(document.text)
    )
    source = document.source
    facts = (source.title, source.publisher, source.author, source.date, source.kind, source.url)
    connection.execute(
        f"INSERT INTO documents VALUES ({','.join('?' * 12)})",
        (number, document.path, document.sha256, document.encoding, *facts, gathered.passages - first, document.text),
    )


def _row(
    connection: sqlite3.Connection, document: Document, number: int, span: Span, markdown: bool, gathered: _Gathered
) -> int:
    """The row of the vector for this span: a new one unless the same text has one."""
    text = model_text(document.text[span.start : span.end], markdown=markdown)
    key = hashlib.sha256(text.encode()).digest()[:16]
    row = gathered.rows.get(key)
    if row is None:
        row = gathered.rows[key] = len(gathered.rows)
        connection.execute("INSERT INTO vectors VALUES (?, ?, ?, ?, ?)", (row, key, number, span.start, span.end))
    return row


def _write_vectors(
    connection: sqlite3.Connection, index: faiss.Index, previous: Index | None, encoder: Encoder, progress: Progress
) -> int:
    """Fill `index` row by row: copied from `previous` where it has the text, embedded elsewhere."""
    embedded = 0
    with progress("embedding", connection.execute("SELECT count(*) FROM vectors").fetchone()[0]) as advance:
        for batch in _batched(_texts(connection), BATCH_ROWS):
            old = previous.rows_of_keys([key for key, _ in batch]) if previous else {}
            vectors = np.empty((len(batch), encoder.facts.dimension), np.float32)
            known = [position for position, (key, _) in enumerate(batch) if key in old]
            new = [position for position, (key, _) in enumerate(batch) if key not in old]
            if previous and known:
                vectors[known] = previous.vectors([old[batch[position][0]] for position in known])
                advance(len(known))
            if new:
                vectors[new] = encoder.embed([batch[position][1] for position in new], advance)
                embedded += len(new)
            index.add(vectors)
    return embedded


def _texts(connection: sqlite3.Connection) -> Iterator[tuple[bytes, str]]:
    """(key, text for the model) of every vector, in row order; one document is in memory at a time."""
    current, text, markdown = -1, "", False
    for key, number, start, end in connection.execute("SELECT key, document, start, end FROM vectors ORDER BY row"):
        if number != current:
            current = number
            path, text = connection.execute("SELECT path, text FROM documents WHERE id = ?", (number,)).fetchone()
            markdown = is_markdown(path)
        yield key, model_text(text[start:end], markdown=markdown)


def _entries(connection: sqlite3.Connection) -> Iterator[LexicalEntry]:
    """What the lexical side indexes, block by block."""
    columns = "id, title, publisher, author, date, kind, url, text"
    for number, *facts, text in connection.execute(f"SELECT {columns} FROM documents ORDER BY id"):
        source = Source(*facts).facts()
        blocks = connection.execute(
            "SELECT DISTINCT block, block_start, block_end FROM passages WHERE document = ? ORDER BY block", (number,)
        )
        for block, start, end in blocks:
            yield LexicalEntry(block, number, text[start:end], source)


def _batched(items: Iterator[tuple[bytes, str]], size: int) -> Iterator[list[tuple[bytes, str]]]:
    batch: list[tuple[bytes, str]] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _report(
    listing: Listing, folder: Folder, gathered: _Gathered, stored: dict[str, Any], *, embedded: int, committed: bool
) -> BuildReport:
    old, new = {path: d.sha256 for path, d in stored.items()}, gathered.digests
    gone = {old[path]: path for path in sorted(set(old) - set(new), reverse=True)}
    renamed = []
    for path in sorted(set(new) - set(old)):
        if new[path] in gone:
            renamed.append((gone.pop(new[path]), path))
    moved = {path for pair in renamed for path in pair}
    changed = {
        path
        for path in set(old) & set(new)
        if old[path] != new[path] or _facts_of(stored[path]) != gathered.facts[path]
    }
    return BuildReport(
        added=tuple(sorted(set(new) - set(old) - moved)),
        changed=tuple(sorted(changed)),
        removed=tuple(sorted(set(old) - set(new) - moved)),
        renamed=tuple(renamed),
        unchanged=tuple(sorted(set(old) & set(new) - changed)),
        left_out=listing.left_out,
        unreadable=tuple(gathered.unreadable),
        decoded=tuple((path, encoding) for path, (encoding, _) in gathered.facts.items() if encoding != "utf-8"),
        empty=tuple(gathered.empty),
        unknown_sources=folder.unknown_sources(listing),
        passages=gathered.passages,
        embedded=embedded,
        kept=len(gathered.rows) - embedded,
        committed=committed,
    )


def _facts_of(stored: Any) -> tuple[str, Source]:
    return stored.encoding, stored.source
