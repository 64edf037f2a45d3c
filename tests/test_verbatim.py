"""The promise, end to end: files -> index -> answers, and every quote is `raw_bytes.decode(encoding)[start:end]`."""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.answering import Answerer
from qabot.documents import Folder
from qabot.errors import DocumentError, IndexBusy, UnknownReference
from qabot.index import Index
from qabot.library import Library
from qabot.sentences import segment
from qabot.types import Answer, Place, Quote
from qabot.verify import verify_index
from support import (
    HOSTILE,
    SEEDS,
    TEXTS,
    FakeEncoder,
    build,
    build_files,
    settings_for,
    universal_lines,
    use_encoder,
    write_files,
)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Library:
    root = tmp_path_factory.mktemp("hostile")
    build_files(root, {f"{name}.txt": text for name, text in HOSTILE.items()})
    return Library(settings_for(root))


def test_verifying_reads_each_text_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice in SQLite costs the length of the whole text: one for each passage would be quadratic."""
    files = {"a.txt": "\n\n".join(f"Line {n}." for n in range(200)), "b.txt": "One. Two.", "c.txt": "x" * 500}
    build_files(tmp_path, files)
    text, read = Index.text, []

    def counted(self: Index, document: int, start: int = 0, end: int | None = None) -> str:
        read.append((document, start, end))
        return text(self, document, start, end)

    monkeypatch.setattr(Index, "text", counted)
    assert verify_index(settings_for(tmp_path)).sound
    assert sorted(read) == [(0, 0, None), (1, 0, None), (2, 0, None)]
    changed = files["a.txt"].replace("Line 7.", "Line q.")
    write_files(tmp_path / "documents", {"a.txt": changed})
    (difference,) = verify_index(settings_for(tmp_path)).differing
    assert "a.txt has changed since indexing: 1 of 200 passages" in difference


def test_an_index_that_is_replaced_while_it_is_verified_is_verified_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_files(tmp_path, {"a.txt": "One. Two. Three.", "b.txt": "Four."})
    check, texts = Index.check, iter(["Five. Six.", "Seven."])

    def meanwhile(self: Index) -> list[str]:
        text = next(texts, None)
        if text:
            build_files(tmp_path, {"a.txt": text})
        return check(self)

    monkeypatch.setattr(Index, "check", meanwhile)
    found = verify_index(settings_for(tmp_path))
    assert (found.sound, found.differing, found.damaged) == (True, (), ())
    assert (found.documents, found.passages) == (2, 2)
    texts = (f"Text number {n}." for n in itertools.count())
    with pytest.raises(IndexBusy, match="replaced"):
        verify_index(settings_for(tmp_path))
    # What is lost without being replaced is damage, in words.
    monkeypatch.undo()
    now = Index(tmp_path / "index")
    name = now.manifest.files["vectors"][0]
    (tmp_path / "index" / name).unlink()
    assert now.check() == [f"{tmp_path / 'index' / name} is missing"]


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


def check_place(root: Path, index: Index, place: Place, text: str) -> str:
    """The document of a place, decoded here; the place, its lines and digest are those of the file."""
    raw = (root / place.path).read_bytes()
    stored = index.find_document(place.path)
    assert stored is not None
    whole = raw.decode(stored.encoding)
    assert whole[place.start : place.end] == text
    assert place.sha256 == hashlib.sha256(raw).hexdigest()
    lines = universal_lines(whole)
    assert (place.line_start, place.line_end) == (lines[place.start], lines[place.end])
    if place.heading is not None:
        found = segment(whole, markdown=place.path.endswith(".md"))
        above = [p.heading for p in found.paragraphs if p.start <= place.start < p.end]
        assert above
        assert above[0] is not None
        assert " ".join(whole[above[0].start : above[0].end].split()) == place.heading
    return whole


def check(root: Path, index: Index, answer: Answer) -> None:
    taken: list[tuple[str, int, int]] = []
    for quote in answer.quotes:
        whole = check_place(root, index, quote.place, quote.text)
        assert quote.text == quote.text.strip()
        assert quote.state == "current"
        assert 0 <= quote.score <= 1
        assert quote.highlights
        for span in quote.highlights:
            assert quote.place.start <= span.start < span.end <= quote.place.end
            assert whole[span.start : span.end] in quote.text
        for place in quote.also:
            check_place(root, index, place, quote.text)
        taken += [(place.path, place.start, place.end) for place in (quote.place, *quote.also)]
    for number, (path, start, end) in enumerate(taken):
        assert not any(p == path and s < end and start < e for p, s, e in taken[:number])
    assert len({quote.text for quote in answer.quotes}) == len(answer.quotes)
    assert 0 <= answer.confidence <= 1


def check_quote(root: Path, library: Library, quote: Quote) -> None:
    """A quote is found again by its reference and its digest, and its surroundings are verbatim, too."""
    index = library.index
    for same in (
        library.quote(quote.place.reference),
        library.quote_of(quote.place.sha256[:12], quote.place.start, quote.place.end),
    ):
        # Files of the same bytes share a digest: the first of them is as good.
        assert same.text == quote.text
        assert (same.place.start, same.place.end, same.place.line_start) == (
            quote.place.start,
            quote.place.end,
            quote.place.line_start,
        )
    for sentences in (0, 1, 50):
        wide = library.around(quote, sentences)
        check_place(root, index, wide.place, wide.text)
        assert wide.highlights == quote.highlights
        assert wide.place.start <= quote.place.start < quote.place.end <= wide.place.end


@settings(max_examples=30)
@given(
    files=st.lists(
        st.tuples(TEXTS, st.sampled_from(["txt", "md"]), st.sampled_from(ENCODINGS)), min_size=1, max_size=4
    ),
    questions=st.lists(st.one_of(TEXTS, st.sampled_from(["treaty signed", "Print", "x", '"The"'])), max_size=3),
    words=st.sampled_from([10, 30, 90]),
    count=st.integers(1, 8),
)
def test_every_quote_of_generated_files(
    files: list[tuple[str, str, str]],
    questions: list[str],
    words: int,
    count: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    root = tmp_path_factory.mktemp("verbatim")
    contents = {f"{n}.{suffix}": text.encode(encoding) for n, (text, suffix, encoding) in enumerate(files)}
    write_files(root / "documents", contents)
    with pytest.MonkeyPatch.context() as patch:
        use_encoder(patch, FakeEncoder())
        build(root / "documents", root / "index")
        answerer = Answerer(settings_for(root, quote_words=words, quotes=count))
        index = answerer.index
        sentences = [text[:200] for text, _, _ in files]
        for question in (*questions, *sentences):
            for per_document in (False, True):
                answer = answerer.ask(question, per_document=per_document)
                assert len(answer.quotes) <= count
                check(root / "documents", index, answer)
                if per_document:
                    paths = [quote.place.path for quote in answer.quotes]
                    assert len(set(paths)) == len(paths)
            for quote in answer.quotes:
                check_quote(root / "documents", answerer, quote)
        assert verify_index(answerer.settings).sound


def test_every_quote_of_hostile_files(tmp_path: Path, fake: FakeEncoder) -> None:
    files: dict[str, str | bytes] = {}
    for number, (name, text) in enumerate(HOSTILE.items()):
        encoding = ENCODINGS[number % len(ENCODINGS)]
        files[f"sub {number}/{name}.txt"] = text.encode(encoding)
        files[f"sub {number}/{name}.md"] = text.encode()
    root = write_files(tmp_path / "documents", files)
    build(root, tmp_path / "index", fake)
    answerer = Answerer(settings_for(tmp_path, quotes=50, quote_words=30))
    assert verify_index(answerer.settings).sound
    answers = [answerer.ask(text[:300]) for text in HOSTILE.values()]
    answers += [answerer.ask(word, scope=["sub 1"]) for word in ("One line", "paragraph", "word")]
    quotes = [quote for answer in answers for quote in answer.quotes]
    for answer in answers:
        check(root, answerer.index, answer)
    assert len({quote.place.path for quote in quotes}) > len(HOSTILE) / 2
    for quote in quotes[::7]:
        check_quote(root, answerer, quote)


def test_every_passage_of_the_seeds_is_a_quote(tmp_path: Path, fake: FakeEncoder) -> None:
    build(SEEDS, tmp_path / "index", fake)
    library = Library(settings_for(tmp_path, documents=SEEDS))
    index = library.index
    count = 0
    for document in index.documents():
        for stored in index.passages_of(document.id, 0, index.length(document.id)):
            quote = library.quote(f"{document.path}:{stored.passage.start}-{stored.passage.end}")
            check_place(SEEDS, index, quote.place, quote.text)
            count += 1
    assert count == index.manifest.passages > 200


@settings(max_examples=300)
@given(name=st.sampled_from(sorted(HOSTILE)), start=st.integers(0, 200), length=st.integers(1, 200))
def test_any_span_is_a_quote_with_its_lines(hostile: Library, name: str, start: int, length: int) -> None:
    text = HOSTILE[name]
    if start + length > len(text):
        with pytest.raises(UnknownReference, match="is no span of it"):
            hostile.quote(f"{name}.txt:{start}-{start + length}")
        return
    quote = hostile.quote(f"{name}.txt:{start}-{start + length}")
    lines = universal_lines(text)
    assert quote.text == text[start : start + length]
    assert (quote.place.line_start, quote.place.line_end) == (lines[start], lines[start + length])


@settings(max_examples=60)
@given(raw=st.one_of(st.binary(max_size=300), TEXTS.map(lambda text: text.encode("cp1252", "ignore"))))
def test_whatever_is_read_is_quoted_exactly(raw: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("bytes")
    write_files(root / "documents", {"a.txt": raw})
    try:
        document = Folder(root / "documents").read("a.txt")
    except DocumentError:
        return
    assert raw.decode(document.encoding) == document.text
    build(root / "documents", root / "index")
    library = Library(settings_for(root))
    index = library.index
    for stored in index.passages_of(0, 0, len(document.text)):
        quote = library.quote(f"a.txt:{stored.passage.start}-{stored.passage.end}")
        check_place(root / "documents", index, quote.place, quote.text)
