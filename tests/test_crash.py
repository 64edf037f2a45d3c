"""Builds that die, that run side by side, and that replace an index while it is read."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from processes import CONTEXT, build_and_die, hammer, hold_lock, version_of
from qabot.errors import DocumentError, IndexBusy, IndexDamaged, IndexMissing
from qabot.index import Index
from qabot.library import Library
from qabot.snapshot import LOCK, MANIFEST
from support import FakeEncoder, build, names, settings_for, write_files

pytestmark = pytest.mark.usefixtures("server")


def documents_of(version: int) -> dict[str, str]:
    return {
        f"{name}.txt": f"This is version {version}. The {name} of it holds. What {name} says goes on, number {version}.\n"
        for name in ("alpha", "beta", "gamma")
    }


def manifest(target: Path) -> str:
    return (target / MANIFEST).read_text()


def whole(target: Path) -> set[str]:
    """The names that a tidy index folder holds."""
    return {MANIFEST, LOCK, *(name for name, _, _ in Index(target).manifest.files.values())}


def die(documents: Path, targets: dict[int, Path], options: dict[str, bool]) -> dict[int, bool]:
    """Step -> whether the build got as far as that and was killed there; several at a time."""
    started = {
        step: CONTEXT.Process(target=build_and_die, args=(documents, target, step, options))
        for step, target in targets.items()
    }
    for process in started.values():
        process.start()
    for process in started.values():
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
    return {step: process.exitcode != 0 for step, process in started.items()}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["first", "update", "rebuild"])
def test_a_build_killed_at_any_step_leaves_the_old_index_or_the_new_one(tmp_path: Path, scenario: str) -> None:
    old, new = write_files(tmp_path / "old", documents_of(1)), write_files(tmp_path / "new", documents_of(2))
    build(old, tmp_path / "index-old")
    build(new, tmp_path / "index-new")
    before, after = manifest(tmp_path / "index-old"), manifest(tmp_path / "index-new")
    options = {"rebuild": True} if scenario == "rebuild" else {}
    first, finished = 1, False
    while not finished:
        targets = {step: tmp_path / f"index-{step}" for step in range(first, first + 6)}
        if scenario != "first":
            for target in targets.values():
                shutil.copytree(tmp_path / "index-old", target)
        died = die(new, targets, options)
        for step, target in targets.items():
            if scenario == "first" and not (target / MANIFEST).exists():
                with pytest.raises(IndexMissing):
                    Index(target)
            else:
                index = Index(target)
                assert manifest(target) in (before, after)
                assert version_of(index) == (2 if manifest(target) == after else 1)
                assert index.check() == []
            build(new, target)
            assert manifest(target) == after
            assert version_of(Index(target)) == 2
            assert Index(target).check() == []
            assert names(target) <= whole(target)
            if not died[step]:
                assert step > 20, "a build changes more than that: steps are not counted"
                finished = True
        first += len(targets)


def test_what_a_manifest_names_is_on_disk_before_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    replace = os.replace

    def replaced(source: Path, target: Path) -> None:
        steps.append(f"replace {Path(target).name}")
        replace(source, target)

    def synced(descriptor: int) -> None:
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{descriptor}')).name}")

    monkeypatch.setattr(os, "replace", replaced)
    monkeypatch.setattr(os, "fsync", synced)
    build(write_files(tmp_path / "documents", documents_of(1)), tmp_path / "index")
    files = Index(tmp_path / "index").manifest.files
    end = steps.index(f"replace {MANIFEST}")
    before, after = steps[:end], steps[end + 1 :]
    for part, (name, _, _) in files.items():
        assert before.index(f"sync {part}{Path(name).suffix}") < before.index(f"replace {name}")
    assert before[-2:] == [f"sync {MANIFEST}.new", "sync index"]
    assert after[0] == "sync index"
    assert {f"sync {file.name}" for file in (tmp_path / "index" / files["lexical"][0]).iterdir()} <= set(before)


def test_a_failing_build_leaves_the_old_index_serving(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(1)), tmp_path / "index"
    build(documents, target)
    before = manifest(target)

    class Broken(FakeEncoder):
        def embed(self, *arguments: Any) -> Any:
            raise MemoryError

    write_files(documents, documents_of(2))
    for rebuild in (False, True):
        with pytest.raises(MemoryError):
            build(documents, target, Broken(), rebuild=rebuild)
        assert manifest(target) == before
        assert version_of(Index(target)) == 1
    write_files(documents, {"bad.txt": b"\0\1\2"})
    for rebuild in (False, True):
        with pytest.raises(DocumentError, match=r"bad\.txt"):
            build(documents, target, rebuild=rebuild)
        assert version_of(Index(target)) == 1
    assert names(target) <= whole(target)


def test_a_second_builder_is_refused(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(1)), tmp_path / "index"
    begun, stop = CONTEXT.Event(), CONTEXT.Event()
    process = CONTEXT.Process(target=hold_lock, args=(documents, target, begun, stop))
    process.start()
    try:
        assert begun.wait(30)
        with pytest.raises(IndexBusy, match=r"Another process is building.*qabot index"):
            build(documents, target)
    finally:
        stop.set()
        process.join(30)
    assert process.exitcode == 0
    assert not build(documents, target).committed


@pytest.mark.slow
def test_readers_in_other_processes_see_whole_snapshots_only(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(0)), tmp_path / "index"
    build(documents, target)
    stop, reports = CONTEXT.Event(), CONTEXT.Queue()
    readers = [CONTEXT.Process(target=hammer, args=(target, stop, reports)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(1, 31):
        write_files(documents, documents_of(version))
        build(documents, target, rebuild=version % 3 == 0)
    stop.set()
    found = [reports.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(60)
    assert [error for *_, error in found] == [None, None]
    assert sum(loads for loads, *_ in found) > 20
    assert len(set().union(*(seen for _, seen, _ in found))) > 5


def test_a_snapshot_in_use_outlives_the_next_build_in_every_thread(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(1)), tmp_path / "index"
    build(documents, target)
    index = Index(target)
    write_files(documents, documents_of(2))
    build(documents, target)
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(version_of(index))
        except Exception as error:
            found.append(error)

    # A thread that has not touched the snapshot before, as the workers of a bot are.
    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    assert found == [1]


@pytest.mark.slow
def test_a_library_follows_every_build_from_many_threads(tmp_path: Path) -> None:
    write_files(tmp_path / "documents", documents_of(0))
    build(tmp_path / "documents", tmp_path / "index")
    library = Library(settings_for(tmp_path))
    stop = threading.Event()
    wrong: list[BaseException] = []
    seen: set[int] = set()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.add(version_of(library.index))
            except BaseException as error:
                wrong.append(error)
                return

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(1, 16):
        write_files(tmp_path / "documents", documents_of(version))
        build(tmp_path / "documents", tmp_path / "index")
        assert version_of(library.index) == version
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert max(seen) >= 1


def test_a_damaged_index_is_rebuilt_when_asked(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(1)), tmp_path / "index"
    build(documents, target)
    before = manifest(target)
    for part in ("text", "vectors", "lexical"):
        name = Index(target).manifest.files[part][0]
        path = next((target / name).glob("*.pos")) if part == "lexical" else target / name
        raw = bytearray(path.read_bytes())
        # The last but one byte of text and vectors is content; opening does not read it.
        raw[0 if part == "lexical" else -2] ^= 0xFF
        path.unlink()
        path.write_bytes(raw)
        assert Index(target).check() != []
        build(documents, target, rebuild=True)
        assert Index(target).check() == []
        assert manifest(target) == before
    (target / MANIFEST).write_text("garbage")
    with pytest.raises(IndexDamaged, match="--rebuild"):
        build(documents, target)
    build(documents, target, rebuild=True)
    assert manifest(target) == before
    assert names(target) <= whole(target)
