"""What cards hold: within Discord's limits whatever the documents hold, and every quote exact."""

import string
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.test_display import TEXTS
from qabot.bot.cards import MOST_QUOTES, Setting, answer_card, near_card, place_words, quote_card, refusal_card
from qabot.bot.custom_id import ACTIONS, LIMIT, Action, Press, QuoteKey, decode, encode
from qabot.bot.cutting import CUT_LINE, shares, show_quote
from qabot.bot.display import newline_of, reveal, utf16_length
from qabot.bot.layout import MAX_COMPONENTS, MAX_ROW, MAX_TEXT, QUESTION_ID, Card, Link, Linked, Rule, Text
from qabot.types import Answer, Outcome, Place, Quote, Source, Span

SETTING = Setting("en", 123456789012345678, hosts=("docs.example.org",))


def quote(
    text: str,
    *,
    start: int = 100,
    highlights: Sequence[tuple[int, int]] | None = None,
    title: str = "A title",
    url: str | None = None,
    path: str = "a.txt",
    **other: Any,
) -> Quote:
    place = Place(path, "ab" * 32, Source(title, url=url), start, start + len(text), 3, 3 + text.count("\n"))
    spans = (
        [Span(start, start + len(text))] if highlights is None else [Span(start + a, start + b) for a, b in highlights]
    )
    return Quote(place, text, tuple(spans), 0.9, **other)


def answer(
    *quotes: Quote,
    outcome: Outcome = "answered",
    question: str = "Why?",
    note: str | None = None,
    gone: tuple[str, ...] = (),
    unreadable: tuple[str, ...] = (),
) -> Answer:
    return Answer(question, outcome, 0.9, tuple(quotes), "m", "i", note=note, gone=gone, unreadable=unreadable)


def within_limits(card: Card) -> None:
    assert card.text_size() <= MAX_TEXT
    assert card.components() <= MAX_COMPONENTS
    assert all(1 <= len(row) <= MAX_ROW for row in card.rows)
    assert all(text.markdown.strip() for text in card.texts())
    ids = [button.custom_id for row in card.rows for button in row if not isinstance(button, Link)]
    assert len(ids) == len(set(ids))
    assert all(len(custom_id) <= LIMIT for custom_id in ids)


def shown_bodies(card: Card) -> list[str]:
    """The block quotes of a card, cut marks left out."""
    bodies = []
    for text in card.texts():
        lines = [line for line in text.markdown.split("\n") if line.startswith("> ") and line != CUT_LINE]
        if lines:
            bodies.append("\n".join(lines))
    return bodies


@settings(max_examples=150)
@given(st.lists(TEXTS.filter(str.strip), min_size=1, max_size=MOST_QUOTES), TEXTS, st.booleans(), st.booleans())
def test_cards_keep_the_limits_and_every_quote_exact(texts: list[str], words: str, private: bool, linked: bool) -> None:
    url = "https://docs.example.org/x" if linked else None
    quotes = [quote(text, title=words or "t", path=f"{n}.txt", url=url) for n, text in enumerate(texts)]
    question = " ".join(words.split())[:300]
    for card in (
        answer_card(
            answer(*quotes, question=question), Setting("ru", 1, private, ("docs.example.org",), shared_by="<@1>")
        ),
        near_card(answer(*quotes, question=question, outcome="related"), SETTING),
        quote_card(question or None, words or None, quotes[0], SETTING),
    ):
        within_limits(card)
        assert all(block.link.url == url for block in card.blocks if isinstance(block, Linked))
    card = answer_card(answer(*quotes, question=question), SETTING)
    for text, body in zip(texts, shown_bodies(card), strict=True):
        shown = reveal(body, newline_of(text))
        assert shown in text
        assert shown == text or "[…]" in "".join(part.markdown for part in card.texts())
    if question:
        assert [reveal(text.markdown) for text in card.texts() if text.id == QUESTION_ID] == [question]


