"""Ranked sentences -> quotes.

Owns: how far a quote reaches around the sentence that answers, and that quotes neither overlap nor repeat
each other. Every text here is a slice of the index's canonical text. Refuses to know how the ranking was made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from qabot.index import Index, StoredPassage
from qabot.markdown import DELIMITER
from qabot.sentences import NEWLINE
from qabot.types import Place, Quote, Span

LEANING = re.compile(
    r"[\"“‘(\[]?(?:this|that|these|those|it|its|he|his|him|she|her|they|their|them|such|both|the (?:former|latter)"
    r"|however|but|and|so|yet|therefore|thus|hence|also|moreover|in addition|instead|nonetheless|nevertheless|for example|as a result)\b",
    re.IGNORECASE,
)
"""A sentence that begins like this leans on the one before it, which then belongs to the quote."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """A sentence of the index and how well it answers, 0..1."""

    stored: StoredPassage
    score: float


def build_quotes(
    index: Index, ranking: Iterable[Ranked], count: int, words: int, *, per_document: bool = False
) -> list[Quote]:
    """At most `count` quotes, best first.

    words: how many words a quote may have; the answering sentence is never cut, however long it is.
    per_document: the best quote of each document only. A sentence without a letter or digit answers nothing. A text that stands in several places is quoted once,
    with the other places in `Quote.also`.
    """
    quotes: list[Quote] = []
    taken: dict[int, list[Span]] = {}
    known: dict[str, int] = {}
    answering: set[int] = set()
    for ranked in ranking:
        stored = ranked.stored
        # Sentences of the same words share a vector: past the count, only those can still add a place.
        if len(quotes) == count and stored.rows[0] not in answering:
            continue
        sentence = Span(stored.passage.start, stored.passage.end)
        used = taken.setdefault(stored.document, [])
        if any(sentence.overlaps(span) for span in used) or (per_document and used):
            continue
        # A rule between sections, or a row of signs, may be near to any question; it says nothing.
        if not any(character.isalnum() for character in index.text(stored.document, sentence.start, sentence.end)):
            continue
        span = _reach(index, stored, words, used)
        quote = make_quote(index, stored.document, span, (sentence,), ranked.score)
        first = known.get(quote.text)
        if first is not None:
            quotes[first] = replace(quotes[first], also=(*quotes[first].also, quote.place))
        elif len(quotes) < count:
            known[quote.text] = len(quotes)
            answering.add(stored.rows[0])
            quotes.append(quote)
        else:
            continue
        used.append(span)
    return quotes


def make_quote(index: Index, document: int, span: Span, highlights: Sequence[Span], score: float) -> Quote:
    """The quote at `span` of a document of the index."""
    stored = index.document(document)
    text = index.text(document, span.start, span.end)
    inside = index.passages_of(document, span.start, span.end)
    heading, line = None, 1
    if not inside:
        line += _line_breaks(index, document, 0, span.start)
    else:
        first = inside[0].passage
        # The span may begin inside its first sentence or in the blank lines before it.
        line = first.line + _line_breaks(index, document, first.start, span.start)
        line -= _line_breaks(index, document, span.start, first.start)
        if first.heading:
            heading = " ".join(index.text(document, first.heading.start, first.heading.end).split())
    place = Place(
        path=stored.path,
        sha256=stored.sha256,
        source=stored.source,
        start=span.start,
        end=span.end,
        line_start=line,
        line_end=line + _line_breaks(index, document, span.start, span.end),
        heading=heading,
    )
    return Quote(place, text, tuple(highlights), score)


def _line_breaks(index: Index, document: int, start: int, end: int) -> int:
    """How many lines end in `[start, end)`; one code point more is looked at, for "\r\n" is one line ending."""
    if start >= end:
        return 0
    text = index.text(document, start, end + 1)
    return sum(match.end() <= end - start for match in NEWLINE.finditer(text))


def widen(index: Index, document: int, span: Span, sentences: int) -> Span:
    """`span` with up to `sentences` more sentences on each side, across paragraphs."""
    inside = index.passages_of(document, span.start, span.end)
    if not inside:
        return span
    around = index.neighbours(document, inside[0].id - sentences, inside[-1].id + sentences)
    return Span(min(span.start, around[0].passage.start), max(span.end, around[-1].passage.end))


def _reach(index: Index, stored: StoredPassage, words: int, used: list[Span]) -> Span:
    """How far the quote around a sentence reaches: over whole sentences of its block, within `words`.

    A heading, and a sentence that ends with a colon, announce what follows; there it reaches into the next
    blocks, too, but never past a heading. The row of a table reaches for the table's header first.
    """
    around = index.neighbours(stored.document, stored.id - words, stored.id + words)
    here = next(n for n, other in enumerate(around) if other.id == stored.id)
    lowest = min(n for n, other in enumerate(around) if other.block == stored.block)
    offset = around[0].passage.start
    text = index.text(stored.document, offset, around[-1].passage.end)
    first = last = here

    def slice_of(low: int, high: int) -> str:
        return text[around[low].passage.start - offset : around[high].passage.end - offset]

    def free(position: int) -> bool:
        if not lowest <= position < len(around):
            return False
        other = around[position].passage
        if other.heading != stored.passage.heading:
            return False
        return not other.furniture and not any(Span(other.start, other.end).overlaps(span) for span in used)

    def fits(low: int, high: int) -> bool:
        return len(slice_of(low, high).split()) <= words

    header = _header(text, [Span(o.passage.start - offset, o.passage.end - offset) for o in around[: here + 1]])
    if header is not None:
        lowest = min(lowest, header)
        if fits(header, here) and all(free(position) for position in range(header, here)):
            first = header
    announces = header is None and (stored.passage.fragment or slice_of(here, here).endswith((":", "?")))
    while LEANING.match(slice_of(first, first)) and free(first - 1) and fits(first - 1, last):
        first -= 1
    grown = True
    while grown:
        # One sentence on each side in turn, what follows first: it explains more often than what precedes.
        grown = False
        if free(last + 1) and (around[last + 1].block == stored.block or announces) and fits(first, last + 1):
            last, grown = last + 1, True
        if free(first - 1) and fits(first - 1, last):
            first, grown = first - 1, True
    return Span(around[first].passage.start, around[last].passage.end)


def _header(text: str, passages: Sequence[Span]) -> int | None:
    """The position of the header of the table that the last of these passages is a row of; None if it is in no table."""
    below = False
    for position in range(len(passages) - 1, 0, -1):
        between = NEWLINE.split(text[passages[position - 1].end : passages[position].start])
        below = below or any(DELIMITER.match(line) for line in between)
        # A row may have been cut into passages of its own: the header ends where its line begins.
        if below and (
            position == 1 or len(NEWLINE.split(text[passages[position - 2].end : passages[position - 1].start])) > 1
        ):
            return position - 1
        if not below and len(between) != 2:
            return None
    return None
