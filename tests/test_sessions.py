"""Sessions: the optimised copies say what the models say, and are made again whenever they may not be right."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from qabot import sessions
from qabot.models import OWN_FOLDER
from qabot.reader import OWN_FOLDER as READER_FOLDER
from qabot.sessions import COPIES, WEIGHTS, model_cache, open_session, optimise, shared_tokenizer

FEEDS = {
    "input_ids": np.array([[101, 2040, 2234, 2000, 1996, 3116, 1029, 102]], np.int64),
    "attention_mask": np.ones((1, 8), np.int64),
}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model of its own, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copy(OWN_FOLDER / "model.onnx", tmp_path / "model.onnx"))


def copies() -> list[Path]:
    return sorted((model_cache() / COPIES).glob("*"))


def never() -> None:
    raise AssertionError("the model itself was read")


def vector(session: onnxruntime.InferenceSession) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    found: np.ndarray[tuple[int, ...], np.dtype[np.float32]] = session.run(None, FEEDS)[0]
    return found


def test_a_copy_is_made_once_and_says_the_same(model: Path) -> None:
    expected = vector(onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]))
    checked: list[int] = []
    first = open_session(model, 1, lambda: checked.append(1))
    (copy,) = copies()
    second = open_session(model, 1, never)
    assert checked == [1]
    assert copies() == [copy]
    for session in (first, second):
        np.testing.assert_array_equal(vector(session), expected)


def touch(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(model, (1, 1))


def other_version(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime, "__version__", "0.0.1")


@pytest.mark.parametrize("change", [touch, other_version])
def test_a_copy_of_something_else_is_not_used(
    model: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, pytest.MonkeyPatch], None]
) -> None:
    open_session(model, 1)
    (old,) = copies()
    change(model, monkeypatch)
    checked: list[int] = []
    open_session(model, 1, lambda: checked.append(1))
    assert checked == [1]
    (new,) = copies()
    assert new != old


@pytest.mark.parametrize("part", ["model.onnx", f"model.onnx{WEIGHTS}"])
@pytest.mark.parametrize("content", [None, b"", b"torn"])
def test_a_torn_copy_is_made_again(model: Path, part: str, content: bytes | None) -> None:
    expected = vector(open_session(model, 1))
    (copy,) = copies()
    (copy / part).unlink()
    if content is not None:
        (copy / part).write_bytes(content)
    checked: list[int] = []
    np.testing.assert_array_equal(vector(open_session(model, 1, lambda: checked.append(1))), expected)
    assert checked == [1]
    assert copies() == [copy]
    np.testing.assert_array_equal(vector(open_session(model, 1, never)), expected)


def test_an_optimised_model_is_opened_as_it_is(model: Path) -> None:
    expected = vector(onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]))
    (model.parent / "kept").mkdir()
    optimise(model, model.parent / "kept")
    model.unlink()
    np.testing.assert_array_equal(vector(open_session(model.parent / "kept" / "model.onnx", 1, never)), expected)
    assert copies() == []


def test_without_a_cache_the_model_itself_is_opened(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (model.parent / "file").write_text("no folder", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(model.parent / "file"))
    for _ in range(2):
        assert vector(open_session(model, 1)).shape == (1, 384)


def test_what_check_raises_is_raised_and_nothing_is_kept(model: Path) -> None:
    with pytest.raises(AssertionError, match="itself was read"):
        open_session(model, 1, never)
    assert copies() == []
    model.write_bytes(b"x" * sessions.SMALLEST_COPY)
    with pytest.raises(Exception, match=r"(?i)protobuf|invalid|load model"):
        open_session(model, 1)
    assert copies() == []


def test_models_with_the_same_tokenizer_share_it(tmp_path: Path) -> None:
    one = shared_tokenizer(OWN_FOLDER / "tokenizer.json")
    assert shared_tokenizer(READER_FOLDER / ".." / "encoder" / "tokenizer.json") is one
    other = Path(shutil.copy(OWN_FOLDER / "tokenizer.json", tmp_path))
    assert shared_tokenizer(other) is not one
    assert one.padding is None
    assert one.truncation is None
