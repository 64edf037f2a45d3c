"""From the signals of a search to one probability that the best candidate answers, and to an outcome.

Owns: the signals, the curves (Platt, isotonic, gated) with how they are fitted, and the calibration file. numpy only.
Refuses to know which questions a curve was fitted on: `qabot.evaluation.calibrate` does that.

The file is JSON. It says what it was fitted for (`recipe`) and carries the sha256 of its own content, so that a
calibration of another model, or one that was edited by hand, is refused instead of giving wrong probabilities.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qabot.errors import ModelError
from qabot.types import Outcome

Floats = NDArray[np.float64]
FORMAT = 1
SIGNALS = ("dense", "lexical", "lead", "reader", "reader_margin", "reader_sum")
FIRST = 30
"""How many candidates the signals are made of: no more than a trace holds, so that a calibration is fitted on the
very values that it is later given."""
TOP = 5
"""How many of the best candidates the retrieval signals look at."""
CLIP = 1e-6
"""Reader probabilities nearer to 0 or 1 count as this near: log odds stay finite."""
RIDGE = 1e-8
STEPS = 100


def signals(
    dense: Sequence[float], lexical: Sequence[float], fused: Sequence[float], reader: Sequence[float | None]
) -> dict[str, float]:
    """What the candidates of a question say about whether one answers.

    Each argument holds one value a candidate, best candidate first, at least one, as in `qabot.types.Trace`; only the
    first 30 candidates are looked at.

    dense, lexical: the best of the first 5. lead: how far the best fused score is above the mean of the next 4.
    reader: log odds of the reader's best probability; reader_margin: how far they are above the second best;
    reader_sum: log of the sum of all odds, which many half-hearted candidates raise as well as one good one; these
    only when a reader read any candidate.
    """
    ranked = sorted(fused[:FIRST], reverse=True)[:TOP]
    rest = ranked[1:] or [0.0]
    found = {
        "dense": float(max(dense[:TOP])),
        "lexical": float(max(lexical[:TOP])),
        "lead": float(ranked[0] - sum(rest) / len(rest)),
    }
    read = sorted((_log_odds(value) for value in reader[:FIRST] if value is not None), reverse=True)
    if read:
        found["reader"] = read[0]
        found["reader_margin"] = read[0] - (read[1] if len(read) > 1 else _log_odds(0.0))
        found["reader_sum"] = float(np.logaddexp.reduce(read))
    return found


@dataclass(frozen=True, slots=True)
class Platt:
    """A logistic curve: probability = 1 / (1 + exp(-(bias + sum of weight x signal)))."""

    signals: tuple[str, ...]
    weights: tuple[float, ...]
    bias: float

    def probability(self, found: Mapping[str, float]) -> float:
        """0..1; raises `KeyError` for a signal that is missing."""
        odds = self.bias + sum(w * found[name] for name, w in zip(self.signals, self.weights, strict=True))
        return 1 / (1 + math.exp(-odds)) if odds >= 0 else math.exp(odds) / (1 + math.exp(odds))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A rising curve of one signal through the points (x, y), straight between them and level outside."""

    signals: tuple[str, ...]
    x: tuple[float, ...]
    y: tuple[float, ...]

    def probability(self, found: Mapping[str, float]) -> float:
        """0..1; raises `KeyError` for a signal that is missing."""
        return float(np.interp(found[self.signals[0]], self.x, self.y))


@dataclass(frozen=True, slots=True)
class Gated:
    """Two questions in a row: are the documents about this at all, and if so, do they answer?

    The probability is the product of both curves'. What tells a foreign subject (nearness) is not what tells an
    answer from a tempting neighbour (a reader), and one curve over both has to trade the one against the other.
    """

    subject: Platt
    answer: Platt

    @property
    def signals(self) -> tuple[str, ...]:
        """The signals that either curve looks at."""
        return tuple(dict.fromkeys((*self.subject.signals, *self.answer.signals)))

    def probability(self, found: Mapping[str, float]) -> float:
        """0..1; raises `KeyError` for a signal that is missing."""
        return self.subject.probability(found) * self.answer.probability(found)


Curve = Platt | Isotonic | Gated