@pytest.mark.parametrize("count", range(1, MOST_QUOTES + 1))
@pytest.mark.parametrize("length", [50, 900, 5000, 40_000])
def test_long_answers_fit(count: int, length: int) -> None:
    sentence = "Word after word of *this* [document](https://x.y) is quoted here. "
    texts = [(sentence * (length // len(sentence) + 1))[:length] for _ in range(count)]
    url = "https://docs.example.org/" + "x" * 400
    quotes = [
        quote(text, highlights=[(0, 66)], title="*" * 200, url=url, path="p/" * 100 + f"{n}.txt")
        for n, text in enumerate(texts)
    ]
    for private in (False, True):
        card = answer_card(answer(*quotes, question="?" * 300), Setting("en", 2**63, private, ("docs.example.org",)))
        within_limits(card)
        assert len(shown_bodies(card)) == count
        assert sum(isinstance(block, Linked) for block in card.blocks) == count


@settings(max_examples=200)
@given(TEXTS.filter(str.strip), st.integers(60, 3000), st.data())
def test_cut_quotes_are_pieces_of_the_source_around_the_highlight(text: str, room: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    whole = quote(text, highlights=[(start, end)])
    shown, span = show_quote(whole, room)
    if utf16_length(show_quote(whole)[0]) <= room:
        assert (span.start, span.end) == (100, 100 + len(text))
    piece = text[span.start - 100 : span.end - 100]
    assert piece
    assert shown.startswith(CUT_LINE) == (span.start > 100) or piece.startswith("[…]")
    body = shown.removeprefix(CUT_LINE + "\n") if span.start > 100 else shown
    body = body.removesuffix("\n" + CUT_LINE) if span.end < 100 + len(text) else body
    assert reveal(body, newline_of(text)) == piece
    assert span.start <= 100 + start


def test_cut_keeps_whole_sentences_next_to_the_answer() -> None:
    text = "First sentence here. Second sentence here. The answer is here. Fourth sentence here. Fifth sentence here."
    shown, _ = show_quote(quote(text, highlights=[(43, 62)]), 90)
    assert shown == "> […]\n> Second sentence here. **The answer is here.** Fourth sentence here.\n> […]"


def test_shares_give_what_one_leaves_to_the_others() -> None:
    assert shares([10, 500, 500], 600) == [10, 295, 295]
    assert shares([5, 5], 100) == [5, 5]
    assert sum(shares([1000] * 5, 3001)) <= 3001


def test_warnings() -> None:
    changed = quote("A text.", state="changed")
    assert "⚠ The document has changed" in "".join(t.markdown for t in answer_card(answer(changed), SETTING).texts())
    twice = quote("A text.", also=(quote("A text.", path="b.txt").place,))
    assert "The same words also stand in b.txt, line 3" in "".join(
        t.markdown for t in answer_card(answer(twice), SETTING).texts()
    )
    withheld = answer_card(answer(outcome="nothing", gone=("x.txt",)), SETTING)
    assert "removed is not shown" in "".join(t.markdown for t in withheld.texts())
    assert "x.txt" not in "".join(t.markdown for t in withheld.texts())
    for shown in (answer(quote("A text."), unreadable=("x.txt",)), answer(outcome="nothing", unreadable=("x.txt",))):
        words = "".join(t.markdown for t in answer_card(shown, SETTING).texts())
        assert "can't be read now is not shown" in words
        assert "x.txt" not in words
        assert "removed" not in words


def test_refusals() -> None:
    card = refusal_card(answer(quote("Near."), outcome="related"), SETTING)
    assert not shown_bodies(card)
    assert [press.action for press in card.presses()] == ["near", "down"]
    assert [press.action for press in refusal_card(answer(note="greeting", outcome="nothing"), SETTING).presses()] == []
    assert (
        "Nothing in the documents"
        in list(refusal_card(answer(outcome="nothing", note="unheard_of"), SETTING).texts())[-1].markdown
    )
    assert list(near_card(answer(outcome="nothing"), SETTING).presses()) == []


def test_one_quote_has_no_number_and_no_rule_for_nothing() -> None:
    one = answer_card(answer(quote("A text.")), SETTING)
    assert [type(block) for block in one.blocks] == [Text, Rule, Text]
    only = one.blocks[2]
    assert isinstance(only, Text)
    assert "**1**" not in only.markdown
    two = answer_card(answer(quote("A text."), quote("B text.", path="b.txt")), SETTING)
    assert [b.markdown[:5] for b in two.blocks if isinstance(b, Text)][1:] == ["**1**", "**2**"]


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("https://docs.example.org/a", True),
        ("http://DOCS.example.org:8080/a", True),
        ("https://evil.docs.example.org/a", False),
        ("https://docs.example.org@evil.example/a", False),
        ("https://user@docs.example.org/", False),
        ("javascript://docs.example.org/%0aalert(1)", False),
        ("https://docs.example.org/" + "x" * 600, False),
        ("https://[broken", False),
        ("", False),
        (None, False),
    ],
)
def test_links_only_where_the_configuration_allows(url: str | None, allowed: bool) -> None:
    card = answer_card(answer(quote("A text.", url=url)), SETTING)
    assert any(isinstance(block, Linked) for block in card.blocks) == allowed


def test_places() -> None:
    place = quote("a").place
    assert place_words(place, "en") == "a.txt, line 3"
    assert place_words(place, "ru") == "a.txt, строка 3"
    paged = Place("b_c.pdf", "0" * 64, Source("T"), 0, 5, 1, 2, page=7, heading="Part *two*")
    assert place_words(paged, "en") == "b\\_c.pdf, page 7 · Part \\*two\\*"


KEYS = st.builds(
    lambda digest, start, length, spans: QuoteKey(
        digest, start, start + length, tuple(Span(start + min(a, length), start + min(b, length)) for a, b in spans)
    ),
    st.text(string.hexdigits[:16], min_size=12, max_size=12),
    st.integers(0, 10**9),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(lambda pair: tuple(sorted(pair))), max_size=4),
)


@given(st.sampled_from(sorted(ACTIONS)), st.integers(0, 2**64), st.integers(0, 10**6), st.one_of(st.none(), KEYS))
def test_button_states_come_back(action: Action, asker: int, number: int, key: QuoteKey | None) -> None:
    press = Press(action, asker, number, key)
    text = encode(press)
    back = decode(text)
    assert len(text) <= LIMIT
    assert back is not None
    assert (back.action, back.asker, back.number) == (action, asker, number)
    if key:
        assert back.quote is not None
        assert (back.quote.digest, back.quote.start, back.quote.end) == (key.digest, key.start, key.end)
        kept = len(back.quote.highlights)
        assert back.quote.highlights == key.highlights[:kept]
        assert kept >= min(2, len(key.highlights))
    else:
        assert back.quote is None


@given(st.text(max_size=100))
def test_other_states_are_none(text: str) -> None:
    assert decode(text) is None or text.startswith("qb1:")
