"""Fitting quotes into a message. Pure.

Owns: how much room each quote gets, and where a long one is cut. Never silently: the caller shows `[…]` and offers
the whole as a file. The highlighted sentence stays; what goes is the context furthest from it.
"""

from __future__ import annotations

from collections.abc import Sequence

from qabot.bot.display import block_quote, merged, newline_of, utf16_length
from qabot.sentences import segment
from qabot.types import Quote, Span

CUT = "[…]"
CUT_LINE = f"> {CUT}"
CUT_ROOM = 2 * (len(CUT_LINE) + 1)


def shares(needs: Sequence[int], room: int) -> list[int]:
    """Split `room` between quotes: what one doesn't need goes to the others, in equal parts."""
    given = [0] * len(needs)
    order = sorted(range(len(needs)), key=lambda position: needs[position])
    for taken, position in enumerate(order):
        given[position] = min(needs[position], room // (len(needs) - taken))
        room -= given[position]
    return given


def show_quote(quote: Quote, room: int | None = None) -> tuple[str, Span]:
    """A quote as Discord markdown of at most `room` UTF-16 units, and which span of its document is shown.

    Where text is left out, a line of its own says `[…]`.
    """
    place = quote.place
    whole = Span(place.start, place.end)
    shown = _render(quote, whole)
    if room is None or utf16_length(shown) <= room:
        return shown, whole
    span = _largest(quote, room)
    return _render(quote, span), span


def _render(quote: Quote, span: Span) -> str:
    text = quote.text[span.start - quote.place.start : span.end - quote.place.start]
    body = block_quote(text, merged(quote.highlights, span), newline_of(quote.text))
    before = f"{CUT_LINE}\n" if span.start > quote.place.start else ""
    after = f"\n{CUT_LINE}" if span.end < quote.place.end else ""
    return before + body + after


def _largest(quote: Quote, room: int) -> Span:
    """The span of whole sentences around the first highlight that fits, grown in turn on both sides."""
    offset = quote.place.start
    sentences = [Span(offset + s.start, offset + s.end) for s in segment(quote.text).sentences]
    core = quote.highlights[0] if quote.highlights else (sentences[0] if sentences else Span(offset, offset))
    within = [n for n, sentence in enumerate(sentences) if sentence.overlaps(core)]
    low, high = (within[0], within[-1]) if within else (0, 0)

    def span_of(first: int, last: int) -> Span:
        return Span(min(sentences[first].start, core.start), max(sentences[last].end, core.end))

    def fits(span: Span) -> bool:
        return utf16_length(_render(quote, span)) <= room

    if not sentences or not fits(span_of(low, high)):
        return _hard_cut(quote, core if core.end > core.start else Span(offset, quote.place.end), room)
    grown = True
    while grown:
        grown = False
        if high + 1 < len(sentences) and fits(span_of(low, high + 1)):
            high, grown = high + 1, True
        if low > 0 and fits(span_of(low - 1, high)):
            low, grown = low - 1, True
    return span_of(low, high)


def _hard_cut(quote: Quote, core: Span, room: int) -> Span:
    """The longest beginning of a sentence too long to show, cut behind a word where there is one."""
    low, high = 1, core.end - core.start
    while low < high:
        middle = (low + high + 1) // 2
        if utf16_length(_render(quote, Span(core.start, core.start + middle))) <= room:
            low = middle
        else:
            high = middle - 1
    text = quote.text[core.start - quote.place.start :][:low]
    space = max(text.rfind(" "), text.rfind("\n"))
    return Span(core.start, core.start + (space if space > low * 2 // 3 else low))
