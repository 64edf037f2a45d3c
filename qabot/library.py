"""What the index holds, and the files it was made of: everything that needs no model.

Owns: following re-indexing (one `stat` a question), references to places, and comparing files with what was
indexed. Thread-safe; everything here blocks.
"""

from __future__ import annotations

import os
import re
import stat
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from qabot.config import Settings
from qabot.documents import Folder, Listing, all_missing, file_digest
from qabot.errors import DocumentError, DocumentsMissing, IndexMismatch, IndexMissing, UnknownReference
from qabot.index import Index, StoredDocument
from qabot.lexical import LEXICAL_VERSION
from qabot.passages import PASSAGES_VERSION
from qabot.phrases import counted
from qabot.qdrant import Place
from qabot.quoting import make_quote, widen
from qabot.snapshot import Manifest, manifest_stamp
from qabot.types import Quote, Span, State

REFERENCE = re.compile(r"(?P<path>.+):(?P<start>\d{1,12})-(?P<end>\d{1,12})")
DIGEST_DIGITS = 12
FEW = 100
FOLLOWS = "The document of that quote has been changed or removed, and the index follows it."


@dataclass(frozen=True, slots=True)
class Status:
    """The index and how the files differ from it. Paths are sorted; `bytes` counts the files of the index.

    unreadable: documents, and folders of the documents folder, that can't be read. problem: why new files couldn't be
    looked for at all; None when they were.
    """

    index: str
    manifest: Manifest
    bytes: int
    documents: tuple[StoredDocument, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    unreadable: tuple[str, ...]
    new: tuple[str, ...]
    problem: str | None

    @property
    def current(self) -> bool:
        """True when every file is as it was indexed, none is new, and all could be looked at."""
        return not (self.changed or self.gone or self.unreadable or self.new or self.problem)


class Library:
    """The index and the documents that `settings` name.

    Opens the index at once: raises `IndexMissing`, `IndexDamaged` or `IndexMismatch` when it can't.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._stamp = manifest_stamp(settings.index)
        self._index = self._open()

    @property
    def index(self) -> Index:
        """The newest snapshot. Whoever needs several looks at the same one keeps it in a variable."""
        stamp = manifest_stamp(self.settings.index)
        if stamp is not None and stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    # Loaded aside and swapped in one assignment; questions in flight keep the old one.
                    self._index = self._open()
                    self._stamp = stamp
        return self._index

    @property
    def index_id(self) -> str:
        """Names the snapshot that answers now."""
        return self.index.id

    def documents(self) -> list[StoredDocument]:
        """Every document of the index, sorted by path."""
        return self.index.documents()

    def quote(self, reference: str) -> Quote:
        """The quote at `path:start-end`, its state compared with the file as it is now.

        Raises `UnknownReference` when the index has no such place.
        """
        match = REFERENCE.fullmatch(reference.strip())
        # Bytes of an argument that are no text come as half characters, which no path of an index has.
        if not match or reference != reference.encode(errors="replace").decode():
            raise UnknownReference(
                f"{reference!r} is no reference. Expected path:start-end as `qabot ask --json` gives them, "
                "for example notes/a.txt:120-340."
            )
        index = self.index
        stored = index.find_document(match["path"])
        if stored is None:
            raise UnknownReference(f"The index has no document {match['path']}. `qabot status` lists what it has.")
        return self._quote(index, stored, Span(int(match["start"]), int(match["end"])))

    def quote_of(self, digest: str, start: int, end: int) -> Quote:
        """The quote at `[start, end)` of the document whose sha256 begins with `digest` (12 digits or more).

        Raises `UnknownReference` when no document of the index has those bytes any more.
        """
        index = self.index
        stored = index.find_digest(digest) if len(digest) >= DIGEST_DIGITS else None
        if stored is None:
            raise UnknownReference(FOLLOWS)
        return self._quote(index, stored, Span(start, end))

    def around(self, quote: Quote, sentences: int) -> Quote:
        """`quote` widened by `sentences` sentences on each side, with the same highlights.

        Raises `UnknownReference` when the index no longer has the document as it was.
        """
        index = self.index
        stored = index.find_document(quote.place.path)
        if stored is None or stored.sha256 != quote.place.sha256:
            raise UnknownReference(FOLLOWS)
        span = widen(index, stored.id, Span(quote.place.start, quote.place.end), sentences)
        wide = make_quote(index, stored.id, span, quote.highlights, quote.score)
        return replace(wide, state=self.state(stored.path, stored.sha256))

    def state(self, path: str, sha256: str) -> State:
        """The file at `path` now, compared with the digest it was indexed with."""
        try:
            found = file_digest(self.settings.documents / path)
        except DocumentError:
            return "unreadable"
        if found is None:
            return "gone"
        return "current" if found == sha256 else "changed"

    def missing(self, path: str) -> State | None:
        """What keeps the file at `path` from being compared, "gone" or "unreadable"; None when nothing is seen to. Opens nothing."""
        file = self.settings.documents / path
        try:
            mode = file.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            return "gone"
        except OSError:
            return "unreadable"
        if not stat.S_ISREG(mode):
            return "gone"
        return None if os.access(file, os.R_OK) else "unreadable"

    def status(self) -> Status:
        """Counts, recipe, and what has changed since indexing; reads every file of the documents folder."""
        index = self.index
        documents = tuple(index.documents())
        states = {document.path: self.state(document.path, document.sha256) for document in documents}
        problem = None
        try:
            listing = Folder(self.settings.documents).listing()
        except DocumentError as error:
            listing, problem = Listing((), ()), str(error)
        return Status(
            index=index.id,
            manifest=index.manifest,
            bytes=sum(size for _, _, size in index.manifest.files.values()),
            documents=documents,
            changed=tuple(path for path, state in states.items() if state == "changed"),
            gone=tuple(path for path, state in states.items() if state == "gone"),
            unreadable=tuple(sorted([*(p for p, state in states.items() if state == "unreadable"), *listing.locked])),
            new=tuple(path for path in listing.paths if path not in states and path not in listing.locked),
            problem=problem,
        )

    def _open(self) -> Index:
        try:
            index = Index(self.settings.index)
        except IndexMissing as error:
            raise IndexMissing(
                f"{error} The documents would be those in {self.settings.documents.resolve()}."
            ) from error
        rules = {"passages": PASSAGES_VERSION, "lexical": LEXICAL_VERSION}
        if any(index.manifest.recipe.get(key) != version for key, version in rules.items()):
            raise IndexMismatch(
                f"The index in {self.settings.index} was built by another version of qabot. Run `qabot index`."
            )
        place, built = place_of(self.settings), index.manifest.recipe.get("store")
        if built != (asdict(place) if place else None):
            raise IndexMismatch(
                f"The vectors of the index in {self.settings.index} are in {_store(built)}; the configuration says "
                f"{_store(asdict(place) if place else None)}. Run `qabot index`, or set index_store, qdrant_url and "
                "qdrant_name as they were."
            )
        return index

    def _quote(self, index: Index, stored: StoredDocument, span: Span) -> Quote:
        length = index.length(stored.id)
        if not 0 <= span.start < span.end <= length:
            raise UnknownReference(
                f"{stored.path} has {length:,} characters; {span.start}-{span.end} is no span of it. "
                f"Expected 0 <= start < end <= {length}."
            )
        state = self.state(stored.path, stored.sha256)
        if state == "gone":
            require_folder(self.settings, index)
        return replace(make_quote(index, stored.id, span, (span,), 1.0), state=state)


def require_folder(settings: Settings, index: Index) -> None:
    """Raises `DocumentsMissing` when not one document of `index` is in the documents folder.

    Then the folder is more likely another one, or not there, than emptied. Stops at the first that is there.
    """
    documents = index.manifest.documents
    # Of a large index, nearly always one of the first few is there.
    few = all_missing(settings.documents, index.some_paths(FEW))
    if documents and few and all_missing(settings.documents, index.outline()):
        raise DocumentsMissing(
            f"The index in {settings.index} holds {counted(documents, 'document')}, and none of them is in "
            f"{settings.documents}. Name the folder that it was made of with --documents DIR (or as documents in "
            "config.toml), or another index with --index DIR. If the documents have really all been removed or replaced, "
            "run `qabot index --replace`."
        )


def place_of(settings: Settings) -> Place | None:
    """Where in Qdrant the settings keep vectors; None for files."""
    return Place(settings.qdrant_url, settings.qdrant_name) if settings.index_store == "qdrant" else None


def _store(place: Mapping[str, str] | None) -> str:
    return f"Qdrant at {place['url'] or 'no server'} under {place['name']}" if place else "files (faiss)"
