"""Measures a reader on the development sets.

    python evaluate_reader.py --data DATA --seeds FOLDER SEEDS.jsonl --mined candidates.pickle \\
        --backbone MODEL --weights reader.pt --readings readings.pickle --out figures.json

For each set: the retriever alone, the reader alone, and the reader's logit plus a weight times the
retriever's cosine; then refusal by a logistic mix of signals that is fitted on the *other* sets.
Readings are kept, so that weights and thresholds can be looked at again without reading again.
"""

import argparse
import json
import pickle
import re
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from export_onnx import OnnxReads
from measures import auroc, auroc_interval, share
from questions import Collection, Question, read_collection
from reader import Packer, load_reader
from reading import Candidate, Candidates, Reading, Reads, TorchReads, measure, ranking, read, spans_of
from sets import development

SIGNALS = ("passage", "sentence", "margin", "cosine", "cover", "fused")


def without_reader(c: Collection, candidates: Candidates, windows: int) -> dict[str, list[Reading]]:
    """Readings that only repeat the retriever's cosine: the baseline, through the same code."""
    found: dict[str, list[Reading]] = {}
    for q in c.questions:
        known = {(n, i): s for n, i, s in candidates[q.id]}
        found[q.id] = []
        for (name, first, last), keep in spans_of(c, candidates[q.id], windows):
            row = tuple(known.get((name, i)) for i in range(first, last + 1))
            found[q.id].append(Reading((name, first, last), row, known[(name, first + keep)]))
    return found


def signals(c: Collection, q: Question, readings: list[Reading], candidates: list[Candidate]) -> list[float]:
    """One row of SIGNALS for a question."""
    ranked = ranking(readings, candidates, 0.0)
    fused = ranking(readings, candidates, 5.0)
    best = max(readings, key=lambda r: r.passage)
    rival = [s for n, i, s in ranked[1:] if (n, i) != ranked[0][:2]]
    words = {w for w in re.findall(r"\w+", q.text.lower()) if len(w) > 3}
    text = c.texts[best.span[0]].window_text(best.span[1], best.span[2]).lower()
    cover = sum(w[:5] in text for w in words) / max(1, len(words))
    return [
        best.passage,
        ranked[0][2],
        ranked[0][2] - (rival[0] if rival else ranked[0][2] - 10),
        candidates[0][2],
        cover,
        fused[0][2],
    ]


def refusal(
    rows: dict[str, list[tuple[Question, list[float]]]], answered: float = 0.85
) -> dict[str, dict[str, object]]:
    """For every set, a logistic mix fitted on the others; figures with 95 % intervals.

    The threshold is the one that answers a share `answered` of the answerable of the fitting sets.
    """
    result: dict[str, dict[str, object]] = {}
    for name, own in rows.items():
        rest = [r for other, found in rows.items() if other != name for r in found]
        mix = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, class_weight="balanced"))
        mix.fit([x for _, x in rest], [q.answerable for q, _ in rest])
        own = [r for r in own if r[0].kind != "foreign"]
        chance = mix.predict_proba([x for _, x in own])[:, 1]
        fitted = mix.predict_proba([x for q, x in rest if q.answerable])[:, 1]
        threshold = float(np.quantile(fitted, 1 - answered))
        split: dict[str, list[float]] = {"answerable": [], "offtopic": [], "hardneg": []}
        for (q, _), p in zip(own, chance, strict=True):
            split["answerable" if q.answerable else q.kind].append(float(p))
        figures: dict[str, object] = {}
        groups = {
            "offtopic": split["offtopic"],
            "hardneg": split["hardneg"],
            "all": split["offtopic"] + split["hardneg"],
        }
        for kind, scores in groups.items():
            if scores:
                low, high = auroc_interval(split["answerable"], scores)
                area = auroc(split["answerable"], scores)
                figures[f"AUROC {kind} (n={len(scores)})"] = f"{area:.3f} [{low:.2f}, {high:.2f}]"
        refused = [p < threshold for p in groups["all"]]
        lost = [p < threshold for p in split["answerable"]]
        figures["answerable answered"] = share([not x for x in lost])
        figures["refusal recall"] = share(refused)
        figures["refusal precision"] = share([True] * sum(refused) + [False] * sum(lost))
        result[name] = figures
    return result


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, nargs=2, required=True)
    parser.add_argument("--mined", type=Path, required=True)
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path, help="reader.pt or a checkpoint")
    parser.add_argument("--onnx", type=Path, help="an exported reader instead of --weights")
    parser.add_argument("--layers", type=int)
    parser.add_argument("--windows", type=int, default=14)
    parser.add_argument("--cosine", type=float, nargs="+", default=[0.0, 5.0, 10.0])
    parser.add_argument("--readings", type=Path, required=True, help="kept here, reused when there")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="*", help="names of collections")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    mined = pickle.loads(args.mined.read_bytes())
    kept = pickle.loads(args.readings.read_bytes()) if args.readings.exists() else {}
    reads: Reads | None = None
    collections = [read_collection(args.seeds[0], "asked", args.seeds[1]), *development(args.data)]
    collections = [c for c in collections if not args.only or c.name in args.only]
    figures: dict[str, object] = {}
    rows: dict[str, list[tuple[Question, list[float]]]] = {}
    for c in collections:
        if c.name not in kept:
            if reads is None:
                packer = Packer(args.backbone)
                if args.onnx:
                    reads = OnnxReads(args.onnx, packer, args.threads)
                else:
                    reads = TorchReads(load_reader(args.backbone, args.weights, args.layers), packer)
            kept[c.name] = read(reads, c, list(c.questions), mined[c.name], args.windows)
            args.readings.write_bytes(pickle.dumps(kept))
        asked = list(c.questions)
        alone = without_reader(c, mined[c.name], args.windows)
        table = {"retriever": measure(c, asked, alone, mined[c.name])}
        for weight in args.cosine:
            table[f"reader + {weight:g} x cosine"] = measure(c, asked, kept[c.name], mined[c.name], weight)
        figures[c.name] = table
        rows[c.name] = [(q, signals(c, q, kept[c.name][q.id], mined[c.name][q.id])) for q in asked]
        print(c.name, json.dumps(table, indent=1), flush=True)
    if len(rows) > 1:
        figures["refusal by mixed signals, fitted on the other sets"] = mixed = refusal(rows)
        print(json.dumps(mixed, indent=1))
    args.out.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
