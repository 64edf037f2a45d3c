"""The commands around measuring and around the bot: output, files and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qabot.bot.store import Store
from qabot.calibration import read_calibration
from support import FakeEncoder, write_files
from test_cli import CONFIG, FILES, run

LINES = [
    {"id": "1", "question": "Where was the treaty signed in Vienna", "answerable": True, "kind": "factoid",
     "gold": [{"doc": "treaty.txt", "quote": "The treaty was signed in Vienna."}]},
    {"id": "2", "question": "The office opens at nine", "answerable": True, "kind": "factoid",
     "gold": [{"doc": "laws/office.txt", "quote": "The office opens at nine."}]},
    {"id": "3", "question": "Who baked rye bread?", "answerable": False, "kind": "offtopic", "gold": []},
]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeEncoder) -> Path:
    files = {"config.toml": CONFIG, "q.jsonl": "".join(json.dumps(line) + "\n" for line in LINES)}
    write_files(tmp_path, files | {f"documents/{path}": text for path, text in FILES.items()})
    monkeypatch.chdir(tmp_path)
    assert run("index").exit_code == 0
    return tmp_path


def test_eval_prints_a_table_or_an_object_and_writes_a_report(folder: Path) -> None:
    result = run("eval", "q.jsonl", "--html", "report.html")
    assert result.exit_code == 0
    assert "3 questions of q.jsonl" in result.stdout
    assert "hit@1                   1.000" in result.stdout
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
    found = json.loads(run("eval", "q.jsonl", "--json").stdout)
    assert found["figures"]["overall"]["hit@1"]["value"] == 1.0
    assert [row["id"] for row in found["rows"]] == ["1", "2", "3"]


def test_eval_fails_under_a_floor_and_refuses_unknown_gold(folder: Path) -> None:
    assert run("eval", "q.jsonl", "--fail-under", "hit@1=1.0").exit_code == 0
    result = run("eval", "q.jsonl", "--fail-under", "ece=0.0")
    assert result.exit_code == 1
    assert "ece" in result.stderr
    bad = {"id": "1", "question": "x", "answerable": True, "kind": "factoid", "gold": [{"doc": "no.txt", "quote": "x"}]}
    write_files(folder, {"bad.jsonl": json.dumps(bad)})
    result = run("eval", "bad.jsonl")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no.txt" in result.stderr


def test_where_a_result_cannot_be_written_is_told_before_anything_is_measured(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("qabot.evaluation.run.evaluate", never)
    for command in (
        ["eval", "q.jsonl", "--html", "none/report.html"],
        ["calibrate", "q.jsonl", "--out", "none/c.json"],
        ["feedback", "export", "none/f.jsonl"],
    ):
        result = run(*command)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "There is no folder none. Make it first." in result.stderr
        result = run(*command[:-1], "documents")
        assert result.exit_code == 2
        assert "'documents' is a directory" in result.stderr


def test_eval_compares_with_an_earlier_report(folder: Path) -> None:
    (folder / "before.json").write_text(run("eval", "q.jsonl", "--json").stdout, encoding="utf-8")
    found = json.loads(run("eval", "q.jsonl", "--json", "--compare", "before.json").stdout)
    assert found["comparison"] is not None
    assert found["comparison"]["label"] == "before.json"


def test_calibrate_writes_a_file_that_is_used(folder: Path) -> None:
    few = run("calibrate", "q.jsonl", "--out", "c.json")
    assert few.exit_code == 2
    assert "At least 30 are needed" in few.stderr
    many = [dict(line, id=f"{line['id']}-{n}") for n in range(20) for line in LINES]
    write_files(folder, {"many.jsonl": "".join(json.dumps(line) + "\n" for line in many)})
    result = run("calibrate", "many.jsonl", "--out", "c.json", "--signals", "dense", "--answered", "0.6")
    assert result.exit_code == 0
    assert "fitted on 60 questions (40 answerable, 20 off-topic)" in result.stdout
    made = read_calibration(folder / "c.json")
    assert (made.answered, made.curve.signals, made.recipe["reader"]) == (0.6, ("dense",), "none")
    write_files(folder, {"config.toml": CONFIG + 'calibration = "c.json"\n'})
    result = run("ask", "The office opens at nine", "--json")
    assert result.stderr == ""
    assert json.loads(result.stdout)["thresholds"]["answered"] == 0.6
    damaged = json.loads((folder / "c.json").read_text())
    damaged["thresholds"]["answered"] = 0.1
    (folder / "c.json").write_text(json.dumps(damaged))
    result = run("ask", "The office opens at nine")
    assert result.exit_code == 2
    assert "sha256 differs" in result.stderr


def test_the_bot_needs_a_token_and_the_doctor_says_so(folder: Path) -> None:
    result = run("bot")
    assert (result.exit_code, result.stdout) == (3, "")
    result = run("doctor")
    assert result.exit_code == 1
    assert "!   There is no bot token." in result.stdout
    assert (
        "ok  The index in index answers with the model fake and the reader none: 2 documents, 6 passages."
        in result.stdout
    )
    result = run("doctor", "--index", "nowhere")
    assert result.exit_code == 1
    assert f"There is no index in {folder / 'nowhere'}" in result.stdout


def test_feedback_is_exported(folder: Path) -> None:
    Store(folder / "bot.sqlite").close()
    result = run("feedback", "export", "f.jsonl")
    assert (result.exit_code, result.stdout) == (0, "0 questions written to f.jsonl.\n")
    assert (folder / "f.jsonl").read_text() == ""
