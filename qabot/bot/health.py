"""Figures about the running bot, in words."""

from __future__ import annotations

import os
import resource
import sys


def span_words(seconds: float) -> str:
    """A length of time in its two largest units: `3 d 4 h`, `12 min`."""
    minutes = int(seconds // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    known = [f"{amount} {unit}" for amount, unit in parts if amount][:2]
    return " ".join(known) or "< 1 min"


def memory_mb() -> int:
    """Resident memory of this process, in megabytes; its peak where the system doesn't tell the present."""
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 10**6
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 10**6 if sys.platform == "darwin" else peak // 10**3
