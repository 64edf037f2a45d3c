"""Two runs over the same questions -> paired tests.

Owns: which question belongs to which, McNemar's exact test, and the paired bootstrap. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from qabot.errors import QuestionError
from qabot.evaluation.judging import Row
from qabot.evaluation.metrics import METRICS, SAMPLES, interval, resampled, table

Truth = Callable[[Row], bool | None]


@dataclass(frozen=True, slots=True)
class McNemar:
    """A yes-or-no figure in two runs: how often only one of them has it, and how likely that is by chance.

    p: two-sided, exact: of a split of the `first_only + second_only` differing questions at least as uneven, were
    each equally likely to fall either way (McNemar, 1947).
    """

    name: str
    first_only: int
    second_only: int
    p: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of two runs, and second minus first with its 95 % paired bootstrap interval."""

    name: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None


TRUTHS: dict[str, Truth] = {
    "hit@1": lambda row: row.rank == 1 if row.answerable else None,
    "hit@3": lambda row: row.rank is not None and row.rank <= 3 if row.answerable else None,
    "sentence_hit@1": lambda row: row.sentence_hit,
    "decision": lambda row: (row.outcome == "answered") == row.answerable,
    "decision and quote": lambda row: row.right if row.outcome == "answered" else not row.answerable,
}
"""What McNemar's test is run on. decision: answered if and only if answerable. decision and quote: answered with
a first quote that hits, or refused what has no answer."""


def pair(first: Sequence[Row], second: Sequence[Row]) -> list[tuple[Row, Row]]:
    """The rows of each question in the order of the first run.

    Raises `QuestionError` unless both runs asked the same questions under the same ids.
    """
    there = {row.id: row for row in second}
    alone = sorted({row.id for row in first} ^ set(there))
    if alone:
        raise QuestionError(
            f"Only one of the two runs asked {len(alone):,} of the questions, the first {alone[0]!r}. "
            "Compare runs over the same question files."
        )
    pairs = [(row, there[row.id]) for row in first]
    for one, other in pairs:
        asked = (one.question, one.kind, one.answerable)
        if asked != (other.question, other.kind, other.answerable):
            raise QuestionError(
                f"The question {one.id!r} is {one.question!r} in one run and {other.question!r} in the other, or its "
                "kind differs. Compare runs over the same question files."
            )
    return pairs


def mcnemar_p(first_only: int, second_only: int) -> float:
    """The exact two-sided p of McNemar's test; 1 when the two never differ."""
    total = first_only + second_only
    tail = sum(math.comb(total, n) for n in range(min(first_only, second_only) + 1))
    return float(min(1.0, 2 * tail / 2**total))


def paired_tests(pairs: Sequence[tuple[Row, Row]]) -> list[McNemar]:
    """McNemar's test of each yes-or-no figure that applies to any question."""
    tests = []
    for name, truth in TRUTHS.items():
        both = [(truth(one), truth(other)) for one, other in pairs]
        known = [(a, b) for a, b in both if a is not None and b is not None]
        if known:
            first_only = sum(a and not b for a, b in known)
            second_only = sum(b and not a for a, b in known)
            tests.append(McNemar(name, first_only, second_only, mcnemar_p(first_only, second_only)))
    return tests


def differences(pairs: Sequence[tuple[Row, Row]], samples: int = SAMPLES) -> list[Difference]:
    """Every figure that both runs have, with the interval of its change; both are resampled together."""
    first, second = table([one for one, _ in pairs]), table([other for _, other in pairs])
    once, drawn = np.ones((1, len(pairs))), resampled(len(pairs), samples)
    changes = []
    for metric in METRICS:
        a, b = float(metric.figure(first, once)[0]), float(metric.figure(second, once)[0])
        if np.isnan(a) or np.isnan(b):
            continue
        low, high = interval(metric.figure(second, drawn) - metric.figure(first, drawn))
        changes.append(Difference(metric.name, a, b, b - a, low, high))
    return changes
