"""Vectors in Qdrant, by its form without a server. Oracles: brute force, and the same documents indexed into files."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from processes import CONTEXT, upload_and_die, version_of
from qabot import qdrant
from qabot.answering import Answerer
from qabot.config import load_settings
from qabot.errors import ConfigError, IndexDamaged, IndexMismatch, StoreError
from qabot.index import Index
from qabot.indexing import reindex
from qabot.library import Library
from qabot.qdrant import Place
from qabot.retrieval import retrieve
from qabot.snapshot import MANIFEST
from qabot.summaries import status_lines
from support import SEEDS, FakeEncoder, build, settings_for, use_encoder, write_files
from test_build import contents
from test_crash import documents_of, manifest

FAKE = FakeEncoder()
HERE = Place("", "qabot")
QUESTIONS = ("human rights in Russia", "who was arrested in Moscow?", "the Council of Europe", "zzz", '"human rights"')


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    qdrant.close_all()


@pytest.fixture
def both(tmp_path: Path) -> tuple[Index, Index]:
    """The seeds in files and in Qdrant."""
    build(SEEDS, tmp_path / "files")
    build(SEEDS, tmp_path / "store", place=HERE)
    return Index(tmp_path / "files"), Index(tmp_path / "store")


def collections(index: Index) -> set[str]:
    return qdrant.qdrant(index.folder, "").names()


def name_of(index: Index) -> str:
    return str(index.manifest.search["collection"])


def test_both_stores_hold_and_find_the_same(both: tuple[Index, Index]) -> None:
    files, store = both
    assert set(store.manifest.files) == {"text", "lexical"}
    everything = files.vectors(range(files.manifest.vectors))
    np.testing.assert_array_equal(store.vectors(range(files.manifest.vectors)), everything)
    np.testing.assert_array_equal(store.vectors([5, 3, 5]), everything[[5, 3, 5]])
    assert store.vectors([]).shape == (0, files.manifest.dimension)
    some = sorted({row for d in (1, 3) for p in files.passages_of(d, 0, files.length(d)) for row in p.rows})
    for question in QUESTIONS:
        vector = FAKE.embed_question(question)
        for k in (1, 10, 200, 100_000):
            for documents, rows in ((None, list(range(len(everything)))), ([1, 3], some), ([], [])):
                found = store.search(vector, k, documents)
                exact = everything[rows] @ vector
                np.testing.assert_allclose([score for _, score in found], np.sort(exact)[::-1][:k], atol=1e-5)
                assert len({row for row, _ in found} & set(rows)) == min(k, len(rows))
        for documents in (None, [0, 2]):
            ours, theirs = (retrieve(index, FAKE, question, documents)[:50] for index in both)
            assert [c.stored for c in ours] == [c.stored for c in theirs]
            np.testing.assert_allclose([c.score for c in ours], [c.score for c in theirs], atol=1e-6)
    assert files.check() == store.check() == []


def test_answers_are_the_same_from_both_stores(tmp_path: Path, fake: FakeEncoder) -> None:
    answers = []
    for name in ("faiss", "qdrant"):
        settings = settings_for(tmp_path, documents=SEEDS, index=tmp_path / name, index_store=name)
        report = reindex(settings)
        assert (report.committed, report.kept, reindex(settings).committed) == (True, 0, False)
        answerer = Answerer(settings)
        answers.append([answerer.ask(question, explain=True) for question in QUESTIONS])
        answers[-1] += [answerer.ask("human rights in Russia", scope=["statement"])]
    for ours, theirs in zip(*answers, strict=True):
        assert (ours.outcome, ours.quotes) == (theirs.outcome, theirs.quotes)
        assert [trace.reference for trace in ours.trace] == [trace.reference for trace in theirs.trace]
    assert any(answer.quotes for answer in answers[0])


def test_changing_the_store_keeps_the_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(tmp_path / "documents", documents_of(1))
    encoder = FakeEncoder()
    use_encoder(monkeypatch, encoder)
    files, store = settings_for(tmp_path), settings_for(tmp_path, index_store="qdrant")
    reindex(files)
    before = contents(tmp_path / "index")
    with pytest.raises(
        IndexMismatch, match=r"are in files \(faiss\); the configuration says Qdrant at no server under qabot"
    ):
        Library(store)
    encoder.embedded.clear()
    assert reindex(store).committed
    place = "\n".join(status_lines(Library(store).status(), store, "none"))
    assert f"search by Qdrant (without a server, collection {name_of(Index(tmp_path / 'index'))})" in place
    with pytest.raises(IndexMismatch, match=r"are in Qdrant at no server under qabot; .*Run `qabot index`"):
        Library(files)
    assert reindex(files).committed
    assert encoder.embedded == []
    now = contents(tmp_path / "index")
    assert {name: now[name] for name in before} == before


def test_a_snapshot_has_a_collection_and_its_predecessor_stays_for_one_build(tmp_path: Path) -> None:
    seen: list[str] = []
    for version in range(4):
        documents = write_files(tmp_path / "documents", documents_of(version))
        last = Index(tmp_path / "index") if seen else None
        build(documents, tmp_path / "index", place=HERE)
        index = Index(tmp_path / "index")
        assert version_of(index) == version
        if last:
            assert version_of(last) == version - 1, "a reader in the middle of a question"
        seen.append(name_of(index))
        assert collections(index) == set(seen[-2:])
    qdrant.qdrant(tmp_path / "index", "").call("create_collection", "qabot-other", {})
    build(tmp_path / "documents", tmp_path / "index", place=HERE, rebuild=True)
    assert collections(index) == {seen[-1], "qabot-other"}
    assert version_of(index) == 3


def test_indexes_of_the_same_name_leave_each_others_collections_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One store for several folders, as a server is.
    place = Place("http://shared", "qabot")
    monkeypatch.setitem(qdrant._clients, place.url, qdrant.Qdrant(tmp_path / "server", ""))
    versions = [("a", 0), ("b", 1), ("b", 2), ("b", 3), ("a", 4), ("b", 5), ("a", 6), ("a", 6), ("b", 6), ("b", 7)]
    now: dict[str, int] = {}
    for name, version in versions:
        documents = write_files(tmp_path / f"documents-{name}", documents_of(version))
        build(documents, tmp_path / name, place=place, rebuild=version == 5)
        now[name] = version
        for other, expected in now.items():
            index = Index(tmp_path / other)
            assert version_of(index) == expected
            assert index.check() == []
    assert len(qdrant.qdrant(tmp_path / "a", place.url).names()) <= 4
    # A folder that was lost finds its collection again, and takes none away.
    before = qdrant.qdrant(tmp_path / "a", place.url).names()
    shutil.rmtree(tmp_path / "b")
    build(tmp_path / "documents-b", tmp_path / "b", place=place)
    assert qdrant.qdrant(tmp_path / "a", place.url).names() == before
    assert version_of(Index(tmp_path / "b")) == 7


@pytest.mark.slow
@pytest.mark.usefixtures("server")
@pytest.mark.parametrize("uploads", [1, 3])
def test_an_upload_that_is_killed_leaves_the_old_snapshot_serving(tmp_path: Path, uploads: int) -> None:
    old, new = write_files(tmp_path / "old", documents_of(1)), write_files(tmp_path / "new", documents_of(2))
    build(old, tmp_path / "index", place=HERE)
    before = manifest(tmp_path / "index")
    qdrant.close_all()
    process = CONTEXT.Process(target=upload_and_die, args=(new, tmp_path / "index", HERE, uploads))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    index = Index(tmp_path / "index")
    assert manifest(tmp_path / "index") == before
    assert version_of(index) == 1
    assert index.check() == []
    assert len(collections(index)) == 2
    build(new, tmp_path / "index", place=HERE)
    index = Index(tmp_path / "index")
    assert version_of(index) == 2
    assert index.check() == []
    assert len(collections(index)) == 2


def test_damage_is_found(tmp_path: Path) -> None:
    documents = write_files(tmp_path / "documents", documents_of(1))
    build(documents, tmp_path / "index", place=HERE)
    index = Index(tmp_path / "index")
    store, name = qdrant.qdrant(tmp_path / "index", ""), name_of(index)
    point = store.models.PointStruct(id=1, vector=[1.0] + [0.0] * 63, payload={"documents": [0]})
    store.call("upsert", name, [point])
    (wrong,) = index.check()
    assert wrong.startswith(f"the collection {name} has sha256 ")
    build(documents, tmp_path / "index", place=HERE, rebuild=True)
    assert Index(tmp_path / "index").check() == []
    value = json.loads(manifest(tmp_path / "index"))
    (tmp_path / "index" / MANIFEST).write_text(json.dumps({**value, "dimension": 65}))
    with pytest.raises(IndexDamaged, match=r"has \d+ vectors of 64 dimensions; the manifest says \d+ of 65.*--rebuild"):
        Index(tmp_path / "index")
    (tmp_path / "index" / MANIFEST).write_text(json.dumps(value))
    store.call("delete", name, [1])
    with pytest.raises(IndexDamaged, match=rf"{name} .* has \d+ vectors of 64 .*--rebuild"):
        Index(tmp_path / "index")
    with pytest.raises(IndexDamaged, match="lacks rows"):
        index.vectors([0, 1])
    store.call("delete_collection", name)
    with pytest.raises(IndexDamaged, match=rf"has no collection {name}.*--rebuild"):
        Index(tmp_path / "index")
    build(documents, tmp_path / "index", place=HERE, rebuild=True)
    assert Index(tmp_path / "index").check() == []


def test_an_index_of_nothing(tmp_path: Path) -> None:
    build(write_files(tmp_path / "documents", {}), tmp_path / "index", place=HERE)
    index = Index(tmp_path / "index")
    assert index.search(FAKE.embed_question("anything"), 5) == []
    assert index.check() == []


def test_a_server_that_is_away_is_told_and_no_key_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(qdrant.API_KEY_VARIABLE, "very-secret")
    documents = write_files(tmp_path / "documents", documents_of(1))
    build(documents, tmp_path / "index")
    before = manifest(tmp_path / "index")
    with (
        pytest.warns(UserWarning, match="insecure connection"),
        pytest.raises(
            StoreError, match=r"Qdrant at http://127\.0\.0\.1:9 did not .*See whether the server runs"
        ) as found,
    ):
        build(documents, tmp_path / "index", place=Place("http://127.0.0.1:9", "qabot"))
    assert "very-secret" not in str(found.value)
    assert manifest(tmp_path / "index") == before


def test_a_missing_client_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    with pytest.raises(StoreError, match=r'not installed .*pip install "qabot\[qdrant\]"'):
        qdrant.Qdrant(tmp_path, "")


@pytest.mark.parametrize(
    "flags", [{"index_store": "milvus"}, {"qdrant_url": "http://me:pw@host"}, {"qdrant_name": "a/b"}]
)
def test_settings_of_another_form_are_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(flags))} is .*; expected") as caught:
        load_settings(None, flags)
    assert "me:pw" not in str(caught.value)
