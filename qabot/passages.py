"""Text -> passages: the sentences that can be quoted, each with the larger spans it is embedded with.

Owns: how a sentence grows to as much of its paragraph as a model can see, and how both stay inside the model's
window. Pure: a tokenizer is handed in as a function; nothing is read or changed. Refuses to know of vectors.

A sentence alone often lacks its subject ("This makes it illegal ..."), and a paragraph alone blurs which of its
sentences answers; so each passage is embedded at both scales, and retrieval mixes their scores.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from qabot.sentences import line_spans, trim
from qabot.types import Paragraph, Segmentation, Sentence, Span

PASSAGES_VERSION = 3
"""Part of the recipe: to be raised whenever the same text would be cut or embedded differently."""

LINK = re.compile(r"!?\[([^\]\n]*+)(?:\]\([^)\n]*+(\)?))?")
"""A link of Markdown where group 2 is `)`; group 1 is its words. What only begins like one matches, too, as far as no other
can begin in it, so that nothing is looked at twice."""

TokenEnds = Callable[[str], list[int]]
"""text -> for each token of it, the offset in code points where the token ends, ascending."""


@dataclass(frozen=True, slots=True)
class Passage:
    """A quotable sentence in its surroundings.

    block: as much of its paragraph as the model can see; it contains `[start, end)`. heading: the nearest
    heading above. line: line of the sentence's first code point, from 1. fragment, furniture: see `Sentence`.
    """

    start: int
    end: int
    block: Span
    heading: Span | None
    line: int
    fragment: bool = False
    furniture: bool = False

    def scales(self) -> tuple[Span, Span]:
        """The spans to embed: the sentence and its block."""
        return Span(self.start, self.end), self.block


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
            line = bisect_right(lines, piece.start)
            yield Passage(
                piece.start, piece.end, blocks[position], paragraph.heading, line, piece.fragment, piece.furniture
            )


def model_text(text: str, *, markdown: bool) -> str:
    """What a model is given for a span of text: white space collapsed and, in Markdown, links reduced to their words.

    For models only; nothing that was changed here is ever quoted.
    """
    if markdown:
        text = LINK.sub(lambda match: match[1] if match[2] else match[0], text)
    return " ".join(text.split())


class _Ruler:
    """Counts the tokens of any span of one paragraph after tokenizing it once."""

    def __init__(self, text: str, paragraph: Paragraph, token_ends: TokenEnds) -> None:
        # White space as `model_text` gives it to the model, the length kept: BERT's tokenizer deletes \v, \f and others,
        # and takes the words around them for one.
        spaced = re.sub(r"\s", " ", text[paragraph.start : paragraph.end])
        self._ends = [paragraph.start + end for end in token_ends(spaced)]

    def count(self, start: int, end: int) -> int:
        """Tokens that end inside `(start, end]`."""
        return bisect_right(self._ends, end) - bisect_right(self._ends, start)

    def reach(self, start: int, limit: int) -> int:
        """The last offset after `start` with at most `limit` tokens up to it, one code point on at the least.

        A code point may end several tokens (a byte-level model spells an emoji in four): it stays whole.
        """
        first = bisect_right(self._ends, start)
        position = min(first + limit, len(self._ends))
        end = self._ends[position - 1]
        if position < len(self._ends) and self._ends[position] == end:
            position = bisect_left(self._ends, end)
        return self._ends[position - 1] if position > first else end


def _fit(text: str, sentence: Sentence, ruler: _Ruler, limit: int) -> Iterator[Sentence]:
    """The sentence, or pieces of it that the model can see whole."""
    start = sentence.start
    while ruler.count(start, sentence.end) > limit:
        end = ruler.reach(start, limit)
        if end >= sentence.end:
            break
        space = max((match.start() for match in re.finditer(r"\s+", text[start:end])), default=0)
        if text[end].isspace():
            space = end - start
        piece = trim(text, start, start + space if space else end)
        yield replace(sentence, start=piece.start, end=piece.end)
        start = trim(text, piece.end, sentence.end).start
    yield replace(sentence, start=start)


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
