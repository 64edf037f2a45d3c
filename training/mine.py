"""Candidate sentences for every question, by an encoder or by BM25: hard negatives for training.

    python mine.py --data DATA --encoder MODEL --out mined.pickle [--scales sentence window]
    python mine.py --data DATA --encoder bm25 --out mined.pickle

Owns: embedding collections, ranking their sentences. Refuses to know: gold, training.
The output maps collection -> question id -> [(document, sentence number, cosine), ...], best first.
"""

import argparse
import pickle
from pathlib import Path

import bm25s
import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from questions import Collection, read_collection
from sets import development, training
from texts import Text, window

WINDOW_WORDS = 60
Ranked = dict[str, list[tuple[str, int, float]]]


def embed(model: SentenceTransformer, texts: list[str], batch: int = 64) -> np.ndarray:
    """Unit float32 rows; bfloat16 arithmetic inside."""
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        rows = model.encode(texts, batch_size=batch, show_progress_bar=False, convert_to_numpy=False)
    array = np.stack([row.float().numpy() for row in rows])
    unit: np.ndarray = array / np.linalg.norm(array, axis=1, keepdims=True)
    return unit


def scale_texts(text: Text, scale: str) -> list[str]:
    """One text a sentence: itself, or the window of about 60 words around it."""
    if scale == "sentence":
        return [s.text for s in text.sentences]
    return [text.window_text(*window(text, i, WINDOW_WORDS)) for i in range(len(text.sentences))]


def rank(c: Collection, model: SentenceTransformer, scales: list[str], top: int) -> Ranked:
    """Mean cosine over the scales; the best `top` sentences a question."""
    positions = [(t.name, i) for t in c.texts.values() for i in range(len(t.sentences))]
    questions = embed(model, [q.text for q in c.questions])
    scores = np.zeros((len(c.questions), len(positions)), dtype=np.float32)
    for scale in scales:
        rows = embed(model, [x for t in c.texts.values() for x in scale_texts(t, scale)])
        scores += questions @ rows.T / len(scales)
    names = np.array([name for name, _ in positions])
    ranked: Ranked = {}
    for q, row in zip(c.questions, scores, strict=True):
        if q.doc is not None:
            row = np.where(names == q.doc, row, -1.0)
        best = np.argpartition(-row, min(top, len(row) - 1))[:top]
        best = best[np.argsort(-row[best])]
        ranked[q.id] = [(*positions[i], float(row[i])) for i in best]
    return ranked


def rank_words(c: Collection, top: int) -> Ranked:
    """The same by BM25 over sentences: seconds instead of minutes. Scores are BM25's."""
    positions = [(t.name, i) for t in c.texts.values() for i in range(len(t.sentences))]
    names = np.array([name for name, _ in positions])
    sentences = [s.text for t in c.texts.values() for s in t.sentences]
    index = bm25s.BM25()
    index.index(bm25s.tokenize(sentences, stopwords="en", show_progress=False), show_progress=False)
    ranked: Ranked = {}
    for q in c.questions:
        words = bm25s.tokenize(q.text, stopwords="en", return_ids=False, show_progress=False)[0]
        row = index.get_scores(words) if words else np.zeros(len(positions), dtype=np.float32)
        if q.doc is not None:
            row = np.where(names == q.doc, row, -1.0)
        best = np.argsort(-row, kind="stable")[:top]
        ranked[q.id] = [(*positions[i], float(row[i])) for i in best if row[i] > 0]
    return ranked


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--written", type=Path)
    parser.add_argument("--unlabelled", type=Path, help="further questions, without labels")
    parser.add_argument("--seeds", type=Path, nargs=2, help="folder and questions of one more set")
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--scales", nargs="+", default=["sentence"], choices=["sentence", "window"])
    parser.add_argument("--skip", nargs="*", default=["obliqa"], help="collections too large to rank")
    parser.add_argument("--only-development", action="store_true")
    parser.add_argument("--sources", nargs="*", default=["asked", "pairs", "squad", "policyqa"])
    args = parser.parse_args()
    torch.set_num_threads(2)
    lexical = args.encoder == "bm25"
    model = None if lexical else SentenceTransformer(args.encoder, device="cpu")
    mined = pickle.loads(args.out.read_bytes()) if args.out.exists() else {}
    kept = development(args.data)
    if args.seeds:
        kept.insert(0, read_collection(args.seeds[0], "asked", args.seeds[1]))
    trained = [] if args.only_development else training(args.data, args.written, args.unlabelled)
    trained = [c for c in trained if c.source in args.sources and c.name not in args.skip]
    for c in kept if args.only_development else [*kept, *trained]:
        if c.name in mined:
            continue
        mined[c.name] = rank(c, model, args.scales, args.top) if model else rank_words(c, args.top)
        beside = args.out.with_suffix(".tmp")
        beside.write_bytes(pickle.dumps(mined))
        beside.replace(args.out)
        print(c.name, len(c.questions), flush=True)


if __name__ == "__main__":
    main()
