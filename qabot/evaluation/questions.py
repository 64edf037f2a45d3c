"""Question files -> questions whose gold is located in the indexed documents.

Owns: the three forms that question files have, and the refusal of whatever can't be measured: malformed
lines, gold that is not in the index. Refuses to know of answers and figures. docs/evaluation.md describes the forms.

    written   {"id", "question", "answerable", "kind", "gold": [{"doc", "quote"}], "must_contain": [...]}
    public    {"id", "question", "answerable", "doc", "answers": [...], "answer_starts": [...], "context", ...}
    judged    {"id", "question"} or BEIR's {"_id", "text"}, with judgements of whole documents in a qrels file
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qabot.errors import QuestionError
from qabot.types import Span

OFF_TOPIC = "offtopic"
"""Kind of the questions, never answerable, that have nothing to do with the documents."""
FOREIGN = "foreign"
"""Kind of the questions in another language than the documents'; left out of the headline figures."""


@dataclass(frozen=True, slots=True)
class Gold:
    """One place that answers.

    text: what stands there. spans: everywhere in the document that it stands; without spans, the document as
    a whole is the gold. sentence: what a highlight should hold, when that is more than `text`. phrases: pieces
    of `text`, each of which is answer enough wherever the document has it. grade: how relevant, from 1; above
    1 only in judged collections.
    """

    doc: str
    text: str
    spans: tuple[Span, ...] = ()
    sentence: str = ""
    phrases: tuple[str, ...] = ()
    grade: int = 1


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is known of its answer.

    where: file and line. gold: every place that answers, each alone sufficient; empty when not answerable.
    contexts: the paragraphs around the gold, where the file names them. scope: documents to ask instead of all.
    """

    id: str
    question: str
    kind: str
    answerable: bool
    where: str
    gold: tuple[Gold, ...] = ()
    contexts: tuple[Gold, ...] = ()
    scope: tuple[str, ...] = ()

    @property
    def off_topic(self) -> bool:
        """Whether the question has nothing to do with the documents."""
        return self.kind == OFF_TOPIC


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """Questions in file order, and the sha256 of the bytes they were read from."""

    questions: tuple[Question, ...]
    sha256: str

    def kinds(self) -> Counter[str]:
        """How many questions there are of each kind."""
        return Counter(question.kind for question in self.questions)


def read_questions(files: Sequence[Path], qrels: Path | None = None) -> QuestionSet:
    """The questions of one or more files, not located yet.

    qrels: judgements of whole documents, tab-separated `query document relevance`, with or without a header line;
    the questions that it doesn't name are left out. Raises `QuestionError` with path and line.
    """
    digest = hashlib.sha256()
    judged = _read_qrels(qrels, digest) if qrels else None
    questions: list[Question] = []
    for file in files:
        lines = _read(file, digest).split("\n")
        for number, line in enumerate(lines, 1):
            if line.strip():
                questions.append(_question(line, f"{file}:{number}", judged))
    if judged is not None:
        absent = sorted(set(judged) - {question.id for question in questions})
        if absent:
            raise QuestionError(
                f"{qrels} judges {len(absent):,} queries that no question file has, the first {absent[0]!r}. "
                "Name the file of the queries, or remove the lines."
            )
        questions = [question for question in questions if question.id in judged]
    if not questions:
        raise QuestionError(f"{', '.join(map(str, files))}: no questions. One JSON object a line was expected.")
    if len(files) > 1:
        questions = [replace(question, id=f"{_stem(question.where)}:{question.id}") for question in questions]
    seen: dict[str, str] = {}
    for question in questions:
        if question.id in seen:
            raise QuestionError(
                f"{question.where} and {seen[question.id]} both have the id {question.id!r}. Give each its own."
            )
        seen[question.id] = question.where
    return QuestionSet(tuple(questions), digest.hexdigest())


def locate(
    found: QuestionSet,
    paths: Iterable[str],
    text_of: Callable[[str], str],
    sentences_at: Callable[[str, Span], Span],
) -> QuestionSet:
    """The same questions with the spans of their gold filled in.

    paths: of the indexed documents. text_of: path -> canonical text. sentences_at: path, span -> that span
    widened to whole sentences. Raises `QuestionError`, with path and line of the question, for a document that
    is not in the index and for text that its document doesn't hold there.
    """
    known = sorted(paths)
    if not known:
        raise QuestionError("The index holds no documents. Put some into the documents folder and run `qabot index`.")
    texts: dict[str, str] = {}
    exact = {path: path for path in known}
    # Judged collections name documents by an id; as a file, it has got a suffix.
    named = {path.rsplit(".", 1)[0]: path for path in known} | exact

    def place(gold: Gold, where: str) -> Gold:
        doc = (exact if gold.text else named).get(gold.doc)
        if doc is None:
            raise QuestionError(
                f"{where}: the gold names the document {gold.doc!r}, which is not in the index "
                f"({len(known):,} documents, such as {known[0]!r}). Index the folder that the questions are about, or correct the name."
            )
        if not gold.text:
            return replace(gold, doc=doc)
        if doc not in texts:
            texts[doc] = text_of(doc)
        text = texts[doc]
        if not gold.spans:
            return replace(gold, spans=_find(gold, text, where))
        _check(gold, text, where)
        around = sentences_at(doc, gold.spans[0])
        return replace(gold, sentence=text[around.start : around.end])

    questions = []
    for question in found.questions:
        gold = _merge([place(gold, question.where) for gold in question.gold])
        contexts = _merge([place(gold, question.where) for gold in question.contexts])
        for doc in question.scope:
            if doc not in exact:
                raise QuestionError(f"{question.where}: {doc!r}, to be asked alone, is not in the index.")
        questions.append(replace(question, gold=gold, contexts=contexts))
    return replace(found, questions=tuple(questions))


def _check(gold: Gold, text: str, where: str) -> None:
    start = gold.spans[0].start
    there = text[start : start + len(gold.text)]
    if there != gold.text:
        raise QuestionError(
            f"{where}: at offset {start:,} of {gold.doc} stands {_short(there)}, not {_short(gold.text)}. "
            "Offsets are code points into the document as indexed."
        )


def _find(gold: Gold, text: str, where: str) -> tuple[Span, ...]:
    spans = tuple(occurrences(text, gold.text))
    if not spans:
        raise QuestionError(
            f"{where}: {gold.doc} does not hold {_short(gold.text)}. Gold is compared character by character, "
            "line breaks included: copy it from the document as indexed."
        )
    return spans


def occurrences(text: str, wanted: str) -> Iterable[Span]:
    """Every span of `text` that reads `wanted`, overlapping ones too."""
    start = text.find(wanted)
    while start >= 0:
        yield Span(start, start + len(wanted))
        start = text.find(wanted, start + 1)


def _merge(gold: list[Gold]) -> tuple[Gold, ...]:
    """Places that share text are one place: several people may have marked the same answer."""
    merged: list[Gold] = []
    for one in gold:
        for position, other in enumerate(merged):
            same = one.doc == other.doc
            if same and (not one.spans or any(a.overlaps(b) for a in one.spans for b in other.spans)):
                longer = one if len(one.text) > len(other.text) else other
                phrases = tuple(dict.fromkeys((*other.phrases, *one.phrases)))
                spans = tuple(dict.fromkeys((*other.spans, *one.spans)))
                merged[position] = replace(longer, spans=spans, phrases=phrases, grade=max(one.grade, other.grade))
                break
        else:
            merged.append(one)
    return tuple(merged)


def _question(line: str, where: str, judged: Mapping[str, list[Gold]] | None) -> Question:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise QuestionError(f"{where} is not JSON ({error}). One object a line was expected.") from error
    if not isinstance(record, dict):
        raise QuestionError(f"{where}: a JSON object was expected, found {type(record).__name__}.")
    field = _Fields(record, where)
    if judged is not None:
        identifier = field.text("_id" if "_id" in record else "id")
        text = field.text("text" if "text" in record else "question")
        return Question(identifier, text, "judged", True, where, tuple(judged.get(identifier, ())))
    answerable = record.get("answerable")
    if not isinstance(answerable, bool):
        raise QuestionError(f"{where}: answerable must be true or false, found {answerable!r}.")
    gold, contexts = (_written(field), ()) if "gold" in record else _public(field)
    if answerable != bool(gold):
        raise QuestionError(
            f"{where}: answerable is {str(answerable).lower()}, with {len(gold)} gold places. "
            "An answerable question needs gold, any other has none."
        )
    kind = field.text("kind") if record.get("kind") else "question" if answerable else "unanswerable"
    scope = tuple(field.texts("in"))
    return Question(field.text("id"), field.text("question"), kind, answerable, where, gold, contexts, scope)


def _written(field: _Fields) -> tuple[Gold, ...]:
    phrases = field.texts("must_contain")
    gold = []
    for entry in field.items("gold"):
        if not isinstance(entry, dict):
            raise QuestionError(f'{field.where}: gold must be a list of {{"doc", "quote"}}, found {entry!r}.')
        one = _Fields(entry, field.where)
        quote = one.text("quote")
        gold.append(Gold(one.text("doc"), quote, phrases=tuple(p for p in phrases if p in quote)))
    for phrase in phrases:
        if not any(phrase in one.phrases for one in gold):
            raise QuestionError(f"{field.where}: must_contain {_short(phrase)} stands in none of the gold quotes.")
    return tuple(gold)


def _public(field: _Fields) -> tuple[tuple[Gold, ...], tuple[Gold, ...]]:
    if "answers" not in field.record:
        raise QuestionError(f"{field.where}: neither gold nor answers. Judged queries need --qrels FILE.")
    answers, starts = field.texts("answers"), field.items("answer_starts")
    if len(starts) != len(answers) or not all(type(start) is int and start >= 0 for start in starts):
        raise QuestionError(f"{field.where}: answer_starts must give one offset for each of {len(answers)} answers.")
    if not answers:
        return (), ()
    docs = field.texts("answer_docs") or [field.text("doc")] * len(answers)
    if len(docs) != len(answers):
        raise QuestionError(f"{field.where}: {len(answers)} answers, but {len(docs)} answer_docs.")
    gold = tuple(
        Gold(doc, answer, (Span(start, start + len(answer)),))
        for doc, answer, start in zip(docs, answers, starts, strict=True)
    )
    if not field.record.get("context"):
        return gold, ()
    context, start = field.text("context"), field.record.get("context_start")
    spans = (Span(start, start + len(context)),) if isinstance(start, int) else ()
    return gold, (Gold(field.text("doc"), context, spans),)


@dataclass(frozen=True, slots=True)
class _Fields:
    """A record whose fields are read with their type checked."""

    record: dict[str, Any]
    where: str

    def text(self, name: str) -> str:
        value = self.record.get(name)
        if not isinstance(value, str) or (not value and name != "question"):
            raise QuestionError(f"{self.where}: {name} must be text, found {value!r}.")
        return value

    def items(self, name: str) -> list[Any]:
        value = self.record.get(name)
        if value is not None and not isinstance(value, list):
            raise QuestionError(f"{self.where}: {name} must be a list, found {value!r}.")
        return value or []

    def texts(self, name: str) -> list[str]:
        values = self.items(name)
        if not all(isinstance(value, str) and value for value in values):
            raise QuestionError(f"{self.where}: {name} must be a list of texts, found {values!r}.")
        return values


def _read_qrels(file: Path, digest: Any) -> dict[str, list[Gold]]:
    judged: dict[str, list[Gold]] = {}
    for number, line in enumerate(_read(file, digest).split("\n"), 1):
        parts = line.rstrip("\r").split("\t")
        if number == 1 and not parts[-1].lstrip("-").isdigit():
            continue
        if not line.strip():
            continue
        if len(parts) != 3 or not parts[2].lstrip("-").isdigit():
            raise QuestionError(f"{file}:{number}: `query<TAB>document<TAB>relevance` was expected, found {line!r}.")
        query, doc, grade = parts[0], parts[1], int(parts[2])
        if grade > 0:
            judged.setdefault(query, []).append(Gold(doc, "", grade=grade))
    return judged


def _read(file: Path, digest: Any) -> str:
    try:
        raw = file.read_bytes()
        digest.update(hashlib.sha256(raw).digest())
        return raw.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise QuestionError(f"{file} can't be read as UTF-8 ({error}). Name a file of questions.") from error


def _stem(where: str) -> str:
    return Path(where.rsplit(":", 1)[0]).stem


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
