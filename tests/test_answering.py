"""What the answerer adds to retrieval: outcomes without a search, files as they are now, and new snapshots."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qabot import answering
from qabot.answering import Answerer
from qabot.documents import file_digest
from qabot.errors import DocumentError, DocumentsMissing, IndexDamaged, IndexMismatch, IndexMissing, UnknownReference
from qabot.index import Index
from qabot.library import Library, require_folder
from qabot.models import OWN_MODEL, own_encoder
from qabot.phrases import QUESTION_LIMIT
from qabot.quoting import build_quotes
from qabot.reader import Budget
from qabot.retrieval import Candidate
from qabot.smalltalk import is_foreign, kind_of
from qabot.snapshot import MANIFEST
from qabot.types import Quote
from support import FakeEncoder, build, forbid, settings_for, write_files

FILES = {
    "treaty.txt": "The Treaty\n\nThe treaty was signed in Vienna. It ended the war.\n\nNobody came to the party.\n",
    "laws/office.txt": "The office opens at nine. It closes at noon.\n",
    "laws/copy.txt": "A copy follows.\n\nThe treaty was signed in Vienna. It ended the war.\n",
}


@pytest.fixture
def answerer(tmp_path: Path, fake: FakeEncoder) -> Answerer:
    build(write_files(tmp_path / "documents", FILES), tmp_path / "index", fake)
    return Answerer(settings_for(tmp_path))


def first_path(answerer: Answerer, question: str, **options: object) -> str:
    return answerer.ask(question, **options).quotes[0].place.path  # type: ignore[arg-type]


def test_an_answer(answerer: Answerer) -> None:
    answer = answerer.ask("The office opens at nine")
    assert (answer.outcome, answer.answered, answer.note, answer.gone) == ("answered", True, None, ())
    quote = answer.quotes[0]
    assert quote.place.path == "laws/office.txt"
    assert quote.text == "The office opens at nine. It closes at noon."
    (span,) = quote.highlights
    assert quote.text[span.start - quote.place.start : span.end - quote.place.start] == "The office opens at nine."
    assert (answer.model, answer.index) == ("fake", answerer.index_id)
    assert all(spent >= 0 for spent in answer.timings_ms.values())
    assert {"retrieve", "quote", "verify"} <= set(answer.timings_ms)
    assert answer.trace == ()


def test_the_same_text_elsewhere_is_named_not_repeated(answerer: Answerer) -> None:
    answer = answerer.ask("The treaty was signed in Vienna", quotes=10)
    places = [quote.place.path for quote in answer.quotes if "Vienna" in quote.text]
    assert places in (["treaty.txt"], ["laws/copy.txt"])
    quote = next(quote for quote in answer.quotes if "Vienna" in quote.text)
    assert sorted([quote.place.path, *(place.path for place in quote.also)]) == ["laws/copy.txt", "treaty.txt"]


def test_explain_shows_the_candidates(answerer: Answerer) -> None:
    trace = answerer.ask("treaty", explain=True).trace
    assert len(trace) == answerer.index.manifest.passages
    for item in trace:
        assert answerer.quote(item.reference).text == item.text
        assert -1.001 <= item.dense <= 1.001
        assert 0 <= item.lexical <= 1
        assert item.reader is None
    assert [item.fused for item in trace] == sorted((item.fused for item in trace), reverse=True)


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("", "empty"),
        (" \t\n\u00a0", "empty"),
        ("???", "gibberish"),
        ("👩 … !", "gibberish"),
        ("x" * (QUESTION_LIMIT + 1), "too_long"),
        ("hello!", "greeting"),
        ("thank you very much", "thanks"),
        ("who are you?", "about_bot"),
    ],
)
def test_what_needs_no_search(answerer: Answerer, question: str, note: str) -> None:
    answer = answerer.ask(question)
    assert (answer.note, answer.outcome, answer.quotes, answer.confidence) == (note, "nothing", (), 0.0)
    assert answer.question == question


def test_the_longest_question_is_searched_for(answerer: Answerer) -> None:
    assert answerer.ask("treaty " * (QUESTION_LIMIT // 7)).note is None


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Hi", "greeting"),
        ("hey there, how are you?", "greeting"),
        ("Привет!", "greeting"),
        ("👋 hello 👋", "greeting"),
        ("ok, thanks a lot :)", "thanks"),
        ("good bot", "thanks"),
        ("what can I ask you?", "about_bot"),
        ("how does this work", "about_bot"),
        ("are you an AI?", "about_bot"),
        ("hi, who signed the treaty?", None),
        ("who are you to judge Russia, asked whom?", None),
        ("thanksgiving", None),
        ("help for refugees", None),
        ("what is it about", None),
        ("high", None),
        ("", None),
    ],
)
def test_small_talk(message: str, kind: str | None) -> None:
    assert kind_of(message) == kind


@pytest.mark.parametrize(
    ("question", "foreign"),
    [
        ("Wie alt ist Putin?", True),
        ("Кто такой Навальный?", True),
        ("En quelle année le Groupe a-t-il été créé ?", True),
        ("¿Qué deberían hacer los diplomáticos por los presos?", True),
        ("Charles de Gaulle speech", False),
        ("cinema La Strada", False),
        ("Did la Repubblica and le Monde report it?", False),
        ("", False),
    ],
)
def test_other_languages(question: str, foreign: bool) -> None:
    assert is_foreign(question, "en") == foreign


OFFICE = {
    "office.txt": "The office opens at nine.\n\nKey points\n\nThe treaty was signed in Vienna by all seven states.\n"
}


@pytest.mark.parametrize(
    ("question", "note"),
    [
        ("asdfgh qwerty", "gibberish"),
        ("Когда открывается офис?", "foreign"),
        ("Wann ist die office geöffnet?", "foreign"),
        ("When does the office open?", None),
        ("treatty", None),
    ],
)
@pytest.mark.parametrize("sure", [True, False])
def test_what_the_models_can_not_read_is_never_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, question: str, note: str | None, sure: bool
) -> None:
    build(write_files(tmp_path / "documents", OFFICE), tmp_path / "index", own_encoder(1))
    settings = settings_for(tmp_path, model=OWN_MODEL)
    # Whatever the probability says: no calibration has seen such questions.
    outcome = "answered" if sure else "nothing"
    monkeypatch.setattr(answering, "judge", lambda *_: (0.9 if sure else 0.1, outcome))
    answer = Answerer(settings).ask(question)
    assert answer.outcome == ("nothing" if note else outcome)
    assert answer.note == note


def test_a_model_of_many_languages_may_answer_in_each(answerer: Answerer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "judge", lambda *_: (0.9, "answered"))
    assert answerer.ask("Когда открывается офис?").answered
    monkeypatch.setattr(answering, "judge", lambda *_: (0.1, "nothing"))
    assert answerer.ask("Когда открывается офис?").note == "foreign"


def test_an_empty_index_says_so(tmp_path: Path, fake: FakeEncoder) -> None:
    build(write_files(tmp_path / "documents", {"a.txt": ""}), tmp_path / "index", fake)
    answer = Answerer(settings_for(tmp_path)).ask("where was the treaty signed?")
    assert (answer.note, answer.quotes) == ("no_documents", ())


def test_nothing_answers(answerer: Answerer) -> None:
    answer = answerer.ask("zebra quantum xylophone")
    assert not answer.answered
    assert answer.note is None


@pytest.mark.parametrize(
    ("scope", "paths"),
    [
        (["laws"], {"laws/office.txt", "laws/copy.txt"}),
        (["laws/"], {"laws/office.txt", "laws/copy.txt"}),
        (["OFFICE"], {"laws/office.txt"}),
        (["treaty.txt"], {"treaty.txt"}),
        (["the treaty"], {"treaty.txt"}),
        (["office", "treaty.txt"], {"laws/office.txt", "treaty.txt"}),
    ],
)
def test_scope_restricts(answerer: Answerer, scope: list[str], paths: set[str]) -> None:
    for question in ("The treaty was signed in Vienna", "The office opens at nine"):
        answer = answerer.ask(question, quotes=20, scope=scope)
        found = {quote.place.path for quote in answer.quotes} | {p.path for q in answer.quotes for p in q.also}
        assert found == paths
        assert answer.scope == tuple(scope)


@pytest.mark.parametrize("scope", [["nothing"], ["/"], [" "], [""]])
def test_a_scope_that_names_nothing_is_told(answerer: Answerer, scope: list[str]) -> None:
    answer = answerer.ask("treaty", scope=scope)
    assert (answer.note, answer.quotes, answer.scope) == ("out_of_scope", (), tuple(scope))


def test_a_changed_file_is_told_and_quoted_as_it_was(answerer: Answerer, tmp_path: Path) -> None:
    write_files(tmp_path / "documents", {"laws/office.txt": "The office opens at ten."})
    quote = answerer.ask("The office opens at nine").quotes[0]
    assert quote.state == "changed"
    assert quote.text.startswith("The office opens at nine.")
    assert answerer.quote(quote.place.reference).state == "changed"
    assert answerer.around(quote, 1).state == "changed"
    write_files(tmp_path / "documents", {"laws/office.txt": FILES["laws/office.txt"]})
    assert answerer.ask("The office opens at nine").quotes[0].state == "current"


def test_a_file_that_is_gone_is_withheld_and_named(answerer: Answerer, tmp_path: Path) -> None:
    (tmp_path / "documents/laws/office.txt").unlink()
    answer = answerer.ask("The office opens at nine", quotes=20)
    assert answer.gone == ("laws/office.txt",)
    assert all(quote.place.path != "laws/office.txt" for quote in answer.quotes)
    alone = answerer.ask("The office opens at nine", scope=["office"])
    assert (alone.quotes, alone.outcome, alone.answered) == ((), "nothing", False)


def test_a_file_that_is_gone_has_no_say_in_the_verdict(tmp_path: Path, fake: FakeEncoder) -> None:
    """What is left is judged as if the file had never been there: a fresh index is the oracle."""
    for path, question in (("laws/office.txt", "The office opens at nine"), ("treaty.txt", "Nobody came to the party")):
        root = tmp_path / path.replace("/", "-")
        build(write_files(root / "documents", FILES), root / "index", fake)
        answerer = Answerer(settings_for(root))
        assert answerer.ask(question).answered
        (root / "documents" / path).unlink()
        answer = answerer.ask(question)
        build(root / "documents", root / "index", fake)
        fresh = Answerer(settings_for(root)).ask(question)
        assert not fresh.answered
        assert answer.gone == (path,)
        assert (answer.outcome, answer.confidence) == (fresh.outcome, fresh.confidence)
        assert {quote.text for quote in answer.quotes} == {quote.text for quote in fresh.quotes}


def test_a_file_that_goes_while_it_is_quoted_is_no_answer(
    answerer: Answerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(*arguments: Any, **options: Any) -> list[Quote]:
        found = build_quotes(*arguments, **options)
        (tmp_path / "documents/laws/office.txt").unlink()
        return found

    monkeypatch.setattr("qabot.answering.build_quotes", late)
    answer = answerer.ask("The office opens at nine")
    assert (answer.outcome, answer.gone) == ("related", ("laws/office.txt",))
    assert "laws/office.txt" not in {quote.place.path for quote in answer.quotes}


def unreadable(path: Path) -> None:
    """Make a file one that can be found but not opened; by rights alone it couldn't be done for root."""
    path.unlink()
    path.symlink_to(path.name)


