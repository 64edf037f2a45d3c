"""The words side of retrieval: BM25 over blocks (paragraphs), through tantivy.

Owns: the schema, the analysis of text and questions, spelling, and the search. Refuses to know of vectors and
of files other than its own folder, which `segments` writes: once, whole, and never changed. Readers map it into memory.

A block's score is the mean of two shares: BM25 of its stemmed words and BM25 of the 4-letter pieces of its
words, each divided by the largest score that the question could reach, a word that no document has counting
in full. So 1 means that a block holds everything asked for, and 0 nothing of it. The pieces find words that were
misspelt, misheard or inflected.
"""

from __future__ import annotations

import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

import tantivy

LEXICAL_VERSION = f"3 tantivy {metadata.version('tantivy')}"
"""Part of the recipe: what a lexical folder holds depends on these rules and on the engine."""

READERS_LOCK = ".tantivy-meta.lock"
"""An empty file of a lexical folder; a reader makes it where it is missing."""
ANALYZER, SPACES = "stemmed", "spaces"
PIECE = 4
K1 = 1.2
"""tantivy's BM25 parameter: no term can add more than idf * (K1 + 1)."""
WIDE_FROM = 100_000
"""Blocks; a folder of more is written for searching fast: see `schema`."""
FACTS, OTHER_FACTS = "facts", "other_facts"
FACTS_BOOST = 0.5
"""What a word counts when it stands in the facts of a source (title, publisher, author, date) only."""
NEAREST = 3
WORD = re.compile(r"\w+")
NUMBER = re.compile(r"\d+(?:[.,/:-]\d+)+")
WHOLE_NUMBER = 0.2
"""What a block's share gains that holds a date or number with signs in it (25/01/2023, 1,190) whole."""
ACCENTS = re.compile("[\u0300-\u036f]")
QUOTED = re.compile(r"[\"“”„«»]([^\"“”„«»]{2,200})[\"“”„«»]")
SHORTEST_ACRONYM, LONGEST_ACRONYM = 3, 6
ACRONYM = re.compile(r"\b[A-Z]{3,6}\b")
NAME = re.compile(r"[A-Z][\w'’-]*+(?:(?: (?:(?:of|the|and|for|on|in|to) ){0,2}[A-Z][\w'’-]*+){2,9})?")
"""A run of capitalised words. One word alone matches, too, so that no letter of a long one is looked at twice."""
IGNORED = frozenset(
    """a about according across after all also am an and any anybody anyone are as at be because been before being
    between both but by can cannot could d did didn do does doesn doing don done during each else ever for from get
    gets give given got had has hasn have he her here him his how i if in into is isn it its just let like ll m many may
    me might mine more most much must my no not now of off on ones only or other our out over own please re s said same
    say says she should so some someone something such t tell than that the their them then there these they thing
    things this those through to too up us ve very want was wasn we were what when where which who whom whose why will
    with would yes you your yours""".split()
)
"""Words of a question that say nothing of its subject."""

Spelling = Callable[[str], Sequence[tuple[str, float]]]
"""An unknown word -> known words like it, each with its likeness, 0..1, best first."""

Removed = Callable[[Sequence[int]], set[int]]
"""Numbers of documents -> those of them that are no longer to be found."""


@dataclass(frozen=True, slots=True)
class LexicalEntry:
    """One block. number: what a search gives back. facts: of the source, for words that only stand there."""

    number: int
    document: int
    text: str
    facts: str


def words(text: str) -> list[str]:
    """The words of a text in lower case, without accents."""
    if not text.isascii():
        text = ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return WORD.findall(text.lower())


def asked_words(question: str) -> list[str]:
    """The words of a question that say something of its subject; all of them, if none does."""
    found = words(question)
    return [word for word in found if word not in IGNORED] or found


def names(text: str) -> Iterator[tuple[str, str]]:
    """(initials, name) of every run of three to six capitalised words: `HRC` for `Human Rights Council`."""
    for run in NAME.finditer(text):
        parts = run[0].split()
        capitals = [position for position, part in enumerate(parts) if part[0].isupper()]
        for size in range(SHORTEST_ACRONYM, LONGEST_ACRONYM + 1):
            for first in range(len(capitals) - size + 1):
                chosen = capitals[first : first + size]
                initials = "".join(parts[position][0] for position in chosen)
                yield initials, " ".join(parts[chosen[0] : chosen[-1] + 1])


