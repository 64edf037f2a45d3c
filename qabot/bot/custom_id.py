"""A button's whole state in its `custom_id`, so that it works after a restart and on old messages.

Owns: the form of that string. Pure. Form: `qb1:action:asker:number:quote`, numbers in base 36; the quote is
`digest.start.end.highlights`. Discord allows 100 characters; highlights that don't fit are left out, last first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

from qabot.types import Quote, Span

VERSION = 1
LIMIT = 100
DIGEST_DIGITS = 12
TEMPLATE = r"qb(?P<version>\d+):(?P<state>.+)"
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Action = Literal[
    "more", "docs", "near", "look", "back", "fore", "raw", "check", "share", "up", "down", "wrong",
    "accept", "none", "place", "drop",
]  # fmt: skip
ACTIONS: frozenset[str] = frozenset(get_args(Action))
QUOTE = re.compile(r"(?P<digest>[0-9a-f]{12})\.(?P<start>[0-9a-z]+)\.(?P<end>[0-9a-z]+)\.(?P<spans>[0-9a-z,\-]*)")


@dataclass(frozen=True, slots=True)
class QuoteKey:
    """Which quote: the first 12 digits of its document's sha256, its span there, and what is highlighted."""

    digest: str
    start: int
    end: int
    highlights: tuple[Span, ...] = ()

    @classmethod
    def of(cls, quote: Quote) -> QuoteKey:
        """The key of a quote."""
        place = quote.place
        return cls(place.sha256[:DIGEST_DIGITS], place.start, place.end, quote.highlights)


@dataclass(frozen=True, slots=True)
class Press:
    """What a button does. asker: who may change the message it stands on (a user's id). number: the action's."""

    action: Action
    asker: int = 0
    number: int = 0
    quote: QuoteKey | None = None


def encode(press: Press) -> str:
    """The `custom_id` of a button; at most 100 characters."""
    head = f"qb{VERSION}:{press.action}:{_base36(press.asker)}:{_base36(press.number)}:"
    if press.quote is None:
        return head
    key = press.quote
    head += f"{key.digest}.{_base36(key.start)}.{_base36(key.end)}."
    spans: list[str] = []
    for span in key.highlights:
        spans.append(f"{_base36(max(span.start - key.start, 0))}-{_base36(max(span.end - key.start, 0))}")
        if len(head) + len(",".join(spans)) > LIMIT:
            spans.pop()
            break
    return head + ",".join(spans)


def decode(text: str) -> Press | None:
    """What `encode` wrote, or None when the text is of another version or none of ours."""
    parts = text.split(":")
    if len(parts) != 5 or parts[0] != f"qb{VERSION}" or parts[1] not in ACTIONS:
        return None
    try:
        asker, number = int(parts[2], 36), int(parts[3], 36)
        key = _quote_key(parts[4]) if parts[4] else None
    except ValueError:
        return None
    action: Action = parts[1]  # type: ignore[assignment]
    return Press(action, asker, number, key)


def _quote_key(text: str) -> QuoteKey:
    match = QUOTE.fullmatch(text)
    if not match:
        raise ValueError(text)
    start, end = int(match["start"], 36), int(match["end"], 36)
    spans = []
    for pair in filter(None, match["spans"].split(",")):
        low, high = pair.split("-")
        spans.append(Span(start + int(low, 36), min(start + int(high, 36), end)))
    return QuoteKey(match["digest"], start, end, tuple(spans))


def _base36(number: int) -> str:
    digits = ""
    while True:
        number, last = divmod(number, 36)
        digits = DIGITS[last] + digits
        if not number:
            return digits
