"""Where sentences, paragraphs and headings begin and end.

Owns: text -> spans. Pure: nothing is read, normalised or changed; every result is a pair of offsets into
the text that was given. Refuses to know of models, tokens or files.

Sentence borders come from `sentencex` (Wikimedia's segmenter, ~300 languages). What is added here is the
layout around them: which line breaks end a line item and which only wrap a sentence, what is a heading, and
which lines are page furniture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex

from qabot.types import Paragraph, Segmentation, Sentence, Span

NEWLINE = re.compile(r"\r\n|\n|\r")
"""The line endings that `open()` knows. `str.splitlines` also breaks at U+2028, \\x0b, \\x0c, \\x85."""

MARKER = re.compile(
    r"(?:[-*+•◦▪‣·●○–—]|\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)])[ \t\u00a0]+(?=\S)|\d{1,2} (?=[A-Z][a-z])"
)
"""A list marker at the start of a line: a bullet, `1.`, `(a)`, or the bare `1 ` of some web pages."""
BULLET = re.compile(r"[-*+•◦▪‣·●○–—][ \t\u00a0]+(?=\S)")

NOT_A_TITLE = (".", "!", "…", "。", "！", ",", ";", ":", ".”", '."')
BYLINE = re.compile(
    r"(?:by|von|par|por|автор:?|published|posted|updated|image|photo|source)\b|[^a-z]*\d{4}\b", re.IGNORECASE
)
"""Author, date and caption lines stand alone like headings but head nothing."""
WRAP_LIMIT = 120
"""Longest line, in code points, of a text that may be wrapped by hand; longer ones hold whole paragraphs."""
WRAP_SLACK = 12
"""How many code points short of the full width a wrapped line may stop although the next word would fit."""
HEADING_WORDS = 16
FRAGMENT_WORDS = 8
SENTENCE_ENDS = tuple('.!?…。！？”"):;')
BORDER = re.compile(r"[.!?…]++[\"”’)\]»]*+((?=\s+[\"“‘(\[«]*(?:[A-ZÀ-ÖØ-ÞА-ЯЁ]|\d+ [A-Z])))?")
"""Signs that end a sentence; a border where group 1 matches. Other signs match, too, so that no sign of a long row of
them is looked at twice."""
ABBREVIATIONS = frozenset(
    f"{word}."
    for word in """mr mrs ms dr prof st gen col lt sgt rev hon sen rep gov vs etc al fig figs no nos vol pp ed eds cf ca
    approx dept inc ltd co corp jr sr jan feb mar apr jun jul aug sep sept oct nov dec art arts sec para ch bzw ca nr
    mme mlle г гг ул им стр рис тыс млн""".split()
)
LOOK_BACK = 40
"""More code points than an abbreviation has."""
INITIALS = re.compile(r"(?:[^\W\d_]\.)+")
FENCE = re.compile(r"\ufeff?[ ]{0,3}(?:(`{3,}+)(?=[^`]*\Z)|(~{3,}+))")
"""Opens a block of code. After backticks there is no other on the line: ```so``` is code inside a paragraph."""
FENCE_END = re.compile(r"\ufeff?[ ]{0,3}(`{3,}+|~{3,}+)[ \t]*\Z")
"""Closes it, if these signs begin with those that opened it."""
ATX = re.compile(r"\ufeff?[ ]{0,3}#{1,6}[ \t]+(?=\S)")
ATX_END = re.compile(r"(?<=[ \t])#+[ \t]*\Z")
"""The signs that close a heading stand apart: `# C#` is about C#."""
FRONT_MATTER = re.compile(r"\ufeff?(---|\+\+\+)[ \t]*(?:\r\n|\n|\r)")

FURNITURE = re.compile(
    r"""^(?:
        (?:stay\ (?:updated|connected|informed|in\ touch)|follow\ us\b.*|share(?:\ (?:this|on|via)\b.*)?|print(?:\ (?:this|page|pdf).*)?
        |(?:e-?mail|download|save|bookmark)(?:\ (?:this|as|the|pdf|page|article)\b.*)?|subscribe\b.*|sign\ (?:up|in|out)\b.*|log\ ?(?:in|out)\b.*
        |(?:further|related|recommended)\ (?:reading|articles|content|posts|stories|links)|read\ (?:more|next|also).*|learn\ more.*|see\ (?:also|more)
        |more\ (?:from|on|stories)\b.*|back(?:\ to\ (?:top|list|home|search).*)?|next|previous|home|menu|search|close|skip\ to\ .*|go\ to\ .*
        |comments?|(?:leave|post|add)\ a\ (?:comment|reply)|\d+\ comments?|(?:you\ can\ )?follow\ this\ conversation\b.*|explore\b.{0,40}
        |(?:donate|support\ us|and\ support\ our\ work|get\ involved|take\ action|contact\ us|about\ us|privacy\ policy|terms\ of\ (?:use|service))
        |all\ rights\ reserved.*|©.*|copyright\b.*|advertisement|sponsored.*|cookie\ (?:policy|settings|preferences).*|accept\ (?:all\ )?cookies.*
        |imprimer\b.*|(?:diminuer|augmenter)\ la\ taille\b.*|partager\b.*|s['’]abonner\b.*|envoyer\ par\b.*|télécharger\b.*
        |drucken|teilen|abonnieren.*|nach\ oben|imprimir|compartir|suscr[ií]bete.*|versione?\ stampabile|stampa|condividi
        |(?:the\ )?full\ (?:statement|report|text|article|paper)\ is\ available\ here
        |распечатать|печать|поделиться|подписаться.*|версия\ для\ печати|наверх|назад
        )[.:!»›>]*$)
    """,
    re.IGNORECASE | re.VERBOSE,
)
PITCH = re.compile(
    r"""(?:\b(?:in|to)\ your\ (?:inbox|mailbox|email)\b|\bsubscrib\w+\ to\b|\bsign\ up\ (?:for|to)\b.{0,200}\b(?:newsletter|updates?|alerts?|email)
    |\bour\ (?:weekly|daily|monthly|free)?\ ?newsletter\b|\bjavascript\ is\ (?:disabled|required)|\bwe\ use\ cookies\b)""",
    re.IGNORECASE | re.VERBOSE,
)
"""Lines and sentences that belong to a web page rather than to its document. Matching costs a passage its
place in a close race; it is never left out, so that it can still be quoted where it is the answer."""


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    kind: str  # text | item | heading | code | blank


