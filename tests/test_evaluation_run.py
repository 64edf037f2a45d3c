"""Evaluating a real answerer over a small real index; the embedding model alone is a stand-in one can compute by hand."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qabot.answering import Answerer
from qabot.build import build_index
from qabot.calibration import signals
from qabot.config import Settings
from qabot.documents import Folder
from qabot.embedding import EncoderFacts, Vectors
from qabot.errors import IndexMismatch, QuestionError
from qabot.evaluation.calibrate import observe
from qabot.evaluation.questions import read_questions
from qabot.evaluation.report import report
from qabot.evaluation.run import ask_all, evaluate, other_rows

MILL = "The old mill burned down in 1901 after a storm. It was rebuilt by Anna Weber. Visitors may see it on Sundays."
BAKERY = "The bakery sells rye bread. Its oven was made in Leipzig. Bread is baked at four in the morning."


class WordEncoder:
    """Vectors count words, hashed into 256 dimensions: cosine is the share of words in common."""

    facts = EncoderFacts("words", "f" * 16, 256, 64, "", "")
    limit = 64

    def knows(self, word: str) -> bool:
        return True

    def token_ends(self, text: str) -> list[int]:
        return [match.end() for match in re.finditer(r"\w+", text)]

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        if advance:
            advance(len(texts))
        return np.array([self.embed_question(text) for text in texts], np.float32).reshape(-1, 256)

    def embed_question(self, question: str) -> Vectors:
        vector = np.full(256, 1e-3, np.float32)
        for word in re.findall(r"\w+", question.casefold()):
            vector[zlib.crc32(word.encode()) % 256] += 1
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "mill.txt").write_text(MILL + "\n", encoding="utf-8")
    (documents / "bakery.txt").write_text(BAKERY + "\n", encoding="utf-8")
    monkeypatch.setattr("qabot.answering.encoder_for_index", lambda recipe, **options: WordEncoder())
    settings = Settings(documents=documents, index=tmp_path / "index", model="words", quote_words=10)
    build_index(Folder(documents), settings.index, WordEncoder())
    return settings


def questions(folder: Path, *records: dict[str, Any], name: str = "q.jsonl") -> Path:
    file = folder / name
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return file


MILL_QUESTION = {
    "id": "1",
    "question": "In what year did the old mill burn down?",
    "answerable": True,
    "kind": "factoid",
    "gold": [{"doc": "mill.txt", "quote": "The old mill burned down in 1901 after a storm."}],
}
OVEN_QUESTION = {
    "id": "2",
    "question": "Where was the oven made?",
    "answerable": True,
    "doc": "bakery.txt",
    "answers": ["Leipzig"],
    "answer_starts": [BAKERY.index("Leipzig")],
    "context": BAKERY,
    "context_start": 0,
}
GREETING = {"id": "3", "question": "hello", "answerable": False, "kind": "offtopic", "gold": []}


def test_a_run_end_to_end(settings: Settings, tmp_path: Path) -> None:
    file = questions(tmp_path, MILL_QUESTION, OVEN_QUESTION, GREETING)
    steps: list[tuple[str, int]] = []

    @contextmanager
    def progress(name: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda n: steps.append((name, total * n))

    run = evaluate(settings, [file], progress=progress)
    assert steps == [("asking", 3)] * 3
    assert (run.documents, run.model, run.quote_words) == (2, "words", 10)
    mill, oven, greeting = run.rows
    assert (mill.rank, mill.candidate_rank, mill.sentence_hit, mill.highlight_f1) == (1, 1, True, 1.0)
    # The answer is one word; the highlight is measured against the sentence that it stands in.
    assert (oven.rank, oven.context_rank, oven.sentence_hit, oven.highlight_f1) == (1, 1, True, 1.0)
    assert (greeting.outcome, greeting.rank, greeting.confidence) == ("nothing", None, 0.0)
    figures = report(run).figures["overall"]
    assert figures["hit@1"].value == figures["context_hit@1"].value == 1.0
    for result in run.results[:2]:
        assert len(result.answer.trace) == run.passages  # every sentence is a candidate: there are fewer than 30
        assert len(result.answer.quotes) > settings.quotes


def test_observations_are_the_signals_of_answers_with_candidates(settings: Settings, tmp_path: Path) -> None:
    run = evaluate(settings, [questions(tmp_path, MILL_QUESTION, GREETING)])
    (seen,) = observe(run)
    trace = run.results[0].answer.trace
    expected = signals(
        [t.dense for t in trace], [t.lexical for t in trace], [t.fused for t in trace], [t.reader for t in trace]
    )
    assert (seen.found, seen.right, seen.answerable, seen.off_topic) == (expected, True, True, False)


def test_judged_collections_rank_documents(settings: Settings, tmp_path: Path) -> None:
    queries = questions(tmp_path, {"_id": "a", "text": "bread oven"}, {"_id": "b", "text": "Anna Weber"})
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("query-id\tcorpus-id\tscore\na\tbakery\t1\nb\tmill.txt\t1\n", encoding="utf-8")
    run = evaluate(settings, [queries], qrels=qrels)
    assert [(row.rank, row.ndcg, row.sentence_hit) for row in run.rows] == [(1, 1.0, None)] * 2
    for result in run.results:
        paths = [quote.place.path for quote in result.answer.quotes]
        assert len(paths) == len(set(paths))


def test_a_question_can_be_asked_within_its_own_document(settings: Settings, tmp_path: Path) -> None:
    vague = {**OVEN_QUESTION, "question": "old mill burned down"}
    file = questions(tmp_path, vague)
    assert evaluate(settings, [file]).results[0].answer.quotes[0].place.path == "mill.txt"
    within = evaluate(settings, [file], within_document=True)
    assert {quote.place.path for quote in within.results[0].answer.quotes} == {"bakery.txt"}
    named = questions(tmp_path, {**MILL_QUESTION, "in": ["bakery.txt"]}, name="n.jsonl")
    assert evaluate(settings, [named]).rows[0].rank is None
    with pytest.raises(QuestionError, match=r"q2.jsonl:1: no gold says which document"):
        evaluate(settings, [questions(tmp_path, GREETING, name="q2.jsonl")], within_document=True)


def test_unknown_gold_and_empty_indexes_are_refused(settings: Settings, tmp_path: Path) -> None:
    other = {**MILL_QUESTION, "gold": [{"doc": "mill.txt", "quote": "The new mill"}]}
    with pytest.raises(QuestionError, match=r"q.jsonl:1: mill.txt does not hold 'The new mill'"):
        evaluate(settings, [questions(tmp_path, other)])
    for path in settings.documents.iterdir():
        path.unlink()
    build_index(Folder(settings.documents), settings.index, WordEncoder())
    with pytest.raises(QuestionError, match="holds no passages, so there is nothing to measure"):
        evaluate(settings, [questions(tmp_path, MILL_QUESTION)])


def test_an_index_that_changes_while_it_is_measured_is_noticed(settings: Settings, tmp_path: Path) -> None:
    file = questions(tmp_path, MILL_QUESTION, OVEN_QUESTION)
    answerer = Answerer(settings)

    @contextmanager
    def rebuild(name: str, total: int) -> Iterator[Callable[[int], None]]:
        def advance(steps: int) -> None:
            (settings.documents / "new.txt").write_text("A new document.\n", encoding="utf-8")
            build_index(Folder(settings.documents), settings.index, WordEncoder())

        yield advance

    with pytest.raises(IndexMismatch, match="was rebuilt while it was measured"):
        ask_all(answerer, read_questions([file]), [file], progress=rebuild)


def test_comparing_with_a_report_or_another_configuration(settings: Settings, tmp_path: Path) -> None:
    file = questions(tmp_path, MILL_QUESTION, OVEN_QUESTION)
    run = evaluate(settings, [file])
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(report(run).as_json()), encoding="utf-8")
    assert other_rows(earlier, [file]) == run.rows
    configuration = tmp_path / "other.toml"
    configuration.write_text('documents = "documents"\nindex = "index"\nmodel = "words"\n', encoding="utf-8")
    assert other_rows(configuration, [file]) == run.rows
