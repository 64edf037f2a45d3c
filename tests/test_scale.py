"""What only large indexes do: lists, deltas, and files that need not be read again. Oracles: brute force, faiss's own way
of adding, and a fresh build of the same files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import CONTEXT, build_delta_and_die, hammer, version_of
from qabot import build as building
from qabot import comparing, gathering, lexical, seen, segments
from qabot.documents import Folder
from qabot.index import Index
from qabot.library import Library
from qabot.lists import Lists, _trained, lists_for, make_lists
from qabot.summaries import status_lines
from qabot.vectors import VectorFile, VectorFiles, head_of, top
from support import SEEDS, FakeEncoder, build, edit, names, settings_for, write_files
from test_build import EDIT, contents, expected_report, report_of
from test_crash import documents_of, manifest, whole

FAKE = FakeEncoder()


@pytest.fixture
def deltas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any index takes its changes in a delta, however many they are."""
    monkeypatch.setattr(building, "WIDE_FROM", lexical.WIDE_FROM)
    monkeypatch.setattr(comparing, "DELTA_FROM", 1)
    monkeypatch.setattr(comparing, "DELTA_SHARE", 1e9)


def vector_file(path: Path, count: int, dimension: int = 32) -> tuple[VectorFile, Any]:
    """Vectors around some centres, as those of texts are."""
    chance = np.random.default_rng(5)
    centres = chance.standard_normal((40, dimension))
    rows = centres[chance.integers(40, size=count)] + 0.6 * chance.standard_normal((count, dimension))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype("<f4")
    path.write_bytes(head_of(count, dimension) + rows.tobytes())
    return VectorFile(path, count, dimension), rows


def test_the_best_are_brute_force_and_equal_ones_come_by_row() -> None:
    scores = np.array([1, 3, 2, 3, 0, 3, 2], np.float32)
    rows = np.arange(7) * 10
    for k in range(1, 9):
        found, best = top(rows, scores, k)
        assert found.tolist() == [10, 30, 50, 20, 60, 0, 40][:k]
        assert best.tolist() == [3, 3, 3, 2, 2, 1, 0][:k]
    assert top(rows[:0], scores[:0], 3)[0].tolist() == []


def test_files_of_vectors_are_seen_as_one(tmp_path: Path) -> None:
    one, first = vector_file(tmp_path / "one", 50)
    two, second = vector_file(tmp_path / "two", 30)
    files, everything = VectorFiles([one, two]), np.concatenate([first, second])
    rows = np.array([79, 3, 50, 49, 0, 3])
    np.testing.assert_array_equal(files.take(rows), everything[rows])
    among = np.array([2, 48, 51, 70, 71])
    found, scores = files.best(everything[7], 3, among)
    expected = sorted(among.tolist(), key=lambda row: -float(everything[row] @ everything[7]))[:3]
    assert found.tolist() == expected
    np.testing.assert_allclose(scores, everything[expected] @ everything[7], atol=1e-6)
    assert len(files) == 80
    with pytest.raises(ValueError, match=r"one has 6,445 bytes; 51 x 32 vectors have 6,573"):
        VectorFile(tmp_path / "one", 51, 32)


def test_lists_hold_what_faiss_would_have_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qabot.vectors.BLOCK_ROWS", 700)
    monkeypatch.setattr("qabot.lists.BLOCK_ROWS", 700)
    vectors, rows = vector_file(tmp_path / "vectors", 6000)
    tuning = make_lists(vectors, tmp_path / "lists.faiss")
    assert tuning.lists == lists_for(6000) == 128
    theirs: Any = _trained(vectors)
    theirs.add(rows)
    for probes in (1, 3, 128):
        parameters: Any = faiss.SearchParametersIVF(nprobe=probes)  # type: ignore[call-arg]
        _, expected = theirs.search(rows[:50], 20, params=parameters)
        np.testing.assert_array_equal(Lists(tmp_path / "lists.faiss", 1).search(rows[:50], 20, probes), expected)
    before = (tmp_path / "lists.faiss").read_bytes()
    assert make_lists(vectors, tmp_path / "lists.faiss") == tuning
    assert (tmp_path / "lists.faiss").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lists.faiss", "vectors"]


