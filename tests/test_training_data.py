"""The training questions: the sets pass their check, and the check fails for every rule that a set can break."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

TRAINING = Path(__file__).resolve().parents[1] / "training"
DATA = TRAINING / "data"
SETS = sorted(file.parent for file in DATA.glob("*/questions.jsonl"))
WITH_CORPUS = [folder for folder in SETS if not (folder / "corpus.sha256").is_file()]
CUT = [folder for folder in SETS if (folder / "corpus.sha256").is_file()]
Row = dict[str, Any]


def script(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


check_questions = script(TRAINING / "check_questions.py")
cut_corpora = script(DATA / "cut_corpora.py")


def check(*folders: Path) -> int:
    return int(check_questions.main(["--no-bias", *map(str, folders)]))


def test_all_sets_pass(capsys: pytest.CaptureFixture[str]) -> None:
    assert check() == 0
    assert "23 sets, 6,122 questions, 0 errors" in capsys.readouterr().err


def test_every_quote_of_the_sets_with_a_corpus_is_looked_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(*WITH_CORPUS) == 0
    assert capsys.readouterr().err == "18 sets, 5,254 questions, 0 errors\n"


def test_readme_shows_the_tables_that_the_script_prints(capsys: pytest.CaptureFixture[str]) -> None:
    check()
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    tables = capsys.readouterr().out.strip().split("\n\n")
    assert len(tables) == 2
    assert all(table in readme for table in tables)


@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_every_document_is_asked_about_and_no_other(folder: Path) -> None:
    if folder in CUT:
        documents = {line.split("  corpus/")[1] for line in (folder / "corpus.sha256").read_text().splitlines()}
    else:
        documents = {file.name for file in (folder / "corpus").iterdir()}
    assert {row["doc"] for row in rows_of(folder)} - {None} == documents


def rows_of(folder: Path) -> list[Row]:
    return [json.loads(line) for line in (folder / "questions.jsonl").read_text(encoding="utf-8").split("\n") if line]


# A set of five questions that passes; every damage below is the one thing wrong with it.
TEXT = "The mill burned in 1901.\nNobody was hurt, the miller wrote.\n"
FIRE, HURT = "The mill burned in 1901.", "Nobody was hurt, the miller wrote."


def answered(number: int, question: str, quote: str, **fields: Any) -> Row:
    gold = [{"doc": "mill.txt", "quote": quote}]
    row: Row = {"id": f"mill-{number:03d}", "question": question, "answerable": True, "kind": "factoid"}
    return row | {"doc": "mill.txt", "gold": gold, "must_contain": [quote]} | fields


def unanswered(number: int, question: str, **fields: Any) -> Row:
    row: Row = {"id": f"mill-{number:03d}", "question": question, "answerable": False, "kind": "hardneg"}
    return row | {"doc": "mill.txt", "gold": [], "near": FIRE, "must_contain": []} | fields


def small_talk(number: int, question: str) -> Row:
    row = unanswered(number, question, kind="offtopic", doc=None)
    del row["near"]
    return row


def mill_set(folder: Path) -> list[Row]:
    """Writes the documents and the licence, and returns the questions to write."""
    (folder / "corpus").mkdir(parents=True)
    (folder / "corpus" / "mill.txt").write_text(TEXT, encoding="utf-8")
    (folder / "corpus" / "other.txt").write_text(HURT, encoding="utf-8")
    (folder / "LICENSE.txt").write_text("MIT\n", encoding="utf-8")
    return [
        answered(1, "when was the fire?", FIRE, pair=1),
        unanswered(2, "who paid for the fire?", pair=1),
        answered(3, "any dead?", HURT),
        unanswered(4, "who sold the grain?"),
        small_talk(5, "hi"),
    ]


def write(folder: Path, rows: list[Row]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")
    return folder


def put(number: int, **fields: Any) -> Callable[[list[Row]], None]:
    def damage(rows: list[Row]) -> None:
        rows[number].update(fields)

    return damage


def drop(number: int, field: str) -> Callable[[list[Row]], None]:
    def damage(rows: list[Row]) -> None:
        del rows[number][field]

    return damage


DAMAGES: dict[str, tuple[Callable[[list[Row]], None], str]] = {
    "gold by one letter": (
        put(0, gold=[{"doc": "mill.txt", "quote": FIRE.lower()}], must_contain=["1901"]),
        "mill-001: gold is not in mill.txt: 'the mill burned in 1901.'",
    ),
    "gold across a line break": (
        put(0, gold=[{"doc": "mill.txt", "quote": "1901. Nobody"}], must_contain=["1901"]),
        "mill-001: gold is not in mill.txt",
    ),
    "gold in another document": (
        put(0, gold=[{"doc": "other.txt", "quote": FIRE}], doc="other.txt", pair=2),
        "mill-001: gold is not in other.txt",
    ),
    "gold in no document": (
        put(2, gold=[{"doc": "lost.txt", "quote": HURT}], doc="lost.txt"),
        "mill-003: gold is not in lost.txt",
    ),
    "near": (put(1, near="The mill burned in 1902."), "mill-002: near is not in mill.txt"),
    "near missing": (drop(3, "near"), "mill-004: near goes with 'hardneg' alone"),
    "near of an answerable question": (put(2, near=FIRE), "mill-003: near goes with 'hardneg' alone"),
    "must_contain": (put(2, must_contain=["The mill"]), "mill-003: must_contain stands in no gold quote: 'The mill'"),
    "must_contain missing": (put(2, must_contain=[]), "mill-003: answerable is True, with 0 must_contain"),
    "answerable without gold": (put(2, gold=[], must_contain=[]), "mill-003: answerable is True, with 0 gold quotes"),
    "gold of an unanswerable question": (
        put(3, gold=[{"doc": "mill.txt", "quote": HURT}]),
        "mill-004: answerable is False, with 1 gold quotes",
    ),
    "kind against answerable": (put(3, kind="factoid"), "mill-004: answerable is False, but its kind is 'factoid'"),
    "kind": (put(2, kind="riddle"), "mill-003: unknown kind 'riddle'"),
    "doc is none of the gold's": (put(2, doc="other.txt"), "mill-003: doc 'other.txt' is none of its gold's"),
    "small talk about a document": (put(4, doc="mill.txt"), "mill-005: doc is 'mill.txt', but its kind is 'offtopic'"),
    "id twice": (put(3, id="mill-003"), "mill-003: another question has the same id"),
    "id of another set": (put(3, id="inn-004"), "inn-004: an id like mill-001 was expected"),
    "question twice": (put(3, question="Any dead"), "mill-004: repeats mill-003: 'Any dead'"),
    "pair without its twin": (drop(1, "pair"), "mill: pair 1 must be one answerable question and one not"),
    "pair of three": (put(3, pair=1), "mill: pair 1 must be one answerable question and one not"),
    "pair of two answerable": (
        lambda rows: rows.__setitem__(1, answered(2, "when?", FIRE, pair=1)),
        "mill: pair 1 must be one answerable question and one not",
    ),
    "pair about two documents": (
        put(1, doc="other.txt", near=HURT),
        "mill: pair 1 is about mill.txt and other.txt, one document was expected",
    ),
    "field missing": (drop(2, "kind"), "mill/questions.jsonl:3: no field 'kind'"),
    "field unknown": (put(2, note=""), "mill/questions.jsonl:3: unknown field 'note'"),
    "field of another type": (put(2, answerable=1), "mill/questions.jsonl:3: answerable must be bool, found 1"),
    "gold of another form": (put(2, gold=[HURT]), 'mill/questions.jsonl:3: gold must be {"doc", "quote"}'),
    "empty quote": (put(2, gold=[{"doc": "mill.txt", "quote": " "}]), "mill/questions.jsonl:3: gold's quote is empty"),
    "empty question": (put(2, question=""), "mill/questions.jsonl:3: question is empty"),
}


def test_the_undamaged_set_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mill"
    assert check(write(folder, mill_set(folder))) == 0
    assert capsys.readouterr().err == "1 sets, 5 questions, 0 errors\n"


@pytest.mark.parametrize(("damage", "told"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_question_fails(
    damage: Callable[[list[Row]], None], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mill"
    rows = mill_set(folder)
    damage(rows)
    assert check(write(folder, rows)) == 1
    assert told in capsys.readouterr().err


def test_a_real_set_fails_when_its_document_changes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(shutil.copytree(WITH_CORPUS[0], tmp_path / WITH_CORPUS[0].name))
    row = next(row for row in rows_of(folder) if row["gold"])
    document, quote = folder / "corpus" / row["gold"][0]["doc"], row["gold"][0]["quote"]
    assert check(folder) == 0
    document.write_text(document.read_text(encoding="utf-8").replace(quote, quote[:-1]), encoding="utf-8")
    assert check(folder) == 1
    assert f"{row['id']}: gold is not in {document.name}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("lost", "told"),
    [
        ("LICENSE.txt", "mill: no LICENSE.txt"),
        ("corpus", "mill: no documents in corpus/, and no corpus.sha256"),
        ("questions.jsonl", "No questions.jsonl in "),
    ],
)
def test_a_set_without_one_of_its_files_fails(
    lost: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mill"
    write(folder, mill_set(folder))
    (folder / lost).rename(tmp_path / "lost")
    assert check(folder) == 1
    assert told in capsys.readouterr().err


def test_a_set_without_questions_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mill"
    mill_set(folder)
    assert check(write(folder, [])) == 1
    assert "mill/questions.jsonl:1: " in capsys.readouterr().err


def test_lines_that_are_not_questions_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mill"
    write(folder, mill_set(folder))
    with (folder / "questions.jsonl").open("a", encoding="utf-8") as file:
        file.write('[]\n{"id":\n')
    assert check(folder) == 1
    told = capsys.readouterr().err
    assert "mill/questions.jsonl:6: a JSON object was expected, found list" in told
    assert "mill/questions.jsonl:7: " in told


def test_ids_and_questions_are_compared_over_all_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "one" / "mill", tmp_path / "two" / "mill"]
    assert check(*(write(folder, mill_set(folder)) for folder in folders)) == 1
    told = capsys.readouterr().err
    assert told.count("another question has the same id") == 5
    assert told.count("repeats") == 5


def test_a_corpus_that_is_not_cut_yet_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mill"
    write(folder, mill_set(folder))
    shutil.rmtree(folder / "corpus")
    (folder / "corpus.sha256").write_text("", encoding="utf-8")
    assert check(folder) == 0
    assert "Quotes not looked up, the corpus is not cut: mill." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("question", "quotes", "share"),
    [
        ("when did the mill burn?", [FIRE], 0.5),  # mill, burn: "burned" keeps six letters, "burned"
        ("millers writing", [HURT], 0.5),  # "miller" in both, "writin" is not "wrote"
        ("mill, hurt", [FIRE, HURT], 1.0),
        ("was it so?", [FIRE], 0.0),
    ],
)
def test_overlap(question: str, quotes: list[str], share: float) -> None:
    assert check_questions.overlap(question, quotes) == share


@pytest.mark.parametrize(
    ("question", "word"),
    [
        ("How much was it?", "how many"),
        ("the fire, how did it start", "how"),
        ("whose mill was it", "who"),
        ("Do you know how many burned?", "yes/no"),
        ("mill fire year", "other"),
        ("I sold grain. When and where?", "when"),
    ],
)
def test_question_word(question: str, word: str) -> None:
    assert check_questions.question_word(question) == word


def test_an_article_is_cut_after_the_paragraph_that_fills_it() -> None:
    long = " ".join(["word"] * 1000)
    text = f"Title\n\n{long}\n\nLeft out.\n\n{long} more\n\nToo much.\n"
    assert cut_corpora.cut_article(text, {"Left out."}) == f"Title\n\n{long}\n\n{long} more\n"


def test_a_rulebook_is_cut_before_a_numbered_line_after_a_blank_one() -> None:
    text = "Title\n\n1. Scope\n\n2. Duties\nfirst duty\n3. no blank line before\n\n(a) no number\n\n4. Fees\n"
    part = cut_corpora.Part("book", "2. D", 3)
    assert cut_corpora.cut_rulebook(text, part) == (
        "Title\n\n2. Duties\nfirst duty\n3. no blank line before\n\n(a) no number\n"
    )
    with pytest.raises(cut_corpora.CutError, match=r"no line begins with '9\. X'"):
        cut_corpora.cut_rulebook(text, cut_corpora.Part("book", "9. X", 3))


def test_a_cut_document_is_written_only_as_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wiki").mkdir()
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    (tmp_path / "wiki" / "corpus.sha256").write_text(f"{digest}  corpus/mill.txt\n", encoding="utf-8")
    monkeypatch.setattr(cut_corpora, "HERE", tmp_path)
    with pytest.raises(cut_corpora.CutError, match=f"corpus.sha256 says {digest}"):
        cut_corpora.write("wiki", "mill.txt", TEXT + "\n", tmp_path)
    assert not (tmp_path / "wiki" / "corpus").exists()
    cut_corpora.write("wiki", "mill.txt", TEXT, tmp_path)
    assert (tmp_path / "wiki" / "corpus" / "mill.txt").read_text(encoding="utf-8") == TEXT
