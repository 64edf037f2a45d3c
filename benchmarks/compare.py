"""qabot beside other ways to the same, on the same documents, in one run.

    python -m benchmarks.compare --rounds 9 --peers PYTHON --questions QUESTIONS [--documents seeds] [--only NAME ...]

PYTHON is an interpreter that has the peers' packages (benchmarks/README.md). Every system runs in processes of its
own; in each round each system has its turn, so that what else the machine does meets them all alike. Measured: building, a
cold question (from the start of the process to its end), a warm one, memory, and, with QUESTIONS, whether a gold quote stands whole
in the first text, or in one of the first three. Prints a table; writes benchmarks/results/compare.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.common import Finished, heading, machine, percentile, spread, timed, versions, write
from qabot.models import LARGE_READER
from qabot.reader import AUTO, chosen_reader

PEERS_FILE = str(Path(__file__).with_name("peers.py"))
ASKED = (
    "who was arrested in Moscow?",
    "when was the Moscow Helsinki Group founded?",
    "what should be done about human rights in Russia?",
)
"""Asked where there is no question file, and by the cold questions of the rounds by turns."""
LARGER = "qabot, larger reader"
OURS = {
    "qabot": {"QABOT_READER": "qabot-reader"},
    LARGER: {"QABOT_READER": "qabot-reader-large"},
    "qabot, no reader": {"QABOT_READER": "none"},
    "qabot, MiniLM, no reader": {"QABOT_READER": "none", "QABOT_MODEL": "all-MiniLM-L6-v2"},
}
BASE = "plain"
"""What ratios are taken against: sentence-transformers and faiss, in one straightforward script."""
WARM_UP = 3


@dataclass
class System:
    """One way to answer, as commands, and what was measured of it."""

    name: str
    store: Path
    build: list[str]
    ask: list[str]
    serve: list[str]
    environment: dict[str, str]
    builds: list[Finished] = field(default_factory=list)
    colds: list[Finished] = field(default_factory=list)
    warms: list[float] = field(default_factory=list)
    warm_memory: list[float] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)


def ours(name: str, documents: Path, work: Path) -> System:
    store = work / re.sub(r"\W+", "-", name)
    python = [sys.executable, "-m"]
    place = ["--documents", str(documents), "--index", str(store)]
    environment = {"QABOT_CONFIG": "", **OURS[name]}
    return System(
        name,
        store,
        [*python, "qabot.cli", "index", *place, "--rebuild"],
        [*python, "qabot.cli", "ask", *place],
        [*python, "benchmarks.compare", "serve", str(documents), str(store)],
        environment,
    )


def theirs(name: str, python: str, documents: Path, work: Path) -> System:
    store = work / re.sub(r"\W+", "-", name)
    call = [python, PEERS_FILE, name]
    return System(
        name,
        store,
        [*call, "build", str(documents), str(store)],
        [*call, "ask", str(store)],
        [*call, "serve", str(store)],
        {},
    )


def serve(documents: Path, index: Path) -> None:
    """The questions on stdin, one JSON string a line -> JSON with the texts and the milliseconds of each."""
    import time

    from qabot.answering import Answerer
    from qabot.config import load_settings

    answerer = Answerer(load_settings(None, {"documents": documents, "index": index}))
    texts, spent = [], []
    for line in sys.stdin:
        begun = time.perf_counter()
        answer = answerer.ask(json.loads(line))
        spent.append((time.perf_counter() - begun) * 1000)
        texts.append([quote.text for quote in answer.quotes])
    print(json.dumps({"texts": texts, "ms": spent}))


def served(system: System, questions: Sequence[str]) -> None:
    """Ask all questions in one process; its times without the first few."""
    with tempfile.TemporaryFile() as lines:
        lines.write("".join(json.dumps(question) + "\n" for question in questions).encode())
        lines.seek(0)
        done = timed(system.serve, system.environment, stdin=lines)
    found = json.loads(done.output.splitlines()[-1])
    system.texts = found["texts"]
    system.warms += found["ms"][WARM_UP:]
    system.warm_memory.append(done.memory_mb)


def run(systems: Sequence[System], questions: Sequence[str], rounds: int) -> None:
    """One round to fill the caches of files and models, then those that count."""
    import shutil

    for number in range(rounds + 1):
        for system in systems:
            shutil.rmtree(system.store, ignore_errors=True)
            built = timed(system.build, system.environment)
            cold = timed([*system.ask, ASKED[number % len(ASKED)]], system.environment, allowed=(0, 1))
            if number:
                system.builds.append(built)
                system.colds.append(cold)
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    for system in systems:
        served(system, questions)
        print(f"warm: {system.name}", file=sys.stderr, flush=True)


def gold_of(file: Path) -> list[tuple[str, list[str]]]:
    """Answerable questions in the language of the documents, with the quotes any of which answers."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    return [
        (row["question"], [gold["quote"] for gold in row["gold"]])
        for row in rows
        if row.get("answerable", True) and row.get("kind") != "foreign"
    ]


