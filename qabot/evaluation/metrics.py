"""Rows -> figures, each with a bootstrap interval; and the points of the plots.

Owns: the definition of every figure. Pure, numpy only, and deterministic: the bootstrap has a fixed seed.

Every figure is a function of a table and of *weights*: an array of shape (samples, rows) that says how often each
row counts. One row of ones gives the figure itself; multinomial counts give its bootstrap distribution (Efron, 1979)
by the very same definition, all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qabot.evaluation.judging import CANDIDATES, DEPTH, Row
from qabot.evaluation.questions import FOREIGN, OFF_TOPIC

Floats = NDArray[np.float64]
SEED = 20_240
SAMPLES = 1000
BINS = 10
OVERALL = "overall"


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of n rows, float64 of shape (n,), truths as 0 or 1; NaN where a column does not apply.

    Ranks are infinite where nothing hit. right: the first quote answers. answered: the outcome is `answered`.
    """

    answerable: Floats
    off_topic: Floats
    answered: Floats
    right: Floats
    confidence: Floats
    rank: Floats
    ndcg: Floats
    context_rank: Floats
    candidate_rank: Floats
    sentence_hit: Floats
    highlight_f1: Floats


def table(rows: Sequence[Row]) -> Table:
    """The rows as columns."""

    def rank(row: Row, value: int | None, applies: bool) -> float:
        return np.nan if not (row.answerable and applies) else np.inf if value is None else value

    def column(values: Sequence[float | bool | None]) -> Floats:
        return np.array([np.nan if value is None else float(value) for value in values], np.float64)

    return Table(
        answerable=column([row.answerable for row in rows]),
        off_topic=column([row.kind == OFF_TOPIC for row in rows]),
        answered=column([row.outcome == "answered" for row in rows]),
        right=column([row.right for row in rows]),
        confidence=column([row.confidence for row in rows]),
        rank=column([rank(row, row.rank, True) for row in rows]),
        ndcg=column([row.ndcg for row in rows]),
        context_rank=column([rank(row, row.context_rank, row.has_context) for row in rows]),
        candidate_rank=column([rank(row, row.candidate_rank, True) for row in rows]),
        sentence_hit=column([row.sentence_hit for row in rows]),
        highlight_f1=column([row.highlight_f1 for row in rows]),
    )


def mean(values: Floats, weights: Floats) -> Floats:
    """(samples,) weighted means over the values that apply; NaN without any."""
    applies = ~np.isnan(values)
    return ratio(np.where(applies, values, 0.0), applies.astype(np.float64), weights)


def ratio(part: Floats, whole: Floats, weights: Floats) -> Floats:
    """(samples,) sum of `part` over sum of `whole`; NaN where that is 0."""
    total = weights @ whole
    result: Floats = np.divide(weights @ part, total, out=np.full_like(total, np.nan), where=total > 0)
    return result


def hit_at(ranks: Floats, k: int) -> Floats:
    """1 where the rank is at most k, 0 where it isn't, NaN where it does not apply."""
    result: Floats = np.where(np.isnan(ranks), np.nan, ranks <= k)
    return result


def reciprocal(ranks: Floats, depth: int = DEPTH) -> Floats:
    """1 / rank, 0 past the depth."""
    result: Floats = np.where(np.isnan(ranks), np.nan, np.where(ranks <= depth, 1 / ranks, 0.0))
    return result


def auroc(scores: Floats, positive: Floats, negative: Floats, weights: Floats) -> Floats:
    """(samples,) probability that a positive scores above a negative, ties counting half (Mann & Whitney, 1947).

    positive, negative: 0 or 1 a row. NaN where a sample lacks either.
    """
    order, starts = _ties(scores)
    up = np.add.reduceat((weights * positive)[:, order], starts, axis=1)
    down = np.add.reduceat((weights * negative)[:, order], starts, axis=1)
    below = np.cumsum(down, axis=1) - down / 2
    pairs = up.sum(axis=1) * down.sum(axis=1)
    wins = (up * below).sum(axis=1)
    result: Floats = np.divide(wins, pairs, out=np.full_like(pairs, np.nan), where=pairs > 0)
    return result


