"""Sentences and paragraphs are slices: inside the text, in order, without overlaps, and nothing is lost."""

from __future__ import annotations

import re
import time
from itertools import pairwise

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from qabot.sentences import BORDER, first_heading, front_matter, is_furniture, line_number, line_spans, segment, trim
from qabot.types import Segmentation, Span
from support import HOSTILE, TEXTS, universal_lines

MARKS = set("-*+•◦▪‣·●○–—#")


def texts_of(text: str) -> list[str]:
    return [text[s.start : s.end] for s in segment(text).sentences]


def underlines(text: str, position: int) -> bool:
    (line,) = [line for line in line_spans(text) if line.start <= position < line.end]
    return not set(text[line.start : line.end]) - set("|:=- \t")


def check(text: str, found: Segmentation) -> None:
    position = 0
    for sentence in found.sentences:
        assert position <= sentence.start < sentence.end <= len(text)
        position = sentence.end
        body = text[sentence.start : sentence.end]
        assert body == body.strip()
        assert body[0] != "\ufeff" != body[-1]
        paragraph = found.paragraphs[sentence.paragraph]
        assert paragraph.start <= sentence.start
        assert sentence.end <= paragraph.end
    position = 0
    for number, paragraph in enumerate(found.paragraphs):
        assert position <= paragraph.start < paragraph.end <= len(text)
        position = paragraph.end
        assert any(sentence.paragraph == number for sentence in found.sentences)
        if paragraph.heading and paragraph.heading.start != paragraph.start:
            assert paragraph.heading.end <= paragraph.start
            assert any(other.start == paragraph.heading.start for other in found.paragraphs)
        # The heading is the last one that has begun: a heading heads itself.
        begun = [
            other.start
            for other in found.paragraphs[: number + 1]
            if other.heading and other.heading.start == other.start
        ]
        assert (paragraph.heading.start if paragraph.heading else None) == (begun[-1] if begun else None)
    assert [s.paragraph for s in found.sentences] == sorted(s.paragraph for s in found.sentences)
    covered = bytearray(len(text))
    for sentence in found.sentences:
        covered[sentence.start : sentence.end] = b"\1" * (sentence.end - sentence.start)
    for position, character in enumerate(text):
        if not covered[position]:
            # What no sentence holds is white space, or a mark that opens a list item or surrounds a heading.
            # A line that underlines a heading, or sets the header of a table apart, has nothing else.
            bare = character.isspace() or character == "\ufeff" or character in MARKS
            assert bare or (character in "|:=" and underlines(text, position)), (position, character)


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_are_covered_in_order(name: str, markdown: bool) -> None:
    check(HOSTILE[name], segment(HOSTILE[name], markdown=markdown))


@settings(max_examples=700)
@given(TEXTS, st.booleans(), st.sampled_from(["en", "ru", "fr", "ja", "xx"]))
@example("1. \ufeff\nA", False, "en")
@example("“A. B\r\n\r\nC.” D", True, "en")
def test_any_text_is_covered_in_order(text: str, markdown: bool, language: str) -> None:
    check(text, segment(text, markdown=markdown, language=language))


@settings(max_examples=300)
@given(TEXTS, st.integers(0, 400))
def test_lines_are_those_of_universal_newlines(text: str, offset: int) -> None:
    offset = min(offset, len(text))
    assert line_number(text, offset) == universal_lines(text)[offset]
    spans = list(line_spans(text))
    expected = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert [text[s.start : s.end] for s in spans] == expected


@given(TEXTS)
def test_trim_takes_exactly_what_strip_takes_and_marks(text: str) -> None:
    span = trim(text, 0, len(text))
    expected = text
    while expected != expected.strip().strip("\ufeff"):
        expected = expected.strip().strip("\ufeff")
    assert text[span.start : span.end] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One came. Two left! Was it three?", ["One came.", "Two left!", "Was it three?"]),
        ("Dr. A. Smith met Mr. Jones vs. the U.S. Army.", ["Dr. A. Smith met Mr. Jones vs. the U.S. Army."]),
        ("He asked: “Why? It rains.” Then he left.", ["He asked: “Why?", "It rains.”", "Then he left."]),
        ("Pi is 3.14 here. It stays.", ["Pi is 3.14 here.", "It stays."]),
        ("日本語です。誰ですか？", ["日本語です。", "誰ですか？"]),
        ("Он пришёл. Она ушла.", ["Он пришёл.", "Она ушла."]),
        ("- one thing\n- another thing", ["one thing", "another thing"]),
        ("1. Do this. Do that.\n2. Stop.", ["1. Do this.", "Do that.", "2. Stop."]),
    ],
)
def test_sentence_borders(text: str, expected: list[str]) -> None:
    assert texts_of(text) == expected


