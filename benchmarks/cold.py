"""Where the time of a cold question goes.

    python -m benchmarks.cold [--documents seeds] [--rounds 9] [--reader NAME]

Two tables: the stages of one question, in the order in which `qabot ask` has them but one after the other (in earnest, models load
in a thread beside the imports), and what importing each package takes by itself. Medians of processes of their own, with the least.
Writes benchmarks/results/cold.json.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import heading, machine, spread, timed, versions, write

QUESTION = "who was arrested in Moscow?"
STAGES = """
import json, sys, time
laps, last = {}, time.perf_counter()
def lap(name):
    global last
    now = time.perf_counter()
    laps[name], last = (now - last) * 1000, time.perf_counter()
documents, index, question, reader = sys.argv[1:]
import click, qabot.cli
lap("import: command line (click)")
from qabot.config import load_settings
settings = load_settings(None, {"documents": documents, "index": index, "reader": reader})
lap("import: settings (pydantic)")
import numpy
lap("import: numpy")
import onnxruntime, tokenizers
lap("import: onnxruntime, tokenizers")
import faiss
lap("import: faiss")
import qabot.answering, qabot.loading
lap("import: the rest (tantivy, rapidfuzz, sqlite3, qabot)")
import qabot.render
lap("import: rich")
from qabot.models import own_encoder
own_encoder()
lap("load: tokenizer, encoder")
from qabot.reader import load_reader
load_reader(settings.reader)
lap("load: reader")
from qabot.index import Index
Index(settings.index)
lap("load: index")
answerer = qabot.answering.Answerer(settings)
last = time.perf_counter()
answer = answerer.ask(question)
last = time.perf_counter()
for stage, spent in answer.timings_ms.items():
    laps[f"ask: {stage}"] = spent
print(json.dumps(laps))
"""


def imports(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Milliseconds that the modules of each top-level package take by themselves."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    found: dict[str, float] = collections.defaultdict(float)
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and "self [us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            # While another thread imports, too, a module's time may come out below nothing.
            found[name.strip().partition(".")[0]] += max(int(own), 0) / 1000
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--documents", default="seeds")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--reader", default="qabot-reader", help="as in the configuration")
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "versions": versions(), "reader": args.reader}
    stages: dict[str, list[float]] = {}
    packages: dict[str, list[float]] = {}
    whole: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        index = str(Path(folder) / "index")
        place = ["--documents", args.documents, "--index", index]
        environment = {"QABOT_READER": args.reader}
        timed([sys.executable, "-m", "qabot.cli", "index", *place], environment)
        ask = ["-m", "qabot.cli", "ask", *place, QUESTION]
        for number in range(args.rounds + 1):
            laps = json.loads(
                timed([sys.executable, "-c", STAGES, args.documents, index, QUESTION, args.reader]).output
            )
            own = imports([sys.executable, "-X", "importtime", *ask], environment)
            seconds = timed([sys.executable, *ask], environment, allowed=(0, 1)).seconds
            if number:
                whole.append(seconds * 1000)
                for kept, found in ((stages, laps), (packages, own)):
                    for name, spent in found.items():
                        kept.setdefault(name, []).append(spent)
    result |= {
        "whole_ms": spread(whole),
        "stages_ms": {name: spread(spent) for name, spent in stages.items()},
        "imports_ms": {name: spread(spent) for name, spent in packages.items() if max(spent) >= 1},
    }
    print(heading(result))
    print(
        f"n = {args.rounds}; a cold question: {result['whole_ms']['median']:.0f} ms\n\n| stage | ms | least |\n| --- | --- | --- |"
    )
    for name, found in result["stages_ms"].items():
        print(f"| {name} | {found['median']:.0f} | {found['min']:.0f} |")
    print("\n| package, by itself | ms | least |\n| --- | --- | --- |")
    for name, found in sorted(result["imports_ms"].items(), key=lambda item: -item[1]["median"])[:16]:
        print(f"| {name} | {found['median']:.0f} | {found['min']:.0f} |")
    write("cold", result)


if __name__ == "__main__":
    main()
