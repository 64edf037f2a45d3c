"""Is the best candidate trusted to answer?

Owns: which calibration is in force for a model, and the outcome it makes of a question's candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from qabot.calibration import Calibration, load_calibration, read_calibration, signals
from qabot.models import Tell
from qabot.reader import NO_READER, OWN_READER, Reader
from qabot.reranking import probability
from qabot.retrieval import RETRIEVAL_VERSION, Candidate
from qabot.types import Outcome


def calibration_recipe(encoder: str, reader: Reader | None) -> dict[str, str]:
    """What a calibration belongs to: the fingerprints of both models and the version of the ranking."""
    return {
        "encoder": encoder,
        "reader": reader.fingerprint if reader else NO_READER,
        "retrieval": str(RETRIEVAL_VERSION),
    }


def choose_calibration(file: Path | None, recipe: Mapping[str, str], tell: Tell) -> Calibration:
    """The calibration in `file`, or the one of those that come with qabot that was made for `recipe`.

    `tell` hears when there is none: probabilities are then only rough, by the calibration for reading with qabot's
    own reader, or for not reading at all. Raises `ModelError` when `file` doesn't fit `recipe` or can't be read.
    """
    if file is not None:
        return load_calibration(file, recipe)
    with as_file(files("qabot") / "data" / "calibrations") as folder:
        own = {path.stem: read_calibration(path) for path in sorted(folder.glob("*.json"))}
    for calibration in own.values():
        if calibration.recipe == dict(recipe):
            return calibration
    tell(
        "There is no calibration for these models, so answers and refusals are told apart only roughly. "
        "Make one with `qabot calibrate` (docs/evaluation.md)."
    )
    return own[NO_READER if recipe["reader"] == NO_READER else OWN_READER]


def judge(calibration: Calibration, candidates: Sequence[Candidate]) -> tuple[float, Outcome]:
    """The probability, 0..1, that the documents answer, and what that makes of the answer."""
    if not candidates:
        return 0.0, "nothing"
    found = signals(
        [candidate.dense for candidate in candidates],
        [candidate.lexical for candidate in candidates],
        [candidate.score for candidate in candidates],
        [probability(candidate) for candidate in candidates],
    )
    # A curve of a reader's signals can't be used where nothing was read.
    return calibration.judge({name: found.get(name, 0.0) for name in calibration.curve.signals})
