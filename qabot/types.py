"""The records that the rest of qabot passes around.

Owns: their names, units and invariants. Imports nothing of qabot.

Offsets are code points into a document's canonical text, half open: a quote *is*
`document.text[start:end]`. Lines count from 1. Nearness is one convention everywhere: unit float32
vectors, cosine, higher is better, field `score`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["answered", "related", "nothing"]
"""`answered`: a sentence is trusted to answer. `related`: on the subject, but none is. `nothing`: neither."""


MONTHS = tuple("January February March April May June July August September October November December".split())


@dataclass(frozen=True, slots=True)
class Span:
    """The half-open range `[start, end)` of a text, in code points."""

    start: int
    end: int

    def overlaps(self, other: Span) -> bool:
        """Whether the two ranges share at least one code point."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Source:
    """What is known about a document besides its text. A fact that is not known is None."""

    title: str
    publisher: str | None = None
    author: str | None = None
    date: str | None = None
    kind: str | None = None
    url: str | None = None

    def facts(self) -> str:
        """The facts as one line for searching: title, publisher, author, date (its month in words, too), kind."""
        month = re.match(r"\d{4}-(\d{2})", self.date or "")
        spelt = MONTHS[int(month[1]) - 1] if month and 1 <= int(month[1]) <= len(MONTHS) else None
        known = (self.title, self.publisher, self.author, self.date, spelt, self.kind)
        return " · ".join(fact for fact in known if fact)


@dataclass(frozen=True, slots=True)
class Document:
    """One file as it was read.

    path: POSIX, relative to the documents folder. sha256: of the raw bytes, hexadecimal.
    text: the canonical text, `raw_bytes.decode(encoding)`: a byte-order mark and every line ending are kept.
    """

    path: str
    sha256: str
    text: str
    encoding: str
    source: Source


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence, list item, heading or other line of a document.

    paragraph: position of its paragraph in `Segmentation.paragraphs`.
    fragment: no sentence: a title, caption, author line, button. furniture: part of the page rather than of the
    document ("Print", "Subscribe to our newsletter").
    """

    start: int
    end: int
    paragraph: int
    fragment: bool = False
    furniture: bool = False


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A run of sentences that belong together; `heading` is the nearest heading above it."""

    start: int
    end: int
    heading: Span | None = None


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A text cut into paragraphs and sentences, both in text order and without overlaps."""

    paragraphs: tuple[Paragraph, ...]
    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a quote stands: its document as indexed, and where in it."""

    path: str
    sha256: str
    source: Source
    start: int
    end: int
    line_start: int
    line_end: int
    page: int | None = None
    heading: str | None = None

    @property
    def reference(self) -> str:
        """`path:start-end`, which `qabot show` takes."""
        return f"{self.path}:{self.start}-{self.end}"


State = Literal["current", "changed", "gone", "unreadable"]
"""A document's file compared with what was indexed: the same bytes, other bytes, no such file, or one that can't be read."""
WITHHELD: tuple[State, ...] = ("gone", "unreadable")
"""In these states no answer quotes a document: it can't be compared."""


@dataclass(frozen=True, slots=True)
class Quote:
    """A verbatim piece of a document, and the sentences in it that answer.

    text: exactly `document.text[place.start:place.end]`. highlights: spans of the document (not of the
    quote), each inside the quote. score: how well it answers, in 0..1. also: other places with the same text.
    state: whether the file still holds what was indexed.
    """

    place: Place
    text: str
    highlights: tuple[Span, ...]
    score: float
    state: State = "current"
    also: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace:
    """One candidate sentence with the score of each stage, for `--explain`.

    dense: mean cosine over the scales. lexical: share of the question's words, 0..1. fused: what ranks
    candidates. reader: probability that the sentence answers, or None when no reader looked at it.
    """

    reference: str
    text: str
    dense: float
    lexical: float
    fused: float
    reader: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What both front ends show.

    confidence: calibrated probability, 0..1, that the documents answer. quotes: best first; unless
    `answered`, they are only the closest passages. note: identifier of a fixed phrase (`qabot.phrases`) that
    explains an outcome without quotes. scope: the documents or folders asked for, as they were given. gone: paths whose quotes were withheld, their files having been removed
    since indexing; unreadable: because their files can't be read. thresholds: the least confidence of each outcome. model, index: what answered. timings_ms: stage -> milliseconds.
    """

    question: str
    outcome: Outcome
    confidence: float
    quotes: tuple[Quote, ...]
    model: str
    index: str
    note: str | None = None
    scope: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    thresholds: dict[str, float] = field(default_factory=dict)
    timings_ms: dict[str, float] = field(default_factory=dict)
    trace: tuple[Trace, ...] = ()

    @property
    def answered(self) -> bool:
        """True when a sentence is trusted to answer."""
        return self.outcome == "answered"
