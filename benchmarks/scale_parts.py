"""What `benchmarks.scale` measures, each in a process of its own: prints one JSON object.

python -m benchmarks.scale_parts build TEXTS INDEX
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

Figures = dict[str, Any]


def memory() -> dict[str, float]:
    """MB of this process: `anonymous`, which only it can hold, and `mapped`, pages of files that the system may drop."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    found = {name: int(size) / 1e3 for name, size in re.findall(r"(Rss\w+):\s+(\d+) kB", status)}
    return {"anonymous": found["RssAnon"], "mapped": found["RssFile"]}


class Stages:
    """A `Progress` that takes the time and the peak of memory of every stage; between stages is `rest`."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}
        self._name = "rest"
        self._running = True
        threading.Thread(target=self._sample, daemon=True).start()

    @contextmanager
    def __call__(self, stage: str, total: int) -> Iterator[Callable[[int], None]]:
        self._name = stage
        clock, processor = time.perf_counter(), time.process_time()
        yield lambda steps: None
        found = self.found.setdefault(stage, {})
        found["seconds"] = round(found.get("seconds", 0) + time.perf_counter() - clock, 2)
        found["processor_seconds"] = round(found.get("processor_seconds", 0) + time.process_time() - processor, 2)
        self._name = "rest"

    def _sample(self) -> None:
        while self._running:
            found = self.found.setdefault(self._name, {})
            for kind, size in memory().items():
                found[f"{kind}_mb"] = round(max(found.get(f"{kind}_mb", 0), size), 1)
            time.sleep(0.05)


def build(texts: str, index: str) -> Figures:
    """Bring an index in step, with the stand-in for a model."""
    from benchmarks.standin import StandIn
    from qabot.build import build_index
    from qabot.documents import Folder

    encoder, stages = StandIn(), Stages()
    clock, processor = time.perf_counter(), time.process_time()
    report = build_index(Folder(Path(texts)), Path(index), encoder, progress=stages)
    return {
        "seconds": round(time.perf_counter() - clock, 2),
        "processor_seconds": round(time.process_time() - processor, 2),
        "committed": report.committed,
        "changed": len(report.changed),
        "passages": report.passages,
        "embedded": report.embedded,
        "stages": stages.found,
    }


def cold(index: str, question: str) -> Figures:
    """The first question of a process: everything but the models."""
    from benchmarks.standin import StandIn
    from qabot.index import Index
    from qabot.retrieval import retrieve

    candidates = retrieve(Index(Path(index)), StandIn(), question)
    return {"candidates": len(candidates), "processor_seconds": time.process_time()}


def times(call: Callable[[Any], object], inputs: Sequence[Any]) -> dict[str, float]:
    """Milliseconds over `inputs`: p50 and p95 of the clock and of this thread's processor time."""
    spent = []
    for value in inputs:
        clock, processor = time.perf_counter(), time.thread_time()
        call(value)
        spent.append(((time.perf_counter() - clock) * 1e3, (time.thread_time() - processor) * 1e3))
    clocks, processors = zip(*spent, strict=True)
    return {
        "p50_ms": round(median(clocks), 2),
        "p95_ms": round(float(np.quantile(clocks, 0.95)), 2),
        "p50_processor_ms": round(median(processors), 2),
        "p95_processor_ms": round(float(np.quantile(processors, 0.95)), 2),
        "n": len(spent),
    }


