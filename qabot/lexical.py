"""The words side of retrieval: BM25 over passages, through tantivy.

Owns: the schema, the analysis of text and questions, and the search. Refuses to know of vectors and files
other than its own folder. A folder is written once, whole, and never changed: readers map it into memory.
"""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import tantivy

ANALYZER = "stemmed"
LEXICAL_VERSION = f"1 tantivy {metadata.version('tantivy')}"
"""Part of the recipe: what a lexical folder holds depends on these rules and on the engine."""
HEAP_BYTES = 64_000_000
QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]{2,200})[\"“”„«»]")
WORD = re.compile(r"\w+(?:['’]\w+)?")


@dataclass(frozen=True, slots=True)
class LexicalEntry:
    """What is indexed of one passage: its own words with its neighbours', and the facts of its source."""

    passage: int
    document: int
    text: str
    facts: str


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("passage", fast=True)
    builder.add_unsigned_field("document", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name=ANALYZER)
    builder.add_text_field("facts", tokenizer_name=ANALYZER, index_option="freq")
    return builder.build()


def _analyzer() -> tantivy.TextAnalyzer:
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
    builder = builder.filter(tantivy.Filter.remove_long(60)).filter(tantivy.Filter.lowercase())
    return builder.filter(tantivy.Filter.ascii_fold()).filter(tantivy.Filter.stemmer("english")).build()


def write_lexical(folder: Path, entries: Iterable[LexicalEntry]) -> None:
    """Index `entries`, in order, into the empty folder `folder`."""
    index = tantivy.Index(_schema(), str(folder))
    index.register_tokenizer(ANALYZER, _analyzer())
    # One thread: passages keep their order, and equal scores tie the same way in every build.
    writer = index.writer(HEAP_BYTES, num_threads=1)
    for entry in entries:
        document = tantivy.Document()
        document.add_unsigned("passage", entry.passage)
        document.add_unsigned("document", entry.document)
        document.add_text("text", entry.text)
        document.add_text("facts", entry.facts)
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    _name_segments(folder)


def _name_segments(folder: Path) -> None:
    """Number the segments, which tantivy names at random, so that equal content gives equal bytes."""
    meta = (folder / "meta.json").read_text(encoding="utf-8")
    managed = json.loads((folder / ".managed.json").read_text(encoding="utf-8"))
    for number, segment in enumerate(json.loads(meta)["segments"]):
        old, new = uuid.UUID(segment["segment_id"]), uuid.UUID(int=number)
        meta = meta.replace(str(old), str(new))
        for name in [name for name in managed if name.startswith(old.hex)]:
            os.replace(folder / name, folder / name.replace(old.hex, new.hex))
        managed = [name.replace(old.hex, new.hex) for name in managed]
    (folder / "meta.json").write_text(meta, encoding="utf-8")
    (folder / ".managed.json").write_text(json.dumps(sorted(managed)), encoding="utf-8")
    (folder / ".tantivy-writer.lock").unlink(missing_ok=True)
    for name in ("meta.json", ".managed.json"):
        # tantivy makes these for the owner alone; the other files take the umask.
        os.chmod(folder / name, (folder / managed[0]).stat().st_mode if managed else 0o644)


class Lexical:
    """A lexical folder, open for reading; safe to use from several threads.

    Raises `ValueError` when `folder` holds no index of this form.
    """

    def __init__(self, folder: Path) -> None:
        self._index = tantivy.Index.open(str(folder))
        self._index.register_tokenizer(ANALYZER, _analyzer())
        self._searcher = self._index.searcher()

    def search(self, question: str, k: int, documents: Sequence[int] | None = None) -> list[tuple[int, float]]:
        """The `k` best (passage, score) for a question, best first.

        score: BM25 as a share, 0..1, of the best passage's. documents: search only these.
        """
        words = [word for word in _tokens(question)]
        if not words:
            return []
        schema = self._index.schema
        parts = [(tantivy.Occur.Should, tantivy.Query.term_query(schema, "text", word)) for word in words]
        query = tantivy.Query.boolean_query(parts)
        if documents is not None:
            scope = tantivy.Query.term_set_query(schema, "document", list(documents))
            query = tantivy.Query.boolean_query(
                [(tantivy.Occur.Must, query), (tantivy.Occur.Must, tantivy.Query.const_score_query(scope, 0.0))]
            )
        hits = self._searcher.search(query, k, count=False).hits
        if not hits:
            return []
        best = hits[0][0]
        passages = self._searcher.fast_field_values("passage", [address for _, address in hits])
        return [(int(passage), score / best) for passage, (score, _) in zip(passages, hits, strict=True)]


def _tokens(text: str) -> list[str]:
    return [token for token in _analyzer().analyze(text)]