def test_a_wrapped_sentence_is_one_and_a_short_line_ends_it() -> None:
    text = HOSTILE["wrapped"]
    assert len(texts_of(text)) == 2
    assert texts_of("Alpha Beta\nGamma Delta\nEpsilon\nA much longer line than these are, which is text.") == [
        "Alpha Beta",
        "Gamma Delta",
        "Epsilon",
        "A much longer line than these are, which is text.",
    ]


def test_headings_stand_above_their_paragraphs() -> None:
    text = "The Treaty\n\nIt was signed. It holds.\n\nIts End\n\nIt ended.\n"
    found = segment(text)
    above = [text[p.heading.start : p.heading.end] if p.heading else None for p in found.paragraphs]
    assert above == ["The Treaty", "The Treaty", "Its End", "Its End"]
    bare = segment("Some text.\n\n# A\n# B", markdown=True)
    assert [p.heading for p in bare.paragraphs] == [None, Span(14, 15), Span(18, 19)]


def markdown_it_tables(text: str) -> list[tuple[int, int]]:
    """[first, past last) line of each table, by markdown-it (GFM)."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [(token.map[0], token.map[1]) for token in tokens if token.type == "table_open" and token.map]


@settings(max_examples=400)
@given(
    st.lists(
        st.sampled_from(
            [
                "| a | b |",
                "a | b",
                "|---|---|",
                "--- | :-:",
                "|:-|",
                "| x |",
                "text",
                "",
                "# h",
                "| c | d | e |",
                "|--|-|-|",
                "- item",
            ]
        ),
        max_size=9,
    ).map("\n".join)
)
def test_the_rows_of_a_table_are_sentences_of_one_paragraph(text: str) -> None:
    found = segment(text, markdown=True)
    lines = text.split("\n")
    starts = [sum(len(line) + 1 for line in lines[:n]) for n in range(len(lines))]
    for first, last in markdown_it_tables(text):
        inside = [s for s in found.sentences if starts[first] <= s.start < starts[last - 1] + len(lines[last - 1])]
        assert len({s.paragraph for s in inside}) == 1
        expected = [lines[first], *lines[first + 2 : last]]
        assert [text[s.start : s.end] for s in inside] == expected


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# The title\nText.", "The title"),
        ("Text.\n\n## Later ##\n", "Later"),
        ("# C#\nText.", "C#"),
        ("# About C# and F# #\nText.", "About C# and F#"),
        ("no heading", None),
        ("```\n# code\n```\n", None),
        ("# one\r\ntwo", "one"),
        ("\ufeffBig Title\n=========\n\nText.", "Big Title"),
        ("Big\nTitle\n---\nText.", "Big Title"),
        ("---\nauthor: A\n---\nBig Title\n---\n", "Big Title"),
        ("Text.\n\n---\n\nText.", None),
        ("Big Title\n    ---\n", None),
        ("Big Title\n   ---   \n", "Big Title"),
        ("```\nBig Title\n===\n```\n", None),
    ],
)
def test_first_heading_of_markdown(text: str, title: str | None) -> None:
    assert first_heading(text, markdown=True) == title


@pytest.mark.parametrize("line", ["|-" + " " * 10**6 + "x", "-" + " -" * 10**6 + "x", "|" + "-|" * 10**6 + "x"])
def test_a_long_line_that_is_almost_markup_is_looked_at_once(line: str) -> None:
    # By backtracking, this would take days.
    assert not any(p.heading for p in segment(f"| a |\n{line}", markdown=True).paragraphs)


def markdown_it_headings(text: str) -> list[str]:
    """The words of each heading, by markdown-it (CommonMark)."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return [after.content for token, after in pairwise(tokens) if token.type == "heading_open"]


@settings(max_examples=500)
@given(
    st.lists(
        st.sampled_from(
            [
                "Big Title",
                "more words",
                "===",
                "---",
                "-",
                " =======  ",
                "--- -",
                "***",
                "# Sign #",
                "",
                "",
                "- item",
                "> quoted",
                "    indented",
                "1 Introduction",
                "x | y",
                "- | -",
            ]
        ),
        max_size=8,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_headings_are_those_of_commonmark(lines: list[str], newline: str) -> None:
    text = newline.join(lines)
    assume(not front_matter(text))
    found = segment(text, markdown=True)
    headings = [p for p in found.paragraphs if p.heading and p.heading.start == p.start]
    words = [" ".join(text[p.heading.start : p.heading.end].split()) for p in headings if p.heading]
    expected = [" ".join(heading.split()) for heading in markdown_it_headings(text)]
    assert words == expected
    assert first_heading(text, markdown=True) == (expected[0] if expected else None)


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("The title\n\nThe text begins here.\n", "The title"),
        ("\ufeffThe title\r\n\r\nThe text begins here.\r\n", "The title"),
        ("A sentence, not a title.\n\nMore.\n", None),
        ("By Somebody\n\nThe text begins here.\n", None),
        ("\n\n", None),
    ],
)
def test_first_heading_of_plain_text(text: str, title: str | None) -> None:
    assert first_heading(text, markdown=False) == title