def test_a_file_that_cannot_be_read_is_withheld_and_named(answerer: Answerer, tmp_path: Path) -> None:
    unreadable(tmp_path / "documents/laws/office.txt")
    answer = answerer.ask("The treaty was signed in Vienna", quotes=20)
    assert (answer.outcome, answer.gone, answer.unreadable) == ("answered", (), ("laws/office.txt",))
    assert answer.quotes[0].place.path in ("treaty.txt", "laws/copy.txt")
    assert "laws/office.txt" not in {quote.place.path for quote in answer.quotes}
    assert not answerer.ask("The office opens at nine").answered
    alone = answerer.ask("The office opens at nine", scope=["office"])
    assert (alone.quotes, alone.outcome, alone.unreadable) == ((), "nothing", ("laws/office.txt",))
    assert answerer.quote("laws/office.txt:0-10").state == "unreadable"


def test_a_file_that_stops_being_readable_while_it_is_quoted_is_no_answer(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(path: Path) -> str | None:
        if path.name == "office.txt":
            raise DocumentError(f"{path} can't be read (Input/output error).")
        return file_digest(path)

    monkeypatch.setattr("qabot.library.file_digest", failing)
    answer = answerer.ask("The office opens at nine")
    assert (answer.outcome, answer.gone, answer.unreadable) == ("related", (), ("laws/office.txt",))


def test_a_folder_where_a_file_was_is_no_file(answerer: Answerer, tmp_path: Path) -> None:
    (tmp_path / "documents/laws/office.txt").unlink()
    (tmp_path / "documents/laws/office.txt").mkdir()
    assert answerer.ask("The office opens at nine").gone == ("laws/office.txt",)
    assert answerer.quote("laws/office.txt:0-10").state == "gone"
    assert answerer.status().gone == ("laws/office.txt",)


def test_of_two_copies_the_one_that_is_current_is_shown(answerer: Answerer, tmp_path: Path) -> None:
    question = "The treaty was signed in Vienna"
    for path, other in (("treaty.txt", "laws/copy.txt"), ("laws/copy.txt", "treaty.txt")):
        write_files(tmp_path / "documents", {path: "Something else."})
        quote = answerer.ask(question).quotes[0]
        assert (quote.place.path, quote.state) == (other, "current")
        assert [place.path for place in quote.also] == [path]
        (span,) = quote.highlights
        assert FILES[other][span.start : span.end] == "The treaty was signed in Vienna."
        (tmp_path / "documents" / path).unlink()
        answer = answerer.ask(question)
        assert (answer.quotes[0].place.path, answer.quotes[0].also, answer.gone) == (other, (), (path,))
        write_files(tmp_path / "documents", FILES)


def test_a_new_snapshot_answers_without_restart(answerer: Answerer, tmp_path: Path, fake: FakeEncoder) -> None:
    before = answerer.index_id
    write_files(tmp_path / "documents", {"new.txt": "The zebra eats xylophones."})
    assert not answerer.ask("The zebra eats xylophones").answered
    build(tmp_path / "documents", tmp_path / "index", fake)
    answer = answerer.ask("The zebra eats xylophones")
    assert answer.answered
    assert answer.quotes[0].place.path == "new.txt"
    assert answer.index == answerer.index_id != before
    (tmp_path / "documents/new.txt").unlink()
    build(tmp_path / "documents", tmp_path / "index", fake)
    after = answerer.ask("The zebra eats xylophones", quotes=50)
    assert all(quote.place.path != "new.txt" for quote in after.quotes)
    assert after.gone == ()
    assert answerer.index_id == before


def test_another_model_is_a_mismatch(tmp_path: Path, fake: FakeEncoder) -> None:
    build(write_files(tmp_path / "documents", FILES), tmp_path / "index", fake)
    with pytest.raises(IndexMismatch, match=r"built with the model 'fake'.*says 'other'.*qabot index.*model = 'fake'"):
        Answerer(settings_for(tmp_path, model="other"))


def test_an_index_that_is_not_there_or_damaged(answerer: Answerer, tmp_path: Path) -> None:
    with pytest.raises(IndexMissing, match="qabot index"):
        Answerer(settings_for(tmp_path, index=tmp_path / "none"))
    # A damaged manifest is an error of the next question, not a silent use of the old snapshot.
    (tmp_path / "index" / MANIFEST).write_text("garbage")
    with pytest.raises(IndexDamaged):
        answerer.ask("treaty")


def test_many_threads_get_the_same_answer(answerer: Answerer) -> None:
    expected = answerer.ask("treaty Vienna").quotes
    found: list[object] = []

    def ask() -> None:
        found.extend(answerer.ask("treaty Vienna").quotes == expected for _ in range(20))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 120


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "treaty.txt",
        "treaty.txt:5",
        "treaty.txt:5-4",
        "treaty.txt:4-4",
        "treaty.txt:0-99999",
        ":0-1",
        "none.txt:0-1",
        "a:-1-2",
        "caf\udce9.txt:1-3",
    ],
)
def test_references_that_name_nothing(answerer: Answerer, reference: str) -> None:
    with pytest.raises(UnknownReference) as caught:
        answerer.quote(reference)
    assert str(caught.value).count("xpected") or "qabot status" in str(caught.value)


