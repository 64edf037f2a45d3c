"""Which embedding model belongs to a name or an index.

Owns: the model that comes with qabot, and the cache of exports of all others. Refuses to load torch unless
something really has to be exported, or can't be.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

from qabot.embedding import ENCODER_FILE, INT8, MODEL_FILE, Encoder, OnnxEncoder
from qabot.errors import ModelError
from qabot.sessions import model_cache

Tell = Callable[[str], None]
"""Told, in a sentence, of anything that takes long."""

LARGE_READER = "qabot-reader-large"
OWN_MODEL = "qabot-minilm"
OWN_FOLDER = Path(__file__).parent / "data" / "encoder"
"""all-MiniLM-L6-v2, trained on questions as people ask them, as int8 ONNX; training/ makes it."""


def silent(sentence: str) -> None:
    """Tells nobody."""


def own_encoder(threads: int = 0) -> OnnxEncoder:
    """The encoder that comes with qabot."""
    return OnnxEncoder(OWN_FOLDER, threads)


def encoder_for_name(
    name: str, *, threads: int = 0, tell: Tell = silent, samples: Callable[[], Sequence[str]] = tuple
) -> Encoder:
    """The encoder of a configured model; any but qabot's own is exported on first use, `NAME:int8` in int8.

    samples: texts of the documents, to compare an export with its model on. A model that can't be exported is run by
    sentence-transformers; `tell` hears why.
    Raises `ModelError` when the model can't be had.
    """
    if name == OWN_MODEL:
        return own_encoder(threads)
    from qabot.export import UNEXPORTABLE_FILE, export_encoder, model_folder

    folder = model_folder(name.removesuffix(INT8))
    cache = model_cache()
    alias = cache / f"name-{hashlib.sha256(f'{name} {_identity(Path(folder))}'.encode()).hexdigest()[:24]}.json"
    if alias.is_file():
        target = cache / str(json.loads(alias.read_text(encoding="utf-8"))["fingerprint"])
        found = _kept(name, target, threads, tell)
        if found is not None:
            return found
    tell(f"Preparing the model {name}, once ...")
    target = export_encoder(name, cache, samples())
    alias.write_text(json.dumps({"name": name, "fingerprint": target.name}), encoding="utf-8")
    if (target / UNEXPORTABLE_FILE).is_file():
        reason = json.loads((target / UNEXPORTABLE_FILE).read_text(encoding="utf-8"))["reason"]
        tell(
            f"The model {name} can't be exported ({reason}), so sentence-transformers runs it: each start takes seconds, and "
            "questions are slower. It is tried again when torch, sentence-transformers or onnxruntime has another version."
        )
    encoder = _kept(name, target, threads, tell)
    if encoder is None:
        raise ModelError(f"The export of {name} in {target} can't be opened again. Delete that folder and try again.")
    return encoder


def encoder_for_index(
    recipe: dict[str, object], *, threads: int = 0, tell: Tell = silent, own: Future[OnnxEncoder] | None = None
) -> Encoder:
    """The encoder that an index was built with, found by its fingerprint alone.

    own: qabot's own model, if it is being loaded already.
    Exports it again when the cache was cleared. Raises `ModelError` when the model of that name is another one
    by now.
    """
    name, fingerprint = str(recipe["model"]), str(recipe["encoder"])
    encoder: Encoder | None
    if name == OWN_MODEL:
        encoder = own.result() if own else own_encoder(threads)
    else:
        encoder = _kept(name, model_cache() / fingerprint, threads, tell)
        if encoder is None:
            encoder = encoder_for_name(name, threads=threads, tell=tell)
    if encoder.facts.fingerprint != fingerprint:
        raise ModelError(
            f"The index was built with the model {name} of fingerprint {fingerprint}, but the model "
            f"of that name has {encoder.facts.fingerprint} now. Run `qabot index`."
        )
    return encoder


def _kept(name: str, target: Path, threads: int, tell: Tell) -> Encoder | None:
    """The encoder in a folder of the cache; None when there is none, or when it is to be exported again."""
    if not (target / ENCODER_FILE).is_file():
        return None
    if (target / MODEL_FILE).is_file():
        try:
            return OnnxEncoder(target, threads)
        except ModelError:
            # Torn, or made by a version of onnxruntime that knew more than this one.
            return None
    # Only a model without an export costs this import.
    from qabot.export import UNEXPORTABLE_FILE, TorchEncoder, export_versions

    about = json.loads((target / UNEXPORTABLE_FILE).read_text(encoding="utf-8"))
    if about["versions"] != export_versions():
        return None
    tell(f"Loading the model {name} with sentence-transformers ...")
    return TorchEncoder(name, threads)


def _identity(folder: Path) -> str:
    """Changes when the files of a local model change; empty for a name that isn't a folder."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
