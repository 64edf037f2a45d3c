"""How far a quote reaches: whole sentences, within a budget of words, without overlaps or repeats."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from qabot.index import Index, StoredPassage
from qabot.quoting import Ranked, build_quotes, make_quote
from qabot.types import Quote, Span
from support import build_files


def ranked(index: Index, *wanted: str) -> list[Ranked]:
    """The passages that begin like this, best first."""
    passages = [p for d in index.documents() for p in index.passages_of(d.id, 0, index.length(d.id))]
    chosen = []
    for beginning in wanted:
        for stored in passages:
            if index.text(stored.document, stored.passage.start, stored.passage.end).startswith(beginning):
                chosen.append(stored)
    return [Ranked(stored, 1 - n / 100) for n, stored in enumerate(chosen)]


def one(tmp_path: Path, text: str, wanted: str, words: int) -> Quote:
    index = build_files(tmp_path, {"a.txt": text})
    (quote,) = build_quotes(index, ranked(index, wanted)[:1], 1, words)
    return quote


TEXT = "Alpha came first. Beta followed it. Gamma was third. Delta was fourth. Epsilon closed it."


def test_a_quote_grows_to_its_paragraph(tmp_path: Path) -> None:
    assert one(tmp_path, f"Before.\n\n{TEXT}\n\nAfter.", "Gamma", 90).text == TEXT


def test_the_budget_counts_words_and_what_follows_comes_first(tmp_path: Path) -> None:
    assert one(tmp_path / "1", TEXT, "Gamma", 10).text == "Beta followed it. Gamma was third. Delta was fourth."
    assert one(tmp_path / "2", TEXT, "Gamma", 6).text == "Gamma was third. Delta was fourth."
    assert one(tmp_path / "3", TEXT, "Gamma", 5).text == "Gamma was third."
    assert one(tmp_path / "4", TEXT, "Gamma", 1).text == "Gamma was third."


def test_the_answering_sentence_is_never_cut(tmp_path: Path) -> None:
    long = "Omega " + "goes on and " * 8 + "ends."
    quote = one(tmp_path, f"Short one. {long} Short two.", "Omega", 10)
    assert quote.text == long
    assert quote.highlights == (Span(quote.place.start, quote.place.end),)


def test_a_sentence_that_leans_pulls_the_one_before(tmp_path: Path) -> None:
    for number, leaning in enumerate(("It", "This", "They", "However, he", "“These” men", "The former")):
        text = f"One is here. The subject stands here. {leaning} ended the war."
        beginning = leaning.split(",")[0]
        assert (
            one(tmp_path / str(number), text, beginning, 9).text == f"The subject stands here. {leaning} ended the war."
        )
    chain = "Bob slept. He woke. He ate. He left. The end came."
    assert one(tmp_path / "chain", chain, "He left", 8).text == "Bob slept. He woke. He ate. He left."


def test_a_leaning_sentence_stays_alone_where_there_is_no_room(tmp_path: Path) -> None:
    text = "The subject " + "stands here " * 6 + "now. It ended the war."
    assert one(tmp_path, text, "It", 10).text == "It ended the war."


def test_furniture_does_not_join_a_quote(tmp_path: Path) -> None:
    quote = one(tmp_path, "Alpha came first. Subscribe to our newsletter. Beta followed.", "Alpha", 90)
    assert quote.text == "Alpha came first."


def test_what_has_no_words_answers_nothing(tmp_path: Path) -> None:
    text = "One.\n\n* * *\n\n???\n\n7\n\n日本"
    index = build_files(tmp_path, {"a.txt": text})
    passages = index.passages_of(0, 0, len(text))
    assert len(passages) == 5
    # Such lines are still passages, and may stand in a quote of something else.
    quotes = build_quotes(index, [Ranked(stored, 0.5) for stored in passages], 9, 1)
    assert [quote.text for quote in quotes] == ["One.", "7", "日本"]


def test_equal_texts_are_merged(tmp_path: Path) -> None:
    text = "The treaty was signed. It holds."
    index = build_files(tmp_path, {"a.txt": text, "b.txt": f"Intro.\n\n{text}", "c.txt": f"{text} More here."})
    quotes = build_quotes(index, ranked(index, "The treaty"), 5, 90)
    assert [quote.text for quote in quotes] == [text, f"{text} More here."]
    assert [place.path for place in quotes[0].also] == ["b.txt"]
    assert quotes[0].also[0].start == len("Intro.\n\n")
    (only,) = build_quotes(index, ranked(index, "The treaty"), 1, 90)
    assert [place.path for place in only.also] == ["b.txt"]


def test_one_quote_a_document(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": "Alpha one.\n\nAlpha two.", "b.txt": "Alpha three.\n\nAlpha four."})
    everything = ranked(index, "Alpha")
    assert len(build_quotes(index, everything, 9, 90)) == 4
    found = build_quotes(index, everything, 9, 90, per_document=True)
    assert [(quote.place.path, quote.text) for quote in found] == [("a.txt", "Alpha one."), ("b.txt", "Alpha three.")]


def test_a_quote_has_its_heading_and_lines(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.md": "# The  Title\r\n\r\nOne.\r\nTwo\r\nthree.\r\n\r\n## Sub\r\n\r\nFour.\r\n"})
    text = index.text(0)
    for words, heading, lines in (
        ("One.", "The Title", (3, 3)),
        ("Four.", "Sub", (9, 9)),
        ("One.\r\nTwo", "The Title", (3, 4)),
    ):
        start = text.index(words)
        place = make_quote(index, 0, Span(start, start + len(words)), (), 1).place
        assert (place.heading, (place.line_start, place.line_end)) == (heading, lines)
        assert place.reference == f"a.md:{start}-{start + len(words)}"


@settings(max_examples=60)
@given(
    lines=st.lists(
        st.sampled_from(["# Alpha", "## Beta beta", "## Gamma", "Two words", "It ends:", "- item", ""]), min_size=1
    ),
    order=st.randoms(use_true_random=False),
    words=st.integers(1, 40),
)
def test_a_quote_stays_below_one_heading(lines: list[str], order: object, words: int, tmp_path_factory: object) -> None:
    text = "\n".join(lines)
    index = build_files(tmp_path_factory.mktemp("headings"), {"a.md": text})  # type: ignore[attr-defined]
    passages: list[StoredPassage] = index.passages_of(0, 0, len(text))
    order.shuffle(passages)  # type: ignore[attr-defined]
    # By line, independent of how passages are cut: offset of a heading's words -> the words.
    starts = {match.start(1): match[1] for match in re.finditer(r"^#+ (.*)$", text, re.MULTILINE)}
    for quote in build_quotes(index, [Ranked(stored, 0.5) for stored in passages], len(passages), words):
        assert quote.text == text[quote.place.start : quote.place.end]
        assert not [start for start in starts if quote.place.start < start < quote.place.end]
        above = [title for start, title in starts.items() if start <= quote.place.start]
        assert quote.place.heading == (above[-1] if above else None)


HANDBOOK = """# Handbook

