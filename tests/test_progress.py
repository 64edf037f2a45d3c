"""What a build shows while it runs: how far, how fast, and how long it will still take; nothing where nobody looks."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from qabot.build import build_index, no_progress
from qabot.documents import Folder
from qabot.shell import progress_bar
from support import FakeEncoder, write_files


def terminal() -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None, legacy_windows=False)


def shown(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_rate_and_time_left_are_those_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    console = terminal()
    console.get_time = lambda: clock[0]
    with progress_bar(console)("embedding", 1000) as advance:
        for _ in range(4):
            clock[0] += 2.0
            advance(100)
    last = re.split(r"[\r\n]+", shown(console).strip())[-1]
    # 50 a second, so 600 steps take 12 seconds more.
    assert re.search(r"embedding .*400/1000 +50/s +0:00:12", last), last


def test_a_build_tells_every_step_of_every_stage(tmp_path: Path) -> None:
    write_files(
        tmp_path / "documents", {f"{n}.txt": f"Sentence {n} is here. Another is number {n}.\n" for n in range(30)}
    )
    console = terminal()
    report = build_index(
        Folder(tmp_path / "documents"), tmp_path / "index", FakeEncoder(), progress=progress_bar(console)
    )
    assert "reading" in shown(console)
    assert "30/30" in shown(console)
    assert f"{report.embedded}/{report.embedded}" in shown(console)


def test_nothing_is_shown_where_nobody_looks() -> None:
    console = Console(file=io.StringIO(), force_terminal=False)
    assert progress_bar(console) is no_progress
    with progress_bar(console)("reading", 3) as advance:
        advance(3)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
