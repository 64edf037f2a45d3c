"""Text -> unit vectors, with onnxruntime.

Owns: tokenizing, batching and running an exported model (`qabot.export` makes it, once a model). Refuses to
know where texts come from and what the vectors are for. Never loads torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qabot.errors import ModelError
from qabot.sessions import open_session, shared_tokenizer

Vectors = NDArray[np.float32]
MODEL_FILE, TOKENIZER_FILE, ENCODER_FILE = "model.onnx", "tokenizer.json", "encoder.json"
INT8 = ":int8"
"""Ends the name of a model that is to be exported in int8: smaller, twice as fast, and not quite the same."""
BATCH_TOKENS = 1024
"""Tokens a batch may hold, padding included. Larger batches leave the CPU's caches and are slower."""


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """What is known of an exported model.

    fingerprint: of its weights, prompts and window. dimension: of its vectors. window: longest input in
    tokens, special ones included. query_prompt, document_prompt: put before each text; may be empty. alone: texts
    must not share a batch: a quantised model scales its activations by everything that is in one, so that a text's
    vector would depend on its company.
    """

    name: str
    fingerprint: str
    dimension: int
    window: int
    query_prompt: str
    document_prompt: str
    alone: bool = False

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON holds them."""
        return asdict(self)


class Encoder(Protocol):
    """What the index and retrieval need of an embedding model."""

    @property
    def facts(self) -> EncoderFacts:
        """What is known of the model."""
        ...

    @property
    def limit(self) -> int:
        """How many tokens of a document fit, special tokens and the document prompt taken off."""
        ...

    def token_ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, as offsets in code points, ascending."""
        ...

    def knows(self, word: str) -> bool:
        """Whether the model has a token for the whole word."""
        ...

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """Document texts -> (len(texts), dimension) unit vectors; `advance(n)` is told of each n done."""
        ...

    def embed_question(self, question: str) -> Vectors:
        """Question -> (dimension,) unit vector."""
        ...


class Tokenized:
    """The half of an `Encoder` that needs its tokenizer alone, whatever runs the model."""

    _facts: EncoderFacts
    _tokenizer: Any

    @property
    def facts(self) -> EncoderFacts:
        """What is known of the model."""
        return self._facts

    @property
    def limit(self) -> int:
        """How many tokens of a document fit, special tokens and the document prompt taken off."""
        return self._facts.window - len(self._tokenizer.encode(self._facts.document_prompt).ids)

    def token_ends(self, text: str) -> list[int]:
        """Where each token of `text` ends, as offsets in code points, ascending."""
        return [end for _, end in self._tokenizer.encode(text, add_special_tokens=False).offsets]

    def knows(self, word: str) -> bool:
        """Whether the model has a token for the whole word."""
        return len(self._tokenizer.encode(word, add_special_tokens=False).ids) == 1


class OnnxEncoder(Tokenized):
    """An exported model in `folder`.

    threads: of one run; 0 leaves it to onnxruntime (one a physical core).
    Raises `ModelError` when the folder isn't a whole export.
    """

    def __init__(self, folder: Path, threads: int = 0) -> None:
        try:
            self._facts = EncoderFacts(**json.loads((folder / ENCODER_FILE).read_text(encoding="utf-8")))
            self._tokenizer = shared_tokenizer(folder / TOKENIZER_FILE)
            # Texts that are run one by one share the cores among themselves instead.
            self._workers = (threads or os.cpu_count() or 1) if self._facts.alone else 1
            self._session = open_session(folder / MODEL_FILE, 1 if self._facts.alone else threads)
        except Exception as error:  # tokenizers and onnxruntime raise bare Exceptions
            raise ModelError(
                f"{folder} holds no usable export of a model ({str(error).splitlines()[0]}). Delete that folder; `qabot index` makes it again."
            ) from error

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """Document texts -> (len(texts), dimension) unit vectors; `advance(n)` is told of each n done.

        Texts of similar length share a batch, so that little of it is padding. A text beyond the model's
        window is an error of the caller: `ValueError`, never a silent cut.
        """
        encoded = self._tokenizer.encode_batch([self._facts.document_prompt + text for text in texts])
        ids = [encoding.ids for encoding in encoded]
        order = sorted(range(len(ids)), key=lambda position: len(ids[position]))
        if order and len(ids[order[-1]]) > self._facts.window:
            raise ValueError(
                f"a text of {len(ids[order[-1]])} tokens does not fit the {self._facts.window} of {self._facts.name}"
            )
        vectors = np.empty((len(texts), self._facts.dimension), np.float32)
        batches = [[position] for position in order] if self._facts.alone else _batches(order, ids)
        with ThreadPoolExecutor(self._workers) as pool:
            results = pool.map(lambda batch: self._run([ids[position] for position in batch]), batches)
            for batch, result in zip(batches, results, strict=True):
                vectors[batch] = result
                if advance:
                    advance(len(batch))
        return vectors

    def embed_question(self, question: str) -> Vectors:
        """Question -> (dimension,) unit vector. A question longer than the window is read up to its end."""
        ids = self._tokenizer.encode(self._facts.query_prompt + question).ids
        if len(ids) > self._facts.window:
            ids = ids[: self._facts.window - 1] + ids[-1:]
        return np.asarray(self._run([ids])[0], np.float32)

    def _run(self, ids: list[list[int]]) -> Vectors:
        length = max(map(len, ids))
        padded = np.zeros((len(ids), length), np.int64)
        mask = np.zeros((len(ids), length), np.int64)
        for row, tokens in enumerate(ids):
            padded[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        output: Vectors = self._session.run(None, {"input_ids": padded, "attention_mask": mask})[0]
        return output


def _batches(order: list[int], ids: list[list[int]]) -> list[list[int]]:
    """Positions, shortest first, in batches of at most `BATCH_TOKENS` tokens, padding included."""
    batches: list[list[int]] = []
    for position in order:
        if batches and (len(batches[-1]) + 1) * len(ids[position]) <= BATCH_TOKENS:
            batches[-1].append(position)
        else:
            batches.append([position])
    return batches
