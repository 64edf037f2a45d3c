"""Measures a sentence encoder before and after tuning.

    python evaluate_encoder.py --data DATA --seeds FOLDER SEEDS.jsonl --models A B --out figures.json

Sentences are ranked by the mean cosine of the sentence and of the 60-word window around it;
passages are such windows, each passage starting from the best sentence no earlier passage holds.
xquad_en: 240 paragraphs. scifact: 5,183 abstracts, nDCG@10. Foreign questions are counted apart.
The first model is the baseline: the others get paired differences to it (bootstrap over questions).
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from measures import auroc, auroc_interval, mean_interval, ndcg10, share
from mine import WINDOW_WORDS, embed, rank
from questions import Collection, read_collection
from sets import development
from texts import window


def passages(c: Collection, ranked: list[tuple[str, int, float]], count: int) -> list[tuple[str, int, int]]:
    """The first `count` windows, none starting from a sentence that an earlier one holds."""
    found: list[tuple[str, int, int]] = []
    for name, i, _ in ranked:
        if not any(n == name and a <= i <= b for n, a, b in found):
            found.append((name, *window(c.texts[name], i, WINDOW_WORDS)))
            if len(found) == count:
                break
    return found


Values = dict[str, list[float]]


def ask(c: Collection, model: SentenceTransformer, scales: list[str], values: Values) -> dict[str, object]:
    """hit@1, hit@3, sentence@1 and AUROC of the best score, on one collection."""
    ranked = rank(c, model, scales, 40)
    one, three, sentence = [], [], []
    foreign: list[bool] = []
    best: dict[str, list[float]] = {"answerable": [], "offtopic": [], "hardneg": []}
    for q in c.questions:
        rows = ranked[q.id]
        if not q.answerable:
            best[q.kind].append(rows[0][2])
            continue
        shown = passages(c, rows, 3)
        hits = [any(n == m and a <= i <= b for m, i in q.gold) for n, a, b in shown]
        if q.kind == "foreign":
            foreign.append(hits[0])
            continue
        best["answerable"].append(rows[0][2])
        one.append(hits[0])
        three.append(any(hits))
        sentence.append(rows[0][:2] in q.gold)
    values[f"{c.name} hit@1"] = [float(x) for x in one]
    values[f"{c.name} hit@3"] = [float(x) for x in three]
    values[f"{c.name} sentence@1"] = [float(x) for x in sentence]
    result: dict[str, object] = {
        "n": len(one),
        "hit@1": share(one),
        "hit@3": share(three),
        "sentence@1": share(sentence),
    }
    for kind in ("offtopic", "hardneg"):
        if best[kind]:
            low, high = auroc_interval(best["answerable"], best[kind])
            area = auroc(best["answerable"], best[kind])
            result[f"AUROC {kind} (n={len(best[kind])})"] = f"{area:.3f} [{low:.2f}, {high:.2f}]"
    if foreign:
        result[f"foreign hit@1 (n={len(foreign)})"] = f"{np.mean(foreign):.2f}"
    return result


def xquad(folder: Path, model: SentenceTransformer, values: Values) -> dict[str, str]:
    """hit@1 over the 240 paragraphs, clean questions and each kind of noise."""
    result: dict[str, str] = {}
    for path in sorted(folder.glob("questions*.jsonl")):
        rows = [json.loads(line) for line in path.open()]
        if not result:
            contexts = sorted({r["context"] for r in rows})
            paragraphs = embed(model, contexts)
        asked = embed(model, [r["question"] for r in rows])
        best = (asked @ paragraphs.T).argmax(axis=1)
        hits = [contexts[b] == r["context"] for b, r in zip(best, rows, strict=True)]
        kind = path.stem.removeprefix("questions").removeprefix("_") or "clean"
        values[f"xquad_en {kind} hit@1"] = [float(x) for x in hits]
        result[kind] = share(hits)
    return result


def scifact(folder: Path, model: SentenceTransformer, kept: Values) -> str:
    """nDCG@10 of the 300 claims of BEIR's test split."""
    files = sorted((folder / "corpus").glob("*.txt"))
    names = [f.name for f in files]
    rows = embed(model, [f.read_text() for f in files], 32)
    queries = [json.loads(line) for line in (folder / "queries.jsonl").open()]
    relevant: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, doc, _ = line.split("\t")
        relevant.setdefault(query, set()).add(doc)
    scores = embed(model, [q["question"] for q in queries]) @ rows.T
    values = [
        ndcg10([names[i] for i in np.argsort(-s)[:10]], relevant[q["id"]]) for q, s in zip(queries, scores, strict=True)
    ]
    kept["scifact nDCG@10"] = values
    low, high = mean_interval(values)
    return f"{np.mean(values):.4f} [{low:.3f}, {high:.3f}]"


def differences(own: Values, base: Values) -> dict[str, str]:
    """Mean difference to the baseline, question by question, with its 95 % interval."""
    found = {}
    for name in sorted(own.keys() & base.keys()):
        gap = list(np.asarray(own[name]) - np.asarray(base[name]))
        low, high = mean_interval(gap)
        found[name] = f"{np.mean(gap):+.3f} [{low:+.3f}, {high:+.3f}]"
    return found


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=Path, nargs=2, required=True)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fast", action="store_true", help="leave scifact out")
    parser.add_argument("--scales", nargs="+", default=["sentence", "window"])
    args = parser.parse_args()
    torch.set_num_threads(2)
    figures = json.loads(args.out.read_text()) if args.out.exists() else {}
    for name in args.models:
        model = SentenceTransformer(name, device="cpu")
        found = figures.setdefault(name, {"figures": {}, "values": {}})
        result, values = found["figures"], found["values"]
        seeds = read_collection(args.seeds[0], "asked", args.seeds[1])
        for c in [seeds, *development(args.data)]:
            if c.name not in result:
                result[c.name] = ask(c, model, args.scales, values)
        if "xquad_en" not in result:
            result["xquad_en"] = xquad(args.data / "xquad_en", model, values)
        if not args.fast and "scifact nDCG@10" not in result:
            result["scifact nDCG@10"] = scifact(args.data / "scifact", model, values)
        if name != args.models[0]:
            found["difference to baseline"] = differences(values, figures[args.models[0]]["values"])
        args.out.write_text(json.dumps(figures, indent=1))
        shown = {k: v for k, v in found.items() if k != "values"}
        print(name, json.dumps(shown, indent=1), flush=True)


if __name__ == "__main__":
    main()