def fit_platt(names: Sequence[str], values: Floats, labels: NDArray[np.bool_]) -> Platt:
    """The logistic curve of greatest likelihood, by Newton's method, with Platt's softened targets.

    values: (n, len(names)). labels: (n,). The targets (Platt, 1999; Lin, Lin & Weng, 2007) keep the curve finite on
    labels that the signals separate. Raises `ValueError` unless there are labels of both kinds and finite values.
    """
    _check(values, labels)
    center, scale = values.mean(axis=0), values.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    design = np.column_stack([(values - center) / scale, np.ones(len(values))])
    right = int(labels.sum())
    targets = np.where(labels, (right + 1) / (right + 2), 1 / (len(labels) - right + 2))
    # The ridge matters only where signals repeat each other, and picks one of the equally good curves.
    ridge = RIDGE * len(labels) * np.eye(design.shape[1])

    def loss(beta: Floats) -> float:
        odds = design @ beta
        return float(np.logaddexp(0, odds).sum() - targets @ odds + beta @ ridge @ beta / 2)

    beta = np.zeros(design.shape[1])
    beta[-1] = math.log((right + 1) / (len(labels) - right + 1))
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-design @ beta))
        gradient = design.T @ (p - targets) + ridge @ beta
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design + ridge, gradient)
        size = 1.0
        while size > 1e-10 and loss(beta - size * step) > loss(beta):
            size /= 2
        beta = beta - size * step
        if float(gradient @ step) < 1e-14:
            break
    weights = beta[:-1] / scale
    return Platt(tuple(names), tuple(map(float, weights)), float(beta[-1] - weights @ center))


def fit_isotonic(name: str, values: Floats, labels: NDArray[np.bool_]) -> Isotonic:
    """The rising curve of least squared error, by pooling adjacent violators (Ayer et al., 1955).

    values, labels: (n,). Raises `ValueError` unless there are labels of both kinds and finite values.
    """
    _check(values[:, None], labels)
    xs, group = np.unique(values, return_inverse=True)
    count = np.bincount(group).astype(float)
    means = np.bincount(group, weights=labels.astype(float)) / count
    blocks: list[tuple[float, float, int, int]] = []  # mean, weight, first and last position in xs
    for position, (mean, weight) in enumerate(zip(means.tolist(), count.tolist(), strict=True)):
        first = position
        while blocks and blocks[-1][0] >= mean:
            before, size, first, _ = blocks.pop()
            mean = (before * size + mean * weight) / (size + weight)
            weight += size
        blocks.append((mean, weight, first, position))
    knots = [(float(xs[at]), mean) for mean, _, first, last in blocks for at in dict.fromkeys((first, last))]
    return Isotonic((name,), tuple(x for x, _ in knots), tuple(y for _, y in knots))


@dataclass(frozen=True, slots=True)
class Data:
    """The labelled questions that a curve was fitted on: sha256 and names of their files, and counts.

    answerable: of how many the documents hold an answer, which is what the curve predicts. right: how often the first
    quote answered.
    """

    sha256: str
    files: tuple[str, ...]
    questions: int
    answerable: int
    off_topic: int
    right: int


