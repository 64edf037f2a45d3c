"""Is everything that qabot would quote still in the files, character for character?

Owns: re-reading the files and comparing slices. It decodes files by itself (bytes and recorded encoding alone),
so that it does not share a mistake with what it checks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qabot.config import Settings
from qabot.errors import IndexBusy, QuestionError
from qabot.index import Index, StoredDocument
from qabot.library import require_folder
from qabot.phrases import counted
from qabot.render import printable

TRIES = 5
"""How often an index that keeps being replaced is verified anew."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What was compared, and one sentence for each thing that differs.

    damaged: index files whose bytes aren't what the manifest says. quotes: of the answers given.
    """

    documents: int
    passages: int
    differing: tuple[str, ...]
    damaged: tuple[str, ...]
    quotes: int = 0
    wrong_quotes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """True when nothing differs."""
        return not (self.differing or self.damaged or self.wrong_quotes)

    def with_quotes(self, found: tuple[int, tuple[str, ...]]) -> Verified:
        """The same with the result of `verify_answers`."""
        return replace(self, quotes=found[0], wrong_quotes=found[1])

    def lines(self) -> list[str]:
        """In words and numbers."""
        wrong = [*self.damaged, *self.differing, *self.wrong_quotes]
        checked = f"{counted(self.passages, 'passage')} of {counted(self.documents, 'document')}"
        checked += f" and {counted(self.quotes, 'quote')}" if self.quotes else ""
        verdict = "every one is in its file, character for character." if self.sound else f"{len(wrong):,} differ."
        return [*(f"! {printable(line)}" for line in wrong), f"Checked {checked}: {verdict}"]

    def as_json(self) -> dict[str, Any]:
        """As one object."""
        return {
            "sound": self.sound,
            "documents": self.documents,
            "passages": self.passages,
            "quotes": self.quotes,
            "damaged": list(self.damaged),
            "differing": list(self.differing),
            "wrong_quotes": list(self.wrong_quotes),
        }


def verify_index(settings: Settings) -> Verified:
    """Compare the index's bytes with its manifest, and every passage with the files as they are now.

    An index that is replaced meanwhile is verified anew. Raises `IndexBusy` when that goes on and on, and
    `DocumentsMissing` when not one document of the index is in the documents folder.
    """
    for _ in range(TRIES):
        index = Index(settings.index)
        require_folder(settings, index)
        differing: list[str] = []
        for stored in index.documents():
            differing += _differences(index, stored, settings.documents)
        manifest = index.manifest
        found = Verified(manifest.documents, manifest.passages, tuple(differing), tuple(index.check()))
        if Index(settings.index).id == index.id:
            return found
    raise IndexBusy(
        f"The index in {settings.index} was replaced {TRIES} times while it was being verified. "
        "Run `qabot verify` again when nothing builds it."
    )


def verify_answers(settings: Settings, lines: Iterable[str]) -> tuple[int, tuple[str, ...]]:
    """(quotes compared, a sentence for each that differs) of answers printed by `--json` or `--batch`.

    Needs the files and the encodings that the index recorded, nothing else of it. Raises `QuestionError` when
    the input holds something other than answers.
    """
    index = Index(settings.index)
    encodings = {stored.path: stored.encoding for stored in index.documents()}
    compared, wrong = 0, []
    try:
        answers = _answers("".join(lines))
    except UnicodeDecodeError as error:
        raise QuestionError(f"The answers are not UTF-8 ({error}), as what `qabot ask --json` prints is.") from error
    for number, answer in enumerate(answers, 1):
        try:
            quotes = [tuple(quote[key] for key in _KEYS) for quote in answer["quotes"]]
            if any(
                not isinstance(found, kind)
                for quote in quotes
                for found, kind in zip(quote, _KEYS.values(), strict=True)
            ):
                raise TypeError(f"{', '.join(f'{key}: {kind.__name__}' for key, kind in _KEYS.items())} in each quote")
        except (KeyError, TypeError) as error:
            raise QuestionError(
                f"Answer {number} is not one that `qabot ask --json` prints (it lacks {error})."
            ) from error
        for path, start, end, text, sha256 in quotes:
            compared += 1
            found = _now(settings.documents / path, encodings.get(path, "utf-8"))
            if found is None:
                wrong.append(
                    f"{path}:{start}-{end} can't be compared: the file is gone or is no longer text in its encoding"
                )
            elif found[0][start:end] != text:
                changed = (
                    "the file has changed since"
                    if found[1] != sha256
                    else "the file is unchanged; the quote is not from it"
                )
                wrong.append(f"{path}:{start}-{end} is not what the file holds there ({changed})")
    return compared, tuple(wrong)


_KEYS: dict[str, type] = {"path": str, "start": int, "end": int, "text": str, "sha256": str}


def _differences(index: Index, stored: StoredDocument, root: Path) -> list[str]:
    found = _now(root / stored.path, stored.encoding)
    if found is None:
        return [
            f"{stored.path} is gone or is no longer text in {stored.encoding}; {stored.passages:,} passages can't be compared"
        ]
    text, sha256 = found
    # Whole, and sliced here: in SQLite every slice would go through the text from its beginning.
    indexed = index.text(stored.id)
    wrong = 0
    for passage in index.passages_of(stored.id, 0, index.length(stored.id)):
        span = passage.passage
        wrong += text[span.start : span.end] != indexed[span.start : span.end]
    if wrong:
        return [
            f"{stored.path} has changed since indexing: {wrong:,} of {stored.passages:,} passages are no longer at their place"
        ]
    if sha256 != stored.sha256:
        return [f"{stored.path} has changed since indexing, though every passage is still at its place"]
    return []


def _now(path: Path, encoding: str) -> tuple[str, str] | None:
    """Text and sha256 of the file as it is now."""
    try:
        raw = path.read_bytes()
        return raw.decode(encoding), hashlib.sha256(raw).hexdigest()
    except (OSError, UnicodeDecodeError, LookupError):
        return None


def _answers(text: str) -> list[Any]:
    """The answers of a whole JSON object (it may span lines) or of JSON lines."""
    try:
        try:
            return [json.loads(text)]
        except json.JSONDecodeError:
            return [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise QuestionError(
            f"The answers are not JSON ({error}). Expected what `qabot ask --json` or `--batch` prints."
        ) from error
