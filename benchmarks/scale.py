"""qabot at a million passages: building, small changes, the first question, search, memory.

    python -m benchmarks.texts TEXTS FOLDER [FOLDER ...]        100,000 documents of real text, perturbed
    python -m benchmarks.scale TEXTS WORK --questions FILE [FILE ...] [--vectors FILE.npy --asked FILE.npy]
    python -m benchmarks.scale TEXTS WORK --memory 50 200 1000  peaks of memory while building, by MB of text

Everything runs with a stand-in for the embedding model (`benchmarks.standin`), so that what is measured is all but the
model. Each figure is taken in a process of its own. Prints JSON, and keeps it in WORK/scale.json, step by step: what is
there already isn't done again, so a run that was stopped goes on. --questions: files of JSON lines with "question".
--vectors, --asked: real vectors, and real questions' vectors, for the search among 1,000,000.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from qabot.snapshot import parse_manifest, read_manifest

Figures = dict[str, Any]
SMALL_DOCUMENTS = 20
COLD_ROUNDS = 9
VECTORS = 1_000_000
PROCESSES = (1, 4)


def part(*arguments: str | Path) -> Figures:
    """One part in a process of its own, with what the whole process took."""
    before, clock = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.scale_parts", *map(str, arguments)]
    process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found: Figures = json.loads(process.stdout)
    return {**found, "process_seconds": round(time.perf_counter() - clock, 3), "process_processor": round(spent, 3)}


class Record:
    """The figures so far, in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.found: Figures = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def step(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure unless that was done."""
        if name not in self.found:
            print(f"{name} ...", file=sys.stderr, flush=True)
            self.found[name] = measure()
            self._file.write_text(json.dumps(self.found, indent=2), encoding="utf-8")


def machine() -> Figures:
    """Where this runs, and how busy it is."""
    from importlib.metadata import version

    names = ("faiss-cpu", "numpy", "tantivy")
    return {
        "processors": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        **{name: version(name) for name in names},
    }


def sizes(index: Path) -> Figures:
    """MB of each part of an index, and what its manifest says of search."""
    manifest = parse_manifest(index, read_manifest(index))
    parts = {name: round(size / 1e6, 1) for name, (_, _, size) in manifest.files.items()}
    counts = {"documents": manifest.documents, "passages": manifest.passages, "vectors": manifest.vectors}
    return {"mb": parts, **counts, "search": manifest.search, "delta": manifest.delta}


def small_changes(texts: Path, index: Path) -> Figures:
    """Nothing changed, then one document, twice: the first run after a build knows the files too little to trust them."""
    changed = next(file for file in sorted(texts.rglob("*.txt"))[77:])
    found: Figures = {"nothing changed, files read": part("build", texts, index)}
    found["nothing changed"] = part("build", texts, index)
    before = changed.read_bytes()
    for round_number in range(3):
        changed.write_bytes(before + f"\n\nA sentence was added, for the {round_number + 1}. time.\n".encode())
        found[f"one document changed ({round_number + 1})"] = part("build", texts, index)
    changed.write_bytes(before)
    return found


def cold(small: Path, large: Path, question: str) -> Figures:
    """First questions in turn, small and large."""
    spent: dict[str, list[Figures]] = {"small": [], "large": []}
    for _ in range(COLD_ROUNDS):
        for name, index in (("small", small), ("large", large)):
            spent[name].append(part("cold", index, question))
    found: Figures = {}
    for key in ("process_seconds", "process_processor"):
        medians = {name: round(median(run[key] for run in runs), 3) for name, runs in spent.items()}
        found[key] = {**medians, "ratio": round(medians["large"] / medians["small"], 2)}
    return found


def shared(index: Path, questions: Path) -> Figures:
    """MB that 1 and 4 processes take together (proportional set size), after 50 questions each."""
    found: Figures = {}
    for count in PROCESSES:
        command = [sys.executable, "-m", "benchmarks.scale_parts", "held", str(index), str(questions)]
        processes = [
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
        ]
        for process in processes:
            assert process.stdout is not None
            process.stdout.readline()
        total = 0
        for process in processes:
            rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="utf-8")
            total += sum(int(size) for size in re.findall(r"^Pss:\s+(\d+) kB", rollup, re.MULTILINE))
        for process in processes:
            process.communicate("\n")
        found[str(count)] = round(total / 1e3, 1)
    return found


def of_size(texts: Path, target: Path, megabytes: int) -> Path:
    """A folder with that much of the texts, by links; where they are too few, all of them again with a line put before."""
    if target.exists():
        return target
    wanted, made, again = megabytes * 1_000_000, 0, 0
    temporary = target.with_suffix(".new")
    shutil.rmtree(temporary, ignore_errors=True)
    files = sorted(texts.rglob("*.txt"))
    while made < wanted:
        for file in files:
            if made >= wanted:
                break
            copy = temporary / str(again) / file.parent.name / file.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if again:
                # Every sentence is new, so that texts that were met before aren't recognised.
                text = re.sub(r"(?<=[.!?]) ", f" {again} ", file.read_text(encoding="utf-8"))
                made += copy.write_text(f"{again} {text}", encoding="utf-8")
            else:
                os.link(file, copy)
                made += file.stat().st_size
        again += 1
    temporary.rename(target)
    return target


def in_memory(texts: Path, work: Path, megabytes: int) -> Figures:
    """Build an index of that much text; the peaks of memory by stage."""
    index = work / f"index-{megabytes}"
    shutil.rmtree(index, ignore_errors=True)
    found = part("build", of_size(texts, work / f"texts-{megabytes}", megabytes), index)
    found["index"] = sizes(index)
    shutil.rmtree(index)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("texts", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--questions", type=Path, nargs="+", default=[])
    parser.add_argument("--vectors", type=Path)
    parser.add_argument("--asked", type=Path)
    parser.add_argument("--memory", type=int, nargs="+", metavar="MB")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    record = Record(args.work / "scale.json")
    record.step("machine", machine)
    if args.memory:
        for size in args.memory:
            record.step(f"memory at {size} MB of text", partial(in_memory, args.texts, args.work, size))
    else:
        measure(args, record)
    print(json.dumps(record.found, indent=2))


def measure(args: argparse.Namespace, record: Record) -> None:
    small, large = args.work / "small", args.work / "large"
    lines = [line for file in args.questions for line in file.read_text(encoding="utf-8").splitlines()]
    asked = [str(json.loads(line)["question"]) for line in lines][:: max(1, len(lines) // 200)]
    questions = args.work / "questions.json"
    questions.write_text(json.dumps(asked), encoding="utf-8")
    if args.vectors:
        record.step("search", lambda: part("vectors", args.vectors, args.asked, args.work, str(VECTORS)))
    record.step("build", lambda: part("build", args.texts, large))
    record.step("index", lambda: sizes(large))
    if not small.exists():
        for file in sorted(args.texts.rglob("*.txt"))[:SMALL_DOCUMENTS]:
            (args.work / "few").mkdir(exist_ok=True)
            shutil.copy(file, args.work / "few")
        part("build", args.work / "few", small)
    record.step("small index", lambda: sizes(small))
    record.step("cold", lambda: cold(small, large, asked[0]))
    record.step("words and retrieval", lambda: part("words", large, questions))
    record.step("memory of processes, small", lambda: shared(small, questions))
    record.step("memory of processes", lambda: shared(large, questions))
    record.step("small changes", lambda: small_changes(args.texts, large))
    record.step("index with a delta", lambda: sizes(large))
    record.step("cold, with a delta", lambda: cold(small, large, asked[0]))


if __name__ == "__main__":
    main()
