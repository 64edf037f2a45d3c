"""Question sets: what is asked, where the answer stands, and which sentences only tempt.

Owns: reading the three layouts of `questions.jsonl` into one record; locating gold sentences.
Refuses to know: models, sampling, augmentation.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from texts import Text, collapse, overlapping, read_folder

Position = tuple[str, int]
Row = dict[str, Any]


@dataclass(frozen=True)
class Question:
    """One question about a collection.

    `gold` and `near` are (document name, sentence number): sentences that answer, and sentences
    that tempt but don't. `doc` limits the search to one document when the question leaves its
    subject unnamed (privacy policies). `twin` joins the two questions of a contrast pair.
    """

    id: str
    text: str
    answerable: bool
    kind: str
    gold: frozenset[Position]
    near: frozenset[Position]
    doc: str | None = None
    twin: str | None = None


@dataclass(frozen=True)
class Collection:
    """A folder of documents with the questions about them."""

    name: str
    source: str
    texts: dict[str, Text]
    questions: tuple[Question, ...]


def locate(text: Text, quote: str) -> set[int]:
    """Sentences that a quote touches; whitespace may differ. Empty when the quote is not there."""
    pattern = re.compile(r"\s+".join(re.escape(word) for word in quote.split()))
    found: set[int] = set()
    for match in pattern.finditer(text.text):
        found |= overlapping(text, match.start(), match.end())
        break
    return found


def read_collection(folder: Path, source: str, questions: Path | None = None) -> Collection:
    """Reads `folder/corpus/*.txt` and `questions` (default `folder/questions.jsonl`).

    Sources: `asked` and `pairs` (gold quotes, tempting quotes), `squad` (answer spans with their
    offsets, unanswerable ones with their paragraph), `policyqa` (one document a question),
    `obliqa` (whole passages).
    """
    texts = read_folder(folder / "corpus" if (folder / "corpus").is_dir() else folder)
    lines = (questions or folder / "questions.jsonl").read_text(encoding="utf-8").split("\n")
    rows = [json.loads(line) for line in lines if line]
    read = _read_asked if source in ("asked", "pairs") else _read_spans
    found = [q for row in rows if (q := read(row, texts, source)) is not None]
    return Collection(folder.name, source, texts, tuple(found))


def _read_asked(row: Row, texts: dict[str, Text], source: str) -> Question | None:
    gold = {(g["doc"], i) for g in row["gold"] if g["doc"] in texts for i in locate(texts[g["doc"]], g["quote"])}
    wanted = [collapse(m) for m in row.get("must_contain") or []]
    if row["answerable"] and source == "asked" and "note" in row:
        # Short strings, any of which makes a sentence right, wherever it stands.
        gold |= {
            (name, i)
            for name, text in texts.items()
            for i, s in enumerate(text.sentences)
            if any(m in s.text for m in wanted)
        }
    near: set[Position] = set()
    if row.get("near"):
        near = {(row["doc"], i) for i in locate(texts[row["doc"]], row["near"])}
    if row["answerable"] and not gold:
        return None
    twin = str(row["pair"]) if row.get("pair") else None
    return Question(
        row["id"],
        row["question"],
        row["answerable"],
        row["kind"],
        frozenset(gold),
        frozenset(near),
        None,
        twin,
    )


def _read_spans(row: Row, texts: dict[str, Text], source: str) -> Question | None:
    if row["answerable"] is None:
        return None
    gold: set[Position] = set()
    near: set[Position] = set()
    first = row["doc"] if isinstance(row["doc"], str) else None
    if row["answerable"]:
        answers, starts = row["answers"], row["answer_starts"]
        docs = row.get("answer_docs") or [first] * len(answers)
        for answer, start, name in zip(answers, starts, docs, strict=True):
            text = texts.get(name)
            if text is None:
                continue
            if text.text[start : start + len(answer)] != answer:
                start += row.get("context_start") or 0
            if text.text[start : start + len(answer)] == answer:
                gold |= {(name, i) for i in overlapping(text, start, start + len(answer))}
        if not gold:
            return None
    elif first in texts and row.get("context_start") is not None:
        start = row["context_start"]
        span = (start, start + len(row["context"]))
        near = {(first, i) for i in overlapping(texts[first], *span)}
    return Question(
        str(row["id"]),
        row["question"].strip(),
        row["answerable"],
        source,
        frozenset(gold),
        frozenset(near),
        first if source == "policyqa" else None,
    )
