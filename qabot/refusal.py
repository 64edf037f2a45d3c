"""Is the best candidate trusted to answer?

Owns: the signals, the calibrated probability made of them, and the two thresholds between the outcomes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from qabot.retrieval import Candidate
from qabot.types import Outcome


def judge(candidates: Sequence[Candidate]) -> tuple[float, Outcome]:
    """The probability, 0..1, that the best candidate answers, and what that makes of the answer."""
    if not candidates:
        return 0.0, "nothing"
    best = max(candidate.dense for candidate in candidates[:5])
    confidence = 1 / (1 + math.exp(-(best - 0.42) * 12))
    return confidence, "answered" if confidence >= 0.5 else "related" if confidence >= 0.2 else "nothing"
