"""Judged runs -> a calibration: `qabot calibrate`.

Owns: what is learnt from a run, cross-validation, and how the thresholds are chosen. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from qabot.calibration import (
    SIGNALS,
    Calibration,
    Curve,
    Data,
    Floats,
    Gated,
    Measured,
    fit_isotonic,
    fit_platt,
    signals,
)
from qabot.errors import QuestionError
from qabot.evaluation.metrics import SEED, auroc, ece
from qabot.phrases import counted

if TYPE_CHECKING:
    from qabot.evaluation.run import Run

Method = Literal["platt", "isotonic", "gated"]
FOLDS = 5
KEPT = 0.95
LEAST = 30
"""How many labelled questions, and a fifth of it of either label, are needed at the least."""


@dataclass(frozen=True, slots=True)
class Observation:
    """A question that was searched for: its signals, and what is known of it.

    answerable: the documents hold an answer, which the curve learns to predict. right: the first quote is one.
    """

    found: dict[str, float]
    right: bool
    answerable: bool
    off_topic: bool


def observe(run: Run) -> list[Observation]:
    """One observation for each question that had candidates; small talk and the like never get so far."""
    seen = []
    for result in run.results:
        trace = result.answer.trace
        if trace:
            found = signals(
                [one.dense for one in trace],
                [one.lexical for one in trace],
                [one.fused for one in trace],
                [one.reader for one in trace],
            )
            question = result.question
            seen.append(Observation(found, result.row.right, question.answerable, question.off_topic))
    return seen


def calibrate(
    runs: Sequence[Run],
    recipe: Mapping[str, str],
    *,
    method: Method = "platt",
    use: Sequence[str] = (),
    subject: Sequence[str] = ("dense",),
    share: float | None = None,
    answered: float | None = None,
    related: float | None = None,
) -> Calibration:
    """A calibration fitted on all the questions of the runs, which may be of several indexes.

    recipe: what was in use, for `load_calibration` to compare. use: names of signals; all there are (Platt and gated), or
    the reader's, else `dense` (isotonic), when empty. subject: the signals that tell off-topic questions (gated).
    answered, related: thresholds, 0..1; chosen from the data when None. share: the share, 0..1, of the answerable
    questions that the threshold of `answered` has to let through; None chooses the best balance instead.
    Figures and thresholds come from probabilities of questions that the curve did not see (5-fold cross-validation
    with a fixed seed). Raises `QuestionError` when the questions are too few or of one kind.
    """
    seen = [observation for run in runs for observation in observe(run)]
    answerable = np.array([one.answerable for one in seen], np.bool_)
    least = LEAST // 5
    if len(seen) < LEAST or answerable.sum() < least or (~answerable).sum() < least:
        raise QuestionError(
            f"{counted(len(seen), 'question')} had candidates, and {int(answerable.sum())} of them have an answer. At least {LEAST} "
            f"are needed, with {least} that have an answer and {least} that have none: add questions."
        )
    names = _chosen(seen, method, use)
    values = np.array([[one.found[name] for name in names] for one in seen], np.float64)
    off_topic = np.array([one.off_topic for one in seen], np.bool_)
    if method == "gated" and min(off_topic.sum(), (~answerable & ~off_topic).sum()) < FOLDS:
        raise QuestionError(
            f"{int(off_topic.sum())} questions are off-topic and {int((~answerable & ~off_topic).sum())} on-topic without an "
            f"answer; a gated curve needs {FOLDS} of either. Add questions, or take --method platt."
        )
    gate = np.array([[one.found[name] for name in subject] for one in seen], np.float64)

    def fit(rows: NDArray[np.bool_]) -> Curve:
        if method == "isotonic":
            return fit_isotonic(names[0], values[rows, 0], answerable[rows])
        if method == "gated":
            near = rows & ~off_topic
            first = fit_platt(subject, gate[rows], ~off_topic[rows])
            return Gated(first, fit_platt(names, values[near], answerable[near]))
        return fit_platt(names, values[rows], answerable[rows])

    unseen = _cross_validated(seen, answerable, off_topic, fit)
    if answered is None and share is not None:
        answered = float(np.quantile(unseen[answerable], 1 - share))
    elif answered is None:
        answered = best_threshold(unseen, answerable)
    if related is None:
        related = related_threshold(unseen, off_topic, answered)
    if not 0 <= related <= answered <= 1:
        raise QuestionError(
            f"related is {related} and answered is {answered}; 0 <= related <= answered <= 1 was expected."
        )
    one = np.ones((1, len(seen)))

    def area(negative: NDArray[np.bool_]) -> float | None:
        found = float(auroc(unseen, answerable.astype(float), negative.astype(float), one)[0])
        return None if np.isnan(found) else found

    digest = hashlib.sha256("".join(run.sha256 for run in runs).encode()).hexdigest()
    return Calibration(
        curve=fit(np.ones(len(seen), np.bool_)),
        answered=answered,
        related=related,
        recipe=dict(recipe),
        data=Data(
            sha256=runs[0].sha256 if len(runs) == 1 else digest,
            files=tuple(PurePath(file).name for run in runs for file in run.files),
            questions=len(seen),
            answerable=int(answerable.sum()),
            off_topic=int(off_topic.sum()),
            right=sum(one.right for one in seen),
        ),
        measured=Measured(
            folds=FOLDS,
            ece=float(ece(unseen, answerable.astype(float), one)[0]),
            auroc=area(~answerable),
            auroc_offtopic=area(~answerable & off_topic),
            auroc_ontopic=area(~answerable & ~off_topic),
        ),
    )


def lines(found: Calibration) -> list[str]:
    """What was fitted, for a terminal."""
    data, measured = found.data, found.measured

    def shown(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    return [
        f"{type(found.curve).__name__} curve of {', '.join(found.curve.signals)}",
        f"fitted on {data.questions:,} questions ({data.answerable:,} answerable, {data.off_topic:,} off-topic); "
        f"the first quote answers {data.right:,}",
        f"answered from {found.answered:.3f}, related from {found.related:.3f}",
        f"on unseen questions ({measured.folds}-fold): ECE {measured.ece:.3f}, AUROC {shown(measured.auroc)} "
        f"(off-topic {shown(measured.auroc_offtopic)}, on-topic {shown(measured.auroc_ontopic)})",
    ]


def best_threshold(scores: Floats, wanted: NDArray[np.bool_]) -> float:
    """The least score to accept for the best mean of the share of wanted accepted and of unwanted refused.

    Halfway between two neighbouring scores; of equally good ones the highest. Both kinds must be there.
    """
    levels = np.unique(scores)
    cuts = np.concatenate([levels[:1], (levels[1:] + levels[:-1]) / 2])
    accepted = scores[None, :] >= cuts[:, None]
    balanced = accepted[:, wanted].mean(axis=1) + (~accepted)[:, ~wanted].mean(axis=1)
    return float(cuts[len(cuts) - 1 - int(np.argmax(balanced[::-1]))])


def related_threshold(scores: Floats, off_topic: NDArray[np.bool_], answered: float) -> float:
    """The least score of `related`: the best one to keep off-topic questions apart from all others.

    Where there are no off-topic questions to learn it from, or it would leave less than 5 % of all questions between
    itself and `answered`: what 95 % of the other questions reach.
    """
    if off_topic.any() and not off_topic.all():
        best = best_threshold(scores, ~off_topic)
        if np.mean((scores >= best) & (scores < answered)) >= 1 - KEPT:
            return best
    others = scores if off_topic.all() else scores[~off_topic]
    return min(answered, float(np.quantile(others, 1 - KEPT)))


def _chosen(seen: Sequence[Observation], method: Method, use: Sequence[str]) -> tuple[str, ...]:
    there = [name for name in SIGNALS if all(name in one.found for one in seen)]
    absent = [name for name in use if name not in there]
    if absent:
        raise QuestionError(f"There is no signal {absent[0]!r} here. Signals: {', '.join(there)}.")
    if method != "isotonic":
        return tuple(use or there)
    if len(use) > 1:
        raise QuestionError(f"An isotonic curve takes one signal, found {', '.join(use)}.")
    return (use[0] if use else "reader" if "reader" in there else "dense",)


def _cross_validated(
    seen: Sequence[Observation],
    answerable: NDArray[np.bool_],
    off_topic: NDArray[np.bool_],
    fit: Callable[[NDArray[np.bool_]], Curve],
) -> Floats:
    """(n,) the probability of each question by a curve that was fitted without its fold."""
    fold = np.empty(len(seen), np.int64)
    random = np.random.default_rng(SEED)
    for kind in (answerable, ~answerable & ~off_topic, ~answerable & off_topic):  # each fold gets its share of each
        members = random.permutation(np.flatnonzero(kind))
        fold[members] = np.arange(len(members)) % FOLDS
    unseen = np.empty(len(seen))
    for number in range(FOLDS):
        curve = fit(fold != number)
        for position in map(int, np.flatnonzero(fold == number)):
            unseen[position] = curve.probability(seen[position].found)
    return unseen
