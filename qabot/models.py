"""Which embedding model belongs to a name or an index.

Owns: the model that comes with qabot, and the cache of exports of all others. Refuses to load torch unless
something really has to be exported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from qabot.embedding import ENCODER_FILE, OnnxEncoder
from qabot.errors import ModelError
from qabot.sessions import model_cache

Tell = Callable[[str], None]
"""Told, in a sentence, of anything that takes long."""

OWN_MODEL = "qabot-minilm"
OWN_FOLDER = Path(__file__).parent / "data" / "encoder"
"""all-MiniLM-L6-v2, trained on questions as people ask them, as int8 ONNX; training/ makes it."""


def silent(sentence: str) -> None:
    """Tells nobody."""


def encoder_for_name(name: str, *, threads: int = 0, tell: Tell = silent) -> OnnxEncoder:
    """The encoder of a configured model; any but qabot's own is exported on first use.

    Raises `ModelError` when the model can't be had.
    """
    if name == OWN_MODEL:
        return OnnxEncoder(OWN_FOLDER, threads)
    from qabot.export import export_encoder, model_folder

    folder = model_folder(name)
    cache = model_cache()
    alias = cache / f"name-{hashlib.sha256(f'{name} {_identity(Path(folder))}'.encode()).hexdigest()[:24]}.json"
    if alias.is_file():
        target = cache / str(json.loads(alias.read_text(encoding="utf-8"))["fingerprint"])
        if (target / ENCODER_FILE).is_file():
            return OnnxEncoder(target, threads)
    tell(f"Preparing the model {name}, once ...")
    target = export_encoder(name, cache)
    alias.write_text(json.dumps({"name": name, "fingerprint": target.name}), encoding="utf-8")
    return OnnxEncoder(target, threads)


def encoder_for_index(
    recipe: dict[str, object], *, threads: int = 0, tell: Tell = silent, own: Future[OnnxEncoder] | None = None
) -> OnnxEncoder:
    """The encoder that an index was built with, found by its fingerprint alone.

    own: qabot's own model, if it is being loaded already.
    Exports it again when the cache was cleared. Raises `ModelError` when the model of that name is another one
    by now.
    """
    target = model_cache() / str(recipe["encoder"])
    if recipe["model"] != OWN_MODEL and (target / ENCODER_FILE).is_file():
        return OnnxEncoder(target, threads)
    if own and recipe["model"] == OWN_MODEL:
        encoder = own.result()
    else:
        encoder = encoder_for_name(str(recipe["model"]), threads=threads, tell=tell)
    if encoder.facts.fingerprint != recipe["encoder"]:
        raise ModelError(
            f"The index was built with the model {recipe['model']} of fingerprint {recipe['encoder']}, but the model "
            f"of that name has {encoder.facts.fingerprint} now. Run `qabot index`."
        )
    return encoder


def _identity(folder: Path) -> str:
    """Changes when the files of a local model change; empty for a name that isn't a folder."""
    if not folder.is_dir():
        return ""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return "".join(f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}\n" for path in files)
