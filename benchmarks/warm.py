"""A process that is up and answers: times, throughput, and whether its event loop keeps its time.

    python -m benchmarks.warm --questions QUESTIONS [--documents seeds] [--rounds 2] [--together 8]

Asks from worker threads beside a running event loop, as the bot does: first one question after the other, then so many
together; with the reader and without. The loop sleeps 5 ms at a time and notes how late it wakes. Prints a table; writes
benchmarks/results/warm.json.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import heading, machine, percentile, spread, timed, versions, write
from benchmarks.compare import ASKED, larger
from qabot.models import LARGE_READER

READERS = ("qabot-reader", LARGE_READER, "none")
TICK = 0.005
WARM_UP = 5


async def late(stopped: asyncio.Event) -> list[float]:
    """Milliseconds by which each sleep of `TICK` was too long."""
    found = []
    while not stopped.is_set():
        begun = time.perf_counter()
        await asyncio.sleep(TICK)
        found.append((time.perf_counter() - begun - TICK) * 1000)
    return found


async def load(answerer: Any, questions: Sequence[str], together: int) -> dict[str, Any]:
    """Ask the questions, `together` at a time."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    spent: list[float] = []
    with ThreadPoolExecutor(together) as pool:

        async def ask(some: Sequence[str]) -> None:
            for question in some:
                begun = time.perf_counter()
                await loop.run_in_executor(pool, answerer.ask, question)
                spent.append((time.perf_counter() - begun) * 1000)

        watch = asyncio.create_task(late(stopped))
        begun, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(ask(questions[first::together]) for first in range(together)))
        seconds, processor = time.perf_counter() - begun, time.process_time() - used
        stopped.set()
        delays = await watch
    return {
        "together": together,
        "ms": {**spread(spent), "p95": percentile(spent, 0.95)},
        "per_s": len(spent) / seconds,
        "processor_ms": processor * 1000 / len(spent),
        "loop_late_ms": {**spread(delays), "p95": percentile(delays, 0.95), "p99": percentile(delays, 0.99)},
    }


def worker(documents: Path, index: Path, reader: str, together: int) -> None:
    """The questions on stdin (a JSON list) -> JSON."""
    from qabot.answering import Answerer
    from qabot.config import load_settings

    answerer = Answerer(load_settings(None, {"documents": documents, "index": index, "reader": reader}))
    questions = json.loads(sys.stdin.read())
    for question in questions[:WARM_UP]:
        answerer.ask(question)
    runs = [asyncio.run(load(answerer, questions, number)) for number in (1, together)]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"reader": reader, "runs": runs, "memory_mb": memory}))


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        worker(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--documents", type=Path, default=Path("seeds"))
    parser.add_argument("--rounds", type=int, default=2, help="how often each question is asked")
    parser.add_argument("--together", type=int, default=8)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "versions": versions(), "readers": []}
    # Those without an answer, too: a reader that stops when it is sure takes longest over them.
    lines = args.questions.read_text(encoding="utf-8").splitlines() if args.questions else []
    questions = [json.loads(line)["question"] for line in lines if line.strip()] or list(ASKED) * 10
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        place = ["--documents", str(args.documents), "--index", index]
        timed([sys.executable, "-m", "qabot.cli", "index", *place])
        for reader in READERS:
            if reader == LARGE_READER and not larger():
                continue
            with tempfile.TemporaryFile() as given:
                given.write(json.dumps(questions * args.rounds).encode())
                given.seek(0)
                command = [sys.executable, "-m", "benchmarks.warm", "worker", str(args.documents), index, reader]
                done = timed([*command, str(args.together)], stdin=given)
            result["readers"].append(json.loads(done.output))
    print(heading(result))
    print(f"{len(questions)} questions, each asked {args.rounds} times\n")
    print(
        "| reader | together | p50 / p95, ms | questions a second | event loop late p50 / p99 / most, ms | memory, MB |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for found in result["readers"]:
        for run in found["runs"]:
            ms, loop = run["ms"], run["loop_late_ms"]
            print(
                f"| {found['reader']} | {run['together']} | {ms['median']:.0f} / {ms['p95']:.0f} | {run['per_s']:.1f} "
                f"| {loop['median']:.1f} / {loop['p99']:.1f} / {loop['max']:.1f} | {found['memory_mb']:.0f} |"
            )
    write("warm", result)


if __name__ == "__main__":
    main()
