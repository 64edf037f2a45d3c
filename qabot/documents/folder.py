"""Which files of a folder are documents.

Owns: the walk (sorted, hidden files and links that lead out left aside) and the account of everything that
was not taken. Refuses to know what a file's bytes mean: that is `text`'s.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from qabot.documents.sources import SOURCES_FILE, load_sources
from qabot.documents.text import SUFFIXES, read_document
from qabot.errors import DocumentError
from qabot.types import Document


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not a document of the index, and why, in words that end a sentence."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What a walk found: paths of documents (POSIX, relative, sorted) and what was left out.

    locked: folders that can't be listed. They are among the paths, too, so that they are treated like a document that
    can't be read: what reads them is told why, and nothing in them is forgotten silently.
    """

    paths: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    locked: tuple[str, ...] = ()


class Folder:
    """A folder of documents, with its `sources.toml` if there is one.

    Raises `DocumentError` when `root` is not a folder or its `sources.toml` can't be read.
    """

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            found = "a file" if root.exists() else "nothing"
            raise DocumentError(
                f"The documents folder is {root}, but {found} is there. "
                "Name another with --documents DIR, or put your .txt and .md files into that folder."
            )
        self.root = root
        self.sources = load_sources(root / SOURCES_FILE)

    def listing(self) -> Listing:
        """Walk the folder.

        Hidden files and folders (a name that begins with a dot) and `sources.toml` are not looked at. Links
        to folders, links that leave the folder, and files of other kinds are left out, each with its reason.
        Raises `DocumentError` when the folder itself can't be listed.
        """
        paths: list[str] = []
        left_out: list[LeftOut] = []
        locked: list[str] = []
        for entry, relative in self._files(self.root, "", left_out, locked):
            reason = self._refusal(entry, relative)
            if reason is None:
                paths.append(relative)
            else:
                left_out.append(LeftOut(_shown(relative), reason))
        left_out.sort(key=lambda item: item.path)
        return Listing(tuple(sorted([*paths, *locked])), tuple(left_out), tuple(sorted(locked)))

    def read(self, path: str) -> Document:
        """The document at `path` (relative). Raises `DocumentError` when it isn't text that can be read."""
        try:
            return read_document(self.root, path, self.sources.get(path))
        except DocumentError as error:
            if not (self.root / path).is_dir():
                raise
            raise DocumentError(
                f"The folder {self.root / path} can't be read. Give qabot the right to list it, move it away, or go on "
                "without it: --skip-unreadable."
            ) from error

    def size(self, path: str) -> int:
        """Bytes of the file at `path` (relative); 0 when there is none."""
        try:
            return (self.root / path).stat().st_size
        except OSError:
            return 0

    def unknown_sources(self, listing: Listing) -> tuple[str, ...]:
        """Entries of `sources.toml` that name no document of `listing`."""
        return tuple(sorted(set(self.sources) - set(listing.paths)))

    def _files(
        self, folder: Path, above: str, left_out: list[LeftOut], locked: list[str]
    ) -> Iterator[tuple[os.DirEntry[str], str]]:
        """Entries with their relative paths; nothing is asked of the system that listing the folder didn't tell."""
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError as error:
            if above:
                locked.append(above.removesuffix("/"))
                return
            raise DocumentError(
                f"The folder {folder} can't be read ({error.strerror}). Give qabot the right to list it, or move it away."
            ) from error
        for entry in entries:
            if entry.name.startswith("."):
                continue
            relative = above + entry.name
            if entry.is_dir(follow_symlinks=False):
                yield from self._files(Path(entry.path), f"{relative}/", left_out, locked)
            elif entry.is_symlink() and Path(entry.path).is_dir():
                left_out.append(LeftOut(_shown(relative), "is a link to a folder"))
            else:
                yield entry, relative

    def _refusal(self, entry: os.DirEntry[str], relative: str) -> str | None:
        if relative == SOURCES_FILE:
            return "describes the documents"
        if os.path.splitext(entry.name)[1].lower() not in SUFFIXES:  # noqa: PTH122 - Path is ten times slower
            return f"is not one of {', '.join(SUFFIXES)}"
        if not relative.isascii() and _shown(relative) != relative:
            return "has a name that is not Unicode"
        if entry.is_symlink():
            # Before `resolve`, which raises for links that lead to each other.
            path = Path(entry.path)
            if not path.exists():
                return "is a link to nothing"
            target = path.resolve()
            if not target.is_relative_to(self.root.resolve()):
                return "is a link that leaves the documents folder"
        if not entry.is_file():
            return "is not a regular file"
        return None


def _shown(path: str) -> str:
    """`path` with the bytes of it that are not Unicode, which no JSON and no database takes, spelt out."""
    return path.encode("utf-8", "backslashreplace").decode()


def file_digest(path: Path) -> str | None:
    """sha256 of a file's bytes, hexadecimal; None when there is no such file, or a folder.

    Raises `DocumentError` when the file is there and can't be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    except OSError as error:
        raise DocumentError(f"{path} can't be read ({error.strerror}). Give qabot the right to read it.") from error


def all_missing(root: Path, paths: Iterable[str]) -> bool:
    """Whether not one of `paths` (relative) is in the folder `root`; one that can't be looked at may be there."""
    for path in paths:
        try:
            (root / path).lstat()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            pass
        return False
    return True