def test_digests_that_name_nothing(answerer: Answerer, tmp_path: Path, fake: FakeEncoder) -> None:
    quote = answerer.ask("The office opens at nine").quotes[0]
    digest = quote.place.sha256
    assert answerer.quote_of(digest[:12], 0, 5).text == "The o"
    for short in ("", digest[:11], "f" * 12):
        with pytest.raises(UnknownReference, match="changed or removed"):
            answerer.quote_of(short, 0, 5)
    write_files(tmp_path / "documents", {"laws/office.txt": "Another text."})
    build(tmp_path / "documents", tmp_path / "index", fake)
    with pytest.raises(UnknownReference, match="changed or removed"):
        answerer.quote_of(digest, 0, 5)
    with pytest.raises(UnknownReference, match="changed or removed"):
        answerer.around(quote, 2)


def test_surroundings_cross_paragraphs_and_stop_at_the_ends(answerer: Answerer) -> None:
    text = FILES["treaty.txt"]
    start = text.index("It ended")
    quote = answerer.quote(f"treaty.txt:{start}-{start + len('It ended the war.')}")
    assert answerer.around(quote, 0).text == "It ended the war."
    assert answerer.around(quote, 1).text == text[text.index("The treaty was") : -1]
    assert answerer.around(quote, 100).text == text.strip()
    assert answerer.around(quote, 1).highlights == quote.highlights


