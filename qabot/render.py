"""Answers -> JSON and terminal text. Pure.

Owns: the documented JSON form, and what a person sees in a terminal. Refuses to know where answers come from.
A quote's text goes into JSON untouched. Everywhere else control characters are shown as pictures (a document must not
be able to steer the terminal that it ends in) and line breaks of every kind are "\\n"; nothing else changes where output is piped.
On a terminal lines wrap, tabs are spaces, line separators break lines, and what is invisible isn't sent.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.style import Style
from rich.text import Text

from qabot import phrases
from qabot.types import Answer, Place, Quote, Span, Trace

TAB = "    "
LINE_BREAK = re.compile(r"\n|\r(?!\n)")
HARMLESS = "\t\u00ad\ufeff\u2028\u2029"
"""Tab, soft hyphen, byte-order mark and separators: nothing that steers a terminal, so pipes get them as they are."""
SHOWN_AT_MOST = 4000
"""How many code points of one quote an answer shows on a terminal: a file without a line break may be one sentence."""


def answer_json(answer: Answer, identifier: str | None = None) -> dict[str, Any]:
    """The object that `--json` and `--batch` print; docs/json.md describes it."""
    value: dict[str, Any] = {
        "id": identifier,
        "question": answer.question,
        "answered": answer.answered,
        "outcome": answer.outcome,
        "confidence": round(answer.confidence, 4),
        "thresholds": {outcome: round(least, 4) for outcome, least in answer.thresholds.items()},
        "note": answer.note,
        "quotes": [quote_json(quote) for quote in answer.quotes],
        "gone": list(answer.gone),
        "unreadable": list(answer.unreadable),
        "model": answer.model,
        "index": answer.index,
        "timings_ms": {stage: round(spent, 2) for stage, spent in answer.timings_ms.items()},
    }
    if answer.trace:
        value["candidates"] = [_trace_json(trace) for trace in answer.trace]
    return value


def quote_json(quote: Quote) -> dict[str, Any]:
    """One quote as JSON: offsets are code points into the canonical text, highlights too."""
    return {
        **_place_json(quote.place),
        "text": quote.text,
        "highlights": [{"start": span.start, "end": span.end} for span in quote.highlights],
        "score": round(quote.score, 4),
        "state": quote.state,
        "also": [_place_json(place) for place in quote.also],
    }


def _place_json(place: Place) -> dict[str, Any]:
    return {
        "path": place.path,
        "title": place.source.title,
        "url": place.source.url,
        "start": place.start,
        "end": place.end,
        "line_start": place.line_start,
        "line_end": place.line_end,
        "page": place.page,
        "heading": place.heading,
        "sha256": place.sha256,
    }


def _trace_json(trace: Trace) -> dict[str, Any]:
    scores = {"dense": trace.dense, "lexical": trace.lexical, "fused": trace.fused, "reader": trace.reader}
    rounded = {stage: None if score is None else round(score, 4) for stage, score in scores.items()}
    return {"reference": trace.reference, "text": trace.text, **rounded}


def print_answer(console: Console, answer: Answer, root: Path) -> None:
    """Print an answer for a person; `root` is the documents folder, for links to the files."""
    sentence = phrases.outcome(answer)
    if sentence:
        _print(console, Text(sentence, style="bold"))
    quotes = answer.quotes if answer.outcome != "nothing" else ()
    for number, quote in enumerate(quotes, 1):
        if number > 1 or sentence:
            console.print()
        print_quote(console, quote, root, number if len(quotes) > 1 else None, answers=answer.answered)
    for path in answer.gone:
        _print(console, Text(phrases.GONE.format(path=printable(path)), style="yellow"))
    for path in answer.unreadable:
        _print(console, Text(phrases.UNREADABLE.format(path=printable(path)), style="yellow"))


def print_trace(console: Console, answer: Answer, count: int = 30) -> None:
    """Print the first candidates with the score of each stage, and what decided the outcome."""
    if not answer.trace:
        _print(console, Text("Nothing was searched for."))
        return
    _print(console, Text(" dense lexical fused reader  sentence", style="bold"))
    for trace in answer.trace[:count]:
        reader = "     -" if trace.reader is None else f"{trace.reader:6.3f}"
        start = " ".join(printable(trace.text).split())
        line = f"{trace.dense:6.3f} {trace.lexical:7.3f} {trace.fused:5.2f} {reader}  {printable(trace.reference)}  {start}"
        if console.is_terminal:
            console.print(Text(line), overflow="ellipsis", no_wrap=True)
        else:
            _print(console, Text(line))
    answered, related = answer.thresholds["answered"], answer.thresholds["related"]
    _print(
        console,
        Text(
            f"confidence {answer.confidence:.3f}: answered from {answered:.3f}, related from {related:.3f}; so {answer.outcome}"
        ),
    )
    _print(console, Text(", ".join(f"{stage} {spent:.1f} ms" for stage, spent in answer.timings_ms.items())))


def print_quote(
    console: Console, quote: Quote, root: Path, number: int | None = None, *, answers: bool = True, whole: bool = False
) -> None:
    """Print a quote with its source: title, place, then the text with the answer in bold (only bold unless `answers`).

    On a terminal a very long text is shown in part, and it is said so, unless `whole`.
    """
    place = quote.place
    # Front matter gives the address: an escape sequence in it would reach the terminal.
    url = place.source.url if place.source.url and place.source.url.isprintable() else None
    link = url or (root / place.path).absolute().as_uri()
    head = Text(f"{number}. " if number else "", style="bold cyan")
    head.append(printable(place.source.title), Style(bold=True, color="cyan", link=link))
    _print(console, head)
    _print(console, Text(place_line(place), style="dim"))
    if quote.state != "current":
        _print(console, Text(phrases.STATES[quote.state], style="yellow"))
    if not console.is_terminal:
        _print(console, Text(highlight_line(quote)))
    part = quote if whole or not console.is_terminal else _part(quote)
    if part.place.start > place.start:
        _print(console, Text(phrases.CUT_BEFORE, style="dim"))
    _print(console, highlighted(part, "bold green" if answers else "bold", piped=not console.is_terminal), indent=2)
    if part is not quote:
        cut = phrases.CUT.format(shown=len(part.text), all=len(quote.text), reference=printable(place.reference))
        _print(console, Text(cut, style="dim"))
    if quote.also:
        places = ", ".join(f"{printable(other.path)}:{other.line_start}" for other in quote.also)
        _print(console, Text(phrases.ALSO.format(places=places), style="dim"))


def _part(quote: Quote) -> Quote:
    """The quote, or of a very long one the beginning; if its answer isn't in there, what ends with the answer or begins
    with it."""
    if len(quote.text) <= SHOWN_AT_MOST:
        return quote
    place = quote.place
    answer = quote.highlights[0] if quote.highlights else Span(place.start, place.start)
    start = min(max(place.start, answer.end - SHOWN_AT_MOST), answer.start)
    end = min(start + SHOWN_AT_MOST, place.end)
    highlights = tuple(Span(span.start, min(span.end, end)) for span in quote.highlights if start <= span.start < end)
    text = quote.text[start - place.start : end - place.start]
    return replace(quote, place=replace(place, start=start, end=end), text=text, highlights=highlights)


def _print(console: Console, text: Text, indent: int = 0) -> None:
    """Wrapped to the width of a terminal; line by line as it is anywhere else."""
    if console.is_terminal:
        console.print(Padding(text, (0, indent, 0, indent), expand=False), overflow="fold")
    else:
        # Not through the console: it would widen tabs.
        console.file.write(f"{text.plain}\n")


def place_line(place: Place) -> str:
    """Publisher, date, file, line (or page) and heading, as one line."""
    where = f"page {place.page}" if place.page is not None else _lines(place.line_start, place.line_end)
    heading = place.heading if place.heading and place.heading != place.source.title else None
    facts = (place.source.publisher, place.source.author, place.source.date, f"{place.path}, {where}", heading)
    return printable(" · ".join(fact for fact in facts if fact))


def highlight_line(quote: Quote) -> str:
    """Which part of a quote is highlighted, for where nothing can be: its lines, and the references that `show` takes."""
    found = []
    for span in quote.highlights:
        first, last = (_line_at(quote, position) for position in (span.start, max(span.start, span.end - 1)))
        lines = "" if quote.place.page is not None else f"{_lines(first, last)}, "
        found.append(f"{lines}{quote.place.path}:{span.start}-{span.end}")
    return printable(f"Highlighted: {'; '.join(found)}")


def _line_at(quote: Quote, position: int) -> int:
    """The line of an offset into the document, inside the quote; CR LF is one line break."""
    before = LINE_BREAK.finditer(quote.text)
    return quote.place.line_start + sum(found.start() < position - quote.place.start for found in before)


def _lines(first: int, last: int) -> str:
    return f"line {first}" if first == last else f"lines {first}-{last}"


def highlighted(quote: Quote, style: str, *, piped: bool = False) -> Text:
    """The quote's text with its highlights in `style`, ready for a terminal, or for a pipe."""
    keep = HARMLESS if piped else ""
    text = Text()
    position = quote.place.start
    for span in (*quote.highlights, Span(quote.place.end, quote.place.end)):
        text.append(printable(quote.text[position - quote.place.start : span.start - quote.place.start], keep))
        text.append(printable(quote.text[span.start - quote.place.start : span.end - quote.place.start], keep), style)
        position = span.end
    return text


def printable(text: str, keep: str = "") -> str:
    """`text` with control and direction-changing characters as visible pictures; line breaks stay, and what `keep` has."""
    return "".join(sign if sign in keep else _picture(sign) for sign in text.replace("\r\n", "\n"))


def _picture(character: str) -> str:
    code = ord(character)
    if character == "\t":
        return TAB
    if character in "\n\u200c\u200d":  # joiners are part of how words are written
        return character
    if character in "\r\x0b\x0c\x85\u2028\u2029":
        return "\n"
    if code in (0xAD, 0xFEFF):  # soft hyphen and byte-order mark: invisible where they are allowed
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    if unicodedata.category(character) in ("Cc", "Cf", "Cs"):
        return f"<U+{code:04X}>"
    return character
