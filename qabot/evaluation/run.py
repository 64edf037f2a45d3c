"""Asking the questions: the one part of the evaluation that drives an answerer.

Owns: how a question is asked so that every figure can be taken from its answer. Refuses to know what the figures are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from qabot.build import Progress, no_progress
from qabot.config import Settings, load_settings
from qabot.errors import IndexMismatch, QuestionError
from qabot.evaluation.judging import DEPTH, Row, judge
from qabot.evaluation.questions import Question, QuestionSet, locate, read_questions
from qabot.evaluation.report import read_rows
from qabot.models import Tell
from qabot.types import Answer, Span

if TYPE_CHECKING:
    from qabot.index import Index


class Asks(Protocol):
    """What is needed of `qabot.answering.Answerer`."""

    settings: Settings

    @property
    def index(self) -> Index:
        """The snapshot that answers now."""

    @property
    def reader(self) -> str:
        """The name of the reader."""

    def ask(
        self,
        question: str,
        *,
        quotes: int | None = None,
        scope: Sequence[str] = (),
        per_document: bool = False,
        explain: bool = False,
    ) -> Answer:
        """Answer a question."""


@dataclass(frozen=True, slots=True)
class Result:
    """A question, what came back, and how that is judged."""

    question: Question
    answer: Answer
    row: Row


@dataclass(frozen=True, slots=True)
class Run:
    """What was asked of what. files, sha256: of the questions; recipe: of the index, key -> value."""

    files: tuple[str, ...]
    sha256: str
    index: str
    model: str
    reader: str
    recipe: dict[str, object]
    documents: int
    passages: int
    quote_words: int
    results: tuple[Result, ...]

    @property
    def rows(self) -> list[Row]:
        """One row a question, in file order."""
        return [result.row for result in self.results]


def evaluate(
    settings: Settings,
    files: Sequence[Path],
    *,
    qrels: Path | None = None,
    within_document: bool = False,
    progress: Progress = no_progress,
    tell: Tell = lambda sentence: None,
) -> Run:
    """Ask every question of `files` of the index that the settings name.

    qrels: judgements of whole documents for the questions (`questions.read_questions`). within_document: ask each
    question of the documents of its own gold alone, for sets whose questions don't say which document they mean.
    Raises `QuestionError` for malformed files, for gold that the index doesn't have and for an empty index, and
    what `Answerer` raises. Blocks; about one answer's time a question.
    """
    from qabot.answering import Answerer

    found = read_questions(files, qrels)
    answerer = Answerer(settings, tell)
    return ask_all(answerer, found, files, within_document=within_document, progress=progress)


def ask_all(
    answerer: Asks,
    found: QuestionSet,
    files: Sequence[Path],
    *,
    within_document: bool = False,
    progress: Progress = no_progress,
) -> Run:
    """`evaluate` with an answerer that is there and questions that are read, but not located."""
    index = answerer.index
    manifest = index.manifest
    if not manifest.passages:
        raise QuestionError(
            f"The index in {answerer.settings.index} holds no passages, so there is nothing to measure. Put documents "
            f"into {answerer.settings.documents} and run `qabot index`."
        )
    questions = located(found, index)
    if within_document:
        for question in questions:
            if not (question.gold or question.scope):
                raise QuestionError(
                    f"{question.where}: no gold says which document the question is about, as --within-document needs. "
                    'Name it: "in": ["PATH"].'
                )
    results = []
    with progress("asking", len(questions)) as advance:
        for question in questions:
            scope = question.scope
            if within_document and not scope:
                scope = tuple(dict.fromkeys(gold.doc for gold in question.gold))
            whole = any(not gold.spans for gold in question.gold)
            answer = answerer.ask(question.question, quotes=DEPTH, scope=scope, per_document=whole, explain=True)
            if answer.index != index.id:
                raise IndexMismatch(
                    f"The index in {answerer.settings.index} was rebuilt while it was measured. Run `qabot eval` again."
                )
            results.append(Result(question, answer, judge(question, answer)))
            advance(1)
    return Run(
        files=tuple(str(file) for file in files),
        sha256=found.sha256,
        index=index.id,
        model=str(manifest.recipe["model"]),
        reader=answerer.reader,
        recipe=dict(manifest.recipe),
        documents=manifest.documents,
        passages=manifest.passages,
        quote_words=answerer.settings.quote_words,
        results=tuple(results),
    )


def located(found: QuestionSet, index: Index) -> tuple[Question, ...]:
    """The questions with their gold located in the documents of the index; raises `QuestionError`."""
    ids = {document.path: document.id for document in index.documents()}

    def sentences_at(path: str, span: Span) -> Span:
        inside = [stored.passage for stored in index.passages_of(ids[path], span.start, span.end)]
        if not inside:
            return span
        return Span(min(span.start, inside[0].start), max(span.end, inside[-1].end))

    return locate(found, ids, lambda path: index.text(ids[path]), sentences_at).questions


def other_rows(
    file: Path,
    files: Sequence[Path],
    *,
    qrels: Path | None = None,
    within_document: bool = False,
    progress: Progress = no_progress,
    tell: Tell = lambda sentence: None,
) -> list[Row]:
    """The rows to compare with: of an earlier report (`.json`), or of a run with another configuration (`.toml`)."""
    if file.suffix == ".toml":
        settings = load_settings(file)
        return evaluate(
            settings, files, qrels=qrels, within_document=within_document, progress=progress, tell=tell
        ).rows
    return read_rows(file)
