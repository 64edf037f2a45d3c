"""What counts as a hit, by hand-made answers; nDCG against scikit-learn, word F1 against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from qabot.errors import UnknownReference
from qabot.evaluation.judging import Piece, Row, candidate, hits, judge, ndcg, word_f1
from qabot.evaluation.questions import Gold, Question
from qabot.types import Answer, Outcome, Place, Quote, Source, Span, Trace

TEXT = "Alpha one. Beta two. Gamma three. Delta four. Epsilon five. "
SENTENCES = {"alpha": (0, 10), "beta": (11, 20), "gamma": (21, 33), "delta": (34, 45), "epsilon": (46, 59)}


def quote(
    start: int, end: int, *highlights: tuple[int, int], path: str = "a.txt", also: tuple[Place, ...] = ()
) -> Quote:
    spans = tuple(Span(*span) for span in highlights)
    return Quote(place(path, start, end), TEXT[start:end], spans, 0.5, also=also)


def place(path: str, start: int, end: int) -> Place:
    return Place(path, "0" * 64, Source("t"), start, end, 1, 1)


def trace(name: str, path: str = "a.txt") -> Trace:
    start, end = SENTENCES[name]
    return Trace(f"{path}:{start}-{end}", TEXT[start:end], 0.5, 0.0, 0.5)


def answer(*quotes: Quote, outcome: Outcome = "answered", traces: tuple[Trace, ...] = ()) -> Answer:
    return Answer("q", outcome, 0.7, quotes, "m", "i", trace=traces)


def gold(name: str, doc: str = "a.txt", phrases: tuple[str, ...] = ()) -> Gold:
    start, end = SENTENCES[name]
    return Gold(doc, TEXT[start:end], (Span(start, end),), phrases=phrases)


def ask(*golds: Gold, contexts: tuple[Gold, ...] = ()) -> Question:
    return Question("1", "q", "factoid", bool(golds), "q.jsonl:1", golds, contexts)


def test_sentences_of_the_text() -> None:
    found = " ".join(TEXT[start:end] for start, end in SENTENCES.values())
    assert found == TEXT.strip()


def test_a_row_by_hand() -> None:
    first = quote(0, 20, SENTENCES["beta"])
    second = quote(21, 45, SENTENCES["delta"])
    traces = (trace("beta"), trace("gamma"), trace("delta"))
    row = judge(
        ask(gold("delta"), contexts=(Gold("a.txt", TEXT[11:45], (Span(11, 45),)),)),
        answer(first, second, traces=traces),
    )
    assert row == Row(
        "1", "q", "factoid", True, "answered", 0.7,
        rank=2,
        ndcg=1 / math.log2(3),
        has_context=True,
        context_rank=1,
        candidate_rank=3,
        sentence_hit=False,
        highlight_f1=0.0,
    )  # fmt: skip
    assert not row.right
    better = judge(ask(gold("delta")), answer(second))
    assert (better.rank, better.sentence_hit, better.highlight_f1, better.right) == (1, True, 1.0, True)
    assert (better.has_context, better.candidate_rank) == (False, None)


def test_overlap_is_needed_in_the_same_document() -> None:
    assert hits(gold("beta"), Piece("a.txt", Span(19, 33), TEXT[19:33]))
    assert not hits(gold("beta"), Piece("a.txt", Span(20, 33), TEXT[20:33]))
    assert not hits(gold("beta"), Piece("b.txt", Span(11, 20), TEXT[11:20]))


def test_a_phrase_hits_elsewhere_in_the_document_but_not_in_another() -> None:
    beta = gold("beta", phrases=("two",))
    assert hits(beta, Piece("a.txt", Span(500, 509), "item two."))
    assert not hits(beta, Piece("b.txt", Span(500, 509), "item two."))


def test_the_same_text_in_another_file_counts() -> None:
    copy = quote(0, 10, (0, 10), path="copy.txt", also=(place("a.txt", 34, 44),))
    row = judge(ask(gold("delta")), answer(copy))
    assert (row.rank, row.sentence_hit) == (1, True)
    off = quote(0, 10, (0, 10), path="copy.txt", also=(place("a.txt", 46, 56),))
    assert judge(ask(gold("delta")), answer(off)).rank is None


def test_only_the_first_highlight_of_the_first_quote_is_the_answering_sentence() -> None:
    row = judge(ask(gold("beta")), answer(quote(0, 20, SENTENCES["alpha"], SENTENCES["beta"])))
    assert (row.rank, row.sentence_hit) == (1, False)
    assert row.highlight_f1 == pytest.approx(2 * 2 / (4 + 2))


def test_no_quote_is_a_miss_and_unanswerable_questions_have_no_figures() -> None:
    row = judge(ask(gold("beta")), answer(outcome="nothing"))
    assert (row.rank, row.ndcg, row.sentence_hit, row.highlight_f1) == (None, 0.0, False, 0.0)
    assert judge(ask(), answer(quote(0, 10))) == Row("1", "q", "factoid", False, "answered", 0.7)


def test_whole_documents_are_hit_by_any_quote_and_have_no_sentence() -> None:
    row = judge(ask(Gold("b.txt", "")), answer(quote(0, 10), quote(11, 20, path="b.txt")))
    assert (row.rank, row.sentence_hit, row.highlight_f1) == (2, None, None)


def test_short_answers_are_compared_as_the_sentence_they_stand_in() -> None:
    short = Gold("a.txt", "two", (Span(16, 19),), sentence="Beta two.")
    row = judge(ask(short), answer(quote(11, 20, SENTENCES["beta"])))
    assert row.highlight_f1 == 1.0


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=2, max_size=10))
def test_ndcg_of_graded_documents_is_that_of_scikit_learn(grades: list[int]) -> None:
    if not any(grades):
        grades[-1] = 1
    golds = [Gold(str(n), "", grade=grade) for n, grade in enumerate(grades) if grade]
    ranking = [[Piece(str(n), Span(0, 1), "")] for n in range(len(grades))]
    expected = ndcg_score([grades], [list(range(len(grades), 0, -1))], k=10)
    assert ndcg(golds, ranking) == pytest.approx(expected)


def test_a_quote_that_holds_two_places_is_worth_both() -> None:
    golds = [gold("alpha"), gold("beta"), gold("delta")]
    whole = [[Piece("a.txt", Span(0, 45), TEXT[:45])]]
    assert ndcg(golds, whole) == 1.0
    two = [[Piece("a.txt", Span(0, 20), TEXT[:20])], [Piece("a.txt", Span(0, 20), "again")]]
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert ndcg(golds, two) == pytest.approx((1 + 1 / math.log2(3)) / ideal)


words = st.lists(st.sampled_from(["a", "b", "c"]), max_size=6)


@settings(deadline=None)
@given(words, words)
def test_word_f1_is_the_harmonic_mean_of_precision_and_recall(found: list[str], wanted: list[str]) -> None:
    common = sum(min(found.count(w), wanted.count(w)) for w in set(found))
    expected = 0.0
    if common:
        precision, recall = common / len(found), common / len(wanted)
        expected = 2 * precision * recall / (precision + recall)
    assert word_f1(" ".join(found).upper(), "; ".join(wanted)) == pytest.approx(expected)


def test_candidates_are_read_from_their_reference() -> None:
    odd = Trace("sub/a:b.txt:3-8", "x", 0.0, 0.0, 0.0)
    assert candidate(odd) == Piece("sub/a:b.txt", Span(3, 8), "x")
    with pytest.raises(UnknownReference, match=r"'a\.txt'"):
        candidate(Trace("a.txt", "x", 0.0, 0.0, 0.0))


def test_only_the_first_ten_quotes_count() -> None:
    wrong = [quote(0, 10)] * 10
    assert judge(ask(gold("delta")), answer(*wrong, quote(34, 45))).rank is None
    assert judge(ask(gold("delta")), answer(*wrong[:9], quote(34, 45))).rank == 10
    assert np.isclose(judge(ask(gold("delta")), answer(*wrong[:9], quote(34, 45))).ndcg or 0, 1 / math.log2(11))
