"""Candidates against brute force over all passages, and what the words and the page's furniture change."""

from __future__ import annotations

import math
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.index import Index, StoredPassage
from qabot.lexical import NAME, READERS_LOCK, Lexical, asked_words, expanded, names, pieces, words
from qabot.retrieval import dense_scores, retrieve
from qabot.types import Source
from support import SEEDS, TEXTS, FakeEncoder, build, build_files

FAKE = FakeEncoder()
QUESTIONS = [
    "Who re-committed the US to human rights?",
    "What did the Council of Europe say?",
    "human rights defenders",
    "zzz qqq",
    "Print",
]


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Index:
    target = tmp_path_factory.mktemp("seeds")
    build(SEEDS, target)
    return Index(target)


def test_a_folder_of_words_that_may_not_be_written_finds_the_same(tmp_path: Path, seeds: Index) -> None:
    (folder,) = seeds.folder.glob("lexical-*")
    copy = tmp_path / "lexical"
    shutil.copytree(folder, copy)
    # For anybody but root a lock of another user or on a read-only disk; a link to itself can't be written by root either.
    (copy / READERS_LOCK).unlink()
    (copy / READERS_LOCK).symlink_to(READERS_LOCK)
    before = set(copy.iterdir())
    locked, free = Lexical(copy), Lexical(folder)
    for question in QUESTIONS:
        found = free.search(question, 60, lambda word: [])
        assert locked.search(question, 60, lambda word: []) == found
    assert locked.knows("rights")
    assert set(copy.iterdir()) == before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_index_that_may_only_be_read_answers(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": "The treaty was signed in Vienna."}).folder
    folders = [index, *(path for path in index.iterdir() if path.is_dir())]
    for path in index.rglob("*"):
        if path.is_file():
            path.chmod(0o444)
    for path in folders:
        path.chmod(0o555)
    try:
        assert retrieve(Index(index), FAKE, "Where was the treaty signed?")
    finally:
        for path in folders:
            path.chmod(0o755)


def everything(index: Index) -> list[StoredPassage]:
    return [p for d in index.documents() for p in index.passages_of(d.id, 0, index.length(d.id) + 1)]


@pytest.mark.parametrize("question", QUESTIONS)
def test_dense_scores_are_brute_force(seeds: Index, question: str) -> None:
    passages = everything(seeds)
    vector = FAKE.embed_question(question)

    def embedded(stored: StoredPassage, start: int, end: int) -> np.ndarray:
        return FAKE.vector(seeds.text(stored.document, start, end))

    expected = []
    for number, stored in enumerate(passages):
        span = stored.passage
        near = [p for p in passages[max(number - 1, 0) : number + 2] if p.block == stored.block]
        window = np.sum([embedded(p, p.passage.start, p.passage.end) for p in near], axis=0)
        cosines = (
            embedded(stored, span.start, span.end) @ vector,
            window @ vector / np.linalg.norm(window),
            embedded(stored, span.block.start, span.block.end) @ vector,
        )
        expected.append(sum(cosines) / 3)
    np.testing.assert_allclose(dense_scores(seeds, vector, passages), expected, atol=1e-5)
    some = passages[3:40:5]
    np.testing.assert_allclose(dense_scores(seeds, vector, some), expected[3:40:5], atol=1e-5)
    assert len(dense_scores(seeds, vector, [])) == 0


@pytest.mark.parametrize("question", QUESTIONS)
def test_candidates_are_ranked_and_restricted(seeds: Index, question: str) -> None:
    found = retrieve(seeds, FAKE, question)
    assert [c.score for c in found] == sorted((c.score for c in found), reverse=True)
    assert len({c.stored.id for c in found}) == len(found)
    assert all(0 <= c.lexical <= 1 and -1.001 <= c.dense <= 1.001 and math.isfinite(c.score) for c in found)
    assert retrieve(seeds, FAKE, question) == found
    for documents in ([0], [1, 4]):
        inside = retrieve(seeds, FAKE, question, documents)
        assert inside
        assert {c.stored.document for c in inside} <= set(documents)
    assert retrieve(seeds, FAKE, question, []) == []


def test_the_best_candidate_is_the_sentence_that_was_asked_for(seeds: Index) -> None:
    for stored in everything(seeds)[::9]:
        text = seeds.text(stored.document, stored.passage.start, stored.passage.end)
        if len(text.split()) > 8 and not stored.passage.furniture:
            best = retrieve(seeds, FAKE, text)[0].stored.passage
            assert seeds.text(retrieve(seeds, FAKE, text)[0].stored.document, best.start, best.end) == text


@settings(max_examples=150)
@given(TEXTS, st.integers(1, 80))
def test_shares_of_words_are_shares(seeds: Index, question: str, k: int) -> None:
    found = seeds.lexical.search(question, k, seeds.words_like)
    assert len(found) <= k
    assert all(0 <= share <= 1 for _, share in found)
    assert [share for _, share in found] == sorted((share for _, share in found), reverse=True)
    blocks = {stored.block for stored in everything(seeds)}
    assert {number for number, _ in found} <= blocks
    inside = seeds.lexical.search(question, k, seeds.words_like, [2])
    assert {stored.document for stored in seeds.passages_in([number for number, _ in inside])} <= {2}


def best(index: Index, question: str, documents: list[int] | None = None) -> list[str]:
    """The paths of the blocks that words find, best first."""
    found = index.lexical.search(question, 10, index.words_like, documents)
    stored = [index.passages_in([number])[0] for number, _ in found]
    return [index.document(one.document).path for one in stored]


@pytest.fixture
def small(tmp_path: Path) -> Index:
    return build_files(
        tmp_path,
        {
            "a.txt": "The parliament ratified the convention on torture.",
            "b.txt": "Lighthouses were automated in the north.",
            "c.txt": "On torture the convention says nothing; the parliament slept.",
            "d.txt": "Die Straße nach Zürich war lang. Ein Café lag dort.",
            "sources.toml": '["b.txt"]\nauthor = "Fresnel"\ntitle = "Beacons"\n',
        },
    )


@pytest.mark.parametrize(
    ("question", "path"),
    [
        ("lighthouses", "b.txt"),
        ("LIGHTHOUSE", "b.txt"),
        ("who automates them?", "b.txt"),
        ("lihgthouses", "b.txt"),
        ("lighthuoses", "b.txt"),
        ("automted", "b.txt"),
        ("parlament ratifyed", "a.txt"),
        ("fresnel", "b.txt"),
        ("beacons", "b.txt"),
        ("strasse zurich", "d.txt"),
        ("cafe", "d.txt"),
        ('"ratified the convention"', "a.txt"),
        ("“convention says nothing”", "c.txt"),
    ],
)
def test_words_find_inflected_misspelt_and_accented(small: Index, question: str, path: str) -> None:
    assert best(small, question)[0] == path


def test_a_phrase_in_quotation_marks_is_required(small: Index) -> None:
    assert sorted(best(small, "convention torture parliament")) == ["a.txt", "c.txt"]
    assert best(small, '"the convention on torture"') == ["a.txt"]
    assert best(small, 'parliament "torture the convention"') == ["c.txt"]
    assert best(small, 'parliament "convention of torture"') == []


def test_words_that_everything_has_say_less_than_rare_ones(tmp_path: Path) -> None:
    index = build_files(
        tmp_path,
        {f"{n}.txt": "The report covers the year and the region." for n in range(8)}
        | {"rare.txt": "The zebra slept.", "8.txt": "The region has a report for the year."},
    )
    assert best(index, "report year zebra")[0] == "rare.txt"


def test_a_word_that_no_block_has_lowers_the_share(small: Index) -> None:
    whole = dict(small.lexical.search("lighthouses automated", 5, small.words_like))
    half = dict(small.lexical.search("lighthouses xqzvwk", 5, small.words_like))
    assert max(half.values()) < max(whole.values()) * 0.7


def test_furniture_does_not_beat_an_equally_good_sentence(tmp_path: Path) -> None:
    index = build_files(
        tmp_path,
        {
            "a.txt": "Subscribe to evening papers\n\nScribbles to evening papers\n\nMore of the text stands here.\n",
            "b.txt": "Share on paper\n\nWrote on paper\n\nMore of the text stands here.\n",
        },
    )
    for question in ("evening papers", "on paper", "papers of the evening", "what of paper?"):
        found = retrieve(index, FAKE, question)
        first, second = found[:2]
        assert (first.dense, first.lexical) == pytest.approx((second.dense, second.lexical))
        # Without a penalty the earlier one, the furniture, would come first.
        assert not first.stored.passage.furniture
        assert second.stored.passage.furniture
        # It stays quotable.
        assert any(candidate.stored.passage.furniture for candidate in found)


def test_the_words_of_a_question() -> None:
    assert asked_words("Who signed the Treaty?") == ["signed", "treaty"]
    assert asked_words("what is it") == ["what", "is", "it"]
    assert words("Ünï Straße E\u0301té ½") == ["uni", "straße", "ete", "1", "2"] or words("Ünï")[0] == "uni"
    assert pieces(["cats", "a", ""]) == ["_cat", "cats", "ats_", "_a_", "__"]


@given(TEXTS)
def test_words_are_the_same_in_pieces_and_whole(text: str) -> None:
    assert words(text) == [word for line in text.split("\n") for word in words(line)]
    assert all(word == word.lower() for word in words(text))


def test_a_quoted_phrase_stands_in_every_candidate(tmp_path: Path) -> None:
    texts = ("The foreign agent law passed.", "An agent of a foreign power spoke.", "Foreign agents\nleft.")
    index = build_files(tmp_path, {f"{n}.txt": text for n, text in enumerate(texts)})
    found = retrieve(index, FAKE, 'who is a "foreign agent"?')
    assert {index.document(candidate.stored.document).path for candidate in found} == {"0.txt", "2.txt"}
    assert len(retrieve(index, FAKE, "who is a foreign agent?")) == 3
    assert retrieve(index, FAKE, 'who is a "purple agent"?') == []


def test_acronyms_are_found_by_their_names(tmp_path: Path) -> None:
    text = "He works for the Human Rights House Foundation. The Bank of the North Sea Region closed.\n"
    index = build_files(
        tmp_path, {"a.txt": text, "b.txt": "The Human Rights House Foundation wrote. Rights of the child."}
    )
    assert index.name_of("HRHF") == "Human Rights House Foundation"
    assert index.name_of("BNSR") == "Bank of the North Sea Region"
    assert index.name_of("HR") is None
    known = index.lexical.knows
    assert expanded("what is HRHF?", index.name_of, known) == "what is HRHF (Human Rights House Foundation)?"
    assert expanded("what is hrhf, XYZ, HOUSE?", index.name_of, known) == "what is hrhf, XYZ, HOUSE?"
    best = retrieve(index, FAKE, "HRHF")[0]
    assert "Human Rights House" in index.text(best.stored.document, best.stored.passage.start, best.stored.passage.end)


@settings(max_examples=200)
@given(TEXTS)
def test_names_are_runs_of_the_text_with_those_initials(text: str) -> None:
    flat = " ".join(text.split(" "))
    for initials, name in names(text):
        assert name in flat
        assert 3 <= len(initials) <= 6
        assert "".join(part[0] for part in name.split() if part[0].isupper()) == initials


NAMED = [*"Human Rights Council McDonald iPhone O’Neill -A of the for is ' É".split(), " ", "  "]


@settings(max_examples=500)
@given(st.lists(st.sampled_from(NAMED), max_size=40), st.sampled_from(["", " "]))
def test_names_are_those_of_the_plain_pattern(parts: list[str], between: str) -> None:
    # As one would write it, without a thought for the time that it takes.
    plain = re.compile(r"[A-Z][\w'’-]*(?: (?:(?:of|the|and|for|on|in|to) ){0,2}[A-Z][\w'’-]*){2,9}")
    text = between.join(parts)
    assert [match[0] for match in NAME.finditer(text) if " " in match[0]] == plain.findall(text)


def test_a_megabyte_without_white_space_has_no_names() -> None:
    # Hours, where time grows with the square.
    assert list(names("aGVsbG8gd29ybGQ-" * 62_500)) == []


def test_facts_of_a_source_are_searched_with_the_month_in_words(tmp_path: Path) -> None:
    sources = '["a.txt"]\npublisher = "Council of Europe"\ndate = 2023-01-25\n["b.txt"]\ndate = "2023"\n'
    index = build_files(
        tmp_path, {"a.txt": "Defenders need support.", "b.txt": "They need help.", "sources.toml": sources}
    )
    found = retrieve(index, FAKE, "what did the Council of Europe say in January 2023")
    assert index.document(found[0].stored.document).path == "a.txt"
    assert Source("t", date="2023-13-01").facts() == "t · 2023-13-01"


def test_dates_and_numbers_are_kept_whole(tmp_path: Path) -> None:
    files = {
        "a.txt": "In 2023, rooms 25 and 01 were let.",
        "b.txt": "Signed on 25/01/2023 by all.",
        "c.txt": "Nothing.",
    }
    index = build_files(tmp_path, files)
    found = dict(index.lexical.search("what happened on 25/01/2023", 9, lambda word: []))
    paths = {index.document(p.document).path: found[p.block] for p in everything(index) if p.block in found}
    assert paths["b.txt"] > paths["a.txt"]
    assert max(paths.values()) <= 1.0
