"""What each stage of retrieval is worth: the same questions with one stage at a time taken out.

    python benchmarks/ablation.py DOCUMENTS QUESTIONS [DOCUMENTS QUESTIONS ...]

Prints, for each pair of a folder and a question file, hit@1, hit@3, candidate recall@30, sentence hit@1 and the share
with a first quote from the right paragraph (where the file names it), with 95 % intervals for hit@1; and the median
milliseconds of the stages.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from qabot.config import load_settings
from qabot.evaluation.metrics import measure
from qabot.evaluation.run import evaluate
from qabot.indexing import reindex

BASE = "all-MiniLM-L6-v2"
OWN = "qabot-minilm"
FIGURES = ("hit@1", "hit@3", "candidate_recall@30", "sentence_hit@1", "context_hit@1")
Variant = tuple[str, str, str, dict[str, Any]]
"""(label, encoder, reader, attribute of a module -> value)."""
VARIANTS: tuple[Variant, ...] = (
    ("sentence cosine alone, base encoder", BASE, "none", {
        "qabot.retrieval.LEXICAL_WEIGHT": 0.0,
        "qabot.retrieval.FRAGMENT_PENALTY": 0.0,
        "qabot.retrieval.FURNITURE_PENALTY": 0.0,
        "qabot.index.Index.words_like": lambda self, word: [],
        "qabot.retrieval.dense_scores": lambda index, question, passages: [
            float(index.vectors([stored.rows[0]])[0] @ question) for stored in passages
        ],
    }),
    ("all stages, base encoder", BASE, "none", {}),
    ("all stages, own encoder", OWN, "none", {}),
    ("... without words (dense alone)", OWN, "none", {"qabot.retrieval.LEXICAL_WEIGHT": 0.0}),
    ("... without spelling", OWN, "none", {"qabot.index.Index.words_like": lambda self, word: []}),
    ("... without the penalties", OWN, "none", {
        "qabot.retrieval.FRAGMENT_PENALTY": 0.0,
        "qabot.retrieval.FURNITURE_PENALTY": 0.0,
    }),
    ("all stages, own encoder and reader", OWN, "qabot-reader", {}),
)  # fmt: skip


@contextmanager
def changed(attributes: dict[str, Any]) -> Iterator[None]:
    """The attributes have other values inside."""
    with ExitStack() as stack:
        for name, value in attributes.items():
            stack.enter_context(patch(name, value))
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pairs", type=Path, nargs="+")
    parser.add_argument("--only", help="variants whose label contains this")
    args = parser.parse_args()
    pairs = list(zip(args.pairs[::2], args.pairs[1::2], strict=True))
    with tempfile.TemporaryDirectory() as work:
        for number, (documents, questions) in enumerate(pairs):
            print(f"\n{questions}\n| variant | {' | '.join(FIGURES)} | median ms |\n{'| --- ' * (len(FIGURES) + 2)}|")
            for label, model, reader, attributes in VARIANTS:
                if args.only and args.only not in label:
                    continue
                index = Path(work) / f"{number}-{model}"
                settings = load_settings(
                    None, {"documents": documents, "index": index, "model": model, "reader": reader}
                )
                reindex(settings)
                with changed(attributes):
                    run = evaluate(settings, [questions])
                rows = [result.row for result in run.results if result.question.kind != "foreign"]
                found = measure(rows)
                cells = []
                for name in FIGURES:
                    estimate = found.get(name)
                    cells.append("-" if estimate is None or estimate.value is None else f"{estimate.value:.3f}")
                    if name == "hit@1" and estimate is not None and cells[-1] != "-":
                        cells[-1] += f" [{estimate.low:.2f}, {estimate.high:.2f}]"
                spent = median(sum(result.answer.timings_ms.values()) for result in run.results)
                print(f"| {label} | {' | '.join(cells)} | {spent:.1f} |", flush=True)


if __name__ == "__main__":
    main()