def test_lists_find_as_much_as_they_say(tmp_path: Path) -> None:
    vectors, rows = vector_file(tmp_path / "vectors", 6000)
    tuning = make_lists(vectors, tmp_path / "lists.faiss")
    assert tuning.recall >= 0.995
    assert tuning.recall_between >= 0.99
    assert 1 < tuning.probes < tuning.lists
    lists = Lists(tmp_path / "lists.faiss", tuning.probes)
    hits = 0
    for question in rows[::15]:
        scores = rows @ question
        found, best = lists.best(vectors, question, 11)
        np.testing.assert_allclose(best, scores[found], atol=1e-6)
        hits += len(set(found.tolist()) & set(np.argsort(-scores)[:11].tolist()))
    assert hits / len(rows[::15]) / 11 > 0.98


def test_a_large_index_searches_lists_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(building, "LISTS_FROM", 200)
    monkeypatch.setattr("qabot.lists.HELD_OUT", 100)
    write_files(tmp_path / "documents", {path.name: path.read_bytes() for path in SEEDS.glob("*.txt")})
    build(tmp_path / "documents", tmp_path / "index")
    index = Index(tmp_path / "index")
    search = index.manifest.search
    assert search["type"] == "lists"
    assert search["recall"] >= 0.995 or search["probes"] == search["lists"]
    everything = index.vectors(range(index.manifest.vectors))
    for question in ("human rights in Russia", "the Council of Europe"):
        vector = FAKE.embed_question(question)
        found = index.search(vector, 10)
        np.testing.assert_allclose(
            [score for _, score in found], [everything[row] @ vector for row, _ in found], atol=1e-5
        )
        # These questions are no texts of the corpus, for which the lists were tuned.
        assert sum(score >= np.sort(everything @ vector)[-10] - 1e-5 for _, score in found) >= 8
        some = index.search(vector, 10_000, [0, 1])
        rows = sorted({row for d in (0, 1) for p in index.passages_of(d, 0, index.length(d)) for row in p.rows})
        assert sorted(row for row, _ in some) == rows
    assert index.check() == []
    place = settings_for(tmp_path)
    shown = "\n".join(status_lines(Library(place).status(), place, "none"))
    assert f"search in {search['probes']} of {search['lists']} lists (faiss; measured recall@10 " in shown
    build(tmp_path / "documents", tmp_path / "again")
    assert contents(tmp_path / "again") == contents(tmp_path / "index")
    lists = tmp_path / "index" / index.manifest.files["lists"][0]
    lists.write_bytes(lists.read_bytes()[:-1])
    with pytest.raises(Exception, match=r"lists-.*bytes; its manifest says"):
        Index(tmp_path / "index")


