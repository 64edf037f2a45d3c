"""`sources.toml`: what people know of the documents that the documents may not say themselves.

Owns: the file's form. One table a document, named by its path, with any of title, publisher, author, date,
kind and url; a missing fact stays missing.
"""

from __future__ import annotations

import datetime
import difflib
import tomllib
from pathlib import Path

from qabot.documents.text import FACTS
from qabot.errors import DocumentError

SOURCES_FILE = "sources.toml"


def load_sources(path: Path) -> dict[str, dict[str, str]]:
    """Document path -> facts. No file gives no facts. Raises `DocumentError` on a malformed file or key."""
    try:
        # Without the byte-order mark that editors on Windows write.
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DocumentError(f"{path} can't be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path} is not TOML in UTF-8: {error}.") from error
    return {name: _facts(path, name, table) for name, table in tables.items()}


def _facts(path: Path, name: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict):
        raise DocumentError(
            f'{path}: "{name}" is {table!r}, not a table. Each document has its own: ["{name}"] and below it title = "...".'
        )
    facts: dict[str, str] = {}
    for key, value in table.items():
        if key not in FACTS:
            near = difflib.get_close_matches(key, FACTS, 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(FACTS)}."
            raise DocumentError(f'{path}: ["{name}"] has the unknown key {key!r}. {hint}')
        if isinstance(value, datetime.date):
            value = value.isoformat()
        if not isinstance(value, str) or not value.strip():
            raise DocumentError(f'{path}: ["{name}"] {key} is {value!r}; a text or a date was expected.')
        facts[key] = value
    return facts
