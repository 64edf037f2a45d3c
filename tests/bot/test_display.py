"""Escaping: what a person sees is the text, nothing in it acts, and it can be undone."""

import re
from typing import Any

import pytest

pytest.importorskip("linkify_it", reason="simcord's renderer needs it")
from hypothesis import given, settings
from hypothesis import strategies as st
from simcord.preview._markdown import markdown_tokens

from qabot.bot.display import MARKED, block_quote, escape, escape_line, merged, newline_of, reveal, utf16_length
from qabot.types import Span

HOSTILE = [
    "**bold** __under__ *it* _it_ ~~gone~~ ||spoiler|| `code` ``two``",
    "```py\nprint(1)\n```",
    '[click](https://example.org) and [again](https://example.org/2 "t")',
    "<@123456789012345678> <@!1> <@&2> <#3> </ask:4> <id:customize> @everyone @here",
    "<t:1700000000:R> <:party:123456789012345678> <a:x:1> :smile: :+1: 10:30:45",
    "https://example.org/a_b_c http://x <https://y> mailto:a@b.c steam://run",
    "discord.gg/abc discord.com/invite/abc DISCORD.GG/x discordapp.com/invite/q",
    "# head\n## two\n-# small\n> quote\n>>> all\n- list\n* list\n+ list\n1. one\n  2. two\n   # indented",
    "\u202egnirts desrever\u202c \u2066iso\u2069 \u200bzero\u200b\ufeff\u00ad\u2060",
    "שלום \u05e9\u05dc\u05d5\u05dd ‏עברית‏ العربية \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
    "👩‍👩‍👧 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ❤️‍🔥 \u0915\u094d\u200d\u0937",
    "Z" + "\u0301\u0316\u0330" * 20 + "algo",
    "a\\*b \\\\ \\`",
    "crlf\r\nlines\r\nand \n a bare one\rand a lone return\r\n",
    "⟨U+200B⟩ ⟨U+27E8⟩U+200B⟩ ⟨U+12⟩ ⟨⟨U+202E⟩⟩",
    "\x00\x07\x1b[31m\x7f\x85\u2028\u2029\x0b\x0c",
    "¯\\_(ツ)_/¯ <3 :) ;-)",
    "x" * 5000,
    " leading and trailing ",
    "\ttab\n\n\nempty lines\n",
    "ㅤ\u115f\u1160 fillers \u2800",
]
MARKUP = st.sampled_from(
    [*"*_~|`<>[]()#-+.:@\\!/\n\r\t 1", "\r\n", "\n\n", "://", "@everyone", "discord.gg/", "⟨", "U+200B", "⟩"]
)
ODD = st.sampled_from("\u200b\u200d\u202e\u2066\u00ad\ufeff\u2028\x85\x0b\u0301\u3164😀👩é漢")
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=60),
    st.lists(st.one_of(MARKUP, ODD, st.text("ab ", max_size=3)), max_size=40).map("".join),
)


ACTING = {
    "link_open", "mention", "command", "emoji", "timestamp", "spoiler_open", "code", "code_block", "heading",
    "em_open", "s_open", "strong_open", "bullet_list", "ordered_list", "list_item", "blockquote", "hr",
}  # fmt: skip


def visible(shown: str) -> str:
    """What that renderer leaves to be read, without white space (its grammar folds it, Discord's doesn't)."""

    def read(token: dict[str, Any]) -> str:
        return str(token.get("content", "")) + "".join(read(child) for child in token.get("children", []))

    return "".join("".join(read(token) for token in markdown_tokens(shown, "text_display")).split())


def kinds(shown: str) -> set[str]:
    """What the renderer of simcord of Discord's markdown, which qabot didn't write, makes of a text."""
    found: set[str] = set()

    def walk(tokens: list[dict[str, Any]]) -> None:
        for token in tokens:
            found.add(token["type"])
            walk(token.get("children", []))

    walk(markdown_tokens(shown, "text_display"))
    return found


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_escape_is_undone(text: str) -> None:
    newline = newline_of(text)
    assert reveal(escape(text, newline), newline) == text
    assert reveal(escape_line(text)) == text
    assert "\n" not in escape_line(text)