def expanded(question: str, name_of: Callable[[str], str | None], known: Callable[[str], bool]) -> str:
    """The question with the names behind acronyms that no document has in brackets after them."""

    def with_name(match: re.Match[str]) -> str:
        name = None if known(match[0]) else name_of(match[0])
        return f"{match[0]} ({name})" if name else match[0]

    return ACRONYM.sub(with_name, question)


def pieces(found: Iterable[str]) -> list[str]:
    """The 4-letter pieces of words, their borders marked: `cats` gives `_cat`, `cats`, `ats_`."""
    return [piece for word in found for piece in _pieces_of(word)]


@lru_cache(maxsize=100_000)
def _pieces_of(word: str) -> tuple[str, ...]:
    marked = f"_{word}_"
    return tuple(marked[start : start + PIECE] for start in range(max(1, len(marked) - PIECE + 1)))


class Lexical:
    """A lexical folder, open for reading; safe to use from several threads.

    removed: tells which of some documents are no longer to be found; None when all are. Their blocks still count
    where the rarity of a word is reckoned.
    Raises `ValueError` when `folder` holds no index of this form.
    """

    def __init__(self, folder: Path, removed: Removed | None = None) -> None:
        self._removed = removed
        self._index, self._searcher = open_folder(folder)
        self._schema = self._index.schema
        self._analyzer = analyzer()
        self._facts = OTHER_FACTS if is_wide(self._index) else FACTS

    def search(
        self, question: str, k: int, spelling: Spelling, documents: Sequence[int] | None = None
    ) -> list[tuple[int, float]]:
        """The `k` best (number, score) for a question, best first; scores are shares, 0..1.

        spelling: asked about words that no block has. documents: search only these. Phrases in quotation
        marks must stand in a block for it to be found.
        """
        likely = [self._likely(word, spelling) for word in asked_words(question)]
        stems: dict[str, float] = {}
        for known, likeness in (pair for pairs in likely for pair in pairs):
            for stem in self._analyzer.analyze(known):
                stems[stem] = max(stems.get(stem, 0.0), likeness)
        if not stems:
            return []
        best = dict.fromkeys(pieces(pairs[0][0] for pairs in likely), 1.0)
        should = [*self._terms("text", stems), *self._terms("pieces", best)]
        for number in NUMBER.findall(question):
            should.append(tantivy.Query.const_score_query(self._phrase(number), WHOLE_NUMBER))
        query = tantivy.Query.boolean_query([(tantivy.Occur.Should, part) for part in should])
        required = [self._phrase(phrase) for phrase in QUOTED.findall(question)]
        if documents is not None:
            required.append(tantivy.Query.term_set_query(self._schema, "document", list(documents)))
        if required:
            musts = [tantivy.Query.const_score_query(part, 0.0) for part in required]
            query = tantivy.Query.boolean_query([(tantivy.Occur.Must, part) for part in (query, *musts)])
        return self._best(query, k)

    def _best(self, query: tantivy.Query, k: int) -> list[tuple[int, float]]:
        wanted = k
        while True:
            hits = self._searcher.search(query, wanted, count=False).hits
            addresses = [address for _, address in hits]
            numbers = self._searcher.fast_field_values("number", addresses)
            found = [(int(number or 0), min(score, 1.0)) for number, (score, _) in zip(numbers, hits, strict=True)]
            if self._removed is None:
                return found
            documents = [int(number or 0) for number in self._searcher.fast_field_values("document", addresses)]
            gone = self._removed(sorted(set(documents)))
            found = [pair for pair, document in zip(found, documents, strict=True) if document not in gone]
            if len(found) >= k or len(hits) < wanted:
                return found[:k]
            # What was removed took places of what is there: look further.
            wanted *= 2

    def knows(self, word: str) -> bool:
        """Whether any block has the word, inflected or not."""
        return any(self._searcher.doc_freq("text", stem) for stem in self._analyzer.analyze(word))

    def corrected(self, question: str, spelling: Spelling) -> str:
        """The question with its misspelt words put right; for models only."""

        def right(match: re.Match[str]) -> str:
            found = words(match[0])
            likely = self._likely(found[0], spelling)[0][0] if len(found) == 1 else match[0]
            return match[0] if [likely] == found else likely

        return WORD.sub(right, question)

    def _likely(self, word: str, spelling: Spelling) -> list[tuple[str, float]]:
        """The word itself, or known words like it when no block has it."""
        return [(word, 1.0)] if self.knows(word) else list(spelling(word))[:NEAREST] or [(word, 1.0)]

    def _terms(self, field: str, weighted: dict[str, float]) -> list[tantivy.Query]:
        """One query a term, boosted so that the scores of all of them add up to half at the most."""
        largest = sum(weight * self._idf(field, term) for term, weight in weighted.items()) * (K1 + 1)
        if not largest:
            return []
        queries = []
        for term, weight in weighted.items():
            query, boost = tantivy.Query.term_query(self._schema, field, term, "freq"), weight * 0.5 / largest
            if field == "text":
                facts = tantivy.Query.term_query(self._schema, self._facts, term, "freq")
                if self._facts == OTHER_FACTS:
                    # Never both. Plain words alone let tantivy pass over blocks that can't be among the best.
                    queries.append(tantivy.Query.boost_query(facts, FACTS_BOOST * boost))
                else:
                    query = tantivy.Query.disjunction_max_query([query, tantivy.Query.boost_query(facts, FACTS_BOOST)])
            queries.append(tantivy.Query.boost_query(query, boost))
        return queries

    def _idf(self, field: str, term: str) -> float:
        """tantivy's (and Lucene's) idf; a term that no block has gets the largest."""
        total, found = self._searcher.num_docs, self._searcher.doc_freq(field, term)
        return math.log(1 + (total - found + 0.5) / (found + 0.5))

    def _phrase(self, phrase: str) -> tantivy.Query:
        stems = self._analyzer.analyze(phrase)
        if len(stems) == 1:
            return tantivy.Query.term_query(self._schema, "text", stems[0])
        return tantivy.Query.phrase_query(self._schema, "text", list(stems)) if stems else tantivy.Query.all_query()


