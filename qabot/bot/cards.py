"""Answers -> cards: what people see. Pure.

Owns: what stands on an answer, a refusal and a single quote, in which order, and which buttons go with it. Every
card keeps within Discord's limits. Refuses to know how a card is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from qabot.bot.custom_id import Press, QuoteKey
from qabot.bot.cutting import shares, show_quote
from qabot.bot.display import escape_line, utf16_length
from qabot.bot.layout import (
    MAX_COMPONENTS,
    MAX_TEXT,
    QUESTION_ID,
    SCOPE_ID,
    Block,
    Button,
    Card,
    Link,
    Linked,
    Row,
    Rule,
    Text,
)
from qabot.bot.phrases import note_key, say
from qabot.types import Answer, Place, Quote

QUESTION_LIMIT = 300
"""Longest question, in characters, that people may ask on Discord."""
MOST_QUOTES = 5
ANSWERED, NOT_ANSWERED = 0x3BA55D, 0x80848E
SPARE = 240
"""Text units kept free, so that an old answer can still be marked as outdated."""
MOST_SCOPE = 300
"""Characters of a scope that are shown; commands take 100."""
SHORT = 120


@dataclass(frozen=True, slots=True)
class Setting:
    """What a card must know beside the answer.

    asker: who may change the message (a Discord user id, 0: nobody). private: only the asker sees it. hosts: that
    links may lead to. scope: the document that the asker chose to search. shared_by: a mention of whoever shows it to the channel.
    """

    language: str
    asker: int
    private: bool = False
    hosts: tuple[str, ...] = ()
    per_document: bool = False
    scope: str | None = None
    shared_by: str | None = None


def answer_card(answer: Answer, setting: Setting) -> Card:
    """The card for whatever a question led to."""
    if answer.note or not answer.answered or not answer.quotes:
        return refusal_card(answer, setting)
    head = _head(answer.question, setting.scope, setting)
    tail = _withheld(answer, setting.language)
    return _with_quotes(head, answer.quotes[:MOST_QUOTES], tail, setting, ANSWERED, _answer_rows(answer, setting))


def refusal_card(answer: Answer, setting: Setting) -> Card:
    """One plain sentence; the closest passages are a button away."""
    language = setting.language
    if answer.note:
        sentence = say(language, note_key(answer.note), limit=QUESTION_LIMIT)
    else:
        sentence = say(language, "related" if answer.outcome == "related" else "nothing")
    blocks: list[Block] = [*_head(answer.question, setting.scope, setting), Text(sentence)]
    blocks += _withheld(answer, language)
    row: list[Button] = []
    if answer.quotes:
        row.append(Button(Press("near", setting.asker), say(language, "button.near")))
    if not answer.note:
        row.append(Button(Press("down", setting.asker, 1), say(language, "button.missed"), "👎"))
    return Card(tuple(blocks), (tuple(row),) if row else (), NOT_ANSWERED)


def near_card(answer: Answer, setting: Setting) -> Card:
    """The closest passages, labelled as not an answer."""
    language = setting.language
    head = _head(answer.question, setting.scope, setting)
    if not answer.quotes:
        return Card((*head, Text(say(language, "near.none"))), (), NOT_ANSWERED)
    head.append(Text(say(language, "near")))
    quotes = answer.quotes[:MOST_QUOTES]
    missed = Button(Press("down", setting.asker, 1), say(language, "button.missed"), "👎")
    rows = (_look_row(quotes, setting), (missed,))
    return _with_quotes(head, quotes, [], setting, NOT_ANSWERED, rows)


def quote_card(
    question: str | None, scope: str | None, quote: Quote, setting: Setting, ends: tuple[bool, bool] = (False, False)
) -> Card:
    """One quote by itself, to look at closely. ends: whether it can grow no further before, after."""
    head = _head(question, scope, setting) if question else []
    return _with_quotes(head, (quote,), [], setting, ANSWERED, (_close_row(quote, setting, ends),))


def whole_fits(quote: Quote, question: str | None, scope: str | None, setting: Setting) -> bool:
    """Whether a card shows this quote uncut."""
    head = Card(tuple(_head(question, scope, setting) if question else ()))
    shown, _ = show_quote(quote)
    used = (
        head.text_size() + utf16_length(_source(quote, 0, setting.language)) + utf16_length(_warnings(quote, setting))
    )
    return used + utf16_length(shown) + SPARE <= MAX_TEXT


def place_words(place: Place, language: str) -> str:
    """Where a quote stands: file and line, page or heading. Escaped."""
    words = [escape_line(place.path)]
    if place.page is not None:
        words.append(say(language, "page", page=place.page))
    elif place.line_end > place.line_start:
        words.append(say(language, "lines", first=place.line_start, last=place.line_end))
    else:
        words.append(say(language, "line", line=place.line_start))
    if place.heading and not _alike(place.heading, place.source.title):
        words.append(_short(place.heading))
    return ", ".join(words[:2]) + "".join(f" · {word}" for word in words[2:])


def _alike(heading: str, title: str) -> bool:
    """Whether a heading only repeats the title, give or take a few words."""
    short, long = sorted((heading.casefold(), title.casefold()), key=len)
    return short in long and len(short) > 0.6 * len(long)


def _head(question: str, scope: str | None, setting: Setting) -> list[Block]:
    blocks: list[Block] = [Text(f"**{escape_line(question)}**", QUESTION_ID)] if question.strip() else []
    if scope:
        blocks.append(Text("-# " + say(setting.language, "scope", scope=escape_line(scope[:MOST_SCOPE])), SCOPE_ID))
    return blocks


def _with_quotes(
    head: Sequence[Block],
    quotes: Sequence[Quote],
    tail: Sequence[Block],
    setting: Setting,
    accent: int,
    rows: tuple[Row, ...],
) -> Card:
    """Share the room that head, sources and tail leave between the quotes."""
    language, many = setting.language, len(quotes) > 1
    closing = list(tail)
    if setting.shared_by:
        closing.append(Text(f"-# {say(language, 'shared', user=setting.shared_by)}"))
    sources = [_source(quote, number if many else 0, language) for number, quote in enumerate(quotes, 1)]
    warnings = [_warnings(quote, setting) for quote in quotes]
    fixed = Card((*head, *closing)).text_size() + sum(map(utf16_length, (*sources, *warnings)))
    fixed += utf16_length(say(language, "cut")) + SPARE
    needs = [utf16_length(show_quote(quote)[0]) for quote in quotes]
    cut, blocks = False, list(head)
    for number, (quote, room) in enumerate(zip(quotes, shares(needs, MAX_TEXT - fixed), strict=True)):
        shown, span = show_quote(quote, room)
        cut |= span.end - span.start < len(quote.text)
        if number or head:
            blocks.append(Rule())
        text = Text(f"{sources[number]}\n{shown}{warnings[number]}")
        url = _allowed(quote.place.source.url, setting.hosts)
        if url:
            label = say(language, "button.open.number", number=number + 1) if many else say(language, "button.open")
            blocks.append(Linked(text, Link(label, url)))
        else:
            blocks.append(text)
    if cut:
        closing.insert(0, Text(f"-# {say(language, 'cut')}"))
    card = Card((*blocks, *closing), rows, accent)
    if card.components() > MAX_COMPONENTS:
        card = Card(tuple(block for block in card.blocks if not isinstance(block, Rule)), rows, accent)
    return card


def _source(quote: Quote, number: int, language: str) -> str:
    """Two lines: title, then where. `number` 0 stands for none."""
    source = quote.place.source
    title = f"**{number}** · {_short(source.title)}" if number else _short(source.title)
    facts = [_short(fact) for fact in (source.publisher, source.date) if fact]
    return f"{title}\n-# {' · '.join([*facts, place_words(quote.place, language)])}"


def _warnings(quote: Quote, setting: Setting) -> str:
    lines = []
    if quote.state == "changed":
        lines.append(say(setting.language, "changed"))
    if quote.also:
        places = ", ".join(place_words(place, setting.language) for place in quote.also[:3])
        lines.append(say(setting.language, "also", places=places + (", …" if len(quote.also) > 3 else "")))
    return "".join(f"\n-# {line}" for line in lines)


def _withheld(answer: Answer, language: str) -> list[Block]:
    """One small line for each kind of passage that isn't shown; the paths are none of the readers' business."""
    kinds = {"gone": answer.gone, "unreadable": answer.unreadable}
    return [Text(f"-# {say(language, kind)}") for kind, paths in kinds.items() if paths]


def _answer_rows(answer: Answer, setting: Setting) -> tuple[Row, ...]:
    """What can be done with an answer. A single quote has its button in the same row as everything else."""
    language, asker, shown = setting.language, setting.asker, min(len(answer.quotes), MOST_QUOTES)
    look = _look_row(answer.quotes[:MOST_QUOTES], setting)
    rest: Row = (
        Button(Press("more", asker, MOST_QUOTES), say(language, "button.more"), disabled=shown == MOST_QUOTES),
        Button(Press("docs", asker, MOST_QUOTES), say(language, "button.docs"), disabled=setting.per_document),
        Button(Press("up", asker), emoji="👍"),
        Button(Press("down", asker), emoji="👎"),
    )
    share = Button(Press("share", asker, 2 * shown + setting.per_document), say(language, "button.share"), strong=True)
    if shown > 1:
        return look, (*rest, share) if setting.private else rest
    return ((*look, *rest), (share,)) if setting.private else ((*look, *rest),)


def _look_row(quotes: Sequence[Quote], setting: Setting) -> Row:
    """One button a quote, to look at it closely; `number` 0 where there is only one."""
    many = len(quotes) > 1
    row = []
    for number, quote in enumerate(quotes, 1):
        label = say(setting.language, "button.look", number=number) if many else say(setting.language, "button.closer")
        row.append(Button(Press("look", setting.asker, number if many else 0, QuoteKey.of(quote)), label, "🔍"))
    return tuple(row)


def _close_row(quote: Quote, setting: Setting, ends: tuple[bool, bool]) -> Row:
    key, asker, language = QuoteKey.of(quote), setting.asker, setting.language
    return (
        Button(Press("back", asker, 0, key), say(language, "button.back"), disabled=ends[0]),
        Button(Press("fore", asker, 0, key), say(language, "button.fore"), disabled=ends[1]),
        Button(Press("raw", asker, 0, key), say(language, "button.raw")),
        Button(Press("check", asker, 0, key), say(language, "button.check")),
        Button(Press("wrong", asker, 0, key), say(language, "button.wrong")),
    )


def _allowed(url: str | None, hosts: Sequence[str]) -> str | None:
    """`url` when Discord takes it for a link button and its host is allowed."""
    if not url or len(url) > 512:
        return None
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").lower()
    except ValueError:
        return None
    return url if parts.scheme in ("http", "https") and host in hosts and "@" not in parts.netloc else None


def _short(text: str) -> str:
    """One line of somebody's words, escaped, shortened openly when long."""
    line = " ".join(text.split())
    if len(line) > SHORT:
        line = (line[:SHORT].rpartition(" ")[0] or line[:SHORT]) + " …"
    return escape_line(line)