def everything_of(index: Index) -> dict[str, Any]:
    """What an index holds, by paths and offsets: numbers differ between a delta and a fresh build."""
    paths = {document.id: document.path for document in index.documents()}
    found: dict[str, Any] = {"documents": [], "passages": {}}
    for document in index.documents():
        assert index.document(document.id) == index.find_document(document.path) == document
        facts = (document.path, document.sha256, document.encoding, document.source, document.passages)
        found["documents"].append((*facts, index.text(document.id), index.length(document.id)))
        stored = index.passages_of(document.id, 0, index.length(document.id) + 1)
        assert list(index.cuts(document.id)) == [other.passage for other in stored]
        assert index.passages([other.id for other in stored]) == stored
        assert index.neighbours(document.id, -1, 10**9) == stored
        for other in stored:
            assert other in index.passages_at([other.rows[0]])
            assert other in index.passages_in([other.block])
            key = (document.path, other.passage)
            found["passages"][key] = tuple(index.vectors(list(other.rows)).round(5).tobytes().split(b"\0\0\0\0"))
    found["outline"] = {path: (o.encoding, o.passages) for path, o in index.outline().items()}
    for question in ("the treaty was signed", "Nobody won", "Dr. Smith", "日本語", "word"):
        near = [(round(score, 4), row) for row, score in index.search(FAKE.embed_question(question), 10_000)]
        places = {
            row: sorted((paths[p.document], p.passage.start) for p in index.passages_at([row])) for _, row in near
        }
        assert all(places.values()), "a row that no passage has was found"
        # By the texts: their order among equal scores depends on the rows.
        found[question] = sorted((score, places[row]) for score, row in near)
        hits = index.lexical.search(question, 10_000, index.words_like)
        blocks = [sorted((paths[p.document], p.passage.start) for p in index.passages_in([block])) for block, _ in hits]
        assert all(blocks), "a block that no document has was found"
        found[f"words of {question}"] = sorted(blocks)
    found["like"] = {word: list(index.words_like(word)) for word in ("traety", "signd", "Smiht", "nobdoy", "headign")}
    found["names"] = {initials: index.name_of(initials) for initials in ("HRC", "CEU", "NATO")}
    found["counts"] = (index.manifest.documents, index.manifest.passages)
    return found


NAMED = ["The Human Rights Council met.", "The Central European University moved. The treaty holds."]


@settings(max_examples=25)
@given(edits=st.lists(st.lists(EDIT, min_size=1, max_size=4), min_size=1, max_size=4), named=st.integers(0, 3))
@pytest.mark.usefixtures("deltas")
def test_a_delta_holds_what_a_fresh_build_holds(
    edits: list[list[tuple[str, str, list[str]]]], named: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("edits")
    # Every other one as an index of very many blocks, too.
    pytest.MonkeyPatch().setattr(building, "WIDE_FROM", 1 if named % 2 else lexical.WIDE_FROM)
    kept = {f"kept{n}.txt": text for n, text in enumerate(NAMED[: named % 3])}
    documents = write_files(root / "documents", {"a.txt": "The treaty was signed in 2021. It holds.", **kept})
    encoder = FakeEncoder()
    build(documents, root / "index", encoder)
    before = {p.relative_to(documents).as_posix(): p.read_bytes() for p in documents.rglob("*") if p.is_file()}
    for number, batch in enumerate(edits):
        for kind, name, more in batch:
            edit(documents, kind, name, [*more, NAMED[number % 2]] if kind == "write" else more)
        after = {p.relative_to(documents).as_posix(): p.read_bytes() for p in documents.rglob("*") if p.is_file()}
        report = build(documents, root / "index", encoder)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(comparing, "DELTA_FROM", 10**9)
            shutil.rmtree(root / "fresh", ignore_errors=True)
            build(documents, root / "fresh")
        index = Index(root / "index")
        assert everything_of(index) == everything_of(Index(root / "fresh"))
        assert index.check() == []
        assert report_of(report) == expected_report(before, after)
        assert report.committed == (before != after)
        assert report.passages == index.manifest.passages
        assert names(root / "index") <= whole(root / "index")
        if report.committed and index.first_of_delta:
            assert index.manifest.delta
        before = after
    assert not build(documents, root / "index", encoder).committed


@pytest.mark.usefixtures("deltas")
def test_a_delta_is_written_anew_when_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "DELTA_SHARE", 0.2)
    files = {f"{n}.txt": f"File {n} says something. It is number {n} of many.\n" for n in range(20)}
    documents = write_files(tmp_path / "documents", files)
    encoder = FakeEncoder()
    build(documents, tmp_path / "index", encoder)
    deltas = []
    for n in range(6):
        write_files(documents, {f"{n}.txt": f"Changed to {n}. Now it is other text."})
        encoder.embedded.clear()
        report = build(documents, tmp_path / "index", encoder)
        assert (report.changed, len(report.unchanged)) == ((f"{n}.txt",), 19)
        assert set(encoder.embedded) <= {
            f"Changed to {n}.",
            "Now it is other text.",
            f"Changed to {n}. Now it is other text.",
        }
        deltas.append((Index(tmp_path / "index").manifest.delta or {}).get("documents", 0))
    # Two passages go and two come for each: 8 of 40 are reached with the second document.
    assert deltas == [1, 2, 0, 1, 2, 0]
    build(documents, tmp_path / "fresh")
    assert contents(tmp_path / "index") == contents(tmp_path / "fresh")


