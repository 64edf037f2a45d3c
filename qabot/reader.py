"""Models that read a question and a passage together: does it answer, and with which sentence?

Owns: the seam `Reader` and what stands behind it: qabot's own reader (ONNX, one pass scores every sentence of
a window), and any sentence-transformers CrossEncoder. Refuses to know where windows come from and what the scores
decide. Never loads torch unless a CrossEncoder is asked for.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qabot.errors import ModelError
from qabot.models import LARGE_READER, Tell, silent
from qabot.sessions import open_session, shared_tokenizer
from qabot.snapshot import content_digest

AUTO = "auto"
"""The best of qabot's own readers that this machine has."""
NO_READER = "none"
OWN_READER = "qabot-reader"
READERS = (AUTO, OWN_READER, LARGE_READER, NO_READER)
HUB_NAME = re.compile(r"\w[\w.-]*/[\w.-]+")
OWN_FOLDER = Path(__file__).parent / "data" / "reader"
"""A small reader made for verbatim answers and refusals, as int8 ONNX; training/ makes it."""
READER_FILE = "reader.json"
QUESTION_TOKENS = 40
WINDOW_TOKENS = 144
QUESTION_PART = -1


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive sentences to read together; `keep` is the position of the one that must be read."""

    sentences: tuple[str, ...]
    keep: int


@dataclass(frozen=True, slots=True)
class Weighing:
    """What a retrieval score counts beside a reader's log odds: `weight` times what it has up to `bend`, and `beyond`
    times the rest: there, a question was put in the words of the text, and the score grows without saying as much.

    Chosen on development sets for each reader, whose `reader.json` names them: the surer its odds, the less retrieval has
    to say. The defaults are for readers that name none (8 instead of 12 for the one that comes with qabot).
    """

    weight: float = 12.0
    bend: float = 0.8
    beyond: float = 3.0

    def __call__(self, odds: float, score: float) -> float:
        """What ranks a sentence with these log odds and this retrieval score."""
        return odds + self.weight * min(score, self.bend) + self.beyond * max(score - self.bend, 0.0)


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is read for a question: the `first` windows, of at most `words` words; and unless a sentence has log odds of
    `sure` by then, more of them, up to `most`.

    Chosen for each reader on development sets, and named in its `reader.json`. The defaults are for readers that name none,
    and for the one that comes with qabot: all at once.
    """

    words: int = 80
    first: int = 14
    most: int = 14
    sure: float = 0.0

    def __post_init__(self) -> None:
        """Raises `ValueError` for numbers that would read nothing."""
        for name in ("words", "first", "most"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"budget: {name} is {value!r}; a whole number of at least 1 was expected")


class Reader(Protocol):
    """`read` gives, for each window, the log odds that each of its sentences answers (None: not read)."""

    @property
    def name(self) -> str:
        """What the configuration calls it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Changes when its scores, their weighing, or how much is read may change."""
        ...

    @property
    def weighing(self) -> Weighing:
        """How its log odds and retrieval scores make one ranking."""
        ...

    @property
    def budget(self) -> Budget:
        """How much it reads for a question."""
        ...

    def read(self, question: str, windows: Sequence[Window]) -> list[tuple[float | None, ...]]:
        """One tuple a window, one value a sentence of it."""
        ...


def chosen_reader(name: str) -> str:
    """What the configured name stands for: `auto` is the larger reader where it was made or can be made of installed
    packages, else the small one; any other name is itself."""
    if name != AUTO:
        return name
    from qabot.large import obtainable

    return LARGE_READER if obtainable() else OWN_READER


