"""Reading an index: against brute force, and against every kind of damage."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.errors import IndexDamaged, IndexMismatch, IndexMissing
from qabot.index import Index
from qabot.snapshot import FORMAT, MANIFEST, content_digest, manifest_stamp
from support import HOSTILE, SEEDS, FakeEncoder, build, build_files, universal_lines, write_files

FAKE = FakeEncoder()


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Index:
    target = tmp_path_factory.mktemp("seeds")
    build(SEEDS, target)
    return Index(target)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Index:
    files = {f"{name}.{suffix}": text for name, text in HOSTILE.items() for suffix in ("txt", "md")}
    return build_files(tmp_path_factory.mktemp("hostile"), files)


@pytest.mark.parametrize("k", [1, 7, 5000])
def test_search_is_brute_force(seeds: Index, k: int) -> None:
    everything = seeds.vectors(range(seeds.manifest.vectors))
    for question in ("human rights in Russia", "the Council of Europe", "zzz", "Print"):
        vector = FAKE.embed_question(question)
        scores = everything @ vector
        found = seeds.search(vector, k)
        assert len(found) == min(k, seeds.manifest.vectors)
        assert [score for _, score in found] == sorted((score for _, score in found), reverse=True)
        np.testing.assert_allclose([score for _, score in found], np.sort(scores)[::-1][:k], atol=1e-5)
        np.testing.assert_allclose([score for _, score in found], [scores[row] for row, _ in found], atol=1e-5)
        assert len({row for row, _ in found}) == len(found)


def test_search_of_some_documents_is_brute_force_over_them(seeds: Index) -> None:
    vector = FAKE.embed_question("human rights in Russia")
    everything = seeds.vectors(range(seeds.manifest.vectors))
    for documents in ([0], [1, 3], [0, 1, 2, 3, 4]):
        rows = sorted({row for d in documents for p in seeds.passages_of(d, 0, seeds.length(d)) for row in p.rows})
        found = seeds.search(vector, 10_000, documents)
        assert sorted(row for row, _ in found) == rows
        np.testing.assert_allclose([score for _, score in found], np.sort(everything[rows] @ vector)[::-1], atol=1e-5)


def test_there_is_no_row_minus_one(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": "One sentence.", "empty.txt": ""})
    numbers = {document.path: document.id for document in index.documents()}
    vector = FAKE.embed_question("One sentence.")
    ((row, score),) = index.search(vector, 10)
    assert row == 0
    assert score == pytest.approx(1, abs=1e-5)
    assert [row for row, _ in index.search(vector, 10, [numbers["a.txt"]])] == [0]
    assert index.search(vector, 10, [numbers["empty.txt"]]) == []
    assert index.search(vector, 10, []) == []
    assert index.vectors([]).shape == (0, index.manifest.dimension)


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    index = build_files(tmp_path, {})
    assert index.documents() == []
    assert index.search(FAKE.embed_question("anything"), 5) == []
    assert index.lexical.search("anything", 5, index.words_like) == []
    assert index.find_document("a.txt") is None
    assert index.find_digest("0" * 64) is None
    assert index.passages([0, 1]) == index.passages_at([0]) == index.passages_in([0]) == []


def test_every_text_and_passage_is_a_slice(hostile: Index) -> None:
    assert len(hostile.documents()) == 2 * len(HOSTILE)
    for document in hostile.documents():
        text = HOSTILE[document.path.rpartition(".")[0]]
        lines = universal_lines(text)
        assert hostile.text(document.id) == text
        assert hostile.length(document.id) == len(text)
        passages = hostile.passages_of(document.id, 0, max(len(text), 1))
        assert len(passages) == document.passages
        for stored in passages:
            span = stored.passage
            assert hostile.text(document.id, span.start, span.end) == text[span.start : span.end]
            assert span.line == lines[span.start]
            for row, scale in zip(stored.rows, span.scales(), strict=True):
                # The fake ignores white space and case, and none of these texts has a link but `![](x)`.
                if "](" not in text:
                    expected = FAKE.vector(text[scale.start : scale.end])
                    np.testing.assert_allclose(hostile.vectors([row])[0], expected, atol=1e-6)


@settings(max_examples=200)
@given(st.data())
def test_ranges_of_passages_are_brute_force(hostile: Index, data: st.DataObject) -> None:
    document = data.draw(st.sampled_from([d for d in hostile.documents() if d.passages]))
    length = hostile.length(document.id)
    start = data.draw(st.integers(0, length))
    end = data.draw(st.integers(start, length))
    everything = hostile.passages_of(document.id, 0, length)
    expected = [p for p in everything if p.passage.start < end and start < p.passage.end]
    assert hostile.passages_of(document.id, start, end) == expected
    text = hostile.text(document.id)
    assert hostile.text(document.id, start, end) == text[start:end]
    assert hostile.text(document.id, start) == text[start:]
    first = everything[0].id
    low, high = first + data.draw(st.integers(-3, 5)), first + data.draw(st.integers(-3, 60))
    assert hostile.neighbours(document.id, low, high) == [p for p in everything if low <= p.id <= high]


def test_passages_are_found_by_rows_and_blocks(seeds: Index) -> None:
    everything = [p for d in seeds.documents() for p in seeds.passages_of(d.id, 0, seeds.length(d.id))]
    assert seeds.passages(range(-5, len(everything) + 5)) == everything
    rows = [0, 3, 9]
    assert seeds.passages_at(rows) == [p for p in everything if set(p.rows) & set(rows)]
    assert seeds.passages_in([2, 5]) == [p for p in everything if p.block in (2, 5)]


def slips(a: str, b: str) -> int:
    """Optimal string alignment distance, by its definition."""
    table = np.zeros((len(a) + 1, len(b) + 1), int)
    table[:, 0], table[0, :] = range(len(a) + 1), range(len(b) + 1)
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            options = [table[i - 1, j] + 1, table[i, j - 1] + 1, table[i - 1, j - 1] + (a[i - 1] != b[j - 1])]
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                options.append(table[i - 2, j - 2] + 1)
            table[i, j] = min(options)
    return int(table[-1, -1])


@pytest.mark.parametrize(
    "word", ["rihgts", "goverment", "repressoin", "russia", "uhman", "statment", "coucil", "xq", "2021"]
)
def test_words_like_a_word_are_brute_force(seeds: Index, word: str) -> None:
    known = [row[0] for row in sqlite3.connect(next(seeds.folder.glob("text-*"))).execute("SELECT word FROM words")]
    allowed = 1 if len(word) < 8 else 2
    expected = {
        other
        for other in known
        if len(word) >= 4
        and word.isalpha()
        and other.isalpha()
        and other[0] in word[:2]
        and slips(word, other) <= allowed
    }
    found = seeds.words_like(word)
    assert {other for other, _ in found} == expected
    assert [likeness for _, likeness in found] == sorted((likeness for _, likeness in found), reverse=True)
    assert all(0 < likeness <= 1 for _, likeness in found)


def test_documents_are_found_by_path_and_digest(seeds: Index) -> None:
    for document in seeds.documents():
        assert seeds.find_document(document.path) == document
        assert seeds.find_digest(document.sha256[:12].upper()) == document
        assert seeds.document(document.id) == document
    assert seeds.find_document("nothing.txt") is None
    assert seeds.find_digest("f" * 12) is None


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    write_files(tmp_path, {"a": "x", "folder/b": "y"})
    digests = {content_digest(tmp_path / name) for name in ("a", "folder", "folder/b")}
    assert len(digests) == 3
    with pytest.raises(FileNotFoundError, match="none"):
        content_digest(tmp_path / "none")


def test_the_stamp_changes_with_the_snapshot_only(tmp_path: Path) -> None:
    assert manifest_stamp(tmp_path / "index") is None
    build_files(tmp_path, {"a.txt": "One."})
    first = manifest_stamp(tmp_path / "index")
    build_files(tmp_path, {"a.txt": "One."})
    assert manifest_stamp(tmp_path / "index") == first
    build_files(tmp_path, {"a.txt": "Two."})
    assert manifest_stamp(tmp_path / "index") != first


def test_no_index_is_missing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path, tmp_path / "none", tmp_path / "file"):
        with pytest.raises(IndexMissing, match=r"no manifest\.json.*qabot index"):
            Index(folder)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    build_files(tmp_path, {"a.txt": "One sentence here.\n\nAnother there.\n", "b.txt": "A third one."})
    return tmp_path / "index"


def overwrite(path: Path, raw: bytes) -> None:
    """Put other bytes at `path`; not into the file itself, which an open index has mapped."""
    path.unlink()
    path.write_bytes(raw)


def part(folder: Path, name: str) -> Path:
    return folder / str(json.loads((folder / MANIFEST).read_text())["files"][name]["name"])


@pytest.mark.parametrize("name", ["text", "vectors", "lexical"])
def test_a_missing_part_is_damage(sound: Path, name: str) -> None:
    path = part(sound, name)
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(IndexDamaged, match=rf"lacks .*{path.name}.*qabot index --rebuild"):
        Index(sound)


@pytest.mark.parametrize("name", ["text", "vectors", "lexical"])
@pytest.mark.parametrize("change", [-1, 1])
def test_a_part_of_another_size_is_damage(sound: Path, name: str, change: int) -> None:
    path = part(sound, name)
    file = path / "meta.json" if path.is_dir() else path
    raw = file.read_bytes()
    overwrite(file, raw[:-1] if change < 0 else raw + b"x")
    with pytest.raises(IndexDamaged, match=r"bytes; its manifest says .*--rebuild"):
        Index(sound)


@pytest.mark.parametrize("name", ["text", "vectors", "lexical"])
def test_other_bytes_are_found_by_check_or_at_once(sound: Path, name: str) -> None:
    assert Index(sound).check() == []
    path = part(sound, name)
    for file in sorted(path.iterdir()) if path.is_dir() else [path]:
        raw = file.read_bytes()
        for position in {0, len(raw) // 2, len(raw) - 2} if len(raw) > 1 else set():
            overwrite(file, raw[:position] + bytes([raw[position] ^ 0x55]) + raw[position + 1 :])
            try:
                wrong = Index(sound).check()
            except IndexDamaged as error:
                assert "--rebuild" in str(error)
            else:
                assert len(wrong) == 1
                assert path.name in wrong[0]
        overwrite(file, raw)
    assert Index(sound).check() == []


def test_rows_and_vectors_of_different_counts_are_damage(sound: Path) -> None:
    other = sound.parent / "other"
    build_files(other, {"c.txt": "Only one."})
    value = json.loads((sound / MANIFEST).read_text())
    foreign = json.loads((other / "index" / MANIFEST).read_text())["files"]["vectors"]
    shutil.copy(other / "index" / foreign["name"], sound)
    value["files"]["vectors"] = foreign
    (sound / MANIFEST).write_text(json.dumps(value))
    with pytest.raises(IndexDamaged, match=r"x 64 vectors have|keys are"):
        Index(sound)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "garbage",
        "[]",
        "5",
        "null",
        "{}",
        f'{{"format": {FORMAT}}}',
        f'{{"format": {FORMAT}, "files": []}}',
        f'{{"format": {FORMAT}, "files": {{"text": {{}}}}}}',
        b"\xff\xfe",
        b"\0" * 100,
    ],
)
def test_a_manifest_of_garbage_is_damage(sound: Path, content: str | bytes) -> None:
    (sound / MANIFEST).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(IndexDamaged, match=r"manifest.*--rebuild"):
        Index(sound)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("surprise", 1),
        ("files", {}),
        ("recipe", None),
        ("recipe", {}),
        ("vectors", "many"),
        ("dimension", 3),
        ("documents", None),
    ],
)
def test_a_manifest_of_another_form_is_damage(sound: Path, key: str, value: object) -> None:
    manifest = json.loads((sound / MANIFEST).read_text())
    (sound / MANIFEST).write_text(json.dumps(manifest | {key: value}))
    with pytest.raises(IndexDamaged, match="--rebuild"):
        Index(sound)


@pytest.mark.parametrize("found", [FORMAT - 1, FORMAT + 1, "x", None])
def test_an_index_of_another_format_is_told_apart_from_damage_and_built_anew(sound: Path, found: object) -> None:
    manifest = json.loads((sound / MANIFEST).read_text())
    (sound / MANIFEST).write_text(json.dumps(manifest | {"format": found}))
    with pytest.raises(IndexMismatch, match=f"format {found!r}; this version of qabot reads {FORMAT}.*`qabot index`"):
        Index(sound)
    assert build(sound.parent / "documents", sound).committed
    assert Index(sound).check() == []


def test_a_manifest_can_not_lead_out_of_its_folder(sound: Path) -> None:
    manifest = json.loads((sound / MANIFEST).read_text())
    outside = shutil.copy(part(sound, "text"), sound.parent / "outside.sqlite")
    manifest["files"]["text"]["name"] = f"../{Path(outside).name}"
    (sound / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(IndexDamaged, match="--rebuild"):
        Index(sound)