@pytest.mark.usefixtures("deltas")
def test_words_of_removed_documents_are_not_found(tmp_path: Path) -> None:
    files = {f"{n}.txt": f"Zanzibar number {n}. The clove trade of Zanzibar." for n in range(30)}
    documents = write_files(tmp_path / "documents", files)
    build(documents, tmp_path / "index")
    for n in range(3, 30):
        (documents / f"{n}.txt").unlink()
    build(documents, tmp_path / "index")
    index = Index(tmp_path / "index")
    assert index.manifest.delta
    found = index.lexical.search("Zanzibar cloves", 3, index.words_like)
    assert sorted(index.passages_in([block])[0].document for block, _ in found) == [0, 1, 12]  # 0.txt, 1.txt, 2.txt
    assert len(index.search(FAKE.embed_question("Zanzibar"), 3)) == 3


@pytest.mark.usefixtures("deltas")
def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(source: Path, target: Path) -> None:
        raise OSError("no links here")

    documents = write_files(tmp_path / "documents", documents_of(1))
    build(documents, tmp_path / "index")
    shutil.copytree(tmp_path / "index", tmp_path / "linked")
    write_files(documents, {"alpha.txt": documents_of(2)["alpha.txt"]})
    build(documents, tmp_path / "linked")
    monkeypatch.setattr(os, "link", refused)
    build(documents, tmp_path / "index")
    assert contents(tmp_path / "index") == contents(tmp_path / "linked")
    assert Index(tmp_path / "index").check() == []


@pytest.mark.slow
@pytest.mark.usefixtures("deltas", "server")
def test_a_delta_killed_at_any_step_leaves_the_old_index_or_the_new_one(tmp_path: Path) -> None:
    old, new = write_files(tmp_path / "old", documents_of(1)), write_files(tmp_path / "new", documents_of(2))
    build(old, tmp_path / "index-old")
    shutil.copytree(tmp_path / "index-old", tmp_path / "index-new")
    build(new, tmp_path / "index-new")
    before, after = manifest(tmp_path / "index-old"), manifest(tmp_path / "index-new")
    assert Index(tmp_path / "index-new").manifest.delta
    first, finished = 1, False
    while not finished:
        targets = {step: tmp_path / f"index-{step}" for step in range(first, first + 6)}
        processes = {}
        for step, target in targets.items():
            shutil.copytree(tmp_path / "index-old", target)
            processes[step] = CONTEXT.Process(target=build_delta_and_die, args=(new, target, step))
            processes[step].start()
        for step, target in targets.items():
            processes[step].join(60)
            assert manifest(target) in (before, after)
            assert version_of(Index(target)) == (2 if manifest(target) == after else 1)
            assert Index(target).check() == []
            build(new, target)
            assert manifest(target) == after
            assert version_of(Index(target)) == 2
            assert names(target) <= whole(target)
            if processes[step].exitcode == 0:
                assert step > 20, "a build changes more than that: steps are not counted"
                finished = True
        first += len(targets)


