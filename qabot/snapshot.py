"""The files of an index folder: how a snapshot appears whole, and how its manifest is read.

Owns: `manifest.json`, the names and digests of data files, and the order of writing that leaves a whole snapshot
whatever happens. Refuses to know what the data files hold: that is `index`'s.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qabot.errors import ConfigError, IndexDamaged, IndexMismatch, IndexMissing

FORMAT = 5
"""To be raised whenever the files of a snapshot are laid out differently."""
MANIFEST = "manifest.json"
LOCK = "lock"
PARTS = ("text", "vectors", "lexical")
LISTS = "lists"
"""The part that a snapshot has when it holds too many vectors to look at all of them."""
DELTA_PARTS = ("delta_text", "delta_vectors")
"""The parts that hold small changes to a large snapshot."""
DELTA_COUNTS = ("documents", "passages", "vectors", "removed", "removed_passages")
WORK = "build-qabot-"
"""How the names begin of the folders that builds work in; `tempfile` adds eight characters."""
OURS = re.compile(
    rf"(?:{'|'.join((*PARTS, LISTS, *DELTA_PARTS))})-[0-9a-f]{{16}}(?:\.sqlite|\.faiss)?"
    rf"|{WORK}[a-z0-9_]{{8}}|{re.escape(MANIFEST)}\.new"
)
"""The names of what may be removed from an index folder: those alone that qabot gives, for other files may be kept there."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a snapshot consists of.

    recipe: what decides its content beside the documents (readable, compared key by key). files: part ->
    (name, sha256, bytes). documents, passages, vectors: counts; of vectors all that are stored. search: how vectors
    are searched: `type`, "exact", "lists" or "qdrant"; for lists how many, the probes, and the recall that was measured; for
    Qdrant, which then has them instead of a file, `url` ("" without a server), `collection`, and `sha256` of all rows.
    delta: `DELTA_COUNTS`, what the delta adds and which documents and passages
    of the snapshot it removes; None without one.
    """

    recipe: dict[str, Any]
    files: dict[str, tuple[str, str, int]]
    documents: int
    passages: int
    vectors: int
    dimension: int
    search: dict[str, Any]
    delta: dict[str, int] | None = None

    def as_json(self) -> str:
        """The text of manifest.json: the same for the same snapshot."""
        value = {
            "format": FORMAT,
            "recipe": self.recipe,
            "files": {part: {"name": n, "sha256": d, "bytes": b} for part, (n, d, b) in self.files.items()},
            "documents": self.documents,
            "passages": self.passages,
            "vectors": self.vectors,
            "dimension": self.dimension,
            "search": self.search,
            "delta": self.delta,
        }
        return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def manifest_stamp(folder: Path) -> tuple[int, int, int] | None:
    """Changes whenever a new snapshot is committed; None while there is none. One `stat`."""
    try:
        found = (folder / MANIFEST).stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def commit(
    folder: Path,
    parts: dict[str, Path],
    manifest_of: dict[str, Any],
    kept: dict[str, tuple[str, str, int]] | None = None,
) -> None:
    """Make a snapshot of finished parts: name them by content, then replace the manifest, then tidy up.

    parts: part -> finished file or folder inside `folder`. manifest_of: the other fields of `Manifest`. kept: parts
    that stay as the old manifest names them. A crash at any point leaves the old snapshot or the new one.
    """
    files = dict(kept or {})
    for part, path in parts.items():
        digest = content_digest(path)
        name = f"{part}-{digest[:16]}{path.suffix}"
        _sync(path)
        target = folder / name
        # A file of that name may have been damaged since it was written.
        if not target.exists() or content_digest(target) != digest:
            _remove(target)
            os.replace(path, target)
        files[part] = (name, digest, size_of(target))
    manifest = Manifest(files=files, **manifest_of)
    temporary = folder / f"{MANIFEST}.new"
    temporary.write_text(manifest.as_json(), encoding="utf-8")
    _sync(temporary)
    _sync_folder(folder)
    os.replace(temporary, folder / MANIFEST)
    _sync_folder(folder)
    remove_leftovers(folder, {name for name, _, _ in files.values()})


def remove_leftovers(folder: Path, keep: Iterable[str]) -> None:
    """Remove the files of other snapshots and of builds that died. The caller holds the lock."""
    kept = set(keep)
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def content_digest(path: Path) -> str:
    """sha256 of a file's bytes, or of the names and bytes of a folder's files, hexadecimal.

    Raises `FileNotFoundError` when there is neither.
    """
    if path.is_file():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(path.iterdir()):
        digest.update(f"{file.name} {content_digest(file)}\n".encode())
    return digest.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file, or of a folder's files. Raises `FileNotFoundError` when there is none."""
    if path.is_dir():
        return sum(file.stat().st_size for file in path.iterdir())
    return path.stat().st_size