## Opening hours

| Day | Opens | Closes |
|-----|-------|--------|
| Monday | 9:00 | 18:00 |
| Friday | 9:00 | 15:00 |

Closed on holidays.

## Wi-Fi

- Network: guest
- Password: at the desk

## Backups
"""


def handbook(tmp_path: Path, wanted: str, words: int = 90) -> Quote:
    index = build_files(tmp_path, {"a.md": HANDBOOK})
    (quote,) = build_quotes(index, ranked(index, wanted)[:1], 1, words)
    return quote


def test_a_heading_pulls_what_it_heads_and_no_more(tmp_path: Path) -> None:
    quote = handbook(tmp_path, "Wi-Fi")
    assert quote.text == "Wi-Fi\n\n- Network: guest\n- Password: at the desk"
    assert quote.place.heading == "Wi-Fi"


def test_the_row_of_a_table_comes_with_its_header(tmp_path: Path) -> None:
    table = HANDBOOK[HANDBOOK.index("| Day") : HANDBOOK.index("\n\nClosed")]
    quote = handbook(tmp_path / "1", "| Friday")
    assert quote.text == table
    assert [HANDBOOK[span.start : span.end] for span in quote.highlights] == ["| Friday | 9:00 | 15:00 |"]
    assert quote.place.heading == "Opening hours"
    # Header and delimiter row have 8 words, a row 7: there is no room for all of it.
    assert handbook(tmp_path / "2", "| Friday", 21).text == "| Monday | 9:00 | 18:00 |\n| Friday | 9:00 | 15:00 |"
    assert handbook(tmp_path / "3", "| Monday", 15).text == table[: table.index("\n| Friday")]


def test_the_header_comes_before_the_rows_that_follow(tmp_path: Path) -> None:
    rows = [f"| {n} | row |" for n in range(60)]
    text = "\n".join(["| No | What |", "|---|---|", *rows])
    index = build_files(tmp_path, {"a.md": text})
    (quote,) = build_quotes(index, ranked(index, "| 20")[:1], 1, 120)
    assert quote.text.startswith("| No | What |\n|---|---|\n| 0 | row |")
    (far,) = build_quotes(index, ranked(index, "| 50")[:1], 1, 120)
    assert "| No" not in far.text
    assert rows[50] in far.text


@settings(max_examples=40)
@given(
    paragraphs=st.lists(
        st.lists(
            st.tuples(st.sampled_from(["Alpha", "It", "This", "Beta", "Print", "Subscribe"]), st.integers(0, 30)),
            min_size=1,
            max_size=6,
        ),
        min_size=1,
        max_size=5,
    ),
    order=st.randoms(use_true_random=False),
    words=st.integers(1, 60),
    count=st.integers(1, 8),
)
def test_any_ranking_gives_whole_sentences_in_budget(
    paragraphs: list[list[tuple[str, int]]], order: object, words: int, count: int, tmp_path_factory: object
) -> None:
    text = "\n\n".join(" ".join(f"{word} {'w ' * n}ends {n}." for word, n in lines) for lines in paragraphs)
    index = build_files(tmp_path_factory.mktemp("ranking"), {"a.txt": text})  # type: ignore[attr-defined]
    passages: list[StoredPassage] = index.passages_of(0, 0, len(text))
    order.shuffle(passages)  # type: ignore[attr-defined]
    quotes = build_quotes(index, [Ranked(stored, 0.5) for stored in passages], count, words)
    assert len(quotes) <= count
    starts, ends = {p.passage.start for p in passages}, {p.passage.end for p in passages}
    spans: list[Span] = []
    for quote in quotes:
        assert quote.text == text[quote.place.start : quote.place.end]
        assert quote.place.start in starts
        assert quote.place.end in ends
        (answer,) = quote.highlights
        assert quote.place.start <= answer.start < answer.end <= quote.place.end
        answering = text[answer.start : answer.end]
        assert len(quote.text.split()) <= words or quote.text == answering
        inside = [p for p in passages if p.passage.start < quote.place.end and quote.place.start < p.passage.end]
        assert len({p.passage.block for p in inside}) == 1
        spans += [Span(place.start, place.end) for place in (quote.place, *quote.also)]
    assert not any(a.overlaps(b) for n, a in enumerate(spans) for b in spans[:n])
    assert len({quote.text for quote in quotes}) == len(quotes)
    if len(quotes) < count:
        # Fewer than asked for only when every sentence is in one.
        assert all(any(Span(p.passage.start, p.passage.end).overlaps(span) for span in spans) for p in passages)
