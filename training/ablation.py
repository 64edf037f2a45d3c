"""What each part of the training is worth: small readers trained alike but for one thing, measured on every development set.

    python ablation.py --data DATA --written data --backbone ENCODER --mined mined.pickle --work FOLDER \\
        --seeds FOLDER SEEDS.jsonl --out ablation.json [--shards FOLDER]

Each variant is `train_reader.py` with the same number of steps from the same encoder, labels only. Kinds of data are
taken out one at a time, their place in a step given to the others, so that all variants see about as many windows. The
learning curve trains on a share of the questions. With --shards, one more is `distil.py train` for as many steps: the
teacher's scores beside the labels. Prints a table; a variant that has been measured is not trained again.

Owns: which variants there are. Refuses to know: how a reader is trained (`train_reader`) and measured (`reading`).
"""

import argparse
import json
import pickle
import subprocess
import sys
from pathlib import Path

import torch

from questions import read_collection
from reader import Packer, load_reader
from reading import TorchReads, measure, read
from sets import development

_ALL = ["--asked", "2", "--pairs", "3", "--squad", "2", "--other", "0.4"]
VARIANTS = {
    "all": _ALL,
    "without contrast pairs": ["--asked", "6", "--pairs", "0", "--squad", "3", "--other", "0.4"],
    "without other asked questions": ["--asked", "0", "--pairs", "4", "--squad", "2", "--other", "0.4"],
    "crowd-written questions only": ["--asked", "0", "--pairs", "0", "--squad", "8", "--other", "1"],
    "without crowd-written questions": ["--asked", "3", "--pairs", "4", "--squad", "0", "--other", "0"],
    "without rewritten questions": [*_ALL, "--rewrites", "0"],
    "one negative instead of two": [*_ALL, "--negatives", "1"],
    "an eighth of the questions": [*_ALL, "--share", "0.125"],
    "a fortieth of the questions": [*_ALL, "--share", "0.025"],
}
DISTILLED = "with the teacher's scores"


def command(name: str, args: argparse.Namespace, work: Path) -> list[object]:
    """What trains a variant into the folder `work`."""
    shared = ["--backbone", args.backbone, "--dev-mined", args.mined, "--seeds", *args.seeds, "--work", work]
    shared += ["--steps", args.steps, "--evaluate-every", args.steps + 1, "--windows"]
    here = Path(__file__).parent
    if name == DISTILLED:
        threads = ["--threads", args.threads]
        return [sys.executable, here / "distil.py", *threads, "train", *shared, 4, "--shards", args.shards]
    shared += [2, "--data", args.data, "--mined", args.mined, "--threads", args.threads]
    shared += ["--written", args.written] if args.written else []
    shared += ["--freeze", 0, "--rate", 1e-4, "--decay", args.steps // 2]
    return [sys.executable, here / "train_reader.py", *shared, *VARIANTS[name]]


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--written", type=Path)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--mined", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, nargs=2, required=True)
    parser.add_argument("--steps", type=int, default=160)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=[*VARIANTS, DISTILLED])
    parser.add_argument("--shards", type=Path, help="what the teacher says, as `distil.py score` wrote it")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    mined = pickle.loads(args.mined.read_bytes())
    sets = [read_collection(args.seeds[0], "asked", args.seeds[1]), *development(args.data)]
    found = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.only:
        if name in found or (name == DISTILLED and not args.shards):
            continue
        work = args.work / name.replace(" ", "-").replace("'", "")
        subprocess.run(list(map(str, command(name, args, work))), check=True, stdout=subprocess.DEVNULL)
        reads = TorchReads(load_reader(args.backbone, work / "reader.pt"), Packer(args.backbone))
        rows = {}
        for c in sets:
            asked = list(c.questions)
            rows[c.name] = measure(c, asked, read(reads, c, asked, mined[c.name], args.windows), mined[c.name], 5.0)
        found[name] = rows
        args.out.write_text(json.dumps(found, indent=1))
        cells = []
        for c in sets:
            area = next(str(v)[:5] for k, v in rows[c.name].items() if k.startswith("AUROC hardneg by sentence"))
            cells.append(f"{str(rows[c.name]['hit@1'])[:5]}, {area}")
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
