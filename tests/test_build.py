"""Building: what is embedded, what is reported, and that many small builds give what one fresh build gives."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processes import CONTEXT, build_and_measure
from qabot.build import BuildReport, build_index, recipe_of
from qabot.documents import Folder
from qabot.errors import ConfigError, DocumentError, IndexDamaged, IndexMissing
from qabot.index import Index
from qabot.passages import model_text
from qabot.snapshot import LOCK, MANIFEST
from support import HOSTILE, FakeEncoder, build, build_files, edit, write_files

SENTENCES = [
    "The treaty was signed in 2021.",
    "It ended the war. Nobody won.",
    "Print",
    "- first\n- second",
    "# Heading\n\nText under it. More text.",
    "日本語です。誰ですか。",
    "Stay updated",
    "Dr. Smith came. He left!",
    "word " * 100,
]
NAMES = ["a.txt", "b.md", "c.txt", "sub/d.txt", "sub/deep/e.md"]


def contents(target: Path) -> dict[str, bytes]:
    """Every file of an index, byte for byte."""
    return {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file() and p.name != LOCK}


def texts_of(target: Path) -> set[str]:
    """What an index has vectors of."""
    index = Index(target)
    found = set()
    for document in index.documents():
        for stored in index.passages_of(document.id, 0, index.length(document.id)):
            for span in stored.passage.scales():
                text = index.text(document.id, span.start, span.end)
                found.add(model_text(text, markdown=document.path.endswith(".md")))
    return found


def expected_report(before: dict[str, bytes], after: dict[str, bytes]) -> dict[str, object]:
    """Changes of content between two folders; a removed and an added file of the same bytes are a rename."""
    added, removed = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    renamed = []
    for path in list(added):
        old = next((name for name in removed if before[name] == after[path]), None)
        if old is not None:
            renamed.append((old, path))
            removed.remove(old)
            added.remove(path)
    both = sorted(set(before) & set(after))
    return {
        "added": tuple(added),
        "removed": tuple(removed),
        "renamed": tuple(renamed),
        "changed": tuple(path for path in both if before[path] != after[path]),
        "unchanged": tuple(path for path in both if before[path] == after[path]),
    }


def report_of(report: BuildReport) -> dict[str, object]:
    return {key: getattr(report, key) for key in ("added", "removed", "renamed", "changed", "unchanged")}


EDIT: st.SearchStrategy[tuple[str, str, list[str]]] = st.one_of(
    st.tuples(st.just("write"), st.sampled_from(NAMES), st.lists(st.sampled_from(SENTENCES), max_size=4)),
    st.tuples(st.just("remove"), st.sampled_from(NAMES), st.just([])),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), min_size=1, max_size=1)),
    st.tuples(st.just("copy"), st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), min_size=1, max_size=1)),
    st.tuples(st.just("touch"), st.sampled_from(NAMES), st.just([])),
)


@settings(max_examples=20)
@given(edits=st.lists(st.lists(EDIT, min_size=1, max_size=4), min_size=1, max_size=5))
def test_incremental_is_fresh_byte_for_byte(
    edits: list[list[tuple[str, str, list[str]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("edits")
    documents = write_files(root / "documents", {"a.txt": "The treaty was signed in 2021. It holds."})
    encoder = FakeEncoder()
    build(documents, root / "index", encoder)
    before = {"a.txt": (documents / "a.txt").read_bytes()}
    for batch in edits:
        for kind, name, more in batch:
            edit(documents, kind, name, more)
        after = {p.relative_to(documents).as_posix(): p.read_bytes() for p in documents.rglob("*") if p.is_file()}
        known = texts_of(root / "index")
        encoder.embedded.clear()
        report = build(documents, root / "index", encoder)
        shutil.rmtree(root / "fresh", ignore_errors=True)
        build(documents, root / "fresh")
        assert contents(root / "index") == contents(root / "fresh")
        now = texts_of(root / "index")
        assert sorted(encoder.embedded) == sorted(now - known)
        if report.committed:
            assert (report.embedded, report.kept) == (len(now - known), len(now & known))
        assert report_of(report) == expected_report(before, after)
        assert report.committed == (before != after)
        assert report.empty == tuple(path for path in sorted(after) if not after[path].strip())
        before = after


def test_the_recipe_names_everything_that_decides_the_content(tmp_path: Path) -> None:
    files = {"a.txt": "Der 3. Mai war schön. Dr. Meier kam."}
    documents = write_files(tmp_path / "documents", files)
    one = FakeEncoder()
    build(documents, tmp_path / "index", one)
    assert recipe_of(one, "en") == Index(tmp_path / "index").manifest.recipe
    assert not build(documents, tmp_path / "index", one).committed
    german = build(documents, tmp_path / "index", one, language="de")
    assert german.committed
    assert Index(tmp_path / "index").manifest.recipe["language"] == "de"
    other = FakeEncoder("fake", fingerprint="another")
    report = build(documents, tmp_path / "index", other, language="de")
    assert report.committed
    assert report.kept == 0
    assert report.embedded == len(other.embedded) > 0


def test_a_rename_embeds_nothing_and_a_rebuild_everything(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    build_files(tmp_path, {"a.txt": "The treaty was signed. It holds."}, encoder)
    count = len(encoder.embedded)
    encoder.embedded.clear()
    (tmp_path / "documents" / "a.txt").rename(tmp_path / "documents" / "z.txt")
    report = build(tmp_path / "documents", tmp_path / "index", encoder)
    assert (report.renamed, report.embedded, encoder.embedded) == ((("a.txt", "z.txt"),), 0, [])
    assert [document.path for document in Index(tmp_path / "index").documents()] == ["z.txt"]
    report = build(tmp_path / "documents", tmp_path / "index", encoder, rebuild=True)
    assert report.embedded == len(encoder.embedded) == count
    assert report.committed


def test_equal_texts_are_embedded_once(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    build_files(tmp_path, {f"{n}.txt": "The same text.\n\nThe  same\ttext." for n in range(9)}, encoder)
    assert encoder.embedded == ["The same text."]


def test_sources_are_content_and_embed_nothing(tmp_path: Path) -> None:
    encoder = FakeEncoder()
    build_files(tmp_path, {"a.txt": "The treaty was signed.", "sources.toml": '["a.txt"]\ntitle = "One"\n'}, encoder)
    encoder.embedded.clear()
    write_files(tmp_path / "documents", {"sources.toml": '["a.txt"]\ntitle = "Two"\n["b.txt"]\ntitle = "B"\n'})
    report = build(tmp_path / "documents", tmp_path / "index", encoder)
    assert (report.changed, report.committed, encoder.embedded) == (("a.txt",), True, [])
    assert report.unknown_sources == ("b.txt",)
    assert Index(tmp_path / "index").documents()[0].source.title == "Two"
    (tmp_path / "documents" / "sources.toml").touch()
    assert not build(tmp_path / "documents", tmp_path / "index", encoder).committed


def test_unreadable_files_are_all_named_and_can_be_left_out(tmp_path: Path) -> None:
    documents = write_files(
        tmp_path / "documents",
        {"a.txt": "Good.", "b.txt": b"\0\1", "c.txt": b"\xff\xfe\0", "d.txt": "Ça marche — là-bas.".encode("cp1252")},
    )
    with pytest.raises(DocumentError) as caught:
        build(documents, tmp_path / "index")
    assert "b.txt" in str(caught.value)
    assert "c.txt" in str(caught.value)
    assert not (tmp_path / "index" / MANIFEST).exists()
    report = build(documents, tmp_path / "index", skip_unreadable=True)
    assert [left.path for left in report.unreadable] == ["b.txt", "c.txt"]
    assert report.added == ("a.txt", "d.txt")
    assert [path for path, _ in report.decoded] == ["d.txt"]
    write_files(documents, {"a.txt": b"\0"})
    report = build(documents, tmp_path / "index", skip_unreadable=True)
    assert report.removed == ("a.txt",)
    assert [document.path for document in Index(tmp_path / "index").documents()] == ["d.txt"]


def test_an_error_nobody_thought_of_says_in_which_document_it_was(tmp_path: Path) -> None:
    class Broken(FakeEncoder):
        def token_ends(self, text: str) -> list[int]:
            if "bad" in text:
                raise RuntimeError("no tokens")
            return super().token_ends(text)

    documents = write_files(tmp_path / "documents", {"a.txt": "Good.", "sub/b.txt": "A bad one.", "c.txt": "Good."})
    with pytest.raises(RuntimeError, match="no tokens") as caught:
        build(documents, tmp_path / "index", Broken())
    assert caught.value.__notes__ == [f"while {documents / 'sub' / 'b.txt'} was indexed"]


def test_a_damaged_index_is_not_built_upon(tmp_path: Path) -> None:
    build_files(tmp_path, {"a.txt": "Good."})
    next((tmp_path / "index").glob("vectors-*")).unlink()
    with pytest.raises(IndexDamaged, match=r"previous index can't be used.*--rebuild"):
        build(tmp_path / "documents", tmp_path / "index")
    assert build(tmp_path / "documents", tmp_path / "index", rebuild=True).added == ("a.txt",)


STRANGERS = {
    "build-guide.md": "How to build.",
    "build-abcdefgh/log.txt": "A log.",
    "build-qabot-notes/log.txt": "Notes on building qabot.",
    "text-of-the-law.txt": "The law.",
    "text-0123456789abcdef.txt": "Named like an index file, but of another kind.",
    "lists-of-members.txt": "Anna, Boris.",
    "vectors-of-disease/a.md": "Ticks.",
    "lexical-notes": "Words.",
    "delta_text-old": "Old.",
    "manifest.json.bak": "{}",
}


def test_other_peoples_files_in_the_index_folder_stay(tmp_path: Path) -> None:
    documents = write_files(tmp_path / "project" / "documents", {"a.txt": "One sentence."})
    project = write_files(tmp_path / "project", STRANGERS)
    for rebuild in (False, False, True):
        left = write_files(project, {f"text-{'0' * 16}.sqlite": "left", "build-qabot-a1b2c3_d/text.sqlite": "left"})
        build(documents, project, rebuild=rebuild)
        assert {name: (project / name).read_text() for name in STRANGERS} == STRANGERS
        write_files(documents, {"a.txt": f"Another sentence, after {rebuild}."})
        build(documents, project)
        assert not (left / f"text-{'0' * 16}.sqlite").exists()
        assert not (left / "build-qabot-a1b2c3_d").exists()
        assert Index(project).check() == []


@pytest.mark.parametrize("rebuild", [False, True])
@pytest.mark.parametrize("content", ['{"name": "A web app", "icons": []}', "[]", "// not JSON at all"])
def test_a_manifest_of_something_else_is_never_overwritten(tmp_path: Path, content: str, rebuild: bool) -> None:
    documents = write_files(tmp_path / "project" / "documents", {"a.txt": "One sentence."})
    project = write_files(tmp_path / "project", {MANIFEST: content, "build-output/app.js": "let a"})
    before = contents(project)
    with pytest.raises(IndexMissing, match=rf"{MANIFEST} is not qabot's.*--index DIR"):
        build(documents, project, rebuild=rebuild)
    with pytest.raises(IndexMissing, match=rf"{MANIFEST} is not qabot's.*--index DIR"):
        Index(project)
    assert contents(project) == before
    assert not (project / LOCK).exists()


def test_the_index_is_not_kept_among_the_documents(tmp_path: Path) -> None:
    documents = write_files(tmp_path / "documents", {"a.txt": "One sentence.", "build-guide.md": "How to build."})
    (tmp_path / "link").symlink_to(documents)
    before = contents(documents)
    for target in (documents, tmp_path / "link", documents / ".." / "documents"):
        with pytest.raises(ConfigError, match=r"can't be kept in the documents folder itself, .*--index DIR"):
            build(documents, target)
    assert contents(documents) == before
    assert not (documents / LOCK).exists()
    # A folder inside it is one of its own.
    assert build(documents, documents / "index").added == ("a.txt", "build-guide.md")
    assert not build(documents, documents / "index").committed


def test_progress_is_told_of_every_step(tmp_path: Path) -> None:
    told: dict[str, list[int]] = {}

    class Stage:
        def __init__(self, name: str, total: int) -> None:
            self.steps = told.setdefault(name, [total, 0])

        def __enter__(self) -> Stage:
            return self

        def __exit__(self, *error: object) -> None:
            return None

        def __call__(self, steps: int) -> None:
            self.steps[1] += steps

    documents = write_files(tmp_path / "documents", {f"{n}.txt": f"Text number {n}. More." for n in range(7)})
    for _ in range(2):
        build_index(Folder(documents), tmp_path / "index", FakeEncoder(), progress=Stage)
        assert told["reading"] == [7, 7]
        assert told["embedding"][0] == told["embedding"][1] > 0
        write_files(documents, {"8.txt": "One more. Text."})
        told.clear()
        told["reading"] = [7, 0]
        write_files(documents, {"0.txt": "changed"})
        (documents / "8.txt").unlink()


def test_the_index_can_be_read_by_others_and_moved(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": "One sentence."})
    for path in index.folder.rglob("*"):
        if path.name != LOCK:
            assert path.stat().st_mode & 0o044 == 0o044, path
    shutil.move(tmp_path / "index", tmp_path / "elsewhere")
    assert Index(tmp_path / "elsewhere").check() == []


@pytest.mark.slow
def test_thousands_of_files(tmp_path: Path) -> None:
    files = {f"{n % 37}/{n}.txt": f"File {n} says something. It is number {n} of many.\n" for n in range(3000)}
    documents = write_files(tmp_path / "documents", files)
    encoder = FakeEncoder()
    report = build(documents, tmp_path / "index", encoder)
    assert len(report.added) == 3000
    encoder.embedded.clear()
    write_files(documents, {"0/0.txt": "Now it says something else."})
    report = build(documents, tmp_path / "index", encoder)
    assert (report.changed, len(report.unchanged), encoder.embedded) == (
        ("0/0.txt",),
        2999,
        ["Now it says something else."],
    )


@pytest.mark.slow
@pytest.mark.usefixtures("server")
def test_a_file_of_50_megabytes(tmp_path: Path) -> None:
    said = "and the committee, which had met again, found nothing to add to what it had said before, " * 3
    lines = [f"Line {n} of the long report says what happened on day {n % 70}, {said}so it closed." for n in range(300)]
    paragraph = "\n\n".join(" ".join(lines[n : n + 2]) for n in range(0, 300, 2))
    text = "\n\n".join([paragraph] * (50_000_000 // len(paragraph)) + ["The needle is here, at the very end."])
    assert len(text.encode()) > 49_000_000
    documents = write_files(tmp_path / "documents", {"long.txt": text})
    spent = CONTEXT.Queue()
    process = CONTEXT.Process(target=build_and_measure, args=(documents, tmp_path / "index", spent))
    process.start()
    assert spent.get(timeout=300) < 30
    process.join()
    index = Index(tmp_path / "index")
    (found,) = index.passages_of(0, len(text) - 1, len(text))
    assert text[found.passage.start : found.passage.end] == "The needle is here, at the very end."
    assert index.text(0, found.passage.start, found.passage.end) == "The needle is here, at the very end."
    assert found.passage.line == text.count("\n") + 1


def test_hostile_texts_are_built_the_same_twice(tmp_path: Path) -> None:
    files = {f"{name}.md": text for name, text in HOSTILE.items()}
    one = build_files(tmp_path / "one", files)
    two = build_files(tmp_path / "two", dict(reversed(files.items())))
    assert contents(one.folder) == contents(two.folder)
