"""The interactive session on a real terminal, and in it."""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.console import Console

from qabot.answering import Answerer
from qabot.errors import IndexDamaged
from qabot.phrases import RELATED
from qabot.session import COMMANDS, Session, history_file, session_history
from qabot.snapshot import MANIFEST
from support import REPOSITORY, SEEDS, FakeEncoder, build, settings_for, write_files

QUESTION = "Who wrote that Russian influence on the Council of Europe is overestimated?"


PROMPT = re.escape("\x1b[?2004h")
"""What prompt_toolkit sends when it is ready for a line."""


class Script:
    """Stands in for the terminal: gives prepared lines, then the end of input."""

    def __init__(self, *lines: str | BaseException) -> None:
        self._lines: Iterator[str | BaseException] = iter(lines)

    def prompt(self, message: str) -> str:
        line = next(self._lines, EOFError())
        if isinstance(line, BaseException):
            raise line
        return line


def talk(root: Path, *lines: str | BaseException, **options: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, highlight=False, emoji=False, markup=False, width=200)
    Session(Answerer(settings_for(root)), console, Script(*lines)).run(**options)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture
def root(tmp_path: Path, fake: FakeEncoder) -> Path:
    text = "\n\n".join(f"Treaty number {n} was signed.\n\nThen came {n}." for n in range(9))
    build(write_files(tmp_path / "documents", {"a.txt": text}), tmp_path / "index", fake)
    return tmp_path


