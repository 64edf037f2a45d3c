"""What has changed between an index and the files, and whether little enough for a delta.

Owns: telling documents that are as they were indexed from the others. Refuses to know how anything is written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass

from qabot.documents import Folder, LeftOut
from qabot.errors import DocumentError
from qabot.index import Index, Outline, StoredDocument
from qabot.types import Document, Source

DELTA_FROM = 20_000
"""Passages; a smaller index is written anew in less time than anybody waits."""
DELTA_SHARE, DELTA_MOST = 0.05, 25_000
"""Share of the passages, and how many at the most, that a delta may add and remove before all is written anew."""
BYTES_A_PASSAGE = 100
"""Fewer than there are, to guess from a file how many passages it has."""


@dataclass(frozen=True, slots=True)
class Changes:
    """What comparing found. same: path -> its document in the index, where nothing has changed."""

    same: dict[str, int]
    unreadable: tuple[LeftOut, ...]


def compare(
    folder: Folder,
    paths: Sequence[str],
    index: Index,
    outline: Mapping[str, Outline],
    believed: Set[str],
    advance: Callable[[int], None],
) -> Changes:
    """Compare the files at `paths` with the documents of `index`.

    outline: of the index. believed: paths whose files need not be read to know that they are as they were.
    """
    same, unreadable = {}, []
    for path in paths:
        if path in believed and path in outline:
            same[path] = outline[path].id
        else:
            try:
                document = folder.read(path)
            except DocumentError as error:
                unreadable.append(LeftOut(path, str(error)))
            else:
                stored = index.find_document(path) if path in outline else None
                if stored and facts_of(stored) == facts_of(document):
                    same[path] = stored.id
        advance(1)
    return Changes(same, tuple(unreadable))


def facts_of(document: Document | StoredDocument) -> tuple[str, str, Source]:
    """What of a document decides whether it has changed."""
    return document.sha256, document.encoding, document.source


def staying(
    folder: Folder, paths: Sequence[str], index: Index, outline: Mapping[str, Outline], changes: Changes
) -> dict[str, int] | None:
    """The documents in the snapshot's own files that stay, by path, when all else fits into a delta; else None."""
    delta = index.manifest.delta or {}
    base = index.manifest.passages - delta.get("passages", 0) + delta.get("removed_passages", 0)
    if base < DELTA_FROM:
        return None
    stays = {path: number for path, number in changes.same.items() if number < index.first_of_delta}
    left_out = {left.path for left in changes.unreadable}
    passages = base - sum(outline[path].passages for path in stays)
    for path in paths:
        if path in changes.same and path not in stays:
            passages += outline[path].passages
        elif path not in stays and path not in left_out:
            passages += folder.size(path) // BYTES_A_PASSAGE
    return stays if passages <= min(DELTA_SHARE * base, DELTA_MOST) else None