def words(index: str, questions: str) -> Figures:
    """The words side, and whole retrieval, at the size of `index`."""
    from benchmarks.standin import StandIn
    from qabot.index import Index
    from qabot.retrieval import retrieve

    asked = json.loads(Path(questions).read_text(encoding="utf-8"))
    opened, encoder = Index(Path(index)), StandIn()

    def nothing_like(word: str) -> list[tuple[str, float]]:
        return []

    for question in asked[:20]:
        opened.lexical.search(question, 100, nothing_like)
        retrieve(opened, encoder, question)
    found = {
        "top 100": times(lambda question: opened.lexical.search(question, 100, nothing_like), asked),
        "top 60": times(lambda question: opened.lexical.search(question, 60, nothing_like), asked),
        "retrieval": times(lambda question: retrieve(opened, encoder, question), asked),
    }
    full = getattr(opened.lexical, "search_all", None)
    if full:
        first, hundred, top = 0.0, 0.0, 0
        for question in asked[:60]:
            exact = [score for _, score in full(question, 100, nothing_like)]
            near = [score for _, score in opened.lexical.search(question, 100, nothing_like)]
            if exact:
                top += 1
                first += sum(score >= exact[:10][-1] - 1e-6 for score in near) >= min(10, len(exact))
                hundred += min(1.0, sum(score >= exact[-1] - 1e-6 for score in near) / len(exact))
        found["of the exact"] = {"first ten whole": first / top, "hundred": hundred / top}
        found["top 100, exact"] = times(lambda question: full(question, 100, nothing_like), asked[:60])
    return {**found, "memory_mb": memory()}


def vectors(source: str, questions: str, work: str, count: str) -> Figures:
    """The vectors side at `count` vectors: those in `source`, each perturbed by the difference of two others."""
    from qabot.lists import Lists, make_lists
    from qabot.vectors import HEAD, VectorFile, head_of

    real, asked = np.load(source), np.load(questions).astype(np.float32)
    total, dimension = int(count), real.shape[1]
    file = Path(work) / f"vectors-{total}.faiss"
    if not file.exists() or file.stat().st_size != HEAD.size + total * dimension * 4:
        chance = np.random.default_rng(3)
        with file.open("wb") as stream:
            stream.write(head_of(total, dimension))
            for first in range(0, total, 50_000):
                size = min(50_000, total - first)
                rows = np.arange(first, first + size) % len(real)
                made = real[rows] + (first >= len(real)) * 0.4 * (
                    real[chance.integers(len(real), size=size)] - real[chance.integers(len(real), size=size)]
                )
                made /= np.linalg.norm(made, axis=1, keepdims=True)
                stream.write(made.astype("<f4").tobytes())
    stored = VectorFile(file, total, dimension)
    clock, processor = time.perf_counter(), time.process_time()
    tuning = make_lists(stored, Path(work) / "lists.faiss")
    made_in = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    lists = Lists(Path(work) / "lists.faiss", tuning.probes)
    found: Figures = {"making lists": made_in, "lists": tuning.lists, "probes": tuning.probes}
    found |= {"recall": tuning.recall, "recall_between": tuning.recall_between}
    exact = [stored.best(question, 200) for question in asked]
    for k in (10, 200):
        near = [lists.best(stored, question, k) for question in asked]
        hits = [
            np.count_nonzero(scores >= best[k - 1] - 1e-5) / k
            for (_, scores), (_, best) in zip(near, exact, strict=True)
        ]
        found[f"recall@{k} of questions"] = round(float(np.mean(hits)), 4)
        found[f"top {k}"] = times(partial(lists.best, stored, k=k), asked)
    found["top 10, exact"] = times(lambda question: stored.best(question, 10), asked[:50])
    return found


def held(index: str, questions: str) -> Figures:
    """Ask, say so, and wait to be measured and told to end."""
    from benchmarks.standin import StandIn
    from qabot.index import Index
    from qabot.retrieval import retrieve

    opened, encoder = Index(Path(index)), StandIn()
    for question in json.loads(Path(questions).read_text(encoding="utf-8"))[:50]:
        retrieve(opened, encoder, question)
    print("ready", flush=True)
    sys.stdin.readline()
    return {}


PARTS: dict[str, Callable[..., Figures]] = {
    "build": build,
    "cold": cold,
    "words": words,
    "vectors": vectors,
    "held": held,
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
