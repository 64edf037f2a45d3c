"""How fast texts become vectors, and whether the vectors find as much.

    python -m benchmarks.encode --data SCIFACT [--texts 2000] [--documents 1000] [--rounds 3]

SCIFACT has `corpus/` (a text file a document), `queries.jsonl` and `qrels.tsv`. Beside each other, each in processes of
its own: `SentenceTransformer.encode` at its defaults; qabot with the same weights (the export, float32); qabot's own model
(int8). Speed: on passages as `qabot index` cuts them. Quality: nDCG@10 of the claims over whole documents (cut to the
model's window), searched exactly. Prints a table; writes benchmarks/results/encode.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import heading, machine, spread, timed, versions, write
from qabot.documents import Folder
from qabot.embedding import INT8
from qabot.models import OWN_MODEL, encoder_for_name
from qabot.passages import cut_passages, model_text
from qabot.sentences import segment

BASE_MODEL = "all-MiniLM-L6-v2"
METHODS = {
    "SentenceTransformer.encode": "torch",
    "qabot, same weights": BASE_MODEL,
    "qabot, same weights in int8": BASE_MODEL + INT8,
    "qabot, its own int8 model": OWN_MODEL,
}
DEPTH = 10
MARGIN = 8
WARM_UP = 16
Floats = NDArray[np.float32]


def passages(folder: Folder, count: int) -> list[str]:
    """The first `count` texts that an index of the folder embeds: sentences and blocks, each once."""
    encoder = encoder_for_name(OWN_MODEL)
    found: dict[str, None] = {}
    for path in folder.listing().paths:
        text = folder.read(path).text
        segmentation = segment(text, markdown=False, language="en")
        for passage in cut_passages(text, segmentation, encoder.token_ends, encoder.limit - MARGIN):
            for span in passage.scales():
                found[model_text(text[span.start : span.end], markdown=False)] = None
        if len(found) >= count:
            break
    return list(found)[:count]


def judged(data: Path, count: int) -> tuple[list[str], list[str], list[dict[int, int]]]:
    """`count` documents with all that are relevant to some claim first, the claims, and the relevant ones of each."""
    queries = {
        row["id"]: row for row in map(json.loads, (data / "queries.jsonl").read_text(encoding="utf-8").splitlines())
    }
    folder = Folder(data / "corpus")
    relevant: dict[str, dict[str, int]] = {}
    with (data / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            if row["query-id"] in queries and int(row["relevance"]) > 0:
                relevant.setdefault(row["query-id"], {})[row["doc"]] = int(row["relevance"])
    paths = dict.fromkeys(document for found in relevant.values() for document in found)
    for path in folder.listing().paths:
        if len(paths) >= count:
            break
        paths[path] = None
    order = {path: number for number, path in enumerate(paths)}
    encoder = encoder_for_name(OWN_MODEL)
    texts = []
    for path in order:
        text = folder.read(path).text
        ends = encoder.token_ends(text)
        texts.append(text[: ends[min(len(ends), encoder.limit - MARGIN) - 1]] if ends else text)
    claims = [queries[query]["question"] for query in relevant]
    return texts, claims, [{order[d]: g for d, g in found.items()} for found in relevant.values()]


def ndcg(scores: Floats, relevant: dict[int, int]) -> float:
    """nDCG@10 of one ranking; ties go to the earlier document."""
    best = np.argsort(-scores, kind="stable")[:DEPTH]
    gained = sum(relevant.get(int(number), 0) / math.log2(rank + 2) for rank, number in enumerate(best))
    most = sum(
        grade / math.log2(rank + 2) for rank, grade in enumerate(sorted(relevant.values(), reverse=True)[:DEPTH])
    )
    return gained / most


def worker(method: str, given: Path, result: Path) -> None:
    """Encode the texts in `given` and time the passages."""
    texts = json.loads(given.read_text(encoding="utf-8"))
    encode: Callable[[Sequence[str]], Floats]
    ask: Callable[[str], Floats]
    if method == "torch":
        from qabot.export import load_sentence_transformer

        model = load_sentence_transformer(BASE_MODEL)
        encode = lambda some: np.asarray(model.encode(list(some), show_progress_bar=False), np.float32)  # noqa: E731
        ask = lambda question: encode([question])[0]  # noqa: E731
    else:
        encoder = encoder_for_name(method)
        encode, ask = encoder.embed, encoder.embed_question
    encode(texts["passages"][:WARM_UP])
    begun, used = time.perf_counter(), time.process_time()
    vectors = encode(texts["passages"])
    seconds, processor = time.perf_counter() - begun, time.process_time() - used
    documents = encode(texts["documents"]) if texts["documents"] else np.empty((0, vectors.shape[1]), np.float32)
    claims = np.stack([ask(claim) for claim in texts["claims"]]) if texts["documents"] else documents
    np.savez(result, passages=vectors, documents=documents, claims=claims, seconds=seconds, processor=processor)


def main() -> None:
    if sys.argv[1:2] == ["worker"]:
        worker(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=2000)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    result: dict[str, Any] = {"machine": machine(), "versions": versions()}
    texts, claims, relevant = judged(args.data, args.documents)
    given = {"passages": passages(Folder(args.data / "corpus"), args.texts), "documents": texts, "claims": claims}
    speed: dict[str, list[float]] = {label: [] for label in METHODS}
    processor: dict[str, list[float]] = {label: [] for label in METHODS}
    quality: dict[str, float] = {}
    vectors: dict[str, Floats] = {}
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder) / "texts.json", Path(folder) / "vectors.npz"
        for number in range(args.rounds):
            file.write_text(json.dumps(given), encoding="utf-8")
            for label, method in METHODS.items():
                timed([sys.executable, "-m", "benchmarks.encode", "worker", method, str(file), str(out)])
                with np.load(out) as found:
                    speed[label].append(len(given["passages"]) / float(found["seconds"]))
                    processor[label].append(len(given["passages"]) / float(found["processor"]))
                    vectors[label] = found["passages"]
                    if number == 0:
                        scores = found["claims"] @ found["documents"].T
                        quality[label] = float(
                            np.mean([ndcg(row, gold) for row, gold in zip(scores, relevant, strict=True)])
                        )
                print(f"round {number + 1} of {args.rounds}: {label}", file=sys.stderr, flush=True)
            # The documents are embedded once; later rounds only time the passages.
            given = {**given, "documents": [], "claims": []}
    base = next(iter(METHODS))
    same = np.einsum("ij,ij->i", vectors[base], vectors["qabot, same weights"])
    result |= {
        "texts": len(given["passages"]),
        "documents": len(texts),
        "claims": len(claims),
        "least_cosine": float(same.min()),
    }
    result["methods"] = [
        {
            "name": label,
            "passages_per_s": spread(speed[label]),
            "passages_per_processor_s": spread(processor[label]),
            "ratio": spread([a / b for a, b in zip(speed[label], speed[base], strict=True)]),
            "ndcg@10": quality[label],
        }
        for label in METHODS
    ]
    print(heading(result))
    print(
        f"{result['texts']} passages, {args.rounds} rounds; {len(claims)} claims over {len(texts)} documents; "
        f"same weights: least cosine {result['least_cosine']:.6f}\n"
    )
    print("| | passages a second | beside encode | nDCG@10 |\n| --- | --- | --- | --- |")
    for row in result["methods"]:
        print(
            f"| {row['name']} | {row['passages_per_s']['median']:.0f} | {row['ratio']['median']:.1f} x | {row['ndcg@10']:.3f} |"
        )
    write("encode", result)


if __name__ == "__main__":
    main()
