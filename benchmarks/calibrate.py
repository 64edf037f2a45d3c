"""Fits a calibration that comes with qabot, on question sets over several folders.

    python benchmarks/calibrate.py DATA --reader qabot-reader --signals reader_sum --out qabot/data/calibrations/qabot-reader.json
    python benchmarks/calibrate.py DATA --reader qabot-reader-large --signals reader_sum \\
        --out qabot/data/calibrations/qabot-reader-large.json
    python benchmarks/calibrate.py DATA --reader none --out qabot/data/calibrations/none.json

DATA holds `asked_dev` and `pairs_dev`, each with folders of `corpus/` and `questions.jsonl`: sets that no model was
trained on. `qabot calibrate` does the same for one folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from qabot.config import load_settings
from qabot.evaluation.calibrate import calibrate, lines
from qabot.evaluation.run import evaluate
from qabot.indexing import reindex
from qabot.reader import load_reader
from qabot.refusal import calibration_recipe

SETS = ("asked_dev/addresses_dev", "asked_dev/regulation_dev", "pairs_dev/papers_dev")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--reader", required=True, help="as in the configuration")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--extra", type=Path, nargs=2, action="append", default=[], metavar=("DOCUMENTS", "QUESTIONS"))
    parser.add_argument("--method", default="gated")
    parser.add_argument("--signals", default="", help="names with commas between; all by default")
    args = parser.parse_args()
    folders = [(args.data / name / "corpus", args.data / name / "questions.jsonl") for name in SETS]
    runs = []
    with tempfile.TemporaryDirectory() as work:
        for number, (documents, questions) in enumerate([*folders, *args.extra]):
            flags = {"documents": documents, "index": Path(work) / str(number), "reader": args.reader}
            settings = load_settings(args.config, flags).model_copy(update={"calibration": None})
            reindex(settings)
            runs.append(evaluate(settings, [questions]))
    recipe = calibration_recipe(str(runs[0].recipe["encoder"]), load_reader(settings.reader))
    use = tuple(args.signals.split(",")) if args.signals else ()
    made = calibrate(runs, recipe, method=args.method, use=use)
    args.out.write_text(made.as_json(), encoding="utf-8")
    print("\n".join(lines(made)))


if __name__ == "__main__":
    main()