def test_a_conversation(root: Path) -> None:
    out = talk(
        root, "", "help", "more", "show 1", "Treaty number 3 was signed", "more", "show 1", "show 9 9", "quit", "never"
    )
    assert out.startswith("1 document. Ask a question; help, quit.\n")
    assert COMMANDS in out
    assert "There is no answer yet to show more of." in out
    assert "There is no quote 1; the last answer has 0." in out
    assert re.search(
        r"\n1\. a\na\.txt, line 13\nHighlighted: line 13, a\.txt:\d+-\d+\nTreaty number 3 was signed\.\n", out
    )
    assert re.search(r"\n4\. a\n", out)
    numbers = [int(number) for number in re.findall(r"^(\d+)\. a$", out, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert "There is no quote 9; the last answer has 6." in out
    assert "never" not in out


def test_show_alone_says_how_it_is_used(root: Path) -> None:
    out = talk(root, "show")
    assert "Which one? show N: quote N in its surroundings" in out
    assert "Nothing in the documents" not in out


def test_more_after_a_refusal_shows_all_passages_as_no_answer(root: Path) -> None:
    # "related": what was shown isn't shown again. "nothing": no passage was shown, so the first come now.
    for question, outcome, numbers in (("signed zebra", "related", [4, 5, 6]), ("zebra quantum", "nothing", [1, 2, 3])):
        answerer = Answerer(settings_for(root))
        answer = answerer.ask(question)
        assert (answer.outcome, len(answer.quotes)) == (outcome, 3)
        texts = [quote.text for quote in answerer.ask(question, quotes=6).quotes]
        out = talk(root, question, "more")
        more = out[out.rindex(RELATED) :]
        assert out.count(RELATED) == (2 if outcome == "related" else 1)
        assert [int(number) for number in re.findall(r"^(\d+)\. a$", more, re.MULTILINE)] == numbers
        assert [line for line in more.splitlines() if line in texts] == texts[numbers[0] - 1 : numbers[-1]]
        shown = talk(root, question, "more", f"show {numbers[-1]} 0", f"show {numbers[-1] + 1}")
        assert shown.count(texts[numbers[-1] - 1]) == 2
        assert f"There is no quote {numbers[-1] + 1}; " in shown
        assert ("There is no quote 1;" in talk(root, question, "show 1")) == (outcome == "nothing")
        stream = io.StringIO()
        console = Console(file=stream, force_terminal=True, color_system="truecolor", width=200)
        Session(answerer, console, Script(question, "more", "show 1")).run()  # type: ignore[arg-type]
        assert "\x1b[1;32m" not in stream.getvalue()


def test_more_of_an_answer_is_shown_as_one(root: Path) -> None:
    assert RELATED not in talk(root, "Treaty number 3 was signed", "more", "more")


def test_questions_may_begin_with_help(root: Path) -> None:
    for line in ("help desk opening hours?", "? what was signed", "helpful treaties"):
        assert COMMANDS not in talk(root, line)
    for line in ("help", "?", " help "):
        assert COMMANDS in talk(root, line)


def test_more_comes_to_an_end(root: Path) -> None:
    out = talk(root, "Treaty number 3 was signed", *["more"] * 12)
    assert out.rstrip().endswith("There are no more.")


def test_interrupts_and_the_end_of_input(root: Path) -> None:
    assert talk(root, KeyboardInterrupt(), "hello").count("Hello!") == 1
    for leave in ("quit", "exit", "q"):
        assert "Hello!" not in talk(root, leave, "hello")


def test_an_error_is_told_and_the_session_goes_on(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = (root / "index" / MANIFEST).read_text()

    class Breaking(Script):
        def prompt(self, message: str) -> str:
            line = super().prompt(message)
            (root / "index" / MANIFEST).write_text("garbage" if line == "broken" else good)
            return line

    stream = io.StringIO()
    answerer = Answerer(settings_for(root))
    Session(answerer, Console(file=stream, width=200), Breaking("broken", "hello")).run()  # type: ignore[arg-type]
    with pytest.raises(IndexDamaged):
        (root / "index" / MANIFEST).write_text("garbage!")
        answerer.ask("x")
    assert "is not a manifest of qabot" in stream.getvalue()
    assert "Hello!" in stream.getvalue()


def test_the_history_has_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert history_file() == tmp_path / "qabot" / "history"
    session_history().append_string("A question")
    assert "+A question" in history_file().read_text()


def test_a_history_that_cannot_be_kept_stays_in_memory(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "documents/a.txt"))
    history = session_history()
    history.append_string("A question")
    assert history.get_strings() == ["A question"]
    # The file can't be written, though its folder is there.
    monkeypatch.setenv("XDG_STATE_HOME", str(root))
    history_file().mkdir(parents=True)
    session_history().append_string("A question")


def spawn(index: Path, *arguments: str, **environment: str) -> Any:
    return pexpect.spawn(
        sys.executable,
        ["-c", "from qabot.cli import main; main()", *arguments, "--documents", str(SEEDS), "--index", str(index)],
        cwd=str(REPOSITORY),
        env={
            **os.environ,
            "TERM": "xterm-256color",
            "COLORTERM": "truecolor",
            "PROMPT_TOOLKIT_NO_CPR": "1",
            **environment,
        },
        encoding="utf-8",
        timeout=60,
        dimensions=(50, 60),
    )


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_a_session_on_a_real_terminal(own_index: Path, tmp_path: Path) -> None:
    child = spawn(own_index, "ask", XDG_STATE_HOME=str(tmp_path))
    child.expect("5 documents. Ask a question; help, quit.")
    child.expect(PROMPT)
    child.sendline(QUESTION)
    child.expect(r"\x1b\]8;id=\d+;file://[^\x1b]*\.txt\x1b\\")
    child.expect(r"\x1b\[1(;32)?m")
    child.expect(PROMPT)
    child.sendline("help")
    child.expect("quote N in its surroundings")
    child.sendline("show 1")
    child.expect("lines? ")
    child.sendline("quit")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    assert QUESTION in (tmp_path / "qabot" / "history").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize(("flags", "environment"), [([], {}), (["--no-color"], {}), ([], {"NO_COLOR": "1"})])
def test_an_answer_on_a_real_terminal(own_index: Path, flags: list[str], environment: dict[str, str]) -> None:
    child = spawn(own_index, "ask", QUESTION, *flags, **environment)
    out = child.read()
    child.close()
    assert child.exitstatus in (0, 1)
    colours = re.findall(r"\x1b\[[0-9;]*(?:3[0-7]|38;[0-9;]+)m", out)
    assert bool(colours) == (not flags and not environment)
    plain = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", out)
    assert max(len(line) for line in plain.replace("\r\n", "\n").split("\n")) <= 60