FENCE_LINES = st.tuples(
    st.sampled_from(["", " ", "   ", "    ", "\ufeff"]),
    st.sampled_from(["```", "````", "~~~", "~~~~", "``", "word", ""]),
    st.sampled_from(["", " ", " \t", "py", " a`b", "```", "~~~"]),
).map("".join)


@settings(max_examples=400)
@given(st.lists(FENCE_LINES, max_size=8), st.sampled_from(["\n", "\r\n", "\r"]))
@example(["```pip install handbook```"], "\n")
@example(["```", "~~~", "```"], "\n")
@example(["````", "```", "```````"], "\n")
@example(["~~~ a`b~~~", "~~~py", "~~~"], "\n")
def test_fenced_code_is_that_of_commonmark(lines: list[str], newline: str) -> None:
    # After each line a paragraph: where a fence is open it is part of the code, elsewhere a sentence of its own.
    text = "".join(f"{line}\n\nSign {n}\n\n" for n, line in enumerate(lines)).replace("\n", newline)
    # A byte-order mark may stand before a fence here.
    tokens = MarkdownIt("commonmark").parse(text.replace("\ufeff", ""))
    fenced = "".join(token.content for token in tokens if token.type == "fence")
    alone = {text[s.start : s.end] for s in segment(text, markdown=True).sentences}
    assert [f"Sign {n}" not in alone for n in range(len(lines))] == [f"Sign {n}\n" in fenced for n in range(len(lines))]


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("fence", ["---", "+++"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_front_matter_ends_at_its_closing_fence(newline: str, fence: str, mark: str) -> None:
    block = mark + newline.join([fence, "title: A", "b: ---", fence])
    text = block + newline + "# H" + newline + fence + newline
    span = front_matter(text)
    assert span is not None
    assert text[span.start : span.end] == block
    assert front_matter(newline.join([fence, "title: A", ""])) is None
    assert front_matter("x" + text) is None


@pytest.mark.parametrize(
    "line",
    [
        "Print",
        "Stay updated",
        "Imprimer en PDF",
        "Subscribe to our newsletter",
        "Share this article",
        "© 2021 Somebody",
        "Get the latest in your inbox",
        "Read more »",
        "Sign up here, or sign up for our occasional and short newsletter",
        "Back to top",
    ],
)
def test_furniture(line: str) -> None:
    assert is_furniture(line)


@pytest.mark.parametrize(
    "line",
    [
        "By Dave Elseroad",
        "December 5, 2008",
        "Image: A crowd in the square",
        "The printing press changed Europe.",
        "He shared this with nobody.",
        "Homes were destroyed.",
        "A print of the map hangs there.",
    ],
)
def test_facts_of_a_page_are_not_furniture(line: str) -> None:
    assert not is_furniture(line)


DOTTED = st.lists(
    st.sampled_from(
        ["A", "b", "é", "Я", "9", "9 A", ".", "...", "!", "?!", "…", '"', "”", ")", " ", "  ", "\n", "(", "“"]
    )
).map("".join)


@settings(max_examples=500)
@given(DOTTED, st.integers(0, 9))
def test_clear_borders_are_those_of_the_plain_pattern(text: str, start: int) -> None:
    # As one would write it, without a thought for the time that it takes.
    plain = re.compile(r"[.!?…]+[\"”’)\]»]*(?=\s+[\"“‘(\[«]*(?:[A-ZÀ-ÖØ-ÞА-ЯЁ]|\d+ [A-Z]))")
    found = [match.span() for match in BORDER.finditer(text, start) if match[1] is not None]
    assert found == [match.span() for match in plain.finditer(text, start)]


@pytest.mark.parametrize("text", [".", "...!", "Sign up for "])
def test_a_megabyte_of_one_line_is_cut(text: str) -> None:
    # Hours, where time grows with the square.
    whole = "It began. " + text * (1_000_000 // len(text))
    check(whole, segment(whole))


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "A word and another. ",
        "It began here. Then it went. ",
        "- item\n",
        "(",
        "... ",
        "Dr. ",
        "\n",
        "a\r\n\r\n",
        "- ",
    ],
)
@pytest.mark.parametrize("before", ["", '"', "```\n"])
def test_time_grows_with_the_text_and_not_with_its_square(before: str, text: str) -> None:
    def seconds(length: int) -> float:
        whole = before + text * (length // len(text))
        spent = []
        for _ in range(2):
            begun = time.process_time()
            segment(whole, markdown=True)
            spent.append(time.process_time() - begun)
        return min(spent)

    # Four times the text: four times the time, sixteen if it grew with the square. A busy machine may need another try.
    assert any(seconds(120_000) < 9 * max(seconds(30_000), 0.02) for _ in range(5))