def aurc(confidence: Floats, right: Floats, weights: Floats) -> Floats:
    """(samples,) area under the risk-coverage curve, 0..1, lower is better (El-Yaniv & Wiener, 2010).

    The mean, over every number of questions answered, of the share of wrong ones among the most confident that many;
    equally confident ones count as if they came in every order. Weights are whole numbers.
    """
    order, starts = _ties(-confidence)
    size = np.add.reduceat(weights[:, order], starts, axis=1)
    wrong = np.add.reduceat((weights * (1 - right))[:, order], starts, axis=1)
    before = np.cumsum(size, axis=1) - size
    wrong_before = np.cumsum(wrong, axis=1) - wrong
    total = size.sum(axis=1)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, int(total.max()) + 1))])
    steps = harmonic[(before + size).astype(np.int64)] - harmonic[before.astype(np.int64)]
    share = np.divide(wrong, size, out=np.zeros_like(size), where=size > 0)
    # Inside a tie of m with e wrong, after n with E wrong, the risk at n + j is (E + e j / m) / (n + j).
    area: Floats = (wrong + (wrong_before - share * before) * steps).sum(axis=1) / total
    return area


def ece(confidence: Floats, right: Floats, weights: Floats, bins: int = BINS) -> Floats:
    """(samples,) expected calibration error over equal-width bins, 0..1 (Naeini et al., 2015; Guo et al., 2017)."""
    member = _bins(confidence, bins)
    gaps = np.abs((weights * (confidence - right)) @ member)
    result: Floats = gaps.sum(axis=1) / weights.sum(axis=1)
    return result


Figure = Callable[[Table, Floats], Floats]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure: its name, what it means, and whether lower is better."""

    name: str
    meaning: str
    figure: Figure
    lower: bool = False


def _hits(ranks: Callable[[Table], Floats], k: int) -> Figure:
    return lambda t, w: mean(hit_at(ranks(t), k), w)


def _refusal_precision(t: Table, weights: Floats) -> Floats:
    unanswerable = 1 - t.answerable
    precision = ratio((1 - t.answered) * unanswerable, 1 - t.answered, weights)
    # Where every question has an answer, 0 would say something about the questions and nothing about refusals.
    return np.where(weights @ unanswerable > 0, precision, np.nan)


def _auroc(negative: Callable[[Table], Floats]) -> Figure:
    return lambda t, w: auroc(t.confidence, t.answerable, negative(t), w)


METRICS: tuple[Metric, ...] = (
    Metric("hit@1", "answerable: the first quote hits", _hits(lambda t: t.rank, 1)),
    Metric("hit@3", "answerable: one of the first 3 quotes hits", _hits(lambda t: t.rank, 3)),
    Metric("hit@5", "answerable: one of the first 5 quotes hits", _hits(lambda t: t.rank, 5)),
    Metric("mrr@10", "answerable: 1 / rank of the first quote that hits", lambda t, w: mean(reciprocal(t.rank), w)),
    Metric("ndcg@10", "answerable: nDCG of the first 10 quotes", lambda t, w: mean(t.ndcg, w)),
    Metric(
        f"candidate_recall@{CANDIDATES}",
        f"answerable: one of the first {CANDIDATES} candidates hits",
        _hits(lambda t: t.candidate_rank, CANDIDATES),
    ),
    Metric("sentence_hit@1", "answerable: the first highlight hits", lambda t, w: mean(t.sentence_hit, w)),
    Metric("highlight_f1", "answerable: word F1 of the highlights", lambda t, w: mean(t.highlight_f1, w)),
    Metric("context_hit@1", "answerable: the first quote is of the gold paragraph", _hits(lambda t: t.context_rank, 1)),
    Metric("context_hit@3", "answerable: one of the first 3 quotes is", _hits(lambda t: t.context_rank, 3)),
    Metric(
        "answered_share",
        "answerable: the outcome is `answered`",
        lambda t, w: ratio(t.answered * t.answerable, t.answerable, w),
    ),
    Metric(
        "answer_precision",
        "answered: the first quote hits",
        lambda t, w: ratio(t.answered * t.right, t.answered, w),
    ),
    Metric(
        "refusal_precision",
        "not answered: the question has no answer",
        _refusal_precision,
    ),
    Metric(
        "refusal_recall",
        "without answer: not answered",
        lambda t, w: ratio((1 - t.answered) * (1 - t.answerable), 1 - t.answerable, w),
    ),
    Metric("auroc", "confidence: answerable above not answerable", _auroc(lambda t: 1 - t.answerable)),
    Metric("auroc_offtopic", "... above off-topic ones", _auroc(lambda t: t.off_topic * (1 - t.answerable))),
    Metric(
        "auroc_ontopic", "... above others not answerable", _auroc(lambda t: (1 - t.off_topic) * (1 - t.answerable))
    ),
    Metric(
        "aurc",
        "area under the risk-coverage curve (lower is better)",
        lambda t, w: aurc(t.confidence, t.right, w),
        lower=True,
    ),
    Metric(
        "ece",
        "expected calibration error (lower is better)",
        lambda t, w: ece(t.confidence, t.answerable, w),
        lower=True,
    ),
)
BY_NAME = {metric.name: metric for metric in METRICS}


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with the ends of its 95 % bootstrap interval; all None when it is not defined."""

    value: float | None
    low: float | None
    high: float | None


