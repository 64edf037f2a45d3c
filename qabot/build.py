"""Documents + previous index -> next index.

Owns: what changed, what must be embedded, whether a large index is written anew or takes a delta, and the account of
it. Whole or nothing: any error leaves the old index serving. A vector is found again by the digest of the text it was made
of, so unchanged text is never embedded again, wherever it moved. Documents, texts and vectors are streamed: memory
does not grow with them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import filelock
import numpy as np

from qabot.comparing import Changes, compare, facts_of, staying
from qabot.documents import Folder, LeftOut
from qabot.embedding import Encoder
from qabot.errors import DocumentError, IndexBusy, IndexDamaged, IndexMismatch, IndexMissing
from qabot.gathering import Gathering
from qabot.index import Index
from qabot.lexical import LEXICAL_VERSION, WIDE_FROM, LexicalEntry
from qabot.lists import make_lists
from qabot.passages import PASSAGES_VERSION
from qabot.qdrant import Place, remove_made, upload
from qabot.seen import SEEN_FROM, read_seen, stamps_of, write_seen
from qabot.segments import write_lexical
from qabot.snapshot import LISTS, LOCK, WORK, commit, content_digest, refuse_place, remove_leftovers
from qabot.vectors import ROW, VectorFile, head_of

BATCH_ROWS = 4096
"""Texts embedded at a time: enough to sort by length, few enough to hold in memory."""
LISTS_FROM = 150_000
"""Vectors; below, looking at all of them takes no more than some 20 ms."""

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
    place: Place | None = None,
) -> BuildReport:
    """Bring the index in `target` in step with the documents.

    skip_unreadable: go on without files that can't be read as text. rebuild: embed everything again and don't
    trust what is in `target`. place: in Qdrant, where the vectors are kept; None keeps them in files.
    Raises `DocumentError` naming every file that can't be read, `ConfigError` when `target` is the documents folder,
    `IndexBusy` when another build runs, `IndexMissing` when there can be no folder at `target` or it has another program's
    manifest, `StoreError` when Qdrant fails, `IndexDamaged` when the previous index can't be read (then `rebuild` helps),
    and what the encoder raises: `ModelError`, or `ValueError` for a text beyond its window, which would be an error of
    `cut_passages`. Any other error in a document has a note that names its file.
    """
    refuse_place(target, folder.root)
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
        with tempfile.TemporaryDirectory(prefix=WORK, dir=target) as work:
            build = _Build(folder, target, previous, encoder, language, place)
            return build.run(Path(work), skip_unreadable, progress)


class _Build:
    """One build: what it was asked for, and what it works with."""

    def __init__(
        self, folder: Folder, target: Path, previous: Index | None, encoder: Encoder, language: str, place: Place | None
    ) -> None:
        self.folder, self.target, self.previous, self.place = folder, target, previous, place
        self.encoder, self.language = encoder, language
        self.recipe = recipe_of(encoder, language) | ({"store": asdict(place)} if place else {})
        self.listing = folder.listing()
        self.old = previous.outline() if previous else {}
        # Taken before anything is read: a file that changes while it is read won't look like this any more.
        large = len(self.listing.paths) >= SEEN_FROM
        self.stamps = stamps_of(folder.root, self.listing.paths, folder.sources) if large else {}
        self.unreadable: list[LeftOut] = []

    def run(self, work: Path, skip_unreadable: bool, progress: Progress) -> BuildReport:
        """Compare, and write what is needed."""
        previous, changes = self.previous, None
        if previous and previous.manifest.recipe == self.recipe:
            seen = read_seen(self.target, previous.id)
            same = {path for path, stamp in self.stamps.items() if seen.get(path) == stamp}
            with progress("comparing", len(self.listing.paths)) as advance:
                changes = compare(self.folder, self.listing.paths, previous, self.old, same, advance)
            self._refuse(changes.unreadable, skip_unreadable)
            if len(changes.same) + len(changes.unreadable) == len(self.listing.paths) and len(changes.same) == len(
                self.old
            ):
                self.unreadable = list(changes.unreadable)
                if self.stamps and self.stamps != seen:
                    write_seen(self.target, previous.id, self.stamps)
                return self._report(previous, changes, embedded=0, committed=False)
        stays = None
        if previous and changes and not self.place:
            stays = staying(self.folder, self.listing.paths, previous, self.old, changes)
        if previous and changes and stays is not None:
            embedded = self._write_delta(work, previous, changes, stays, skip_unreadable, progress)
        else:
            embedded = self._write_all(work, changes, skip_unreadable, progress)
        index = Index(self.target)
        if self.stamps:
            left_out = {left.path for left in self.unreadable}
            stamps = {path: stamp for path, stamp in self.stamps.items() if path not in left_out}
            write_seen(self.target, index.id, stamps)
        return self._report(index, changes, embedded=embedded, committed=True)

    def _write_all(self, work: Path, changes: Changes | None, skip_unreadable: bool, progress: Progress) -> int:
        dimension = self.encoder.facts.dimension
        search: dict[str, Any] = {"type": "exact"}
        with closing(Gathering(work / "text.sqlite", self.encoder, self.language)) as tables:
            self._gather(tables, self.listing.paths, changes, progress)
            self._refuse(self.unreadable, skip_unreadable)
            tables.finish()
            parts = {"text": work / "text.sqlite", "vectors": work / "vectors.faiss", "lexical": work / "lexical"}
            embedded = self._embed(tables, parts["vectors"], progress)
            self._write_words(tables, parts["lexical"], None, progress)
            counts = {"documents": tables.documents, "passages": tables.passages, "vectors": tables.vectors}
            vectors = VectorFile(parts["vectors"], counts["vectors"], dimension)
            if self.place:
                del parts["vectors"]  # only on their way
                text = content_digest(parts["text"])
                with progress("uploading", len(vectors)) as advance:
                    search = upload(self.target, self.place, text, vectors, tables.documents_of, advance)
        if not self.place and len(vectors) >= LISTS_FROM:
            parts[LISTS] = work / "lists.faiss"
            with progress("sorting into lists", len(vectors)) as advance:
                tuning = make_lists(vectors, parts[LISTS], advance)
            search = {"type": "lists", **asdict(tuning)}
        commit(self.target, parts, {"recipe": self.recipe, **counts, "dimension": dimension, "search": search})
        if self.place:
            # The one that was replaced stays until the next time: others may be in the middle of a question.
            old = self.previous.manifest.search.get("collection") if self.previous else None
            remove_made(self.target, self.place.url, [search["collection"], old])
        return embedded

    def _write_delta(
        self,
        work: Path,
        previous: Index,
        changes: Changes,
        stays: dict[str, int],
        skip_unreadable: bool,
        progress: Progress,
    ) -> int:
        old = previous.manifest
        files = {part: self.target / name for part, (name, _, _) in old.files.items()}
        removed = sorted(set(range(previous.first_of_delta)) - set(stays.values()))
        left_out = {left.path for left in changes.unreadable}
        self.unreadable = list(changes.unreadable)
        paths = [path for path in self.listing.paths if path not in stays and path not in left_out]
        with closing(Gathering(work / "delta_text.sqlite", self.encoder, self.language, files["text"])) as tables:
            self._gather(tables, paths, changes, progress)
            self._refuse(self.unreadable, skip_unreadable)
            gone = tables.finish(removed)
            embedded = self._embed(tables, work / "delta_vectors.faiss", progress)
            self._write_words(tables, work / "lexical", files["lexical"], progress)
            delta = {
                "documents": tables.documents - tables.first_document,
                "passages": tables.passages - tables.first_passage,
                "vectors": tables.vectors - tables.first_vector,
                "removed": len(removed),
                "removed_passages": gone,
            }
            counts = {
                "documents": tables.documents - len(removed),
                "passages": tables.passages - gone,
                "vectors": tables.vectors,
            }
        parts = {"delta_text": work / "delta_text.sqlite", "delta_vectors": work / "delta_vectors.faiss"}
        kept = {part: old.files[part] for part in ("text", "vectors", LISTS) if part in old.files}
        manifest = {"recipe": self.recipe, **counts, "dimension": old.dimension, "search": old.search, "delta": delta}
        commit(self.target, {**parts, "lexical": work / "lexical"}, manifest, kept)
        return embedded

    def _gather(self, tables: Gathering, paths: Iterable[str], changes: Changes | None, progress: Progress) -> None:
        """Read and write documents; unreadable ones are gathered. Texts that were cut before aren't cut again."""
        found = tuple(paths)
        with progress("reading", len(found)) as advance:
            for path in found:
                try:
                    document = self.folder.read(path)
                    cut = None
                    if self.previous and changes and path in changes.same:
                        stored = self.previous.document(changes.same[path])
                        if stored.sha256 == document.sha256:
                            cut = self.previous.cuts(stored.id)
                    tables.add(document, cut)
                except DocumentError as error:
                    self.unreadable.append(LeftOut(path, str(error)))
                except Exception as error:
                    error.add_note(f"while {self.folder.root / path} was indexed")
                    raise
                advance(1)

    def _embed(self, tables: Gathering, path: Path, progress: Progress) -> int:
        """Write the new vectors row by row: copied from the previous index where it has the text, embedded elsewhere."""
        previous = self.previous
        if previous and previous.manifest.recipe["encoder"] != self.recipe["encoder"]:
            previous = None
        embedded = 0
        count = tables.vectors - tables.first_vector
        with path.open("wb") as stream, progress("embedding", count) as advance:
            stream.write(head_of(count, self.encoder.facts.dimension))
            for batch in tables.batches(BATCH_ROWS):
                old = previous.rows_of_keys([key for key, _ in batch]) if previous else {}
                vectors = np.empty((len(batch), self.encoder.facts.dimension), ROW)
                known = [position for position, (key, _) in enumerate(batch) if key in old]
                new = [position for position, (key, _) in enumerate(batch) if key not in old]
                if previous and known:
                    vectors[known] = previous.vectors([old[batch[position][0]] for position in known])
                    advance(len(known))
                if new:
                    vectors[new] = self.encoder.embed([batch[position][1] for position in new], advance)
                    embedded += len(new)
                stream.write(vectors.tobytes())
        return embedded

    def _write_words(self, tables: Gathering, folder: Path, base: Path | None, progress: Progress) -> None:
        folder.mkdir()
        with progress("indexing words", tables.blocks - tables.first_block) as advance:

            def told() -> Iterator[LexicalEntry]:
                for entry in tables.entries():
                    yield entry
                    advance(1)

            write_lexical(folder, told(), base, wide=tables.blocks >= WIDE_FROM)

    def _refuse(self, unreadable: Iterable[LeftOut], skip_unreadable: bool) -> None:
        reasons = [left.reason for left in unreadable]
        if reasons and not skip_unreadable:
            raise DocumentError("\n".join(reasons))

    def _report(self, index: Index, changes: Changes | None, *, embedded: int, committed: bool) -> BuildReport:
        old, new = self.old, index.outline()
        gone: dict[str, str] = {}
        if self.previous:
            for path in sorted(set(old) - set(new), reverse=True):
                gone[self.previous.document(old[path].id).sha256] = path
        renamed = []
        for path in sorted(set(new) - set(old)) if gone else ():
            digest = index.document(new[path].id).sha256
            if digest in gone:
                renamed.append((gone.pop(digest), path))
        moved = {path for pair in renamed for path in pair}
        both = sorted(set(old) & set(new))
        changed = [path for path in both if self._differs(path, index, new[path].id, changes)] if committed else []
        return BuildReport(
            added=tuple(sorted(set(new) - set(old) - moved)),
            changed=tuple(changed),
            removed=tuple(sorted(set(old) - set(new) - moved)),
            renamed=tuple(renamed),
            unchanged=tuple(sorted(set(both) - set(changed))),
            left_out=self.listing.left_out,
            unreadable=tuple(self.unreadable),
            decoded=tuple((path, new[path].encoding) for path in sorted(new) if new[path].encoding != "utf-8"),
            empty=tuple(path for path in sorted(new) if not new[path].passages),
            unknown_sources=self.folder.unknown_sources(self.listing),
            passages=index.manifest.passages,
            embedded=embedded,
            kept=index.manifest.vectors - embedded,
            committed=committed,
        )

    def _differs(self, path: str, index: Index, number: int, changes: Changes | None) -> bool:
        if changes and path in changes.same:
            return False
        before = self.previous.find_document(path) if self.previous else None
        return before is None or facts_of(before) != facts_of(index.document(number))


def _previous(target: Path) -> Index | None:
    try:
        return Index(target)
    except (IndexMissing, IndexMismatch):
        return None
    except IndexDamaged as error:
        raise IndexDamaged(f"The previous index can't be used. {error}") from error
