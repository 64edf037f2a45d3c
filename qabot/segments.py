"""Writing a lexical folder: blocks of text -> a tantivy index with the same bytes for the same blocks.

Owns: the files of a lexical folder, and how one is continued without touching it. Refuses to know how it is searched
(`lexical`). Blocks are written a batch at a time, so that memory is bounded by one batch, into segments of their own.
tantivy names segments at random and merges them when it pleases; here they are numbered, and merged once, at the end.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tantivy

from qabot.lexical import (
    FACTS,
    OTHER_FACTS,
    READERS_LOCK,
    LexicalEntry,
    analyzer,
    facts_of,
    is_wide,
    open_folder,
    pieces,
    register,
    schema,
    words,
)

HEAP_BYTES = 200_000_000
"""More than a batch needs: what doesn't fit becomes a segment early."""
BATCH_BLOCKS = 40_000
"""Blocks of the first batch; each further one has one less. tantivy merges the largest segments first, and equal ones in an
order that it draws: so their blocks stay in order, and the bytes are the same every time."""
CONTINUED = 1 << 64
"""Segments that continue another folder's are numbered from here."""
META, MANAGED = "meta.json", ".managed.json"


def write_lexical(
    folder: Path, entries: Iterable[LexicalEntry], base: Path | None = None, *, wide: bool = False
) -> None:
    """Index `entries`, in order, into the empty folder `folder`.

    wide: for very many blocks; see `lexical.schema`. A folder that continues another is as that is.
    base: another lexical folder, whose blocks come before them; its files are linked, or copied where the file system
    knows no links. What continues it there is left out.
    """
    kept = _segments_of(base) if base else []
    if base:
        wide = is_wide(open_folder(base)[0])
    for segment in kept:
        for file in sorted(base.iterdir()) if base else ():
            if file.name.startswith(segment["segment_id"].replace("-", "")):
                _link(file, folder / file.name)
    written: list[dict[str, Any]] = []
    meta: dict[str, Any] = {}
    for batch in _batches(entries):
        with tempfile.TemporaryDirectory(prefix="words-", dir=folder.parent) as part:
            meta = _write_batch(Path(part), batch, wide)
            written += _number(Path(part), folder, meta["segments"], (CONTINUED if base else 0) + len(written))
    _write_meta(folder, meta, [*kept, *written])
    if not base and len(written) > 1:
        _merge(folder)


def _write_batch(folder: Path, batch: list[LexicalEntry], wide: bool) -> dict[str, Any]:
    """Index a batch into an empty folder; gives what tantivy says of it."""
    index = tantivy.Index(schema(wide), str(folder))
    register(index)
    # One thread: blocks keep their order, and equal scores tie the same way in every build.
    writer = index.writer(HEAP_BYTES, num_threads=1)
    stems = analyzer().analyze
    for entry in batch:
        document = tantivy.Document()
        document.add_unsigned("number", entry.number)
        document.add_unsigned("document", entry.document)
        document.add_text("text", entry.text)
        document.add_text("pieces", " ".join(pieces(words(entry.text))))
        document.add_text(OTHER_FACTS if wide else FACTS, facts_of(entry, stems, wide))
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    return _in_order(folder)


def _merge(folder: Path) -> None:
    """Let tantivy merge what its policy merges (eight segments of like size), and number the segments again."""
    index = tantivy.Index.open(str(folder))
    register(index)
    writer = index.writer(HEAP_BYTES, num_threads=1)
    writer.commit()
    writer.wait_merging_threads()
    meta = _in_order(folder)
    with tempfile.TemporaryDirectory(prefix="words-", dir=folder.parent) as aside:
        # By way of another folder: old and new numbers are of the same kind.
        moved = _number(folder, Path(aside), meta["segments"], 0)
        _clear(folder)
        for file in Path(aside).iterdir():
            os.replace(file, folder / file.name)
    _write_meta(folder, meta, moved)


def _in_order(folder: Path) -> dict[str, Any]:
    """What tantivy says of a folder, its segments in the order of the blocks that they begin with."""
    meta: dict[str, Any] = json.loads((folder / META).read_text(encoding="utf-8"))
    index = tantivy.Index.open(str(folder))
    addresses = [tantivy.DocAddress(number, 0) for number in range(len(meta["segments"]))]
    firsts = index.searcher().fast_field_values("number", addresses) if addresses else []
    order = sorted(range(len(addresses)), key=lambda number: firsts[number] or 0)
    meta["segments"] = [meta["segments"][number] for number in order]
    return meta


def _number(source: Path, target: Path, segments: list[dict[str, Any]], first: int) -> list[dict[str, Any]]:
    """Move the files of `segments` from `source` to `target` under numbers; gives what the meta file says of them."""
    numbered = []
    for number, segment in enumerate(segments, first):
        old, new = uuid.UUID(segment["segment_id"]), uuid.UUID(int=number)
        for file in sorted(source.iterdir()):
            if file.name.startswith(old.hex):
                os.replace(file, target / file.name.replace(old.hex, new.hex))
        numbered.append({**segment, "segment_id": str(new)})
    return numbered


def _write_meta(folder: Path, meta: dict[str, Any], segments: list[dict[str, Any]]) -> None:
    value = {**meta, "segments": segments, "opstamp": 0}
    files = sorted([META, *(file.name for file in folder.iterdir() if not file.name.startswith((".", META)))])
    for name, content in ((META, json.dumps(value)), (MANAGED, json.dumps(files)), (READERS_LOCK, "")):
        # tantivy makes them for the owner alone; a bot of another user reads them, too.
        (folder / name).write_text(content, encoding="utf-8")
        (folder / name).chmod(0o644)


def _clear(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


def _segments_of(folder: Path) -> list[dict[str, Any]]:
    """The segments of a folder, but not those that continue another."""
    segments = json.loads((folder / META).read_text(encoding="utf-8"))["segments"]
    return [segment for segment in segments if uuid.UUID(segment["segment_id"]).int < CONTINUED]


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _batches(entries: Iterable[LexicalEntry]) -> Iterator[list[LexicalEntry]]:
    """Entries by batches; one batch without any where there are none."""
    batch: list[LexicalEntry] = []
    size = BATCH_BLOCKS
    for entry in entries:
        batch.append(entry)
        if len(batch) >= size:
            yield batch
            batch, size = [], max(size - 1, 1)
    if batch or size == BATCH_BLOCKS:
        yield batch