def line_spans(text: str) -> Iterator[Span]:
    """Each line of `text` without its line ending, the last one included even when empty."""
    start = 0
    for match in NEWLINE.finditer(text):
        yield Span(start, match.start())
        start = match.end()
    yield Span(start, len(text))


def line_number(text: str, offset: int) -> int:
    """The line, from 1, that the code point at `offset` stands in (`\\r\\n`, `\\n` and `\\r` end lines)."""
    return 1 + sum(1 for _ in NEWLINE.finditer(text, 0, offset))


def trim(text: str, start: int, end: int) -> Span:
    """`[start, end)` without white space and byte-order marks at its ends; may come out empty."""
    while start < end and (text[start].isspace() or text[start] == "\ufeff"):
        start += 1
    while end > start and (text[end - 1].isspace() or text[end - 1] == "\ufeff"):
        end -= 1
    return Span(start, end)


def front_matter(text: str) -> Span | None:
    """The block between `---` (YAML) or `+++` (TOML) lines that opens a Markdown file, fences included."""
    opening = FRONT_MATTER.match(text)
    if not opening:
        return None
    # Not `^` and `$`: they know only "\n".
    closing = re.compile(rf"(?<=[\r\n]){re.escape(opening[1])}[ \t]*(?=[\r\n]|\Z)").search(text, opening.end())
    return Span(opening.start(), closing.end()) if closing else None


def is_furniture(line: str) -> bool:
    """Whether a whole line or sentence looks like part of a web page rather than of its document."""
    return bool(FURNITURE.match(line) or PITCH.search(line))


def is_fragment(line: str) -> bool:
    """Whether a line is too short for a sentence and doesn't end like one: a title, caption, author line, button."""
    return len(line.split()) < FRAGMENT_WORDS and not line.endswith(SENTENCE_ENDS)


def segment(text: str, *, markdown: bool = False, language: str = "en") -> Segmentation:
    """Cut `text` into paragraphs and sentences.

    markdown: read `#` headings, code fences and front matter as such. language: ISO 639-1 code whose
    abbreviations to respect; full stops of all scripts are known in every language.
    Every code point that is not white space, list marker or markup belongs to exactly one sentence.
    """
    paragraphs: list[Paragraph] = []
    sentences: list[Sentence] = []
    heading: Span | None = None
    for block in _blocks(text, _lines(text, markdown)):
        first, last = block[0], block[-1]
        content = _content(text, first, last, markdown)
        if content.start == content.end:
            continue
        number = len(paragraphs)
        whole = first.kind in ("heading", "code")
        spans = [content] if whole else list(_sentences(text, content, language))
        paragraphs.append(Paragraph(content.start, content.end, heading))
        for span in spans:
            words = text[span.start : span.end]
            sentences.append(Sentence(span.start, span.end, number, is_fragment(words), is_furniture(words)))
        if first.kind == "heading":
            heading = content
    return Segmentation(tuple(paragraphs), tuple(sentences))


def first_heading(text: str, *, markdown: bool) -> str | None:
    """The first heading's words, if the document opens with one or (Markdown) marks one."""
    for line in _lines(text, markdown):
        if line.kind == "heading":
            span = _content(text, line, line, markdown)
            return " ".join(text[span.start : span.end].split())
        if line.kind != "blank" and not markdown:
            return None
    return None


