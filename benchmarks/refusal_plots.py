"""How far refusals can be trusted, as two plots: risk over coverage, and reliability of the probabilities.

    python -m benchmarks.refusal_plots seeds QUESTIONS [--readers none qabot-reader qabot-reader-large]

Asks every question with every reader at its shipped calibration, and writes docs/pictures/risk.svg and reliability.svg.
QUESTIONS should be those that no calibration was fitted on.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np

from qabot.config import load_settings
from qabot.evaluation import metrics
from qabot.evaluation.plots import Series, chart
from qabot.evaluation.run import evaluate
from qabot.indexing import reindex
from qabot.models import LARGE_READER
from qabot.reader import NO_READER, OWN_READER

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)
COLOURS = ("#6b7280", "#2563eb", "#d97706")
STYLE = "svg{background:#fff}text{font:12px sans-serif;fill:#374151}.grid{stroke:#e5e7eb}.middle{text-anchor:middle}.end{text-anchor:end}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("documents", type=Path)
    parser.add_argument("questions", type=Path)
    parser.add_argument("--readers", nargs="+", default=[NO_READER, OWN_READER, LARGE_READER])
    args = parser.parse_args()
    risks, trusted = [], []
    with tempfile.TemporaryDirectory() as index:
        for number, reader in enumerate(args.readers):
            settings = load_settings(None, {"documents": args.documents, "index": index, "reader": reader})
            reindex(settings)
            rows = [row for row in evaluate(settings, [args.questions]).rows if row.kind != "foreign"]
            confidence = np.array([row.confidence for row in rows])
            right = np.array([float(row.right) for row in rows])
            answerable = np.array([float(row.answerable) for row in rows])
            risks.append(Series(reader, f"s{number}", line=metrics.risk_coverage(confidence, right)))
            bins = metrics.reliability(confidence, answerable)
            dots = [(said, true, 3.0, f"{count} questions") for said, true, count in bins]
            trusted.append(Series(reader, f"s{number}", line=[(said, true) for said, true, _ in bins], dots=dots))
    level = Series("", "ideal", line=[(0, 0), (1, 1)])
    _write(
        "risk",
        chart("Risk and coverage", "share of questions answered", "share of those wrong", FIFTHS, risks),
        args.readers,
    )
    _write(
        "reliability",
        chart("Reliability", "probability said", "share answerable", FIFTHS, [level, *trusted]),
        args.readers,
    )


def _write(name: str, figure: str, readers: list[str]) -> None:
    """The picture of a figure, with its own colours and legend."""
    found = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    if found is None:
        raise ValueError("the chart holds no svg")
    colours = "".join(
        f"polyline.s{n}{{fill:none;stroke:{COLOURS[n]};stroke-width:2}}circle.s{n}{{fill:{COLOURS[n]}}}"
        for n in range(len(readers))
    )
    style = f"<style>{STYLE}{colours}polyline.ideal{{fill:none;stroke:#9ca3af;stroke-dasharray:4}}</style>"
    legend = "".join(
        f'<text x="60" y="{28 + 16 * n}" style="fill:{COLOURS[n]}">{one}</text>' for n, one in enumerate(readers)
    )
    svg = found[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" width="570" height="405" ', 1)
    svg = svg.replace(">", f">{style}", 1).replace("</svg>", f"{legend}</svg>")
    (PICTURES / f"{name}.svg").write_text(svg + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