@settings(max_examples=400, deadline=None)
@given(TEXTS, st.data())
def test_block_quote_is_undone_whatever_is_bold(text: str, data: st.DataObject) -> None:
    edges = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    spans = merged([Span(a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)], Span(0, len(text)))
    newline = newline_of(text)
    shown = block_quote(text, spans, newline)
    assert reveal(shown, newline) == text
    assert all(line.startswith("> ") for line in shown.split("\n"))


def test_marks_are_the_only_thing_added_besides_backslashes() -> None:
    for text in HOSTILE:
        unmarked = MARKED.sub("", re.sub(r"\\(.)", r"\1", escape(text)))
        kept = [c for c in text if c in unmarked]
        assert len(unmarked) <= len(text)
        assert len(kept) >= len(unmarked) - text.count("⟨")


@settings(max_examples=300)
@given(
    TEXTS.filter(lambda text: "&" not in text and "-#" not in text)
)  # HTML entities and its subtext are not Discord's
def test_what_a_person_sees_is_the_text(text: str) -> None:
    """The quote of the page, read off an independent renderer, letter by letter; marks stand for what can't be seen."""
    newline = newline_of(text)
    unindented = re.sub(r"(?m)^\s+", "", text)
    seen = visible(block_quote(unindented, [], newline))
    expected = unindented.replace(newline, "\n") if newline == "\r\n" else unindented
    assert "".join(MARKED.sub(lambda match: chr(int(match[1], 16)), seen).split()) == "".join(expected.split())


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_acts(text: str) -> None:
    """No markup is left for an independent renderer to find."""
    shown = escape(text)
    assert not re.search(r"(?<!\\)(\\\\)*[*_~|`<\[]", shown)
    assert not re.search(r"(?<!\\)(://|@everyone|@here)", shown)
    assert not re.search(r"discord(app)?(\.gg|\.com/invite)", shown, re.IGNORECASE)
    for line in shown.split("\n"):
        assert not re.match(r"\s*(#|>|-#|[-+*] |\d+\.)", line)
    # Its grammar takes four spaces for code, which Discord's doesn't; its subtext ignores the backslash, so that is not in ACTING.
    assert not kinds(re.sub(r"(?m)^[ \t]+", "", shown)) & ACTING


def test_what_cannot_be_seen_is_marked() -> None:
    assert escape("a\u202eb") == "a⟨U+202E⟩b"
    assert escape("a\u200bb") == "a⟨U+200B⟩b"
    assert escape("bell\x07") == "bell⟨U+0007⟩"
    assert escape("lone\rreturn") == "lone⟨U+000D⟩return"
    assert escape("e" + "\u0301" * 6).count("⟨U+0301⟩") == 2


def test_what_writing_needs_is_kept() -> None:
    for text in (
        "👩‍👩‍👧",
        "❤️‍🔥",
        "🏴󠁧󠁢󠁥󠁮󠁧󠁿",
        "\u0915\u094d\u200d\u0937",
        "\u0645\u06cc\u200c\u062e",
        "café",
        "soft\u00adhyphen",
    ):
        assert escape(text) == text


def test_line_breaks_of_windows_are_line_breaks() -> None:
    assert escape("one\r\ntwo", "\r\n") == "one\ntwo"
    assert escape("one\r\ntwo\nthree", "\r\n") == "one\ntwo⟨U+000A⟩\nthree"


def test_bold_stands_inside_white_space_and_lines() -> None:
    assert block_quote("a b c", [Span(1, 4)]) == "> a **b** c"
    assert block_quote("one\n\ntwo", [Span(0, 8)]) == "> **one**\n> \n> **two**"
    assert block_quote("*x*", [Span(0, 3)]) == "> **\\*x\\***"


def test_merged_joins_what_touches_and_cuts_what_sticks_out() -> None:
    spans = [Span(10, 14), Span(12, 20), Span(20, 21), Span(0, 3), Span(30, 90)]
    assert merged(spans, Span(2, 40)) == [Span(0, 1), Span(8, 19), Span(28, 38)]


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=50))
def test_utf16_length(text: str) -> None:
    assert utf16_length(text) == len(text.encode("utf-16-le", "surrogatepass")) // 2
