"""Bytes of a `.txt` or `.md` file -> canonical text and title.

Owns: decoding. The canonical text is `bytes.decode(encoding)` and nothing else: byte-order mark and line
endings stay, so that every offset can be checked against the file by anyone.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

from qabot.errors import DocumentError
from qabot.sentences import NEWLINE, first_heading, front_matter
from qabot.types import Document, Source

SUFFIXES = (".md", ".txt")
FACTS = ("title", "publisher", "author", "date", "kind", "url")
NOTHING = ("", "~", "null")
CONTROL = frozenset(range(32)) - frozenset(b"\t\n\r\x0b\x0c\x1b")
BINARY_SHARE = 0.01
"""Above this share of control characters a text is taken for something else that happens to decode."""

# The encodings keep the byte-order mark as U+FEFF: utf-8-sig and utf-16 would take it away and shift
# every offset by one. UTF-32's mark begins with UTF-16's, so it is looked for first.
MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_document(root: Path, path: str, facts: dict[str, str] | None = None) -> Document:
    """Read one file.

    root, path: the documents folder and the file in it. facts: what `sources.toml` says of it, which wins
    over what the file says of itself. Raises `DocumentError` when the file can't be read or isn't text.
    """
    try:
        raw = (root / path).read_bytes()
    except OSError as error:
        raise DocumentError(
            f"{root / path} can't be read ({error.strerror}). Give qabot the right to read it."
        ) from error
    text, encoding = decode(raw, root / path)
    markdown = is_markdown(path)
    known: dict[str, str] = {}
    if markdown:
        known = _front_matter_facts(text)
    known |= facts or {}
    title = known.pop("title", None) or first_heading(text, markdown=markdown) or PurePosixPath(path).stem
    return Document(path, hashlib.sha256(raw).hexdigest(), text, encoding, Source(title, **known))


def is_markdown(path: str) -> bool:
    """Whether a file of this name is read as Markdown."""
    return path.lower().endswith(".md")


def decode(raw: bytes, path: Path) -> tuple[str, str]:
    """Text and encoding of `raw`, with `raw.decode(encoding) == text`; `path` is for the error alone.

    UTF-8 first; a byte-order mark is believed; anything else is asked of `chardet`.
    Raises `DocumentError` when no encoding gives text.
    """
    for mark, encoding in MARKS:
        if raw.startswith(mark):
            try:
                text = raw.decode(encoding)
            except UnicodeDecodeError as error:
                raise DocumentError(
                    f"{path} begins with the byte-order mark of {encoding}, but byte {error.start} of {len(raw)} "
                    "does not fit it. Save the file again as UTF-8, or go on without it: --skip-unreadable."
                ) from error
            if "\0" in text:
                raise DocumentError(
                    f"{path} is {encoding}, but character {text.index(chr(0)):,} of {len(text):,} is NUL, which no text has. "
                    "Take it out, or go on without the file: --skip-unreadable."
                )
            return text, encoding
    if b"\0" not in raw:
        try:
            return raw.decode("utf-8"), "utf-8"
        except UnicodeDecodeError:
            pass
        if sum(byte in CONTROL for byte in raw[:65536]) <= BINARY_SHARE * min(len(raw), 65536):
            # Imported here: almost every file is UTF-8.
            import chardet

            guess = chardet.detect(raw)["encoding"]
            if guess:
                with contextlib.suppress(UnicodeDecodeError):
                    return raw.decode(guess), guess.lower()
    raise DocumentError(
        f"{path} ({len(raw):,} bytes) is neither UTF-8 nor any other encoding of text that could be recognised. "
        "Save it again as UTF-8, move it away, or go on without it: --skip-unreadable."
    )


def _front_matter_facts(text: str) -> dict[str, str]:
    """What the front matter of a Markdown file says of its source; unreadable front matter says nothing."""
    span = front_matter(text)
    if span is None:
        return {}
    fence, *lines = NEWLINE.split(text[span.start : span.end].lstrip("\ufeff"))
    block = "\n".join(lines[:-1])
    found: Any
    if fence.startswith("+++"):
        try:
            found = tomllib.loads(block)
        except (ValueError, RecursionError):
            return {}
    else:
        import yaml

        try:
            # Texts, lists and tables only: a date or a number is shown as it is written, be there such a day or not.
            found = yaml.load(block, yaml.BaseLoader)
        except (yaml.YAMLError, ValueError, RecursionError):
            return {}
    if not isinstance(found, dict):
        return {}
    facts = {fact: _told(found.get(fact)) for fact in FACTS}
    return {fact: value for fact, value in facts.items() if value}


def _told(value: Any) -> str:
    """A fact of front matter in words, those of a list after commas; "" for what says nothing, or holds tables."""
    if isinstance(value, list):
        plain = not any(isinstance(item, list | dict) for item in value)
        return ", ".join(filter(None, map(_told, value))) if plain else ""
    if value is None or isinstance(value, dict) or str(value).strip() in NOTHING:
        return ""
    # YAML may spell a character as two halves, which no file and no database takes.
    return str(value).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
