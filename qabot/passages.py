"""Text -> passages: the sentences that can be quoted, each with the larger spans it is embedded with.

Owns: how spans grow from a sentence to its neighbourhood and paragraph, and how they stay inside a model's
window. Pure: a tokenizer is handed in as a function; nothing is read or changed. Refuses to know of vectors.

A sentence alone often lacks its subject ("This makes it illegal ..."), and a paragraph alone blurs which of its
sentences answers; so each passage is embedded at three scales, and retrieval mixes their scores.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from qabot.sentences import line_spans, trim
from qabot.types import Paragraph, Segmentation, Sentence, Span

PASSAGES_VERSION = 1
"""Part of the recipe: to be raised whenever the same text would be cut or embedded differently."""

TokenEnds = Callable[[str], list[int]]
"""text -> for each token of it, the offset in code points where the token ends, ascending."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A quotable sentence in its surroundings.

    window: the sentence with its neighbours in the paragraph. block: as much of the paragraph as the model
    can see. heading: the nearest heading above. line: line of the sentence's first code point, from 1.
    Always `block` contains `window` contains `[start, end)`.
    """

    start: int
    end: int
    window: Span
    block: Span
    heading: Span | None
    line: int
    furniture: bool

    def scales(self) -> tuple[Span, Span, Span]:
        """The spans to embed, smallest first."""
        return Span(self.start, self.end), self.window, self.block


def cut_passages(text: str, segmentation: Segmentation, token_ends: TokenEnds, limit: int) -> Iterator[Passage]:
    """The passages of a document, in text order.

    limit: how many tokens the model can see at once, special tokens and prompts taken off. A sentence longer
    than that is cut into pieces that fit, at white space where there is any: nothing is ever lost silently.
    """
    if limit < 1:
        raise ValueError(f"limit is {limit} tokens; at least 1 is needed")
    lines = [span.start for span in line_spans(text)]
    grouped: dict[int, list[Sentence]] = {}
    for sentence in segmentation.sentences:
        grouped.setdefault(sentence.paragraph, []).append(sentence)
    for number, sentences in grouped.items():
        paragraph = segmentation.paragraphs[number]
        ruler = _Ruler(text, paragraph, token_ends)
        pieces = [piece for sentence in sentences for piece in _fit(text, sentence, ruler, limit)]
        blocks = _blocks(pieces, ruler, limit)
        for position, piece in enumerate(pieces):
            block = blocks[position]
            window = _window(pieces, position, block, ruler, limit)
            line = bisect_right(lines, piece.start)
            yield Passage(piece.start, piece.end, window, block, paragraph.heading, line, piece.furniture)


def model_text(text: str, *, markdown: bool) -> str:
    """What a model is given for a span of text: white space collapsed and, in Markdown, links reduced to their words.

    For models only; nothing that was changed here is ever quoted.
    """
    if markdown:
        text = re.sub(r"!?\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)
    return " ".join(text.split())


class _Ruler:
    """Counts the tokens of any span of one paragraph after tokenizing it once."""

    def __init__(self, text: str, paragraph: Paragraph, token_ends: TokenEnds) -> None:
        self._ends = [paragraph.start + end for end in token_ends(text[paragraph.start : paragraph.end])]

    def count(self, start: int, end: int) -> int:
        """Tokens that end inside `(start, end]`."""
        return bisect_right(self._ends, end) - bisect_right(self._ends, start)

    def reach(self, start: int, limit: int) -> int:
        """The offset where the `limit`-th token after `start` ends."""
        first = bisect_right(self._ends, start)
        return self._ends[min(first + limit, len(self._ends)) - 1]


def _fit(text: str, sentence: Sentence, ruler: _Ruler, limit: int) -> Iterator[Sentence]:
    """The sentence, or pieces of it that the model can see whole."""
    start = sentence.start
    while ruler.count(start, sentence.end) > limit:
        end = ruler.reach(start, limit)
        space = max((match.start() for match in re.finditer(r"\s+", text[start:end])), default=0)
        if text[end].isspace():
            space = end - start
        piece = trim(text, start, start + space if space else end)
        yield Sentence(piece.start, piece.end, sentence.paragraph, sentence.furniture)
        start = trim(text, piece.end, sentence.end).start
    yield Sentence(start, sentence.end, sentence.paragraph, sentence.furniture)


def _blocks(pieces: list[Sentence], ruler: _Ruler, limit: int) -> list[Span]:
    """For each piece the block it belongs to: whole paragraphs, or even shares of those that don't fit."""
    total = ruler.count(pieces[0].start, pieces[-1].end)
    shares = -(-total // limit)
    goal = total / shares if shares else total
    blocks: list[Span] = []
    first = 0
    for position, piece in enumerate(pieces):
        following = pieces[position + 1] if position + 1 < len(pieces) else None
        full = ruler.count(pieces[first].start, piece.end) >= goal
        if following is None or full or ruler.count(pieces[first].start, following.end) > limit:
            blocks += [Span(pieces[first].start, piece.end)] * (position + 1 - first)
            first = position + 1
    return blocks


def _window(pieces: list[Sentence], position: int, block: Span, ruler: _Ruler, limit: int) -> Span:
    """The piece with the neighbours that its block holds; the one before goes in first, if not both fit."""
    piece = pieces[position]
    start, end = piece.start, piece.end
    if position and pieces[position - 1].start >= block.start and ruler.count(pieces[position - 1].start, end) <= limit:
        start = pieces[position - 1].start
    if (
        position + 1 < len(pieces)
        and pieces[position + 1].end <= block.end
        and ruler.count(start, pieces[position + 1].end) <= limit
    ):
        end = pieces[position + 1].end
    return Span(start, end)
