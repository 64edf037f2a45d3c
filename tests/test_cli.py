"""The command line, word for word: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import re
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from qabot import __version__
from qabot.cli import main
from qabot.errors import StoreError
from qabot.phrases import NOTES
from qabot.snapshot import MANIFEST
from support import FakeEncoder, write_files
from test_render import ANSWER, QUOTE, TRACE, matches

FILES = {
    "treaty.txt": "The Treaty\n\nThe treaty was signed in Vienna. It ended the war.\n\nNobody came to the party.\n",
    "laws/office.txt": "The office opens at nine. It closes at noon.\n",
}
TREATY = "where was the treaty signed?"
CONFIG = 'documents = "documents"\nindex = "index"\nmodel = "fake"\nreader = "none"\n'


def run(*arguments: str, **options: Any) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False, **options)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: FakeEncoder) -> Path:
    write_files(tmp_path, {"config.toml": CONFIG} | {f"documents/{path}": text for path, text in FILES.items()})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def indexed(folder: Path) -> Path:
    assert run("index").exit_code == 0
    return folder


def test_index_says_what_changed(folder: Path) -> None:
    result = run("index")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == (
        "+ added: laws/office.txt\n"
        "+ added: treaty.txt\n"
        "2 documents (2 added, 0 changed, 0 removed, 0 renamed, 0 unchanged), 6 passages.\n"
        f"{len(fake_texts(folder))} texts embedded, 0 kept. The index is in index.\n"
    )
    result = run("index")
    assert result.stdout == (
        "2 documents (0 added, 0 changed, 0 removed, 0 renamed, 2 unchanged), 6 passages.\n"
        "Nothing has changed; the index in index is up to date.\n"
    )
    write_files(folder, {"documents/treaty.txt": "Another.", "documents/b.pdf": "x", "documents/e.md": ""})
    (folder / "documents/laws/office.txt").rename(folder / "documents/moved.txt")
    write_files(folder, {"documents/sources.toml": '["gone.txt"]\ntitle = "x"\n'})
    assert run("index").stdout == (
        "+ added: e.md\n"
        "~ changed: treaty.txt\n"
        "> renamed: laws/office.txt -> moved.txt\n"
        "! left out: b.pdf is not one of .md, .txt\n"
        "! empty: e.md\n"
        "! in sources.toml, but not in the folder: gone.txt\n"
        "3 documents (1 added, 1 changed, 0 removed, 1 renamed, 0 unchanged), 3 passages.\n"
        "1 text embedded, 3 kept. The index is in index.\n"
    )


def fake_texts(folder: Path) -> set[str]:
    from test_build import texts_of

    return texts_of(folder / "index")


def test_index_lists_the_first_twenty_of_a_kind(folder: Path) -> None:
    write_files(folder, {f"documents/{n:02}.txt": f"Text {n}." for n in range(30)})
    out = run("index").stdout
    assert out.count("+ added: ") == 20
    assert "+ added ... and 12 more\n" in out


def test_index_of_an_empty_folder(folder: Path) -> None:
    write_files(folder / "empty", {})
    result = run("index", "--documents", "empty")
    assert result.exit_code == 0
    assert "There are no .txt or .md files in empty: put some there and run `qabot index` again.\n" in result.stdout


@pytest.mark.parametrize(("other", "flags"), [({}, []), ({"a.txt": "A."}, []), ({"a.txt": "A."}, ["--rebuild"])])
def test_index_does_not_replace_every_document_unless_told_to(
    indexed: Path, other: dict[str, str], flags: list[str]
) -> None:
    write_files(indexed / "other", other)
    before = (indexed / "index/manifest.json").read_bytes()
    result = run("index", "--documents", "other", *flags)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The index in index holds 2 documents, and none of them is in other" in result.stderr
    assert "--replace" in result.stderr
    assert (indexed / "index/manifest.json").read_bytes() == before
    result = run("index", "--documents", "other", "--replace", *flags)
    assert result.exit_code == 0
    assert ("2 removed" in result.stdout) is not bool(flags)
    # An empty index has nothing to lose.
    assert run("index").exit_code == (2 if other else 0)


def test_an_old_index_in_a_store_that_is_down_can_be_replaced(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(folder: Path) -> None:
        raise StoreError("Qdrant doesn't answer")

    monkeypatch.setattr("qabot.indexing.Index", down)
    assert run("index", "--rebuild").exit_code == 0


def test_documents_that_have_all_moved_are_indexed_without_being_told_to(indexed: Path) -> None:
    (indexed / "documents").rename(indexed / "moved")
    write_files(indexed / "documents", {})
    (indexed / "moved").rename(indexed / "documents/archive")
    result = run("index")
    assert result.exit_code == 0
    assert "2 renamed" in result.stdout


@pytest.mark.parametrize("other", ["other", "nowhere"])
@pytest.mark.parametrize(
    "command",
    [
        ["ask", TREATY],
        ["ask", TREATY, "--json"],
        ["show", "treaty.txt:0-5"],
        ["status"],
        ["verify"],
        ["status", "--json"],
    ],
)
def test_a_folder_that_the_index_was_not_made_of_is_told(indexed: Path, other: str, command: list[str]) -> None:
    write_files(indexed, {"other/a.txt": "A."})
    result = run(*command, "--documents", other)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "The index in index holds 2 documents, and none of them is in " + other in result.stderr
    assert "--documents DIR" in result.stderr
    assert "qabot index --replace" in result.stderr


def test_index_refuses_what_it_can_not_read_and_goes_on_when_told(folder: Path) -> None:
    write_files(folder, {"documents/bad.txt": b"\0\1\2", "documents/worse.txt": b"\0"})
    result = run("index")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("qabot: documents/bad.txt (3 bytes) is neither UTF-8")
    assert "documents/worse.txt" in result.stderr
    assert not (folder / "index" / "manifest.json").exists()
    result = run("index", "--skip-unreadable")
    assert result.exit_code == 0
    assert "! unreadable, left out: documents/bad.txt" in result.stdout
    assert "2 documents (2 added" in result.stdout


def test_ask(indexed: Path) -> None:
    result = run("ask", "The treaty was signed in Vienna")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.split("\n\n")[0] == (
        "1. The Treaty\ntreaty.txt, line 3\nHighlighted: line 3, treaty.txt:12-44\n"
        "The treaty was signed in Vienna. It ended the war."
    )
    one = run("ask", "The treaty was signed in Vienna", "-k", "1")
    assert one.stdout == (
        "The Treaty\ntreaty.txt, line 3\nHighlighted: line 3, treaty.txt:12-44\n"
        "The treaty was signed in Vienna. It ended the war.\n"
    )


def test_a_question_needs_no_quotation_marks(indexed: Path) -> None:
    loose = run("ask", "The", "treaty", "was", "signed", "--quotes", "1", "in", "Vienna", "--json")
    assert json.loads(loose.stdout)["question"] == "The treaty was signed in Vienna"
    assert loose.exit_code == 0
    assert run("ask", "").exit_code == 1


def test_ask_without_an_answer(indexed: Path) -> None:
    result = run("ask", "zebra")
    assert (result.exit_code, result.stdout) == (1, "Nothing in the documents answers that.\n")
    result = run("ask", "plugh")
    assert (result.exit_code, result.stdout) == (1, f"{NOTES['gibberish']}\n")
    result = run("ask", "hello")
    assert result.exit_code == 1
    assert result.stdout.startswith("Hello! Ask a question")


def test_ask_in_a_scope_and_per_document(indexed: Path) -> None:
    value = json.loads(run("ask", "the treaty office", "--json", "--in", "laws").stdout)
    assert {quote["path"] for quote in value["quotes"]} == {"laws/office.txt"}
    value = json.loads(run("ask", "the treaty office", "--json", "--per-document").stdout)
    assert len({quote["path"] for quote in value["quotes"]}) == len(value["quotes"]) == 2


@pytest.mark.parametrize("more", [[], ["--json"], ["--in", "laws"]])
def test_a_scope_that_names_nothing_is_an_error_with_the_closest_names(indexed: Path, more: list[str]) -> None:
    for wrong, close in (
        ("traety.txt", "treaty.txt"),
        ("the treatie", "treaty.txt"),
        ("law/ofice.txt", "laws/office.txt"),
    ):
        result = run("ask", TREATY, "--in", wrong, *more)
        assert (result.exit_code, result.stdout) == (2, "")
        assert f"No document of the index is called {wrong!r}. Did you mean {close}" in result.stderr
    result = run("ask", TREATY, "--in", "qqqqqqq", *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "`qabot status` lists the documents" in result.stderr


@pytest.mark.parametrize("name", ["", " ", "/"])
def test_an_empty_scope_is_refused(indexed: Path, name: str) -> None:
    result = run("ask", TREATY, "--in", name)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--in is empty" in result.stderr
    batch = run("ask", "--batch", "-", "--in", name, input='{"question": "x"}')
    assert (batch.exit_code, batch.stdout) == (2, "")


def test_ask_json(indexed: Path) -> None:
    result = run("ask", "The treaty was signed in Vienna", "--json")
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    value = json.loads(result.stdout)
    assert matches(value, ANSWER)
    quote = value["quotes"][0]
    text = FILES["treaty.txt"]
    assert quote["text"] == text[quote["start"] : quote["end"]]
    span = quote["highlights"][0]
    assert text[span["start"] : span["end"]] == "The treaty was signed in Vienna."
    assert (value["id"], value["question"], value["answered"], value["model"]) == (
        None,
        "The treaty was signed in Vienna",
        True,
        "fake",
    )
    explained = json.loads(run("ask", "zebra", "--json", "--explain").stdout)
    assert explained["answered"] is False
    assert all(matches(item, TRACE) for item in explained["candidates"])


def test_ask_explain_prints_the_candidates_below(indexed: Path) -> None:
    result = run("ask", "The office opens at nine", "--explain")
    assert "sentence\n" in result.stdout
    assert re.search(r"laws/office\.txt:0-25  The office opens at nine\.\n", result.stdout)


def test_batch_keeps_order_and_ids(indexed: Path) -> None:
    questions: list[dict[str, object]] = [
        {"id": "b", "question": "The office opens at nine"},
        {"id": 7, "question": "zebra"},
        {"question": "hello", "answerable": False},
        {"id": None, "question": ""},
        {"id": "a", "question": "The treaty was signed in Vienna"},
    ]
    lines = "\n\n".join(json.dumps(question) for question in questions)
    write_files(indexed, {"questions.jsonl": lines})
    for result in (run("ask", "--batch", "questions.jsonl"), run("ask", "--batch", "-", input=lines)):
        assert (result.exit_code, result.stderr) == (0, "")
        answers = [json.loads(line) for line in result.stdout.splitlines()]
        assert [answer["id"] for answer in answers] == ["b", "7", None, None, "a"]
        assert [answer["question"] for answer in answers] == [question["question"] for question in questions]
        assert [answer["answered"] for answer in answers] == [True, False, False, False, True]
        assert all(matches(answer, ANSWER) for answer in answers)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "x"', "Line 2 of the questions is not JSON"),
        ("[]", 'Line 2 of the questions has no text "question"'),
        ('{"id": 1}', 'Line 2 of the questions has no text "question"'),
        ('{"question": 5}', 'Line 2 of the questions has no text "question"'),
        ('"text"', 'Line 2 of the questions has no text "question"'),
    ],
)
def test_a_bad_line_of_a_batch_is_named(indexed: Path, line: str, message: str) -> None:
    result = run("ask", "--batch", "-", input='{"question": "zebra"}\n' + line + "\n")
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stdout.splitlines()) == 1


def test_a_batch_that_is_not_utf_8_is_an_error_of_one_line(indexed: Path) -> None:
    write_files(indexed, {"q.jsonl": b'{"question": "\xff"}\n'})
    result = run("ask", "--batch", "q.jsonl")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


@pytest.mark.parametrize("question", ["\ud800", "caf\udce9"])
def test_a_question_that_is_no_text_does_not_end_a_batch(indexed: Path, question: str) -> None:
    lines = json.dumps({"id": "1", "question": question}) + "\n" + json.dumps({"id": "2", "question": "zebra"})
    result = run("ask", "--batch", "-", input=lines)
    assert result.exit_code == 0
    assert [json.loads(line)["id"] for line in result.stdout.splitlines()] == ["1", "2"]


def test_show(indexed: Path) -> None:
    text = FILES["treaty.txt"]
    start = text.index("It ended")
    reference = f"treaty.txt:{start}-{start + 17}"
    marked = f"Highlighted: line 3, {reference}\n"
    assert run("show", reference, "--sentences", "0").stdout == (
        f"The Treaty\ntreaty.txt, line 3\n{marked}It ended the war.\n"
    )
    assert run("show", reference).stdout == (
        f"The Treaty\ntreaty.txt, lines 1-5\n{marked}"
        "The Treaty\n\nThe treaty was signed in Vienna. It ended the war.\n\nNobody came to the party.\n"
    )
    value = json.loads(run("show", reference, "--sentences", "1", "--json").stdout)
    assert matches(value, QUOTE)
    assert value["text"] == text[value["start"] : value["end"]]
    assert value["highlights"] == [{"start": start, "end": start + 17}]
    result = run("show", "treaty.txt")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "'treaty.txt' is no reference" in result.stderr
    assert run("show", "none.txt:0-5").exit_code == 2


def test_verify(indexed: Path) -> None:
    sound = "Checked 6 passages of 2 documents: every one is in its file, character for character.\n"
    result = run("verify")
    assert (result.exit_code, result.stdout) == (0, sound)
    answers = run("ask", "--batch", "-", input='{"question": "The treaty"}\n{"question": "The office opens"}\n').stdout
    count = sum(len(json.loads(line)["quotes"]) for line in answers.splitlines())
    write_files(indexed, {"answers.jsonl": answers})
    result = run("verify", "answers.jsonl")
    assert (result.exit_code, result.stdout) == (
        0,
        f"Checked 6 passages of 2 documents and {count} quotes: every one is in its file, character for character.\n",
    )
    write_files(indexed, {"documents/treaty.txt": "x" + FILES["treaty.txt"]})
    result = run("verify", "answers.jsonl")
    assert result.exit_code == 1
    assert "! treaty.txt has changed since indexing: 4 of 4 passages are no longer at their place\n" in result.stdout
    assert "is not what the file holds there (the file has changed since)" in result.stdout
    write_files(indexed, {"documents/treaty.txt": FILES["treaty.txt"] + "More."})
    assert "treaty.txt has changed since indexing, though every passage is still at its place" in run("verify").stdout
    (indexed / "documents/treaty.txt").unlink()
    value = json.loads(run("verify", "--json", "answers.jsonl").stdout)
    assert value["sound"] is False
    assert (value["documents"], value["passages"], value["quotes"]) == (2, 6, count)
    assert "treaty.txt is gone" in value["differing"][0]
    assert all("can't be compared" in line for line in value["wrong_quotes"])
    assert value["damaged"] == []


def test_verify_of_a_forged_quote_and_of_a_damaged_index(indexed: Path) -> None:
    value = json.loads(run("ask", "The treaty was signed in Vienna", "--json").stdout)
    value["quotes"][0]["text"] = value["quotes"][0]["text"].replace("Vienna", "Geneva")
    result = run("verify", "-", input=json.dumps(value, indent=2))
    assert result.exit_code == 1
    assert "the file is unchanged; the quote is not from it" in result.stdout
    path = next((indexed / "index").glob("vectors-*"))
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:-64] + bytes(255 - byte for byte in raw[-64:]))
    result = run("verify")
    assert result.exit_code == 1
    assert "the manifest says" in result.stdout


@pytest.mark.parametrize(
    "answers",
    [
        "no json",
        "5",
        "[]",
        "{}",
        '{"quotes": 5}',
        '{"quotes": [{}]}',
        '{"quotes": [{"path": 1, "start": 0, "end": 1, "text": "x", "sha256": ""}]}',
        '{"quotes": [{"path": "a", "start": "0", "end": 1, "text": "x", "sha256": ""}]}',
        '{"quotes": [{"path": "treaty.txt", "start": "0", "end": 1, "text": "x", "sha256": ""}]}',
    ],
)
def test_verify_of_something_else_is_an_error(indexed: Path, answers: str) -> None:
    result = run("verify", "-", input=answers)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "qabot ask --json" in result.stderr


def test_verify_of_bytes_that_are_no_text_is_an_error(indexed: Path) -> None:
    write_files(indexed, {"answers": b"\xff\xfe\xff"})
    result = run("verify", "answers")
    assert result.exit_code == 2
    assert "UTF-8" in result.stderr


def test_status(indexed: Path) -> None:
    out = run("status").stdout
    assert re.match(r"index      index \(snapshot [0-9a-f]{16}, \d+\.\d MB\)\n", out)
    assert "documents  2 from documents\n" in out
    assert "           laws/office.txt  office  (2 passages)\n" in out
    assert "           treaty.txt  The Treaty  (4 passages)\n" in out
    assert "model      fake (fingerprint fingerprint-of-fake)\n" in out
    assert out.endswith("Up to date.\n")
    write_files(indexed, {"documents/treaty.txt": "x", "documents/new.txt": "y"})
    (indexed / "documents/laws/office.txt").unlink()
    out = run("status").stdout
    assert out.endswith(
        "~ changed since indexing: treaty.txt\n"
        "- gone since indexing: laws/office.txt\n"
        "+ not indexed yet: new.txt\n"
        "Run `qabot index` to bring the index in step.\n"
    )
    value = json.loads(run("status", "--json").stdout)
    assert value["current"] is False
    assert (value["changed"], value["gone"], value["new"]) == (["treaty.txt"], ["laws/office.txt"], ["new.txt"])
    assert [d["path"] for d in value["documents"]] == ["laws/office.txt", "treaty.txt"]
    assert (value["recipe"]["model"], value["reader"]) == ("fake", "none")
    assert "reader     none\n" in out


@pytest.mark.parametrize("command", [["ask", "x"], ["show", "a:0-1"], ["verify"], ["status"]])
def test_without_an_index_every_command_says_what_to_do(command: list[str]) -> None:
    result = run(*command)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(
        f"qabot: There is no index in {Path('index').resolve()} (no manifest.json). "
        "Run `qabot index`, or name another folder with --index DIR."
    )
    documents = f" The documents would be those in {Path('documents').resolve()}.\n"
    assert command == ["verify"] or result.stderr.endswith(documents)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["aks", "x"], "No such command 'aks'. Did you mean 'ask'?"),
        (["idnex"], "No such command 'idnex'. Did you mean 'index'?"),
        (["who signed it?"], 'To ask something: qabot ask "..."'),
        (["ask"], 'There is no question. Give one: qabot ask "..."'),
        (["ask", "x", "--batch", "-"], "--batch reads its questions from a file; leave the QUESTION out."),
        (["ask", "x", "-k", "0"], "0 is not in the range 1<=x<=50"),
        (["ask", "x", "--josn"], "'--json'?"),
        (["ask", "--batch", "none.jsonl"], "none.jsonl"),
        (["index", "--documents", "none"], "The documents folder is none, but nothing is there."),
        (["index", "--documents", "config.toml"], "The documents folder is config.toml, but a file is there."),
        (["index", "--index", "config.toml"], "config.toml"),
        (["status", "--config", "none.toml"], "The configuration file none.toml does not exist."),
    ],
)
def test_mistakes_are_told_with_the_nearest_name(indexed: Path, arguments: list[str], message: str) -> None:
    result = run(*arguments, input="")
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_settings_come_from_file_environment_and_flags(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def count(*arguments: str) -> int:
        return len(json.loads(run("ask", "signed Vienna party office opens", "--json", *arguments).stdout)["quotes"])

    assert count() == 3
    (indexed / "config.toml").write_text(CONFIG + "quotes = 2\n")
    assert count() == 2
    monkeypatch.setenv("QABOT_QUOTES", "1")
    assert count() == 1
    assert count("-k", "3") == 3
    monkeypatch.setenv("QABOT_QUOTE", "1")
    result = run("ask", "x")
    assert result.exit_code == 2
    assert "QABOT_QUOTE, which is no setting of qabot. Did you mean QABOT_QUOTES?" in result.stderr
    monkeypatch.delenv("QABOT_QUOTE")
    (indexed / "other.toml").write_text('modle = "x"\n')
    result = run("ask", "x", "--config", "other.toml")
    assert "other.toml sets modle, which is no setting of qabot. Did you mean model?" in result.stderr


def test_an_index_of_another_model_is_refused(indexed: Path) -> None:
    (indexed / "config.toml").write_text(CONFIG.replace("fake", "other"))
    result = run("ask", "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "built with the model 'fake'" in result.stderr


def test_an_index_of_another_language_is_refused(indexed: Path) -> None:
    (indexed / "config.toml").write_text(CONFIG + 'language = "de"\n')
    result = run("ask", "x")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "built for the language 'en'; the configuration says 'de'" in result.stderr
    assert run("index").exit_code == 0
    assert run("ask", "The treaty was signed in Vienna").exit_code == 0


def test_index_fetches_a_reader_that_is_not_qabots_own(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, bool]] = []

    def load(name: str, threads: int, tell: object, *, fetch: bool = False) -> None:
        fetched.append((name, fetch))

    monkeypatch.setattr("qabot.indexing.load_reader", load)
    (folder / "config.toml").write_text(CONFIG.replace('reader = "none"', 'reader = "some/reader"'))
    assert run("index").exit_code == 0
    assert fetched == [("some/reader", True)]


def test_changed_and_removed_files_are_told_below_the_answer(indexed: Path) -> None:
    write_files(indexed, {"documents/treaty.txt": "Other."})
    (indexed / "documents/laws/office.txt").unlink()
    out = run("ask", "The treaty was signed in Vienna at the office").stdout
    assert "The file has changed since this was indexed; the quote is from the older text. Run `qabot index`.\n" in out
    assert "Withheld: a passage of laws/office.txt, which has been removed since it was indexed." in out


def test_a_file_that_cannot_be_read_spoils_neither_answer_nor_status(indexed: Path) -> None:
    office = indexed / "documents/laws/office.txt"
    office.unlink()
    office.symlink_to("office.txt")
    result = run("ask", "The treaty was signed in Vienna at the office")
    assert result.exit_code == 0
    assert "The treaty was signed in Vienna." in result.stdout
    assert result.stdout.endswith(
        "Withheld: a passage of laws/office.txt, which can't be read now. Give qabot the right to read it.\n"
    )
    assert json.loads(run("ask", TREATY, "--json", "-k", "9").stdout)["unreadable"] == ["laws/office.txt"]
    assert run("status").stdout.endswith(
        "! can't be read: laws/office.txt\nRun `qabot index` to bring the index in step.\n"
    )
    assert "The file can't be read now" in run("show", "laws/office.txt:0-10").stdout


def test_status_says_that_the_folder_cannot_be_listed(indexed: Path) -> None:
    write_files(indexed, {"documents/sources.toml": "garbage"})
    out = run("status").stdout
    assert "! New files can't be looked for. documents/sources.toml" in out
    assert "Up to date" not in out
    assert "sources.toml" in json.loads(run("status", "--json").stdout)["problem"]


@pytest.mark.parametrize("command", [["ask", "x"], ["status"], ["index"], ["show", "a:0-1"], ["verify"]])
@pytest.mark.parametrize("name", [MANIFEST, "lock", "vectors-*"])
def test_an_index_that_may_not_be_read_or_written_is_told_in_one_sentence(
    indexed: Path, command: list[str], name: str
) -> None:
    (path,) = (indexed / "index").glob(name)
    path.unlink()
    path.symlink_to(path.name)  # can be found, but not opened
    result = run(*command)
    if name == "lock" and command != ["index"]:
        assert "lock" not in result.stderr
    else:
        assert result.exit_code == 2
        assert re.fullmatch(rf"qabot: .*{path.name}.*\n", result.stderr)
        assert result.stderr.endswith(". See that the folder may be read and written and that its disk has room.\n")


def test_an_index_that_is_a_file_is_missing(folder: Path) -> None:
    for command in ("ask", "show", "status"):
        result = run(command, *(["a:0-1"] if command != "status" else []), "--index", "config.toml")
        assert result.exit_code == 2
        assert result.stderr.startswith(f"qabot: There is no index in {folder / 'config.toml'} (no manifest.json).")


def test_a_full_disk_is_told_and_the_old_index_serves(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    write_files(indexed, {"documents/treaty.txt": "Another text."})
    monkeypatch.setattr("qabot.gathering.Gathering.finish", full)
    result = run("index")
    assert result.exit_code == 2
    assert result.stderr == (
        "qabot: disk I/O error. See that the folder may be read and written and that its disk has room.\n"
    )
    assert "The treaty was signed in Vienna." in run("ask", TREATY).stdout


def test_a_mistake_of_qabot_is_not_taken_for_one_of_the_disk(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*arguments: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("qabot.library.Library.status", broken)
    with pytest.raises(ZeroDivisionError):
        run("status")


def test_help_and_version() -> None:
    out = run("--help").stdout
    for command in ("index", "ask", "show", "verify", "status"):
        assert re.search(rf"^  {command} ", out, re.MULTILINE)
        page = run(command, "--help")
        assert page.exit_code == 0
        for flag in ("--documents DIR", "--index DIR", "--config FILE", "--no-color"):
            assert flag in page.stdout
        assert max(map(len, page.stdout.split("\n"))) <= 100
    assert run("ask", "-h").stdout == run("ask", "--help").stdout
    assert run("--version").stdout == f"qabot, version {__version__}\n"


CODE = (
    "import sys; sys.path[:0] = sys.argv[1].split('|'); del sys.argv[1]\n"
    "import pytest\nfrom support import FakeEncoder, use_encoder\nfrom qabot import cli\n"
    "use_encoder(pytest.MonkeyPatch(), FakeEncoder())\ncli.run()"
)


@pytest.mark.parametrize(
    "arguments", [["ask", TREATY], ["ask", "zebra"], ["ask", TREATY, "--json"], ["ask"], ["status"]]
)
def test_the_program_prints_and_exits_as_main_does(indexed: Path, arguments: list[str]) -> None:
    expected = run(*arguments)
    command = [sys.executable, "-c", CODE, "|".join(sys.path), *arguments]
    found = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, timeout=60)
    assert found.returncode == expected.exit_code
    timings = re.compile(r'"timings_ms": \{.*?\}')
    assert timings.sub("", found.stdout) == timings.sub("", expected.stdout)
    assert found.stderr.replace("-c ", "main ") == expected.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_an_answer_that_can_not_be_written_is_told(indexed: Path) -> None:
    with open("/dev/full", "w", encoding="utf-8") as full:
        command = [sys.executable, "-c", CODE, "|".join(sys.path), "ask", TREATY, "--json"]
        found = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert "No space left" in found.stderr


def test_a_closed_pipe_is_no_error(indexed: Path) -> None:
    line = json.dumps({"question": "hello"}) + "\n"
    code = (
        "import sys; sys.path[:0] = sys.argv.pop().split('|')\n"
        "import pytest\nfrom support import FakeEncoder, use_encoder\nfrom qabot.cli import main\n"
        "use_encoder(pytest.MonkeyPatch(), FakeEncoder())\nmain(['ask', '--batch', '-'])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "|".join(sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdin.write(line)
    process.stdin.flush()
    process.stdout.close()
    try:
        process.stdin.write(line * 2000)
        process.stdin.close()
    except BrokenPipeError:
        pass
    errors = process.stderr.read()
    process.stderr.close()
    process.wait(60)
    assert "Traceback" not in errors
