"""What is printed: the documented JSON, and terminal text that can't steer the terminal."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from qabot import phrases
from qabot.render import (
    SHOWN_AT_MOST,
    answer_json,
    highlight_line,
    highlighted,
    place_line,
    print_answer,
    print_quote,
    print_trace,
    printable,
    quote_json,
)
from qabot.types import Answer, Place, Quote, Source, Span, Trace
from support import TEXTS, universal_lines

Check = type | tuple[type, ...] | Callable[[Any], bool]
NONE = type(None)
SPAN: dict[str, Check] = {"start": int, "end": int}
PLACE: dict[str, Check] = {
    "path": str,
    "title": str,
    "url": (str, NONE),
    "start": int,
    "end": int,
    "line_start": int,
    "line_end": int,
    "page": (int, NONE),
    "heading": (str, NONE),
    "sha256": lambda value: bool(re.fullmatch(r"[0-9a-f]{64}", value)),
}
QUOTE: dict[str, Check] = PLACE | {
    "text": str,
    "highlights": lambda value: all(matches(item, SPAN) for item in value),
    "score": lambda value: isinstance(value, int | float) and 0 <= value <= 1,
    "state": lambda value: value in ("current", "changed"),
    "also": lambda value: all(matches(item, PLACE) for item in value),
}
ANSWER: dict[str, Check] = {
    "id": (str, NONE),
    "question": str,
    "answered": bool,
    "outcome": lambda value: value in ("answered", "related", "nothing"),
    "confidence": lambda value: isinstance(value, int | float) and 0 <= value <= 1,
    "thresholds": lambda value: set(value) <= {"answered", "related"} and all(0 <= v <= 1 for v in value.values()),
    "note": lambda value: value is None or value in phrases.NOTES,
    "quotes": lambda value: all(matches(item, QUOTE) for item in value),
    "gone": lambda value: all(isinstance(item, str) for item in value),
    "unreadable": lambda value: all(isinstance(item, str) for item in value),
    "model": str,
    "index": str,
    "timings_ms": lambda value: all(isinstance(v, int | float) and v >= 0 for v in value.values()),
}
TRACE: dict[str, Check] = {
    "reference": str,
    "text": str,
    "dense": (int, float),
    "lexical": (int, float),
    "fused": (int, float),
    "reader": (int, float, NONE),
}


def matches(value: Any, form: dict[str, Check]) -> bool:
    """Every key of the form, no other, and each value as the form says; an assertion names what differs."""
    assert set(value) == set(form)
    for key, check in form.items():
        if isinstance(check, type | tuple):
            assert isinstance(value[key], check), (key, value[key])
            assert check is bool or not isinstance(value[key], bool), key
        else:
            assert check(value[key]), (key, value[key])
    return True


def quote_of(text: str, highlight: tuple[int, int] | None = None, **changes: Any) -> Quote:
    source = Source("The title", publisher="Publisher", date="2021-03-05")
    place = Place("sub/a.txt", "0" * 64, source, 100, 100 + len(text), 7, 9, heading="Heading")
    start, end = highlight or (0, len(text))
    return replace(Quote(place, text, (Span(100 + start, 100 + end),), 0.5), **changes)


def answer_of(*quotes: Quote, **changes: Any) -> Answer:
    return replace(Answer("Who?", "answered", 0.75, quotes, "fake", "0123456789abcdef"), **changes)


def printed(answer: Answer, **options: Any) -> str:
    stream = io.StringIO()
    console = Console(file=stream, highlight=False, emoji=False, markup=False, **options)
    print_answer(console, answer, Path("/documents"))
    return stream.getvalue()


TRACED = (Trace("a.txt:0-5", "text", 0.123456, 0.5, 1.0), Trace("a.txt:6-9", "x", -0.1, 0.0, 0.1, 0.9))


@pytest.mark.parametrize("outcome", ["answered", "related", "nothing"])
@pytest.mark.parametrize("trace", [(), TRACED])
def test_the_json_of_an_answer(outcome: Any, trace: tuple[Trace, ...]) -> None:
    one = quote_of("It is “so”.\r\n\u2028Yes.", (0, 11))
    also = replace(one, also=(replace(one.place, path="b.txt", source=Source("B", url="https://example.org")),))
    answer = answer_of(
        one, also, outcome=outcome, trace=trace, timings_ms={"retrieve": 1.234567}, gone=("c.txt",), confidence=0.123456
    )
    value = json.loads(json.dumps(answer_json(answer, "7"), ensure_ascii=False))
    form = ANSWER | ({"candidates": lambda items: all(matches(item, TRACE) for item in items)} if trace else {})
    assert matches(value, form)
    assert value["answered"] is (outcome == "answered") is answer.answered
    assert value["id"] == "7"
    assert answer_json(answer)["id"] is None
    quote = value["quotes"][0]
    assert quote["text"] == one.text
    assert quote["highlights"] == [{"start": 100, "end": 111}]
    assert value["quotes"][1]["also"][0]["url"] == "https://example.org"
    assert quote == quote_json(one)


def test_the_documentation_names_every_key() -> None:
    text = (Path(__file__).parent.parent / "docs" / "json.md").read_text(encoding="utf-8")
    keys = set(re.findall(r"`([a-z_0-9]+)`", text))
    assert set(ANSWER) | set(QUOTE) | set(TRACE) | {"candidates"} <= keys
    assert {"empty", "gibberish", "too_long", "greeting", "thanks", "about_bot", "no_documents", "out_of_scope"} <= keys


@settings(max_examples=300)
@given(TEXTS)
def test_the_json_of_any_quote_is_untouched(text: str) -> None:
    value = json.loads(json.dumps(answer_json(answer_of(quote_of(text))), ensure_ascii=False))
    assert value["quotes"][0]["text"] == text


KEPT = "\t\u00ad\ufeff\u2028\u2029\u200c\u200d"
PLAIN = st.text(
    st.one_of(st.characters(categories=["L", "N", "P", "S", "Zs", "Mn"]), st.sampled_from(KEPT)),
    min_size=1,
    max_size=400,
)


@settings(max_examples=200)
@given(st.lists(PLAIN, min_size=1, max_size=4), st.integers(0, 50), st.integers(0, 50))
def test_piped_text_holds_each_quote_exactly(lines: list[str], start: int, length: int) -> None:
    text = "\n".join(lines)
    start = min(start, len(text))
    out = printed(answer_of(quote_of(text, (start, min(start + length, len(text))))), force_terminal=False)
    assert text in out
    assert "\x1b" not in out


@settings(max_examples=300)
@given(TEXTS, TEXTS)
def test_no_control_character_reaches_a_terminal(text: str, title: str) -> None:
    quote = quote_of(text)
    place = replace(quote.place, source=Source(title, author=text), path=f"x{text}", heading=text)
    for terminal in (False, True):
        out = printed(
            answer_of(replace(quote, place=place, also=(place,)), gone=(text,), scope=(text,)),
            force_terminal=terminal,
            color_system=None,
            width=80,
        )
        # Links are the only escape sequences without colours; a link's target is percent-encoded.
        out = re.sub(r"\x1b\]8;[^\x1b\x07]*\x1b\\", "", re.sub(r"\x1b\[[0-9;]*m", "", out))
        for character in out:
            kept = "\n\u200c\u200d" if terminal else "\n" + KEPT
            assert character in kept or unicodedata.category(character) not in (
                "Cc",
                "Cf",
                "Cs",
                "Zl",
                "Zp",
            )


@pytest.mark.parametrize(
    ("text", "shown", "piped"),
    [
        ("a\r\nb\rc\nd", "a\nb\nc\nd", "a\nb\nc\nd"),
        ("\x1b[31mred\x07\0", "␛[31mred␇␀", "␛[31mred␇␀"),
        ("\u202eabc\u2066", "<U+202E>abc<U+2066>", "<U+202E>abc<U+2066>"),
        ("a\u2028b\x0bc\x0cd\x85e\u2029f", "a\nb\nc\nd\ne\nf", "a\u2028b\nc\nd\ne\u2029f"),
        ("\ufeffmark, soft\u00adhyphen", "mark, softhyphen", "\ufeffmark, soft\u00adhyphen"),
        ("\ttab", "    tab", "\ttab"),
        ("\x7f\x9b", "<U+007F><U+009B>", "<U+007F><U+009B>"),
        (
            "👩\u200d👩 می\u200cخواهم é e\u0301",
            "👩\u200d👩 می\u200cخواهم é e\u0301",
            "👩\u200d👩 می\u200cخواهم é e\u0301",
        ),
        ("\u200b", "<U+200B>", "<U+200B>"),
        ("[bold]no markup[/bold] :smile:", "[bold]no markup[/bold] :smile:", "[bold]no markup[/bold] :smile:"),
    ],
)
def test_pictures_of_what_would_not_be_seen(text: str, shown: str, piped: str) -> None:
    assert printable(text) == shown
    assert printed(answer_of(quote_of(text)), force_terminal=False).endswith(f"\n{piped}\n")
    lines = printed(answer_of(quote_of(text)), force_terminal=True, color_system=None, width=80).split("\n")
    assert [line.strip() for line in lines[2:-1]] == [line.strip() for line in shown.split("\n")]


def test_an_answer_on_paper() -> None:
    one = quote_of("It rains. It pours.", (0, 9), also=(replace(quote_of("x").place, path="b.txt", line_start=3),))
    two = replace(quote_of("Changed text."), state="changed")
    assert printed(answer_of(one, two, gone=("c.txt",)), force_terminal=False) == (
        "1. The title\n"
        "Publisher · 2021-03-05 · sub/a.txt, lines 7-9 · Heading\n"
        "Highlighted: line 7, sub/a.txt:100-109\n"
        "It rains. It pours.\n"
        "Also in b.txt:3\n"
        "\n"
        "2. The title\n"
        "Publisher · 2021-03-05 · sub/a.txt, lines 7-9 · Heading\n"
        f"{phrases.STATES['changed']}\n"
        "Highlighted: line 7, sub/a.txt:100-113\n"
        "Changed text.\n"
        f"{phrases.GONE.format(path='c.txt')}\n"
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"outcome": "related"}, f"{phrases.RELATED}\n\nThe title\n"),
        ({"outcome": "nothing"}, f"{phrases.NOTHING}\n"),
        ({"outcome": "nothing", "note": "greeting", "quotes": ()}, f"{phrases.NOTES['greeting']}\n"),
        ({"outcome": "nothing", "note": "out_of_scope", "quotes": (), "scope": ("a", "b")}, "a, b"),
        ({"outcome": "nothing", "note": "too_long", "quotes": ()}, "2000"),
    ],
)
def test_outcomes(changes: dict[str, Any], expected: str) -> None:
    out = printed(answer_of(quote_of("It rains."), **changes), force_terminal=False)
    assert expected in out
    assert ("It rains." in out) == (changes["outcome"] == "related")


def test_every_note_has_a_sentence() -> None:
    for note in phrases.NOTES:
        assert phrases.outcome(answer_of(note=note, outcome="nothing", scope=("x",)))
    assert phrases.outcome(answer_of()) is None


@pytest.mark.parametrize("width", [20, 40, 80])
def test_a_terminals_width_is_respected(width: int) -> None:
    text = "Some words that wrap. " * 12 + "x" * 130 + " " + "日本語" * 40
    quote = quote_of(text, (0, 21))
    long = replace(quote.place, source=Source("A title of many words " * 5), path="deep/" * 30 + "a.txt")
    out = printed(
        answer_of(quote, replace(quote, place=long), outcome="related", gone=("g" * 90,)),
        force_terminal=True,
        color_system=None,
        width=width,
    )
    plain = re.sub(r"\x1b\]8;[^\x1b]*\x1b\\|\x1b\[[0-9;]*m", "", out)
    cells = [sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) for line in plain.split("\n")]
    assert max(cells) <= width
    squeezed = "".join(plain.split())
    assert "".join(text.split()) in squeezed


def test_colours_and_links_on_a_terminal_only() -> None:
    answer = answer_of(quote_of("It rains. It pours.", (0, 9)))
    out = printed(answer, force_terminal=True, color_system="truecolor", width=80)
    assert "\x1b[1;32mIt rains.\x1b[0m It pours." in out
    assert re.search(r"\x1b\]8;id=\d+;file:///documents/sub/a\.txt\x1b\\", out)
    assert "\x1b" not in printed(answer, force_terminal=False)
    source = replace(answer.quotes[0].place, source=Source("T", url="https://example.org/a"))
    out = printed(answer_of(replace(answer.quotes[0], place=source)), force_terminal=True, width=80)
    assert ";https://example.org/a\x1b\\" in out


def test_a_link_from_a_document_can_not_carry_an_escape() -> None:
    place = replace(
        quote_of("x").place, source=Source("T", url="https://e.org/\x1b\\\x1b]0;owned\x07"), path="a\x1b.txt"
    )
    out = printed(answer_of(replace(quote_of("x"), place=place)), force_terminal=True, width=80)
    assert "owned" not in out
    assert "\x07" not in out


@settings(max_examples=200)
@given(TEXTS.filter(bool), st.data())
def test_highlights_are_the_spans_and_nothing_else(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    spans = [Span(100 + a, 100 + b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]
    quote = replace(quote_of(text), highlights=tuple(spans))
    shown = highlighted(quote, "bold green")
    bold = "".join(shown.plain[s.start : s.end] for s in sorted(shown.spans) if "bold" in str(s.style))
    # Characters in CRLF pairs may be cut by a border; compared without line breaks.
    expected = "".join(printable(text[s.start - 100 : s.end - 100]) for s in spans)
    assert bold.replace("\n", "") == expected.replace("\n", "")
    assert shown.plain.replace("\n", "") == printable(text).replace("\n", "")


@settings(max_examples=200)
@given(TEXTS.filter(bool), st.data())
def test_piped_text_says_which_lines_are_highlighted(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    quote = quote_of(text, (start, end))
    lines = universal_lines(text)
    first, last = lines[start] + 6, lines[end - 1] + 6
    where = f"line {first}" if first == last else f"lines {first}-{last}"
    expected = f"Highlighted: {where}, sub/a.txt:{100 + start}-{100 + end}"
    assert expected in printed(answer_of(quote), force_terminal=False).split("\n")
    assert "Highlighted:" not in printed(answer_of(quote_of("x")), force_terminal=True)
    paged = replace(quote, place=replace(quote.place, page=4))
    assert highlight_line(paged) == f"Highlighted: sub/a.txt:{100 + start}-{100 + end}"


def test_the_line_of_a_place() -> None:
    place = quote_of("x").place
    assert place_line(replace(place, line_end=7)) == "Publisher · 2021-03-05 · sub/a.txt, line 7 · Heading"
    assert place_line(replace(place, page=4)) == "Publisher · 2021-03-05 · sub/a.txt, page 4 · Heading"
    assert place_line(replace(place, heading="The title")) == "Publisher · 2021-03-05 · sub/a.txt, lines 7-9"


def test_the_candidates_of_an_answer() -> None:
    stream = io.StringIO()
    odd = Trace("a\x1b.txt:0-5", "two\n lines \x1b[31m", 0.5, 0.25, 1.0)
    answer = answer_of(trace=(*TRACED, odd), thresholds={"answered": 0.7, "related": 0.25}, timings_ms={"retrieve": 1})
    print_trace(Console(file=stream, highlight=False, markup=False), answer)
    out = stream.getvalue()
    assert " 0.123   0.500  1.00      -  a.txt:0-5  text\n" in out
    assert "-0.100   0.000  0.10  0.900  a.txt:6-9  x\n" in out
    assert "a␛.txt:0-5  two lines ␛[31m\n" in out
    assert "confidence 0.750: answered from 0.700, related from 0.250; so answered\n" in out
    assert "retrieve 1.0 ms" in out
    assert "\x1b" not in out
    print_trace(Console(file=stream), answer_of())
    assert stream.getvalue().endswith("Nothing was searched for.\n")


def test_a_single_quote_has_no_number() -> None:
    stream = io.StringIO()
    print_quote(Console(file=stream), quote_of("x"), Path("/d"), None)
    assert stream.getvalue().startswith("The title\n")


@settings(max_examples=60)
@given(st.integers(0, 9000), st.integers(1, 9000), st.integers(0, 9000))
def test_a_terminal_shows_of_a_very_long_quote_a_marked_part_with_its_answer(
    before: int, answer: int, after: int
) -> None:
    text = "b" * before + "A" * answer + "c" * after
    quote = quote_of(text, (before, before + answer))
    out = printed(answer_of(quote), force_terminal=True, width=10_000, color_system=None)
    shown = "".join(run for line in out.split("\n")[2:] for run in re.findall(r"^  ([bAc]+)$", line.rstrip()))
    if len(text) <= SHOWN_AT_MOST:
        assert shown == text
        assert "[...]" not in out
    else:
        assert len(shown) == SHOWN_AT_MOST
        assert shown in text
        assert shown.count("A") == min(answer, SHOWN_AT_MOST)
        note = f"[...] Shown are {SHOWN_AT_MOST:,} of {len(text):,} characters. All of it: qabot show {quote.place.reference}"
        assert note in out
    # Elsewhere, and as an object, it is whole.
    assert text in printed(answer_of(quote))
    assert quote_json(quote)["text"] == text


def test_the_whole_of_a_long_quote_can_be_had() -> None:
    stream = io.StringIO()
    print_quote(Console(file=stream, force_terminal=True, width=10_000), quote_of("x" * 9000), Path("/d"), whole=True)
    assert "x" * 9000 in stream.getvalue()
    assert "[...]" not in stream.getvalue()
