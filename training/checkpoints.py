"""Training state on disk, so that a run of any length goes on where it stopped.

Owns: one file with weights, optimizer, schedule, step and random states, replaced atomically.
Refuses to know: what is trained. The data position is the step: samplers are functions of it.
"""

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch


class Average:
    """Running average of the trained weights: measured and shipped instead of the last step's.

    Early steps average over all steps so far, later ones over about 1 / (1 - `keep`).
    """

    def __init__(self, model: torch.nn.Module, keep: float) -> None:
        self.keep, self.count = keep, 0
        self.weights = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}

    def update(self, model: torch.nn.Module) -> None:
        """Takes the weights of one more step in."""
        self.count += 1
        share = max(1 - self.keep, 1 / (self.count + 1))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name in self.weights:
                    self.weights[name].lerp_(parameter.detach(), share)

    @contextmanager
    def applied(self, model: torch.nn.Module) -> Iterator[None]:
        """The model with the averaged weights; its own come back afterwards."""
        own = {n: p.detach().clone() for n, p in model.named_parameters() if n in self.weights}
        model.load_state_dict(self.weights, strict=False)
        try:
            yield
        finally:
            model.load_state_dict(own, strict=False)


def save(
    path: Path,
    step: int,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    average: Average | None = None,
) -> None:
    """Writes beside `path`, flushes to disk, then replaces `path`."""
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "scheduler": scheduler.state_dict(),
        "torch_rng": torch.get_rng_state(),
        "python_rng": random.getstate(),
        "numpy_rng": np.random.get_state(),
    }
    if average:
        state["average"] = (average.count, average.weights)
    beside = path.with_suffix(".tmp")
    with beside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def load(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    average: Average | None = None,
) -> int:
    """Restores everything in place; the step to go on with, 0 when there is no checkpoint."""
    if not path.exists():
        return 0
    state = torch.load(path, map_location="cpu", weights_only=False)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    torch.set_rng_state(state["torch_rng"])
    random.setstate(state["python_rng"])
    np.random.set_state(state["numpy_rng"])
    if average and "average" in state:
        average.count, average.weights = state["average"]
    return int(state["step"])


def schedule(
    optimizer: torch.optim.Optimizer, steps: int, warmup: int, decay: int, floor: float = 0.02
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up over `warmup` steps, then the peak, then linear decay over the last `decay`.

    A run can be made longer from any checkpoint before the decay (Hu et al. 2024, MiniCPM: WSD).
    """

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return max(floor, min(1.0, (steps - step) / decay))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
