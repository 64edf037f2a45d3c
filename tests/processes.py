"""What tests run in other processes: builds that die, readers that hammer, a builder that holds the lock."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing import forkserver
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from qabot import comparing, qdrant
from qabot.index import Index
from qabot.qdrant import Place
from support import FakeEncoder, build

CONTEXT = multiprocessing.get_context("forkserver")
"""Where processes are started: from a server that has imported everything, and that never ran a thread."""


def start_server() -> None:
    CONTEXT.set_forkserver_preload(["processes"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()


CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "sqlite3.connect", "fsync"}


def build_and_die(documents: Path, target: Path, step: int, options: dict[str, Any]) -> None:
    """Build, and be killed just before the `step`-th change (from 1) to the file system."""
    left = step

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in CHANGES or (event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)

    # A killed process loses nothing that it wrote: syncing is a step like others, but needs no time here.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(os, "fsync", lambda descriptor: count("fsync", ()))
    sys.addaudithook(count)
    build(documents, target, FakeEncoder(), **options)
    os._exit(0)


def build_and_measure(documents: Path, target: Path, report: Any) -> None:
    """Build, and send the seconds of processor time that it took, apart from whatever watches the tests."""
    begun = time.process_time()
    build(documents, target, FakeEncoder(window=256))
    report.put(time.process_time() - begun)


def version_of(index: Index) -> int:
    """The version that all documents of `index` have; an assertion fails if it is torn."""
    versions = set()
    for document in index.documents():
        text = index.text(document.id)
        number = int(text.split("version", 1)[1].split()[0].rstrip("."))
        versions.add(number)
        passages = index.passages_of(document.id, 0, len(text))
        assert len(passages) == document.passages
        encoder = FakeEncoder()
        for stored in passages:
            span = stored.passage
            expected = encoder.vector(text[span.start : span.end])
            assert abs(float(index.vectors([stored.rows[0]])[0] @ expected) - 1) < 1e-5
            assert index.lexical.search(text[span.start : span.end], 5, index.words_like)
    assert len(versions) == 1, versions
    return versions.pop()


def hammer(target: Path, stop: Event, report: Any) -> None:
    """Open the index again and again; send (loads, versions seen, first error)."""
    loads, seen = 0, set()
    try:
        while not stop.is_set():
            seen.add(version_of(Index(target)))
            loads += 1
    except BaseException as error:
        report.put((loads, seen, f"{type(error).__name__}: {error}"))
        return
    report.put((loads, seen, None))


def hold_lock(documents: Path, target: Path, begun: Event, stop: Event) -> None:
    """Build with an encoder that waits in the middle."""

    class Slow(FakeEncoder):
        def embed(self, *arguments: Any) -> Any:
            begun.set()
            stop.wait(30)
            return super().embed(*arguments)

    build(documents, target, Slow())


def build_delta_and_die(documents: Path, target: Path, step: int) -> None:
    """`build_and_die` where any index takes its changes in a delta."""
    comparing.DELTA_FROM, comparing.DELTA_SHARE = 1, 1e9
    build_and_die(documents, target, step, {})


def upload_and_die(documents: Path, target: Path, place: Place, uploads: int) -> None:
    """Build into Qdrant, and be killed just before the last of `uploads` requests that upload."""
    left = uploads
    put = qdrant.Qdrant.call

    def counted(self: qdrant.Qdrant, method: str, *values: Any, **options: Any) -> Any:
        nonlocal left
        left -= method == "upsert"
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(self, method, *values, **options)

    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(qdrant, "BATCH_POINTS", 2)
    monkeypatch.setattr(qdrant.Qdrant, "call", counted)
    build(documents, target, FakeEncoder(), place=place)
    os._exit(0)
