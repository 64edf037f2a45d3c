"""Figures with intervals. Owns: hit@k, AUROC, nDCG@10, 95 % intervals. Refuses to know: models."""

import math

import numpy as np


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    if n == 0:
        return (math.nan, math.nan)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (centre - half, centre + half)


def auroc(positive: list[float], negative: list[float]) -> float:
    """Probability that a positive scores above a negative; ties count half."""
    if not positive or not negative:
        return math.nan
    a, b = np.asarray(positive)[:, None], np.asarray(negative)[None, :]
    return float((a > b).mean() + 0.5 * (a == b).mean())


def auroc_interval(positive: list[float], negative: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval by 1,000 bootstrap samples."""
    if not positive or not negative:
        return (math.nan, math.nan)
    rng = np.random.default_rng(seed)
    a, b = np.asarray(positive), np.asarray(negative)
    draws = [auroc(list(rng.choice(a, len(a))), list(rng.choice(b, len(b)))) for _ in range(1000)]
    return (float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975)))


def mean_interval(values: list[float], seed: int = 0) -> tuple[float, float]:
    """95 % interval of a mean by 2,000 bootstrap samples."""
    rng = np.random.default_rng(seed)
    array = np.asarray(values)
    draws = array[rng.integers(0, len(array), (2000, len(array)))].mean(axis=1)
    return (float(np.quantile(draws, 0.025)), float(np.quantile(draws, 0.975)))


def ndcg10(ranked: list[str], relevant: set[str]) -> float:
    """Binary gains, log2 discount, cut at 10."""
    gain = sum(1 / math.log2(r + 2) for r, name in enumerate(ranked[:10]) if name in relevant)
    ideal = sum(1 / math.log2(r + 2) for r in range(min(10, len(relevant))))
    return gain / ideal


def share(hits: list[bool]) -> str:
    """`0.567 [0.48, 0.65]`"""
    low, high = wilson(sum(hits), len(hits))
    return f"{sum(hits) / max(1, len(hits)):.3f} [{low:.2f}, {high:.2f}]"
