"""The interactive session of `qabot ask`.

Owns: the prompt, its history and its few commands. Every other line is a question.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from rich.console import Console
from rich.text import Text

from qabot.answering import Answerer
from qabot.errors import QabotError
from qabot.phrases import RELATED, counted
from qabot.render import print_answer, print_quote, print_trace
from qabot.types import Answer, Quote

SHOW_USAGE = "show N: quote N in its surroundings (show N 10: ten sentences on each side)"
COMMANDS = """Ask a question, or:
  more        more quotes for the last question
  show N      quote N in its surroundings (show N 10: ten sentences on each side)
  help        this
  quit        leave (Ctrl-D does, too)"""
SURROUNDINGS = 4


def history_file() -> Path:
    """Where questions are remembered: `$XDG_STATE_HOME/qabot/history`, by default under `~/.local/state`."""
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "qabot" / "history"


def session_history() -> History:
    """The history in its file; in memory where that can't be written."""
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(path))


class Session:
    """A conversation on a terminal; errors are shown and the session goes on."""

    def __init__(self, answerer: Answerer, console: Console, prompt: PromptSession[str] | None = None) -> None:
        self._answerer = answerer
        self._console = console
        self._prompt = prompt or PromptSession(history=session_history())
        self._last: Answer | None = None
        self._shown: list[Quote] = []

    def run(self, *, scope: Sequence[str] = (), per_document: bool = False, explain: bool = False) -> None:
        """Read lines until `quit` or the end of input."""
        count = len(self._answerer.documents())
        self._console.print(Text(f"{counted(count, 'document')}. Ask a question; help, quit.", style="dim"))
        while True:
            try:
                line = self._prompt.prompt("? ").strip()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            if line in ("quit", "exit", "q"):
                return
            try:
                self._handle(line, tuple(scope), per_document, explain)
            except QabotError as error:
                self._console.print(Text(str(error), style="red"))

    def _handle(self, line: str, scope: tuple[str, ...], per_document: bool, explain: bool) -> None:
        words = line.split()
        if not words:
            return
        if words in (["help"], ["?"]):
            self._console.print(Text(COMMANDS))
        elif words == ["show"]:
            self._console.print(Text(f"Which one? {SHOW_USAGE}", style="dim"))
        elif words == ["more"]:
            self._more(scope, per_document)
        elif words[0] == "show" and all(word.isdecimal() for word in words[1:]) and len(words) in (2, 3):
            self._show(int(words[1]), int(words[2]) if len(words) == 3 else SURROUNDINGS)
        else:
            self._last = self._answerer.ask(line, scope=scope, per_document=per_document, explain=explain)
            self._shown = [] if self._last.outcome == "nothing" else list(self._last.quotes)
            print_answer(self._console, self._last, self._answerer.settings.documents)
            if explain:
                self._console.print()
                print_trace(self._console, self._last)

    def _more(self, scope: tuple[str, ...], per_document: bool) -> None:
        if self._last is None or not self._last.quotes:
            self._console.print(Text("There is no answer yet to show more of. Ask a question first.", style="dim"))
            return
        wanted = len(self._shown) + self._answerer.settings.quotes
        answer = self._answerer.ask(self._last.question, quotes=wanted, scope=scope, per_document=per_document)
        known = {quote.place.reference for quote in self._shown}
        fresh = [quote for quote in answer.quotes if quote.place.reference not in known]
        if fresh and not answer.answered:
            self._console.print(Text(RELATED, style="bold"))
        for number, quote in enumerate(fresh, len(self._shown) + 1):
            self._console.print()
            print_quote(self._console, quote, self._answerer.settings.documents, number, answers=answer.answered)
        if not fresh:
            self._console.print(Text("There are no more.", style="dim"))
        self._shown += fresh
        self._last = answer

    def _show(self, number: int, sentences: int) -> None:
        if not 1 <= number <= len(self._shown):
            said = f"There is no quote {number}; the last answer has {len(self._shown)}."
            self._console.print(Text(said, style="dim"))
            return
        print_quote(
            self._console,
            self._answerer.around(self._shown[number - 1], sentences),
            self._answerer.settings.documents,
            answers=self._last is not None and self._last.answered,
            whole=True,
        )