def resampled(count: int, samples: int = SAMPLES) -> Floats:
    """(samples, count) how often each row is drawn in each bootstrap sample; the same for the same count."""
    draws = np.random.default_rng(SEED).multinomial(count, np.full(count, 1 / count), size=samples)
    return draws.astype(np.float64)


def interval(values: Floats) -> tuple[float | None, float | None]:
    """The 2.5 % and 97.5 % percentiles of the defined values."""
    defined = values[~np.isnan(values)]
    if not len(defined):
        return None, None
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def measure(rows: Sequence[Row], samples: int = SAMPLES) -> dict[str, Estimate]:
    """Every figure over the rows (at least one), by name."""
    columns = table(rows)
    once, drawn = np.ones((1, len(rows))), resampled(len(rows), samples)
    estimates = {}
    for metric in METRICS:
        value = float(metric.figure(columns, once)[0])
        defined = not np.isnan(value)
        low, high = interval(metric.figure(columns, drawn)) if defined else (None, None)
        estimates[metric.name] = Estimate(value if defined else None, low, high)
    return estimates


def groups(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """`overall` (all but the foreign questions, or all when there is nothing else), then each kind by name."""
    english = [row for row in rows if row.kind != FOREIGN]
    named = {OVERALL: english or list(rows)}
    for kind in sorted({row.kind for row in rows}):
        named[kind] = [row for row in rows if row.kind == kind]
    return named


def risk_coverage(confidence: Floats, right: Floats) -> list[tuple[float, float]]:
    """(coverage, risk) after each distinct confidence, most confident first."""
    order, starts = _ties(-confidence)
    ends = np.append(starts[1:], len(order))
    wrong = np.cumsum((1 - right)[order])
    return [(end / len(order), wrong[end - 1] / end) for end in ends.tolist()]


def reliability(confidence: Floats, right: Floats, bins: int = BINS) -> list[tuple[float, float, int]]:
    """(mean confidence, share so, count) of each bin that isn't empty."""
    member = _bins(confidence, bins)
    count = member.sum(axis=0)
    points = zip(confidence @ member, right @ member, count, strict=True)
    return [(float(c / n), float(r / n), int(n)) for c, r, n in points if n]


def hit_curve(ranks: Floats, depth: int) -> list[tuple[int, float]]:
    """(k, share of the rows with a hit in the first k) for k = 1..depth; empty when no row applies."""
    ranks = ranks[~np.isnan(ranks)]
    return [(k, float((ranks <= k).mean())) for k in range(1, depth + 1)] if len(ranks) else []


def _ties(scores: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows by ascending score, and where in that order each distinct score begins."""
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    return order, starts


def _bins(confidence: Floats, bins: int) -> Floats:
    """(rows, bins) membership in the equal-width bins [0, 1/bins], (1/bins, 2/bins], ..."""
    edges = np.arange(1, bins) / bins
    result: Floats = (np.searchsorted(edges, confidence, side="left")[:, None] == np.arange(bins)).astype(np.float64)
    return result
