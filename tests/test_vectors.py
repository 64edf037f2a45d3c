"""The file of vectors: what plain faiss makes of it, and exact search against brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qabot import comparing
from qabot.index import Index
from qabot.vectors import HEAD, VectorFile, head_of
from support import FakeEncoder, build, write_files


def written(path: Path, rows: Any) -> VectorFile:
    rows = np.asarray(rows, "<f4")
    path.write_bytes(head_of(*rows.shape) + rows.tobytes())
    return VectorFile(path, *rows.shape)


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_the_file_is_the_one_that_faiss_writes(tmp_path: Path, count: int) -> None:
    rows = np.random.default_rng(3).standard_normal((count, 24)).astype(np.float32)
    written(tmp_path / "ours", rows)
    index: Any = faiss.IndexFlatIP(24)
    index.add(rows)
    faiss.write_index(index, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@given(
    rows=st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), max_size=40),
    question=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
    k=st.integers(0, 60),
)
def test_the_best_are_brute_force_and_equal_ones_come_by_row(
    rows: list[list[int]], question: list[int], k: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    # Small whole numbers: scores are exact, and most are equal to others.
    vectors = np.array(rows, np.float32).reshape(-1, 3)
    file = written(tmp_path_factory.mktemp("vectors") / "file", vectors)
    found, scores = file.best(np.array(question, np.float32), k)
    exact = vectors @ np.array(question, np.float32)
    expected = sorted(range(len(rows)), key=lambda row: (-exact[row], row))[:k]
    assert found.tolist() == expected
    assert scores.tolist() == exact[expected].tolist()
    assert len(file) == len(rows)


@pytest.mark.parametrize("k", [1, 3, 10, 999, 1000, 1001])
def test_a_thousand_equal_vectors_come_by_row(tmp_path: Path, k: int) -> None:
    file = written(tmp_path / "file", np.tile(np.array([0.6, 0.8], np.float32), (1000, 1)))
    found, scores = file.best(np.array([0.6, 0.8], np.float32), k)
    assert found.tolist() == list(range(min(k, 1000)))
    assert len(set(scores.tolist())) == 1


def test_another_head_is_refused(tmp_path: Path) -> None:
    rows = np.eye(4, dtype="<f4")
    written(tmp_path / "file", rows)
    raw = (tmp_path / "file").read_bytes()
    for position in range(HEAD.size):
        path = tmp_path / f"file-{position}"
        path.write_bytes(raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1 :])
        with pytest.raises(ValueError, match=rf"file-{position} is no IndexFlatIP of 4 x 4 vectors"):
            VectorFile(path, 4, 4)
    with pytest.raises(ValueError, match=r"file is no IndexFlatIP of 2 x 8 vectors"):
        VectorFile(tmp_path / "file", 2, 8)


def test_plain_faiss_finds_what_an_index_with_a_delta_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "DELTA_FROM", 1)
    monkeypatch.setattr(comparing, "DELTA_SHARE", 1e9)
    documents = write_files(tmp_path / "documents", {"a.txt": "One treaty. Two wars.", "b.txt": "Three kings came."})
    build(documents, tmp_path / "index")
    write_files(documents, {"c.txt": "Four winds blew. Five treaties were signed."})
    build(documents, tmp_path / "index")
    index = Index(tmp_path / "index")
    assert index.manifest.delta
    names = [index.manifest.files[part][0] for part in ("vectors", "delta_vectors")]
    assert all(name.endswith(".faiss") for name in names)
    plain = [faiss.read_index(str(tmp_path / "index" / name)) for name in names]
    assert [type(part) for part in plain] == [faiss.IndexFlatIP, faiss.IndexFlatIP]
    everything: Any = np.concatenate([part.reconstruct_n(0, part.ntotal) for part in plain])
    np.testing.assert_array_equal(everything, index.vectors(range(index.manifest.vectors)))
    question = FakeEncoder().embed_question("treaty of the kings")
    found = index.search(question, 100)
    assert len(found) == len(everything)
    exact = everything @ question
    assert [row for row, _ in found] == sorted(range(len(exact)), key=lambda row: (-exact[row].round(5), row))
    np.testing.assert_allclose([score for _, score in found], np.sort(exact)[::-1], atol=1e-6)
