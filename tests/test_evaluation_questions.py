"""Reading question files, and refusing what can't be measured, with path and line."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.errors import QuestionError
from qabot.evaluation.questions import Gold, Question, QuestionSet, locate, occurrences, read_questions
from qabot.types import Span

TEXT = "The mill burned in 1901.\nIt was rebuilt. The mill burned in 1901.\n"
DOCUMENTS = {"a.txt": TEXT, "sub/b.md": "Nothing here."}


def write(folder: Path, *records: Any, name: str = "q.jsonl") -> Path:
    file = folder / name
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n", encoding="utf-8")
    return file


def record(**changes: Any) -> dict[str, Any]:
    base = {"id": "1", "question": "When?", "answerable": True, "kind": "factoid", "must_contain": []}
    return base | {"gold": [{"doc": "a.txt", "quote": "It was rebuilt."}]} | changes


def sentence_at(path: str, span: Span) -> Span:
    """Sentences of DOCUMENTS end at full stops."""
    text = DOCUMENTS[path]
    return Span(text.rfind(".", 0, span.start) + 1, text.find(".", span.end - 1) + 1)


def place(found: QuestionSet) -> tuple[Question, ...]:
    return locate(found, DOCUMENTS, DOCUMENTS.__getitem__, sentence_at).questions


def test_written_gold_is_found_everywhere_it_stands(tmp_path: Path) -> None:
    gold = [{"doc": "a.txt", "quote": "The mill burned in 1901."}]
    file = write(tmp_path, "", record(gold=gold, must_contain=["burned"], note="ignored"))
    found = read_questions([file])
    (question,) = place(found)
    assert question == Question(
        "1",
        "When?",
        "factoid",
        True,
        f"{file}:2",
        (Gold("a.txt", "The mill burned in 1901.", (Span(0, 24), Span(41, 65)), "", ("burned",)),),
    )
    assert [TEXT[s.start : s.end] for s in question.gold[0].spans] == ["The mill burned in 1901."] * 2
    assert found.sha256 == hashlib.sha256(hashlib.sha256(file.read_bytes()).digest()).hexdigest()


def test_public_answers_stand_at_their_offset_and_widen_to_sentences(tmp_path: Path) -> None:
    public = {"id": "x", "question": "q", "answerable": True, "doc": "a.txt", "answers": ["1901", "in 1901"]}
    public |= {"answer_starts": [60, 57], "context": "It was rebuilt. The mill burned in 1901.", "context_start": 25}
    (question,) = place(read_questions([write(tmp_path, public)]))
    # Two people marked overlapping answers: one place.
    assert question.gold == (Gold("a.txt", "in 1901", (Span(60, 64), Span(57, 64)), " The mill burned in 1901."),)
    assert question.contexts[0].spans == (Span(25, 65),)
    assert question.kind == "question"


def test_public_answers_of_several_documents(tmp_path: Path) -> None:
    public = {"id": "x", "question": "q", "answerable": True, "doc": ["a.txt", "sub/b.md"], "answers": ["mill", "here"]}
    public |= {"answer_docs": ["a.txt", "sub/b.md"], "answer_starts": [4, 8], "context": None}
    (question,) = place(read_questions([write(tmp_path, public)]))
    assert [(g.doc, g.spans) for g in question.gold] == [("a.txt", (Span(4, 8),)), ("sub/b.md", (Span(8, 12),))]


def test_unanswerable_questions_have_no_gold(tmp_path: Path) -> None:
    written = record(answerable=False, kind="offtopic", gold=[])
    public = {
        "id": "2",
        "question": "q",
        "answerable": False,
        "doc": "gone.txt",
        "answers": None,
        "answer_starts": None,
    }
    questions = place(read_questions([write(tmp_path, written, public)]))
    assert [(q.kind, q.off_topic, q.gold) for q in questions] == [("offtopic", True, ()), ("unanswerable", False, ())]


def test_judged_documents_by_path_or_name_without_suffix(tmp_path: Path) -> None:
    queries = write(tmp_path, {"_id": "1", "text": "mill"}, {"id": "2", "question": "b"}, {"id": "3", "question": "c"})
    qrels = write(tmp_path, "query-id\tcorpus-id\tscore", "1\ta\t2", "1\tsub/b.md\t0", "2\tsub/b\t1", name="qrels.tsv")
    questions = place(read_questions([queries], qrels))
    assert [(q.id, q.question, q.gold) for q in questions] == [
        ("1", "mill", (Gold("a.txt", "", grade=2),)),
        ("2", "b", (Gold("sub/b.md", ""),)),
    ]


def test_qrels_without_a_header_and_with_crlf(tmp_path: Path) -> None:
    queries = write(tmp_path, {"id": "1", "question": "a"})
    (tmp_path / "qrels.tsv").write_bytes(b"1\ta.txt\t1\r\n")
    assert place(read_questions([queries], tmp_path / "qrels.tsv"))[0].gold == (Gold("a.txt", ""),)


def test_several_files_keep_their_ids_apart(tmp_path: Path) -> None:
    files = [write(tmp_path, record(), name="one.jsonl"), write(tmp_path, record(), name="two.jsonl")]
    found = read_questions(files)
    assert [q.id for q in found.questions] == ["one:1", "two:1"]
    assert found.kinds() == {"factoid": 2}
    assert found.sha256 != read_questions(files[:1]).sha256


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "is not JSON"),
        ("[1]", "a JSON object was expected, found list"),
        (record(answerable=None), "answerable must be true or false, found None"),
        (record(gold=[]), "answerable is true, with 0 gold places"),
        (record(answerable=False), "answerable is false, with 1 gold places"),
        (record(gold="no"), "gold must be a list, found 'no'"),
        (record(gold=["no"]), "gold must be a list of"),
        (record(gold=[{"doc": "a.txt", "quote": ""}]), "quote must be text, found ''"),
        (record(id=7), "id must be text, found 7"),
        (record(must_contain=["burned"]), "must_contain 'burned' stands in none of the gold quotes"),
        (record(must_contain=[3]), "must_contain must be a list of texts"),
        ({"id": "1", "question": "q", "answerable": True}, "neither gold nor answers"),
        (
            {"id": "1", "question": "q", "answerable": True, "answers": ["a"], "answer_starts": []},
            "one offset for each of 1 answers",
        ),
        (
            {
                "id": "1",
                "question": "q",
                "answerable": True,
                "answers": ["a"],
                "answer_starts": [0],
                "answer_docs": ["a", "b"],
            },
            "1 answers, but 2 answer_docs",
        ),
    ],
)
def test_malformed_lines_are_refused_with_path_and_line(tmp_path: Path, line: Any, says: str) -> None:
    file = write(tmp_path, record(id="0"), line)
    with pytest.raises(QuestionError, match=says) as caught:
        read_questions([file])
    assert f"{file}:2" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"gold": [{"doc": "c.txt", "quote": "x"}]},
            r"'c.txt', which is not in the index \(2 documents, such as 'a.txt'",
        ),
        ({"gold": [{"doc": "a", "quote": "The mill"}]}, "'a', which is not in the index"),
        ({"gold": [{"doc": "a.txt", "quote": "the mill burned"}]}, "a.txt does not hold 'the mill burned'"),
        ({"in": ["c.txt"]}, "'c.txt', to be asked alone, is not in the index"),
    ],
)
def test_unknown_gold_is_refused_with_path_and_line(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    file = write(tmp_path, record(id="0"), record(**changes))
    with pytest.raises(QuestionError, match=says) as caught:
        place(read_questions([file]))
    assert f"{file}:2" in str(caught.value)


def test_an_answer_that_is_not_at_its_offset_is_refused(tmp_path: Path) -> None:
    public = {
        "id": "x",
        "question": "q",
        "answerable": True,
        "doc": "a.txt",
        "answers": ["1901"],
        "answer_starts": [61],
    }
    with pytest.raises(QuestionError, match=r"at offset 61 of a.txt stands '901.', not '1901'"):
        place(read_questions([write(tmp_path, public)]))


def test_an_empty_index_is_refused(tmp_path: Path) -> None:
    found = read_questions([write(tmp_path, record())])
    with pytest.raises(QuestionError, match="The index holds no documents"):
        locate(found, [], DOCUMENTS.__getitem__, sentence_at)


def test_files_that_hold_nothing_or_the_same_id_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(QuestionError, match="no questions"):
        read_questions([write(tmp_path, "")])
    with pytest.raises(QuestionError, match=r"q.jsonl:2 and .*q.jsonl:1 both have the id '1'"):
        read_questions([write(tmp_path, record(), record())])
    with pytest.raises(QuestionError, match="can't be read as UTF-8"):
        read_questions([tmp_path / "missing.jsonl"])


def test_qrels_that_name_unknown_queries_or_have_other_columns_are_refused(tmp_path: Path) -> None:
    queries = write(tmp_path, {"id": "1", "question": "a"})
    with pytest.raises(QuestionError, match="judges 1 queries that no question file has, the first '9'"):
        read_questions([queries], write(tmp_path, "9\ta.txt\t1", name="qrels.tsv"))
    with pytest.raises(QuestionError, match=r"qrels.tsv:2: .*relevance` was expected"):
        read_questions([queries], write(tmp_path, "1\ta.txt\t1", "1 0 a.txt 1", name="qrels.tsv"))


@settings(deadline=None)
@given(st.text("ab", max_size=12), st.text("ab", min_size=1, max_size=3))
def test_occurrences_are_all_there_are(text: str, wanted: str) -> None:
    brute = [Span(s, s + len(wanted)) for s in range(len(text)) if text[s : s + len(wanted)] == wanted]
    assert list(occurrences(text, wanted)) == brute