def load_reader(name: str, threads: int = 0, tell: Tell = silent, *, fetch: bool = False) -> Reader | None:
    """The reader that the configuration names; `tell` hears of anything slow.

    fetch: get a CrossEncoder that isn't on this machine from the Hugging Face hub. A question doesn't: it would wait for
    minutes where there is no network.

    name: `none`; `qabot-reader`, which comes with qabot; `qabot-reader-large`, which is made on first use; `auto` (see
    `chosen_reader`); the path of a folder with an exported reader (`reader.json`); or a sentence-transformers CrossEncoder by
    name or path. Raises `ModelError` when it can't be had.
    """
    name = chosen_reader(name)
    if name == NO_READER:
        return None
    if name == OWN_READER:
        return OnnxReader(OWN_FOLDER, threads)
    if name == LARGE_READER:
        # Few need it, and it knows how to make the reader, which takes imports of its own.
        from qabot.large import OWN_FOLDER as LARGE_FOLDER
        from qabot.large import large_reader, read_facts

        facts = read_facts(LARGE_FOLDER)
        # These may change without the model having to be made again.
        about = {"weighing": facts.weighing, "budget": facts.budget, "fingerprint": facts.fingerprint}
        return OnnxReader(large_reader(tell), threads, about)
    if (Path(name) / READER_FILE).is_file():
        return OnnxReader(Path(name), threads)
    if not Path(name).is_dir() and not HUB_NAME.fullmatch(name):
        near = difflib.get_close_matches(name.lower(), READERS, 1)
        hint = f"Did you mean {near[0]}?" if near else f"Known: {', '.join(READERS)}."
        raise ModelError(
            f"The reader {name!r} is none of qabot's own, nor a folder, nor a name on the Hugging Face hub (OWNER/MODEL). "
            f"{hint} Set reader in the configuration."
        )
    return CrossEncoderReader(name, fetch=fetch)


class OnnxReader:
    """A reader exported by `training/export_onnx.py`, or made by `qabot.large`.

    The folder holds the model and `reader.json`: `name`, `file`, its `sha256`, `tokenizer` (a path from the folder),
    `sentences` (how many a window may have), and perhaps `weighing` (three numbers, see `Weighing`), `budget` (four, see
    `Budget`) and `fingerprint` (else from the others); `beside` has keys that count instead of those in the file.
    Inputs of the model, int64 (batch, length): `ids`, `mask`, `parts` (0 nothing, -1 question, 1.. sentence); outputs:
    `sentences` (batch, sentences) log odds and `passage` (batch,).
    Raises `ModelError` when the folder is not one, or the model is not the file that `reader.json` names.
    """

    def __init__(self, folder: Path, threads: int = 0, beside: Mapping[str, Any] | None = None) -> None:
        def check() -> None:
            found = content_digest(model)
            if found != sha256:
                raise ModelError(
                    f"{model} has sha256 {found}; {READER_FILE} says {sha256}. "
                    "Install it again, or delete the folder if it is in the cache: it is then made again."
                )

        try:
            about = {**json.loads((folder / READER_FILE).read_text(encoding="utf-8")), **(beside or {})}
            self.weighing, self.budget = Weighing(*about.get("weighing", ())), Budget(*about.get("budget", ()))
            model, sha256 = folder / about["file"], str(about["sha256"])
            self._session = open_session(model, 1, check)
            self._tokenizer = shared_tokenizer(folder / about["tokenizer"])
        except ModelError:
            raise
        except Exception as error:  # tokenizers and onnxruntime raise bare Exceptions
            raise ModelError(
                f"{folder} holds no usable reader ({str(error).splitlines()[0]}). Expected {READER_FILE} and the files "
                f'that it names; or set reader = "{NO_READER}".'
            ) from error
        # Made once, and shared by questions that are read at the same time: there are never more threads than cores.
        self._pool = ThreadPoolExecutor(threads or os.cpu_count() or 1, thread_name_prefix="reader")
        self._sentences = int(about["sentences"])
        empty = self._tokenizer.encode("", "").ids
        # [CLS] [SEP] [SEP] for BERT; <s> </s> </s> </s> where texts are parted by two.
        self._first, self._middle, self._last = empty[0], empty[1:-1], empty[-1]
        own = hashlib.sha256(f"{sha256} {self.weighing} {self.budget}".encode()).hexdigest()[:32]
        self.name, self.fingerprint = str(about["name"]), str(about.get("fingerprint", own))

    def read(self, question: str, windows: Sequence[Window]) -> list[tuple[float | None, ...]]:
        """See `Reader`. Sentences that don't fit the model's window beside the one to keep are not read."""
        asked = self._ids(question)[:QUESTION_TOKENS]
        packed = [self._pack(asked, window) for window in windows]
        # One by one: a quantised model scales its activations by everything in a batch, and a window's score must not
        # depend on its company. The cores are shared among the windows instead.
        # Longest first: no core ends long after the others.
        order = sorted(range(len(packed)), key=lambda number: -len(packed[number][0]))
        scores = dict(zip(order, self._pool.map(lambda number: self._run(*packed[number][:2]), order), strict=True))
        return [
            (*[None] * first, *map(float, row[: last - first + 1]), *[None] * (len(window.sentences) - 1 - last))
            for window, (_, _, first, last), row in zip(
                windows, packed, (scores[number] for number in range(len(packed))), strict=True
            )
        ]

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _pack(self, asked: list[int], window: Window) -> tuple[list[int], list[int], int, int]:
        """Token ids, the part each belongs to, and the first and last sentence that fitted."""
        pieces = [self._ids(" ".join(sentence.split())) for sentence in window.sentences]
        room = WINDOW_TOKENS - len(asked) - 2 - len(self._middle)
        first, last = 0, len(pieces) - 1
        while first < last and (sum(map(len, pieces[first : last + 1])) > room or last - first >= self._sentences):
            if last - window.keep >= window.keep - first:
                last -= 1
            else:
                first += 1
        ids = [self._first, *asked, *self._middle]
        parts = [0, *[QUESTION_PART] * len(asked), *[0] * len(self._middle)]
        for number, piece in enumerate(pieces[first : last + 1], 1):
            kept = piece[:room] if first == last else piece
            ids += kept
            parts += [number] * len(kept)
        return [*ids, self._last], [*parts, 0], first, last

    def _run(self, ids: list[int], parts: list[int]) -> NDArray[np.float32]:
        feeds = {
            "ids": np.array([ids], np.int64),
            "mask": np.ones((1, len(ids)), np.int64),
            "parts": np.array([parts], np.int64),
        }
        scores: NDArray[np.float32] = self._session.run(["sentences"], feeds)[0]
        first: NDArray[np.float32] = scores[0]
        return first


