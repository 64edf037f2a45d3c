"""One answer and its gold -> one row of facts that every figure is made of.

Owns: what counts as a hit. Pure. Refuses to know how rows are summed up.

A quote hits gold when it (or another place with the same text, `Quote.also`) comes from the gold's document and
overlaps a span of the gold or contains one of its phrases. Of gold without spans, any quote of its document is a hit.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from qabot.errors import UnknownReference
from qabot.evaluation.questions import Gold, Question
from qabot.types import Answer, Outcome, Quote, Span, Trace

DEPTH = 10
"""How many quotes are asked for and looked at."""
CANDIDATES = 30
WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Row:
    """What came of one question.

    rank, context_rank, candidate_rank: position, from 1, of the first quote that hits the gold, that hits the
    paragraph around it, and of the first candidate that hits the gold; None when there is none. ndcg: of the first
    10 quotes, 0..1. sentence_hit: whether the first highlight of the first quote hits. highlight_f1: 0..1. Figures
    that don't apply to the question are None: all of them for questions without answer, the two of the highlight for
    gold that is a whole document; has_context says whether `context_rank` applies.
    """

    id: str
    question: str
    kind: str
    answerable: bool
    outcome: Outcome
    confidence: float
    rank: int | None = None
    ndcg: float | None = None
    has_context: bool = False
    context_rank: int | None = None
    candidate_rank: int | None = None
    sentence_hit: bool | None = None
    highlight_f1: float | None = None

    @property
    def right(self) -> bool:
        """Whether the first quote answers: what `confidence` is the probability of."""
        return self.rank == 1


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of a document that was returned: a quote, a highlight, or a candidate."""

    path: str
    span: Span
    text: str


def judge(question: Question, answer: Answer) -> Row:
    """The row of a located question (`questions.locate`)."""
    known = (question.id, question.question, question.kind, question.answerable, answer.outcome, answer.confidence)
    if not question.answerable:
        return Row(*known)
    returned = [_places(quote) for quote in answer.quotes[:DEPTH]]
    highlights = [list(_highlight(quote, span)) for quote in answer.quotes[:1] for span in quote.highlights]
    spanned = all(gold.spans for gold in question.gold)
    return Row(
        *known,
        rank=first_hit(question.gold, returned),
        ndcg=ndcg(question.gold, returned),
        has_context=bool(question.contexts),
        context_rank=first_hit(question.contexts, returned),
        candidate_rank=first_hit(question.gold, [[candidate(trace)] for trace in answer.trace[:CANDIDATES]]),
        sentence_hit=first_hit(question.gold, highlights[:1]) is not None if spanned else None,
        highlight_f1=_highlight_f1(question.gold, highlights) if spanned else None,
    )


def hits(gold: Gold, piece: Piece) -> bool:
    """Whether a returned stretch hits the gold."""
    if piece.path != gold.doc:
        return False
    if not gold.spans:
        return True
    return any(piece.span.overlaps(span) for span in gold.spans) or any(p in piece.text for p in gold.phrases)


def first_hit(gold: Sequence[Gold], ranking: Sequence[Sequence[Piece]]) -> int | None:
    """Rank, from 1, of the first result with a place that hits any of the gold."""
    for rank, places in enumerate(ranking, 1):
        if any(hits(one, piece) for one in gold for piece in places):
            return rank
    return None


def ndcg(gold: Sequence[Gold], ranking: Sequence[Sequence[Piece]], depth: int = DEPTH) -> float:
    """Normalised discounted cumulative gain, linear gain (Järvelin & Kekäläinen, 2002, as in trec_eval).

    Each gold place gains once, at the first result that hits it. A result that hits several places at once counts as
    that many results in a row: it is worth no less than the same places quoted one by one.
    """
    left = list(gold)
    gains: list[int] = []
    for places in ranking:
        found = [one for one in left if any(hits(one, piece) for piece in places)]
        left = [one for one in left if one not in found]
        gains += sorted((one.grade for one in found), reverse=True) or [0]
    best = sorted((one.grade for one in gold), reverse=True)
    return _discounted(gains[:depth]) / _discounted(best[:depth])


def word_f1(found: str, wanted: str) -> float:
    """Harmonic mean of precision and recall over the words of two texts, case ignored (Rajpurkar et al., 2016)."""
    a, b = Counter(WORD.findall(found.casefold())), Counter(WORD.findall(wanted.casefold()))
    common = (a & b).total()
    return 2 * common / (a.total() + b.total()) if common else 0.0


def candidate(trace: Trace) -> Piece:
    """The place of a candidate, from its reference `path:start-end`."""
    path, _, place = trace.reference.rpartition(":")
    start, _, end = place.partition("-")
    if not (path and start.isdigit() and end.isdigit()):
        raise UnknownReference(f"A candidate is called {trace.reference!r}; `path:start-end` was expected.")
    return Piece(path, Span(int(start), int(end)), trace.text)


def _places(quote: Quote) -> list[Piece]:
    return [Piece(place.path, Span(place.start, place.end), quote.text) for place in (quote.place, *quote.also)]


def _highlight(quote: Quote, span: Span) -> Iterable[Piece]:
    start, end = span.start - quote.place.start, span.end - quote.place.start
    for place in (quote.place, *quote.also):
        yield Piece(place.path, Span(place.start + start, place.start + end), quote.text[start:end])


def _highlight_f1(gold: Sequence[Gold], highlights: Sequence[Sequence[Piece]]) -> float:
    marked = " ".join(places[0].text for places in highlights)
    return max(word_f1(marked, one.sentence or one.text) for one in gold)


def _discounted(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