@pytest.mark.slow
@pytest.mark.usefixtures("deltas", "server")
def test_readers_see_whole_snapshots_while_deltas_are_built(tmp_path: Path) -> None:
    documents, target = write_files(tmp_path / "documents", documents_of(0)), tmp_path / "index"
    build(documents, target)
    stop, reports = CONTEXT.Event(), CONTEXT.Queue()
    readers = [CONTEXT.Process(target=hammer, args=(target, stop, reports)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in range(1, 21):
        write_files(documents, documents_of(version))
        build(documents, target)
    stop.set()
    found = [reports.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join(60)
    assert [error for *_, error in found] == [None, None]
    assert len(set().union(*(versions for _, versions, _ in found))) > 3


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of any index are remembered at once; gives the paths that are read."""
    read: list[str] = []
    reading = Folder.read

    def noted(self: Folder, path: str) -> Any:
        read.append(path)
        return reading(self, path)

    monkeypatch.setattr(building, "SEEN_FROM", 1)
    monkeypatch.setattr(seen, "TICK_NS", 0)
    monkeypatch.setattr(Folder, "read", noted)
    return read


def test_files_that_look_as_they_did_are_not_read(tmp_path: Path, remembered: list[str]) -> None:
    files: dict[str, str | bytes] = {"a.txt": "Text of a.", "b.txt": "Text of b.", "c.txt": ""}
    files |= {"d.txt": "Ça marche — là-bas.".encode("cp1252")}
    documents = write_files(tmp_path / "documents", files)
    first = build(documents, tmp_path / "index")
    remembered.clear()
    again = build(documents, tmp_path / "index")
    assert (remembered, again.committed) == ([], False)
    assert (again.empty, again.decoded, again.unchanged) == (first.empty, first.decoded, tuple(files))
    (documents / "b.txt").touch()
    assert not build(documents, tmp_path / "index").committed
    assert remembered == ["b.txt"]
    remembered.clear()
    assert not build(documents, tmp_path / "index").committed
    assert remembered == []
    # The index of these files, but not the one that was compared with them.
    shutil.rmtree(tmp_path / "index")
    (tmp_path / "index").mkdir()
    write_files(tmp_path / "other", {"a.txt": "Other."})
    build(tmp_path / "other", tmp_path / "index")
    assert build(documents, tmp_path / "index").changed == ("a.txt",)


def test_a_file_that_was_rewritten_with_its_old_date_and_size_is_read(tmp_path: Path, remembered: list[str]) -> None:
    documents = write_files(tmp_path / "documents", {"a.txt": "Text of a.", "b.txt": "Text of b."})
    build(documents, tmp_path / "index")
    old = (documents / "b.txt").stat()
    write_files(documents, {"b.txt": "Text of x."})
    os.utime(documents / "b.txt", ns=(old.st_atime_ns, old.st_mtime_ns))
    remembered.clear()
    assert build(documents, tmp_path / "index").changed == ("b.txt",)


def test_what_is_said_of_a_file_elsewhere_is_compared(tmp_path: Path, remembered: list[str]) -> None:
    documents = write_files(tmp_path / "documents", {"a.txt": "Text of a.", "b.txt": "Text of b."})
    build(documents, tmp_path / "index")
    write_files(documents, {"sources.toml": '["a.txt"]\ntitle = "One"\n'})
    remembered.clear()
    assert build(documents, tmp_path / "index").changed == ("a.txt",)
    assert "b.txt" not in remembered[:1]
    assert not build(documents, tmp_path / "index").committed


@pytest.mark.usefixtures("remembered")
@pytest.mark.parametrize("damage", ["", "garbage", "[]", '{"snapshot": 3}', None])
def test_without_what_was_seen_everything_is_read(tmp_path: Path, remembered: list[str], damage: str | None) -> None:
    documents = write_files(tmp_path / "documents", {"a.txt": "Text of a.", "b.txt": "Text of b."})
    build(documents, tmp_path / "index")
    (tmp_path / "index" / seen.SEEN).unlink()
    if damage is not None:
        (tmp_path / "index" / seen.SEEN).write_text(damage)
    remembered.clear()
    assert not build(documents, tmp_path / "index").committed
    assert remembered == ["a.txt", "b.txt"]


def test_a_file_that_changed_just_now_is_not_believed(tmp_path: Path) -> None:
    write_files(tmp_path, {"a.txt": "Text of a.", "b.txt": "Text of b."})
    assert seen.stamps_of(tmp_path, ["a.txt", "b.txt", "none.txt"], {}) == {}
    os.utime(tmp_path / "a.txt", (1, 1))
    assert seen.stamps_of(tmp_path, ["a.txt"], {}) == {}, "the time of change counts, too"


def test_words_are_the_same_in_one_batch_and_in_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = write_files(tmp_path / "documents", {p.name: p.read_bytes() for p in SEEDS.glob("*.txt")})
    build(documents, tmp_path / "one")
    monkeypatch.setattr(segments, "BATCH_BLOCKS", 30)
    build(documents, tmp_path / "many")
    build(documents, tmp_path / "again")
    assert contents(tmp_path / "many") == contents(tmp_path / "again")
    one, many = Index(tmp_path / "one"), Index(tmp_path / "many")
    assert one.lexical._searcher.num_segments == many.lexical._searcher.num_segments == 1
    for question in ("human rights in Russia", "who signed the statement", "rihgts of prisoners"):
        expected = one.lexical.search(question, 50, one.words_like)
        found = many.lexical.search(question, 50, many.words_like)
        np.testing.assert_allclose([score for _, score in found], [score for _, score in expected], atol=1e-5)
        assert {number for number, score in found if score > expected[-1][1] + 1e-5} == {
            number for number, score in expected if score > expected[-1][1] + 1e-5
        }


def test_counts_of_words_held_on_disk_are_those_held_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    documents = write_files(tmp_path / "documents", {p.name: p.read_bytes() for p in SEEDS.glob("*.txt")})
    build(documents, tmp_path / "one")
    monkeypatch.setattr(gathering, "WORDS_HELD", 10)
    monkeypatch.setattr(gathering, "ROWS_HELD", 3)
    build(documents, tmp_path / "two")
    one, two = Index(tmp_path / "one"), Index(tmp_path / "two")
    for table in ("words", "names", "passages", "vectors"):
        sql = f"SELECT * FROM {table} ORDER BY 1, 2"
        assert one._query(sql) == two._query(sql)


def test_very_many_blocks_are_found_as_few_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names_of_files = sorted(p.name for p in SEEDS.glob("*.txt"))
    facts = "".join(f'["{name}"]\npublisher = "Gazette of rights {n}"\n' for n, name in enumerate(names_of_files))
    files = {name: (SEEDS / name).read_bytes() for name in names_of_files}
    documents = write_files(tmp_path / "documents", {**files, "sources.toml": facts})
    build(documents, tmp_path / "few")
    monkeypatch.setattr(building, "WIDE_FROM", 1)
    build(documents, tmp_path / "many")
    few, many = Index(tmp_path / "few"), Index(tmp_path / "many")
    questions = ("human rights in Russia", "what does the gazette say of prisoners", "who signed it on 25/01/2023?")
    for question in questions:
        expected = few.lexical.search(question, 10_000, few.words_like)
        found = many.lexical.search(question, 10_000, many.words_like)
        assert {number for number, _ in found} == {number for number, _ in expected}
        assert all(0 < score <= 1 for _, score in found)
        scores = dict(found)
        # The rarity of words among the facts differs; what stands in the text counts as it did.
        assert max(abs(scores[number] - score) for number, score in expected) < 0.1
        assert len({number for number, _ in found[:10]} & {number for number, _ in expected[:10]}) >= 7
    only = many.lexical.search("gazette", 10_000, many.words_like)
    assert len(only) == len({p.block for d in many.documents() for p in many.passages_of(d.id, 0, 10**6)})