def schema(wide: bool) -> tantivy.Schema:
    """The fields of a block.

    wide: facts of the source are kept only as far as the block's text doesn't have them. Then no word counts in both,
    scores can be added up instead of compared, and a search in very many blocks takes half the time; what a word is worth
    in the facts differs a little, for its rarity is that among the facts that are kept.
    """
    builder = tantivy.SchemaBuilder()
    builder.add_unsigned_field("number", fast=True)
    builder.add_unsigned_field("document", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name=ANALYZER)
    builder.add_text_field("pieces", tokenizer_name=SPACES, index_option="freq")
    builder.add_text_field(OTHER_FACTS if wide else FACTS, tokenizer_name=ANALYZER, index_option="freq")
    return builder.build()


def is_wide(index: tantivy.Index) -> bool:
    """Whether an index has the schema for very many blocks."""
    try:
        tantivy.Query.term_query(index.schema, OTHER_FACTS, "")
    except ValueError:
        return False
    return True


def facts_of(entry: LexicalEntry, stems: Callable[[str], list[str]], wide: bool) -> str:
    """The facts of a block that its folder keeps. stems: what a text is analysed to."""
    if not wide:
        return entry.facts
    known = set(stems(entry.text))
    return " ".join(word for word in WORD.findall(entry.facts) if not known.issuperset(stems(word)))


def open_folder(folder: Path) -> tuple[tantivy.Index, tantivy.Searcher]:
    """A lexical folder, open for reading, also where it may not be written.

    tantivy opens the readers' lock for writing, though it writes nothing. Where it may not (a read-only disk, an index that
    another user built), it gets a folder of links with a lock of its own; what it has mapped by then outlives them.
    Raises `ValueError` when there is no such index.
    """
    if os.access(folder / READERS_LOCK, os.W_OK):
        return _opened(folder)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="qabot-words-") as aside:
        for file in folder.iterdir():
            if file.name != READERS_LOCK:
                (Path(aside) / file.name).symlink_to(file.resolve())
        return _opened(Path(aside))


def _opened(folder: Path) -> tuple[tantivy.Index, tantivy.Searcher]:
    index = tantivy.Index.open(str(folder))
    register(index)
    return index, index.searcher()


def register(index: tantivy.Index) -> None:
    """Tell an index how its texts are analysed: tantivy doesn't keep that."""
    index.register_tokenizer(ANALYZER, analyzer())
    index.register_tokenizer(SPACES, tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build())


def analyzer() -> tantivy.TextAnalyzer:
    """Text -> stems of its words."""
    builder = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple()).filter(tantivy.Filter.remove_long(60))
    builder = builder.filter(tantivy.Filter.lowercase()).filter(tantivy.Filter.ascii_fold())
    return builder.filter(tantivy.Filter.stemmer("english")).build()