@dataclass(frozen=True, slots=True)
class Measured:
    """How good the probabilities are on questions that they were not fitted on (cross-validation).

    ece: expected calibration error, 0..1. auroc: of answerable against not answerable questions, against the
    off-topic ones, and against the others; None without such questions.
    """

    folds: int
    ece: float
    auroc: float | None
    auroc_offtopic: float | None
    auroc_ontopic: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve with its two thresholds.

    answered, related: the least probability, 0..1, of each outcome; related <= answered. recipe: what the curve was
    fitted for, key -> value (model, reader, ...).
    """

    curve: Curve
    answered: float
    related: float
    recipe: dict[str, str]
    data: Data
    measured: Measured

    def judge(self, found: Mapping[str, float]) -> tuple[float, Outcome]:
        """The probability, 0..1, that the documents answer, and the outcome that makes."""
        probability = self.curve.probability(found)
        if probability >= self.answered:
            return probability, "answered"
        return probability, "related" if probability >= self.related else "nothing"

    def as_json(self) -> str:
        """The text of the file."""
        content = {
            "format": FORMAT,
            "curve": {"kind": type(self.curve).__name__.lower(), **asdict(self.curve)},
            "thresholds": {"answered": self.answered, "related": self.related},
            "recipe": self.recipe,
            "data": asdict(self.data),
            "measured": asdict(self.measured),
        }
        return json.dumps({**content, "sha256": _digest(content)}, indent=2, ensure_ascii=False) + "\n"


def load_calibration(file: Path, recipe: Mapping[str, str]) -> Calibration:
    """The calibration in `file`, made for exactly `recipe`.

    Raises `ModelError` when the file can't be read, was changed since it was written, or was fitted for another model,
    reader or recipe.
    """
    calibration = read_calibration(file)
    for key in sorted({*recipe, *calibration.recipe}):
        made, asked = calibration.recipe.get(key), recipe.get(key)
        if made != asked:
            raise ModelError(
                f"{file} was fitted for {key} = {made!r}, but {asked!r} is in use: its probabilities would be wrong. "
                "Fit one with `qabot calibrate`, or use what it was made for."
                + (' (reader = "auto" is the larger reader where that is installed.)' if key == "reader" else "")
            )
    return calibration


def read_calibration(file: Path) -> Calibration:
    """The calibration in `file`, whatever it was made for; raises `ModelError` when it is none or was changed."""
    if not file.is_file():
        there = "a folder" if file.is_dir() else "nothing"
        raise ModelError(
            f"The calibration is {file}, but {there} is there. Make one with `qabot calibrate FILE --out {file}`, or leave "
            "calibration out of the configuration."
        )
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        stated = value.pop("sha256")
        if value["format"] != FORMAT:
            raise ModelError(f"{file} has format {value['format']!r}; {FORMAT} was expected. Run `qabot calibrate`.")
        if _digest(value) != stated:
            raise ModelError(
                f"{file} is not what it was when it was written: its sha256 differs. Run `qabot calibrate`."
            )
        data = {**value["data"], "files": tuple(value["data"]["files"])}
        thresholds = value["thresholds"]
        found = Calibration(
            _curve(value["curve"]),
            float(thresholds["answered"]),
            float(thresholds["related"]),
            dict(value["recipe"]),
            Data(**data),
            Measured(**value["measured"]),
        )
        if not 0 <= found.related <= found.answered <= 1:
            raise ModelError(
                f"{file} has the thresholds related {found.related} and answered {found.answered}; "
                "0 <= related <= answered <= 1 was expected. Run `qabot calibrate`."
            )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{file} is no calibration ({error}). Make one with `qabot calibrate FILE --out F`."
        ) from error
    return found


def _curve(value: dict[str, Any]) -> Curve:
    if value["kind"] == "gated":
        return Gated(_platt(value["subject"]), _platt(value["answer"]))
    if value["kind"] == "platt":
        return _platt(value)
    if value["kind"] == "isotonic":
        return Isotonic(_signals(value), tuple(map(float, value["x"])), tuple(map(float, value["y"])))
    raise ValueError(f"unknown curve: {value['kind']!r}")


def _platt(value: dict[str, Any]) -> Platt:
    return Platt(_signals(value), tuple(map(float, value["weights"])), float(value["bias"]))


def _signals(value: dict[str, Any]) -> tuple[str, ...]:
    names = tuple(map(str, value["signals"]))
    unknown = set(names) - set(SIGNALS)
    if unknown:
        raise ValueError(f"unknown signals: {', '.join(sorted(unknown))}")
    return names


def _check(values: Floats, labels: NDArray[np.bool_]) -> None:
    if not np.isfinite(values).all():
        raise ValueError("a signal is not finite")
    if labels.all() or not labels.any():
        raise ValueError(f"all {len(labels)} labels are the same; both kinds are needed")


def _digest(content: dict[str, Any]) -> str:
    """sha256 of the content as canonical JSON: sorted keys, no spaces."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _log_odds(probability: float) -> float:
    clipped = min(max(probability, CLIP), 1 - CLIP)
    return math.log(clipped / (1 - clipped))