def _sync(path: Path) -> None:
    for file in path.iterdir() if path.is_dir() else (path,):
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    if path.is_dir():
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows can't open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifest(folder: Path) -> bytes:
    """The bytes of a folder's manifest; raises `IndexMissing` when it has none."""
    try:
        return (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise IndexMissing(
            f"There is no index in {folder.resolve()} (no {MANIFEST}). Run `qabot index`, or name another folder with --index DIR."
        ) from error


def refuse_place(folder: Path, documents: Path) -> None:
    """Raise `ConfigError` when `folder` is that of the documents, `IndexMissing` when it is another program's."""
    if folder.exists() and folder.samefile(documents):
        raise ConfigError(
            f"The index can't be kept in the documents folder itself, {documents}. Name another with --index DIR."
        )
    refuse_strangers(folder)


def refuse_strangers(folder: Path) -> None:
    """Raise `IndexMissing` when the folder has a `manifest.json` of another program.

    qabot's has a recipe; where it is too damaged for that, files of an index lie beside it.
    """
    try:
        raw = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        value = None
    ours = isinstance(value, dict) and "recipe" in value
    if not ours and not any(OURS.fullmatch(path.name) for path in folder.iterdir()):
        raise IndexMissing(
            f"{folder / MANIFEST} is not qabot's: it has no recipe, and no files of an index lie beside it. "
            "Name another folder for the index with --index DIR, or move that file away."
        )


def parse_manifest(folder: Path, raw: bytes) -> Manifest:
    """The manifest in `raw`; raises `IndexMismatch` for another format, `IndexMissing` for another program's, and
    `IndexDamaged` for anything else.
    """
    try:
        value = json.loads(raw)
        found = value.pop("format")
        if found != FORMAT:
            raise IndexMismatch(
                f"The index in {folder} has format {found!r}; this version of qabot reads {FORMAT}. Run `qabot index`."
            )
        files = {part: (file["name"], file["sha256"], file["bytes"]) for part, file in value.pop("files").items()}
        manifest = Manifest(files=files, **value)
        counts = [manifest.documents, manifest.passages, manifest.vectors, manifest.dimension]
        expected = {*PARTS, *(DELTA_PARTS if manifest.delta else ())}
        expected |= {LISTS} if manifest.search["type"] == "lists" else set()
        expected -= {"vectors"} if manifest.search["type"] == "qdrant" else set()
        if set(files) != expected or any(Path(name).name != name for name, _, _ in files.values()):
            raise ValueError(
                f"files are {files}; expected one each of {', '.join(sorted(expected))}, in the same folder"
            )
        counts += [manifest.delta[key] for key in DELTA_COUNTS] if manifest.delta else []
        if not all(isinstance(count, int) for count in counts) or not {"model", "encoder"} <= set(manifest.recipe):
            raise ValueError(f"counts are {counts} and the recipe is {manifest.recipe}")
        return manifest
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        refuse_strangers(folder)
        raise IndexDamaged(
            f"{folder / MANIFEST} is not a manifest of qabot ({error}). Run `qabot index --rebuild`."
        ) from error