def _lines(text: str, markdown: bool) -> list[_Line]:
    """Every line with its kind."""
    matter = front_matter(text) if markdown else None
    spans = list(line_spans(text))
    result: list[_Line] = []
    fence = ""
    for position, line in enumerate(spans):
        span = trim(text, line.start, line.end)
        body = text[span.start : span.end]
        if span.start == span.end:
            # A blank line inside a fence keeps the code together.
            kind = "code" if fence else "blank"
        elif matter and span.start < matter.end:
            kind = "code"
        elif fence:
            kind = "code"
            if (closing := FENCE_END.match(text, line.start, line.end)) and closing[1].startswith(fence):
                fence = ""
        elif markdown and (opening := FENCE.match(text, line.start, line.end)):
            fence, kind = opening[1] or opening[2], "code"
        elif markdown and ATX.match(text, line.start, line.end):
            kind = "heading"
        elif MARKER.match(body):
            kind = "item"
        elif _is_heading(text, spans, position, body, markdown):
            kind = "heading"
        else:
            kind = "text"
        result.append(_Line(line.start, line.end, kind))
    return result


def _is_heading(text: str, spans: list[Span], position: int, body: str, markdown: bool) -> bool:
    """A short line on its own, without a full stop, that starts like a title and has text below it."""
    if markdown or len(body.split()) > HEADING_WORDS or body.endswith(NOT_A_TITLE):
        return False
    if not (body[0].isupper() or body[0].isdigit() or body[0] in '“"«¿'):
        return False
    if BYLINE.match(body) or is_furniture(body):
        return False
    around = spans[max(position - 1, 0) : position + 8]
    filled = [bool(text[span.start : span.end].strip()) for span in around]
    if position == 0:
        filled.insert(0, False)
    alone = not filled[0] and len(filled) > 2 and not filled[2]
    return alone and any(filled[3:])


def _blocks(text: str, lines: list[_Line]) -> Iterator[list[_Line]]:
    """Group lines that make one paragraph: wrapped lines together, everything else on its own."""
    width = _wrap_width(text, lines)
    block: list[_Line] = []
    for line in lines:
        if block and _continues(text, block[-1], line, width):
            block.append(line)
            continue
        if block:
            yield block
        block = [] if line.kind == "blank" else [line]
    if block:
        yield block


def _wrap_width(text: str, lines: list[_Line]) -> int:
    """The width at which the text was wrapped by hand, or 0 if it doesn't look wrapped.

    A wrapped text has many lines of nearly the same length; the 90th percentile is its width.
    """
    lengths = sorted(len(text[line.start : line.end].rstrip()) for line in lines if line.kind in ("text", "item"))
    if len(lengths) < 3:
        return WRAP_LIMIT
    width = lengths[int(len(lengths) * 0.9)]
    return width if width <= WRAP_LIMIT else 0


def _continues(text: str, line: _Line, following: _Line, width: int) -> bool:
    """Whether the break after `line` only wraps a sentence: the next word would not have fitted."""
    if line.kind == "code" or following.kind == "code":
        return line.kind == following.kind == "code"
    if line.kind not in ("text", "item") or following.kind != "text" or not width:
        return False
    body, next_body = text[line.start : line.end].strip(), text[following.start : following.end].strip()
    if next_body[0].islower() or body.endswith(("-", ",")):
        return True
    used = len(text[line.start : line.end].rstrip())
    return used + 1 + len(next_body.split(maxsplit=1)[0]) + WRAP_SLACK > width


def _content(text: str, first: _Line, last: _Line, markdown: bool) -> Span:
    """A block without its list marker or heading signs."""
    block = trim(text, first.start, last.end)
    start, end = block.start, block.end
    if first.kind == "item" and (marker := BULLET.match(text, start, end)):
        start = marker.end()
    if first.kind == "heading" and markdown and (signs := ATX.match(text, first.start, end)):
        start = signs.end()
        if closing := ATX_END.search(text, start, end):
            end = closing.start()
    return trim(text, start, end)


def _sentences(text: str, block: Span, language: str) -> Iterator[Span]:
    """The sentences of one block; a number that opens a list item ("1.") belongs to its first sentence."""
    marker = MARKER.match(text, block.start, block.end)
    start = marker.end() if marker else block.start
    # One line for the segmenter: it takes a line break for a border. Lengths stay, so offsets do too.
    flat = NEWLINE.sub(lambda match: " " * len(match[0]), text[start : block.end])
    first = True
    for found in sentencex.get_sentence_boundaries(language, flat):
        for end in (*_missed_borders(flat, found["start_index"], found["end_index"]), found["end_index"]):
            span = trim(text, start, block.end - len(flat) + end)
            start = block.end - len(flat) + end
            if span.start < span.end:
                yield Span(block.start, span.end) if first else span
                first = False


def _missed_borders(flat: str, start: int, end: int) -> Iterator[int]:
    """Clear borders inside what the segmenter took for one sentence.

    It keeps everything between a pair of quotation marks or brackets together, however many sentences that is.
    """
    for match in BORDER.finditer(flat, start, end):
        if match[1] is None:
            continue
        # A look back of bounded length: a sentence may be a megabyte long.
        word = (
            flat[max(start, match.start() - LOOK_BACK) : match.start() + 1]
            .rsplit(None, 1)[-1]
            .lstrip("(\"'“‘[")
            .lower()
        )
        if word.endswith(".") and (word in ABBREVIATIONS or INITIALS.fullmatch(word)):
            continue
        yield match.end()
