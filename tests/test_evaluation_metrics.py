"""Every figure against a brute-force definition or scikit-learn, and the weights against repeating rows."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from qabot.evaluation import metrics
from qabot.evaluation.judging import Row
from qabot.evaluation.metrics import METRICS, OVERALL, groups, measure, table
from qabot.types import Outcome

ranks = st.none() | st.integers(1, 12)
shares = st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.75, 1.0])


@st.composite
def rows(draw: st.DrawFn) -> Row:
    answerable = draw(st.booleans())
    kind = draw(st.sampled_from(["factoid", "list"] if answerable else ["hardneg", "offtopic"]))
    outcome: Outcome = draw(st.sampled_from(["answered", "related", "nothing"]))
    known = (draw(st.text("ab", max_size=3)), "q", kind, answerable, outcome, draw(shares))
    if not answerable:
        return Row(*known)
    context = draw(st.booleans())
    return Row(
        *known,
        rank=draw(ranks),
        ndcg=draw(shares),
        has_context=context,
        context_rank=draw(ranks) if context else None,
        candidate_rank=draw(ranks),
        sentence_hit=draw(st.none() | st.booleans()),
        highlight_f1=draw(st.none() | shares),
    )


def average(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def pairwise(positive: list[float], negative: list[float]) -> float:
    return average([1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative])


def brute_ece(found: list[Row]) -> float:
    total = 0.0
    for low in range(10):
        inside = [r for r in found if low / 10 < r.confidence <= (low + 1) / 10 or (low == 0 and r.confidence == 0)]
        total += abs(sum(r.confidence - r.answerable for r in inside))
    return total / len(found)


def brute_aurc(order: list[Row]) -> float:
    wrong = [0 if r.right else 1 for r in order]
    return average([sum(wrong[:k]) / k for k in range(1, len(order) + 1)])


def by_definition(found: list[Row]) -> dict[str, float]:
    yes = [r for r in found if r.answerable]
    no = [r for r in found if not r.answerable]
    off = [r for r in no if r.kind == "offtopic"]
    on = [r for r in no if r.kind != "offtopic"]
    refused = [r for r in found if r.outcome != "answered"]
    answered = [r for r in found if r.outcome == "answered"]
    in_context = [r for r in yes if r.has_context]
    confident = [r.confidence for r in yes]

    def first(values: list[int | None], k: int) -> float:
        return average([float(v is not None and v <= k) for v in values])

    return {
        **{f"hit@{k}": first([r.rank for r in yes], k) for k in (1, 3, 5)},
        "mrr@10": average([1 / r.rank if r.rank and r.rank <= 10 else 0.0 for r in yes]),
        "ndcg@10": average([r.ndcg for r in yes if r.ndcg is not None]),
        "candidate_recall@30": first([r.candidate_rank for r in yes], 30),
        "sentence_hit@1": average([float(r.sentence_hit) for r in yes if r.sentence_hit is not None]),
        "highlight_f1": average([r.highlight_f1 for r in yes if r.highlight_f1 is not None]),
        **{f"context_hit@{k}": first([r.context_rank for r in in_context], k) for k in (1, 3)},
        "answered_share": average([float(r.outcome == "answered") for r in yes]),
        "answer_precision": average([float(r.rank == 1) for r in answered]),
        "refusal_precision": average([float(not r.answerable) for r in refused]) if no else math.nan,
        "refusal_recall": average([float(r.outcome != "answered") for r in no]),
        "auroc": pairwise(confident, [r.confidence for r in no]),
        "auroc_offtopic": pairwise(confident, [r.confidence for r in off]),
        "auroc_ontopic": pairwise(confident, [r.confidence for r in on]),
        "ece": brute_ece(found),
    }


@settings(deadline=None)
@given(st.lists(rows(), min_size=1, max_size=12))
def test_every_figure_is_its_definition(found: list[Row]) -> None:
    once = np.ones((1, len(found)))
    expected = by_definition(found)
    assert {metric.name for metric in METRICS} == {*expected, "aurc"}
    for metric in METRICS:
        if metric.name != "aurc":
            value = float(metric.figure(table(found), once)[0])
            assert value == pytest.approx(expected[metric.name], nan_ok=True), metric.name


@settings(deadline=None, max_examples=40)
@given(st.lists(rows(), min_size=1, max_size=5))
def test_aurc_is_the_mean_over_every_order_of_the_equally_confident(found: list[Row]) -> None:
    orders = [
        list(order)
        for order in itertools.permutations(found)
        if all(a.confidence >= b.confidence for a, b in itertools.pairwise(order))
    ]
    columns = table(found)
    value = metrics.aurc(columns.confidence, columns.right, np.ones((1, len(found))))[0]
    assert value == pytest.approx(average([brute_aurc(order) for order in orders]))


@settings(deadline=None)
@given(st.lists(st.tuples(rows(), st.integers(0, 3)), min_size=1, max_size=10).filter(lambda c: any(n for _, n in c)))
def test_a_weight_is_a_repetition(counted: list[tuple[Row, int]]) -> None:
    found = [row for row, _ in counted]
    repeated = [row for row, n in counted for _ in range(n)]
    weights = np.array([[float(n) for _, n in counted], [1.0] * len(found)])
    for metric in METRICS:
        values = metric.figure(table(found), weights)
        expected = metric.figure(table(repeated), np.ones((1, len(repeated))))[0]
        assert values[0] == pytest.approx(expected, nan_ok=True), metric.name
        once = metric.figure(table(found), np.ones((1, len(found))))[0]
        assert values[1] == pytest.approx(once, nan_ok=True), metric.name


@settings(deadline=None)
@given(st.lists(st.tuples(shares, st.booleans()), min_size=2, max_size=40))
def test_auroc_is_that_of_scikit_learn(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in pairs])
    labels = np.array([label for _, label in pairs])
    value = metrics.auroc(scores, labels.astype(float), (~labels).astype(float), np.ones((1, len(pairs))))[0]
    expected = math.nan if labels.all() or not labels.any() else roc_auc_score(labels, scores)
    assert value == pytest.approx(expected, nan_ok=True)


def test_hand_computed_aurc_and_ece() -> None:
    confidence, right = np.array([0.9, 0.8, 0.55, 0.2]), np.array([1.0, 0.0, 1.0, 0.0])
    once = np.ones((1, 4))
    assert metrics.aurc(confidence, right, once)[0] == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert metrics.ece(confidence, right, once)[0] == pytest.approx((0.1 + 0.8 + 0.45 + 0.2) / 4)
    assert metrics.risk_coverage(confidence, right) == [(0.25, 0.0), (0.5, 0.5), (0.75, 1 / 3), (1.0, 0.5)]
    tied = metrics.risk_coverage(np.array([0.5, 0.5, 0.1]), np.array([1.0, 0.0, 0.0]))
    assert tied == [(2 / 3, 0.5), (1.0, 2 / 3)]
    assert metrics.reliability(np.array([0.0, 0.1, 0.95]), np.array([0.0, 1.0, 1.0])) == [
        (0.05, 0.5, 2),
        (0.95, 1.0, 1),
    ]


def test_hit_curve_counts_hits_up_to_k() -> None:
    assert metrics.hit_curve(np.array([1.0, 3.0, np.inf, np.nan]), 3) == [(1, 1 / 3), (2, 1 / 3), (3, 2 / 3)]
    assert metrics.hit_curve(np.array([np.nan]), 3) == []


def test_intervals_are_those_of_the_bootstrap_and_never_change() -> None:
    found = [Row(str(n), "q", "factoid", True, "answered", n / 100, rank=1 if n % 4 else None) for n in range(100)]
    estimate = measure(found)["hit@1"]
    assert estimate.value == pytest.approx(0.75)
    assert estimate.low is not None
    assert estimate.high is not None
    # The standard error of a share of 0.75 in 100 is 0.0433; the percentile interval is about 1.96 of them each way.
    assert estimate.low == pytest.approx(0.75 - 1.96 * 0.0433, abs=0.02)
    assert estimate.high == pytest.approx(0.75 + 1.96 * 0.0433, abs=0.02)
    assert measure(found) == measure(found)


def test_resampling_draws_as_many_as_there_are() -> None:
    drawn = metrics.resampled(7, 500)
    assert drawn.shape == (500, 7)
    assert (drawn.sum(axis=1) == 7).all()
    assert drawn.mean() == 1.0
    assert (drawn == metrics.resampled(7, 500)).all()


def test_undefined_figures_are_none() -> None:
    found = measure([Row("1", "q", "offtopic", False, "nothing", 0.1)])
    assert found["hit@1"] == metrics.Estimate(None, None, None)
    assert found["refusal_recall"].value == 1.0


def test_foreign_questions_are_kept_out_of_the_headline_and_shown_apart() -> None:
    home = Row("1", "q", "factoid", True, "answered", 0.9, rank=1)
    away = Row("2", "q", "foreign", True, "nothing", 0.1)
    assert groups([away, home]) == {OVERALL: [home], "factoid": [home], "foreign": [away]}
    assert groups([away]) == {OVERALL: [away], "foreign": [away]}
