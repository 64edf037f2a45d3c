"""What the benchmarks share: the machine they ran on, medians with spreads, and where results are written."""

from __future__ import annotations

import datetime
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import IO, Any

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("qabot", "numpy", "faiss-cpu", "onnxruntime", "tokenizers", "tantivy", "torch", "sentence-transformers")
BUSY_LOAD = 0.3
"""Processes waiting for each core, from which on the machine counts as busy with something else."""


def machine() -> dict[str, Any]:
    """The machine, and whether something else was running on it."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    load = os.getloadavg()[0]
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "load_before": round(load, 2),
        "busy": load > BUSY_LOAD * (os.cpu_count() or 1),
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The installed versions of those packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def spread(values: Sequence[float]) -> dict[str, float]:
    """n, median, quartiles and both ends of some measurements."""
    ordered = sorted(values)
    quarters = statistics.quantiles(ordered, n=4, method="inclusive") if len(ordered) > 1 else [ordered[0]] * 3
    return {
        "n": len(ordered),
        "median": statistics.median(ordered),
        "q1": quarters[0],
        "q3": quarters[2],
        "min": ordered[0],
        "max": ordered[-1],
    }


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` (0..1) of the values don't exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ran to its end. seconds: of the clock. memory_mb: most it held at once, and never less than what
    the process that started it holds, which Linux counts as the child's until it runs its own program."""

    seconds: float
    memory_mb: float
    output: str


def timed(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    allowed: Sequence[int] = (0,),
    stdin: IO[bytes] | None = None,
) -> Finished:
    """Run a process of its own. Raises `RuntimeError` with the end of its stderr when it ends with a code not allowed."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=stdin or subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            # As on most machines, compiled modules are kept, so that only the first start pays for them.
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "", **(environment or {})},
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode not in allowed:
            end = errors.read().decode()[-2000:]
            raise RuntimeError(f"{' '.join(command[:6])} ended with {process.returncode}: {end}")
        return Finished(seconds, usage.ru_maxrss / 1024, output.read().decode())


def write(name: str, result: Mapping[str, Any]) -> Path:
    """Write a result as JSON into benchmarks/results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def heading(result: Mapping[str, Any]) -> str:
    """One line that says where and when."""
    about = result["machine"]
    busy = " (busy with something else)" if about["busy"] else ""
    packages = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return f"{about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB, {about['system']}, Python {about['python']}, {about['date']}{busy}\n{packages}"