def whole(gold: Sequence[str], texts: Sequence[str]) -> bool:
    """Whether some gold quote stands whole in one of the texts; white space counts the same."""
    plain = [" ".join(text.split()) for text in texts]
    return any(" ".join(quote.split()) in text for quote in gold for text in plain)


def summary(system: System, base: System | None, golds: Sequence[Sequence[str]]) -> dict[str, Any]:
    cold = spread([done.seconds for done in system.colds])
    row: dict[str, Any] = {
        "name": system.name,
        "build_s": spread([done.seconds for done in system.builds]),
        "cold_s": cold,
        "warm_ms": {**spread(system.warms), "p95": percentile(system.warms, 0.95)},
        "cold_memory_mb": spread([done.memory_mb for done in system.colds]),
        "warm_memory_mb": spread(system.warm_memory),
    }
    if base is not None:
        row["cold_ratio"] = spread([done.seconds for done in base.colds])["median"] / cold["median"]
    # An untrained reader's order says nothing.
    if golds and system.name != "plain + reader":
        pairs = list(zip(golds, system.texts, strict=True))
        row["first"] = sum(whole(gold, texts[:1]) for gold, texts in pairs) / len(pairs)
        row["first_three"] = sum(whole(gold, texts[:3]) for gold, texts in pairs) / len(pairs)
    return row


def larger() -> bool:
    """Whether the larger reader can be measured; says so if not."""
    found = chosen_reader(AUTO) == LARGE_READER
    if not found:
        print(f'{LARGE_READER} is left out: its public weights are not installed (README.md, "Two readers").')
    return found


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| | build, s | cold question, s (quartiles) | slower than qabot | warm p50 / p95, ms | memory, MB | gold in first / three |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    best = rows[0]["cold_s"]["median"]
    for row in rows:
        cold, warm = row["cold_s"], row["warm_ms"]
        quality = f"{row['first']:.2f} / {row['first_three']:.2f}" if "first" in row else "-"
        lines.append(
            f"| {row['name']} | {row['build_s']['median']:.2f} | {cold['median']:.2f} ({cold['q1']:.2f} to {cold['q3']:.2f}) "
            f"| {cold['median'] / best:.1f} x | {warm['median']:.0f} / {warm['p95']:.0f} "
            f"| {row['cold_memory_mb']['median']:.0f} | {quality} |"
        )
    return lines


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        serve(Path(sys.argv[2]), Path(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", metavar="PYTHON", help="an interpreter with the peers' packages")
    parser.add_argument("--questions", type=Path)
    parser.add_argument("--documents", type=Path, default=Path("seeds"))
    parser.add_argument("--only", nargs="*", help="names of the systems to run")
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "versions": versions(), "rounds": args.rounds}
    golds = gold_of(args.questions) if args.questions else []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        names = [name for name in OURS if name in (args.only or OURS)]
        systems = [ours(name, args.documents, work) for name in names if name != LARGER or larger()]
        if args.peers:
            about = json.loads(timed([args.peers, PEERS_FILE, "versions"]).output)
            result["peers"] = about["versions"]
            systems += [theirs(name, args.peers, args.documents, work) for name in about["peers"]]
        if args.only:
            systems = [system for system in systems if system.name in args.only]
        run(systems, [question for question, _ in golds] or list(ASKED) * 5, args.rounds)
        base = next((system for system in systems if system.name == BASE), None)
        result["questions"] = len(golds)
        result["systems"] = [summary(system, base, [gold for _, gold in golds]) for system in systems]
    print(heading(result))
    if args.peers:
        print("peers: " + ", ".join(f"{name} {version}" for name, version in result["peers"].items()))
    print(f"n = {args.rounds} builds and cold questions each; {len(golds)} questions\n")
    print("\n".join(table(result["systems"])))
    write("compare", result)


if __name__ == "__main__":
    main()
