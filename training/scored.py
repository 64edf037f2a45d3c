"""What a teacher said of windows, as `distil.py score` keeps it.

Owns: the form of the shards. Refuses to know how they are made and what is learnt from them.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scored:
    """One window with the teacher's logits (None where its input was cut)."""

    sentences: tuple[str, ...]
    keep: int
    gold: tuple[bool, ...]
    logits: tuple[float | None, ...]
    passage: float


@dataclass(frozen=True)
class Task:
    """A question with its scored windows. `labelled`: its gold sentences are known to be all."""

    question: str
    windows: tuple[Scored, ...]
    labelled: bool = True


def read_shards(folder: Path) -> list[Task]:
    """The questions of all shards there are, in order."""
    return [task for path in sorted(folder.glob("*.pickle")) for task in pickle.loads(path.read_bytes())]