class CrossEncoderReader:
    """Any sentence-transformers CrossEncoder with one score a pair; each sentence is read in its window.

    Loads torch. fetch: get it from the Hugging Face hub where this machine doesn't have it. Raises `ModelError` when the
    model can't be had or gives more than one score.
    """

    def __init__(self, name: str, *, fetch: bool = False) -> None:
        try:
            self._model: Any = _cross_encoder(name, fetch)
        except Exception as error:  # hub, file and JSON errors share no base class
            raise ModelError(
                f"The reader {name!r} can't be loaded ({str(error).strip().splitlines()[0][:200]}). Expected a CrossEncoder of "
                "sentence-transformers by path, or by name (`qabot index` fetches it from the Hugging Face hub, once), or "
                f"one of {', '.join(READERS)}."
            ) from error
        if self._model.num_labels != 1:
            raise ModelError(f"The reader {name!r} gives {self._model.num_labels} scores a pair; one was expected.")
        self.name, self.weighing, self.budget = name, Weighing(), Budget()
        digest = hashlib.sha256(name.encode())
        digest.update(f"{self.weighing} {self.budget}".encode())
        for key, value in sorted(self._model.state_dict().items()):
            digest.update(key.encode() + value.detach().float().contiguous().numpy().tobytes())
        self.fingerprint = digest.hexdigest()[:32]

    def read(self, question: str, windows: Sequence[Window]) -> list[tuple[float | None, ...]]:
        """See `Reader`. The sentence to keep is read with its window; its neighbours are not."""
        from torch.nn import Identity

        pairs = [(question, " ".join(window.sentences)) for window in windows]
        scores = self._model.predict(pairs, activation_fn=Identity(), show_progress_bar=False) if pairs else []
        return [
            tuple(float(score) if position == window.keep else None for position in range(len(window.sentences)))
            for window, score in zip(windows, scores, strict=True)
        ]


def _cross_encoder(name: str, fetch: bool) -> Any:
    from sentence_transformers import CrossEncoder

    try:
        return CrossEncoder(name, device="cpu", local_files_only=True)
    except Exception:  # see above
        if not fetch or Path(name).is_dir():
            raise
    from huggingface_hub import hf_hub_download

    # Without a network, each file is tried for half a minute, and the model has a dozen.
    hf_hub_download(name, "config.json")
    return CrossEncoder(name, device="cpu")
