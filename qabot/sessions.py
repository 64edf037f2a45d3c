"""Exported models, opened in onnxruntime.

Owns: the options of a session, models as onnxruntime optimises them, and tokenizers, of which models that have the same
share one. Refuses to know what a model computes.

An optimised model is two files: the graph, and the weights beside it, which are mapped into memory instead of read.
That opens in less than half of the time, and processes on one host share the memory.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WEIGHTS = ".weights"
"""What the name of the weights' file has more than that of the graph."""
SMALLEST_WEIGHT = "1024"
"""Bytes below which a weight stays in the graph."""
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

    A model that `optimise` wrote is opened as it is. Of any other, an optimised copy is kept in the user's cache. A copy
    is good for the file it was made of (path, size, time) and the version of onnxruntime; anything else makes another.
    `check` is called before `model` itself is read, and may raise.
    Raises onnxruntime's exceptions when the file is no model.
    """
    if model.with_name(model.name + WEIGHTS).is_file():
        return _session(model, threads, optimise=False)
    copy = _copy_of(model)
    if copy is not None and copy.is_dir():
        try:
            return _session(copy / model.name, threads, optimise=False)
        except Exception:  # onnxruntime's exceptions share no other base; a torn copy is made again
            shutil.rmtree(copy, ignore_errors=True)
    check()
    if copy is not None and _make_copy(model, copy):
        return _session(copy / model.name, threads, optimise=False)
    return _session(model, threads, optimise=True)


def optimise(model: Path, folder: Path) -> None:
    """Write `model`, optimised, into `folder` under its own name, with its weights beside it.

    Only what holds on any processor is done (the level that onnxruntime calls extended), so that the files may move to
    another machine. Raises onnxruntime's exceptions when the file is no model or the folder can't be written.
    """
    _session(model, 1, optimise=True, into=folder / model.name)
    for file in folder.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())


def _session(model: Path, threads: int, *, optimise: bool, into: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep: a bot's event loop, and other questions, need the cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED if optimise else levels.ORT_DISABLE_ALL
    if into is not None:
        options.optimized_model_filepath = str(into)
        entry = "session.optimized_model_external_initializers"
        options.add_session_config_entry(f"{entry}_file_name", into.name + WEIGHTS)
        options.add_session_config_entry(f"{entry}_min_size_in_bytes", SMALLEST_WEIGHT)
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def shared_tokenizer(file: Path) -> Tokenizer:
    """The tokenizer in `file`, without padding and truncation; the same object while the file stays as it is.

    Raises the exceptions of tokenizers when the file is none.
    """
    with _loading:
        stat = file.stat()
        key = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
        if key not in _tokenizers:
            _tokenizers[key] = tokenizer_of(file.read_text(encoding="utf-8"))
        return _tokenizers[key]


def tokenizer_of(text: str) -> Tokenizer:
    """The tokenizer that the JSON `text` describes, without padding and truncation."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_str(text)
    found.no_padding()
    found.no_truncation()
    return found


def _copy_of(model: Path) -> Path | None:
    """The folder of the optimised copy of `model`, be it there or not; None when it is to have none."""
    import onnxruntime

    try:
        stat = model.stat()
        if stat.st_size < SMALLEST_COPY:
            return None
        made_of = _short(f"{stat.st_size} {stat.st_mtime_ns} {onnxruntime.__version__}")
        return model_cache() / COPIES / f"{_short(str(model.resolve()))}-{made_of}"
    except (OSError, RuntimeError):  # no such model, which opening it says better; no home folder
        return None


def _make_copy(model: Path, copy: Path) -> bool:
    """Whether there is an optimised copy now. Where the cache can't be written there is none, and loading is slower."""
    work = None
    try:
        copy.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="making-", dir=copy.parent))
        optimise(model, work)
        os.replace(work, copy)
    except Exception:  # a full disk, which onnxruntime reports as its own; no model, which opening it says
        # Another process may have been faster.
        return copy.is_dir()
    finally:
        if work is not None:
            shutil.rmtree(work, ignore_errors=True)
    for other in copy.parent.glob(f"{copy.name.partition('-')[0]}-*"):
        if other != copy:
            shutil.rmtree(other, ignore_errors=True)
    return True


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
