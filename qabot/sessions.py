"""Exported models, opened in onnxruntime.

Owns: the options of a session, the copies of models as onnxruntime optimises them for this machine, and tokenizers,
of which models that have the same share one. Refuses to know what a model computes.
"""

from __future__ import annotations

import hashlib
import os
import platform
import tempfile
import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SMALLEST_COPY = 4_000_000
"""Bytes from which on a model is worth a copy: below, optimising it takes no time."""
COPIES = "optimised"

_tokenizers: dict[tuple[str, int, int], Tokenizer] = {}
_loading = threading.Lock()


def model_cache() -> Path:
    """Where exported models are kept: `$XDG_CACHE_HOME/qabot/models`, by default under `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "qabot" / "models"


def open_session(model: Path, threads: int, check: Callable[[], None] = lambda: None) -> Any:
    """An `onnxruntime.InferenceSession` of the file `model`.

    threads: of one run; 0 leaves it to onnxruntime (one a physical core).

    The first time, what onnxruntime's optimiser makes of the model is kept in the user's cache, where it opens in half of
    the time. A copy is good for the file it was made of (path, size, time), the version of onnxruntime, and the
    features of the processor; anything else makes another. `check` is called before `model` itself is read, and may
    raise. Raises onnxruntime's exceptions when the file is no model.
    """
    import onnxruntime

    def opened(path: Path, level: Any, optimised: str = "") -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Waiting threads sleep: a bot's event loop, and other questions, need the cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        options.graph_optimization_level = level
        options.optimized_model_filepath = optimised
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    levels = onnxruntime.GraphOptimizationLevel
    copy = _copy_of(model, onnxruntime.__version__)
    if copy is not None and copy.is_file():
        try:
            return opened(copy, levels.ORT_DISABLE_ALL)
        except Exception:  # onnxruntime's exceptions share no other base; a torn copy is made again
            copy.unlink(missing_ok=True)
    check()
    work = _work_file(copy)
    if copy is None or work is None:
        return opened(model, levels.ORT_ENABLE_ALL)
    try:
        session = opened(model, levels.ORT_ENABLE_ALL, str(work))
        _keep(work, copy)
        return session
    except Exception:  # a full disk, or no model: then this says so
        return opened(model, levels.ORT_ENABLE_ALL)
    finally:
        work.unlink(missing_ok=True)


def shared_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in `file`, without padding and truncation; the same object while the file stays as it is.

    Raises the exceptions of tokenizers when the file is none.
    """
    from tokenizers import Tokenizer

    with _loading:
        stat = file.stat()
        key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        if key not in _tokenizers:
            found = Tokenizer.from_file(str(file))
            found.no_padding()
            found.no_truncation()
            _tokenizers[key] = found
        return _tokenizers[key]


def _copy_of(model: Path, version: str) -> Path | None:
    """Where the optimised copy of `model` is, or would be; None when it is to have none."""
    try:
        stat = model.stat()
        if stat.st_size < SMALLEST_COPY:
            return None
        source = _short(str(model.resolve()))
        made_of = _short(f"{stat.st_size} {stat.st_mtime_ns} {version}")
        return model_cache() / COPIES / f"{source}-{_machine()}-{made_of}.onnx"
    except (OSError, RuntimeError):  # no such model, which opening it says better; no home folder
        return None


def _machine() -> str:
    """Names what the optimiser may look at: the instructions that the processor has."""
    # Where numpy looks itself, and faiss.
    features = import_module("numpy._core._multiarray_umath").__cpu_features__
    return _short(f"{platform.machine()} {sorted(name for name, there in features.items() if there)}")


def _work_file(copy: Path | None) -> Path | None:
    """A file to write a copy to, or None where the cache can't be written: then there is none, and loading is slower."""
    if copy is None:
        return None
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix="making-", dir=copy.parent)
    except OSError:
        return None
    os.close(handle)
    return Path(name)


def _keep(work: Path, copy: Path) -> None:
    """Put a finished copy in its place, and remove those of the same model that are out of date."""
    with work.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(work, copy)
    same = copy.name.rpartition("-")[0]
    for other in copy.parent.glob(f"{same}-*.onnx"):
        if other != copy:
            other.unlink(missing_ok=True)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