def test_status_tells_what_has_changed(answerer: Answerer, tmp_path: Path) -> None:
    status = answerer.status()
    assert status.current
    assert status.index == answerer.index_id
    assert [document.path for document in status.documents] == sorted(FILES)
    files = json.loads((tmp_path / "index" / MANIFEST).read_text())["files"]
    assert status.bytes == sum(file["bytes"] for file in files.values())
    write_files(tmp_path / "documents", {"treaty.txt": "x", "new.txt": "y"})
    (tmp_path / "documents/laws/copy.txt").unlink()
    status = answerer.status()
    assert (status.changed, status.gone, status.new) == (("treaty.txt",), ("laws/copy.txt",), ("new.txt",))
    assert not status.current
    assert status.problem is None
    lost = Library(settings_for(tmp_path, documents=tmp_path / "none")).status()
    assert lost.gone == tuple(sorted(FILES))
    assert lost.problem is not None
    assert "nothing is there" in lost.problem


def test_status_tells_what_cannot_be_read(answerer: Answerer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable(tmp_path / "documents/treaty.txt")
    locked = write_files(tmp_path / "documents/locked", {"new.txt": "y"})
    forbid(monkeypatch, locked)
    status = answerer.status()
    assert (status.changed, status.gone, status.new) == ((), (), ())
    assert status.unreadable == ("locked", "treaty.txt")
    assert not status.current
    forbid(monkeypatch, tmp_path / "documents")
    status = answerer.status()
    assert (status.unreadable, status.new, status.current) == (("treaty.txt",), (), False)
    assert status.problem is not None
    assert f"The folder {tmp_path / 'documents'} can't be read (Permission denied)" in status.problem


def test_the_best_of_each_document_is_read_for_beyond_a_sure_answer_and_decides_nothing(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def read(
        index: Index, reader: object, question: str, candidates: list[Candidate], *, thorough: bool = False
    ) -> list[Candidate]:
        asked.append(thorough)
        return candidates[:0] if thorough else [replace(candidate, reader=odds) for candidate in candidates]

    there: Future[Any] = Future()
    there.set_result(SimpleNamespace(name="some reader", budget=Budget(first=2, most=4, sure=1.0)))
    monkeypatch.setattr(answerer._loading, "reader", there)
    monkeypatch.setattr("qabot.answering.rerank", read)
    odds = 1.0
    one, each = (answerer.ask("the treaty the office", per_document=value) for value in (False, True))
    assert asked == [False, False, True]
    assert (one.confidence, len(one.quotes), len(each.quotes)) == (each.confidence, 3, 0)
    # All was read already: not twice.
    odds = 0.9
    answerer.ask("the treaty the office", per_document=True)
    assert asked == [False, False, True, False]
    assert answerer.reader == "some reader"


def test_per_document(answerer: Answerer) -> None:
    answer = answerer.ask("the treaty the office", quotes=10, per_document=True)
    paths = [quote.place.path for quote in answer.quotes]
    assert len(paths) == len(set(paths)) >= 2
    assert len(answerer.ask("the treaty the office", quotes=2).quotes) == 2


@pytest.mark.parametrize("question", ["\ud800", "who \udcff signed", "a\0b", "\u202ewho\u202c", "x" * 2000, "é" * 900])
def test_odd_questions_are_answered_or_noted(answerer: Answerer, question: str) -> None:
    assert answerer.ask(question).question == question


def test_one_document_that_is_there_is_enough_however_many_are_not(
    tmp_path: Path, fake: FakeEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = write_files(tmp_path / "documents", {f"{n}.txt": f"Number {n} came." for n in range(9)})
    build(documents, tmp_path / "index", fake)
    monkeypatch.setattr("qabot.library.FEW", 3)
    settings, index = settings_for(tmp_path), Index(tmp_path / "index")
    assert len(index.some_paths(3)) == 3
    assert set(index.some_paths(99)) == set(index.outline())
    last = list(index.outline())[-1]
    for path in index.outline():
        if path != last:
            (documents / path).unlink()
    require_folder(settings, index)
    (documents / last).unlink()
    with pytest.raises(DocumentsMissing, match="holds 9 documents, and none of them is in"):
        require_folder(settings, index)
