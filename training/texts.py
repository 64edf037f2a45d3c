"""Folders of text files as sentences, and the windows of sentences a model reads.

Owns: splitting a text into sentences with code point offsets; windows of neighbouring sentences.
Refuses to know: questions, models, tokens.
"""

import re
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

_PARAGRAPH_BREAK = re.compile(r"\n[ \t]*\n\s*|\n(?= *[-•*–] )|\n(?= *\(?[0-9a-z]{1,4}[.)]\s)")
# Indented first lines mark the paragraphs of hard-wrapped speeches.
_INDENTED = re.compile(r"(?<=[.!?:”\"])\s*\n (?=\S)")
_SENTENCE_END = re.compile(r"[.!?…]+[\"'”’)\]]*(?:\[\d+\])*\s+(?=[\"'“‘(\[]*[A-Z0-9À-Þ])|;\s*\n")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sen|Rep|Gov|Gen|Col|Lt|St|Jr|Sr|Inc|Ltd|Co|Corp|No|Nos|Art|Sec|Fig"
    r"|Figs|vs|cf|al|etc|approx|Rev|Hon|Vol|pp|e\.g|i\.e|U\.S|U\.N|Jan|Feb|Mar|Apr|Aug|Sept|Oct"
    r"|Nov|Dec)|\b[A-Z])\.\s+$"
)
_LONG = 500


@dataclass(frozen=True)
class Sentence:
    """`text` is `document[start:end]` with runs of whitespace collapsed; `paragraph` counts from 0."""

    start: int
    end: int
    text: str
    paragraph: int


@dataclass(frozen=True)
class Text:
    """A document: its canonical text and its sentences in order."""

    name: str
    text: str
    sentences: tuple[Sentence, ...]

    def window_text(self, first: int, last: int) -> str:
        """Sentences `first` to `last` (inclusive), joined by a space."""
        return " ".join(s.text for s in self.sentences[first : last + 1])


def collapse(text: str) -> str:
    """Runs of whitespace become one space."""
    return " ".join(text.split())


def split_sentences(text: str) -> tuple[Sentence, ...]:
    """Sentences in order, without surrounding whitespace; nothing but whitespace lies between."""
    cuts = {0, len(text)}
    for pattern in (_PARAGRAPH_BREAK, _INDENTED):
        cuts.update(m.end() for m in pattern.finditer(text))
    borders = sorted(cuts)
    sentences = []
    for paragraph, (start, end) in enumerate(pairwise(borders)):
        for a, b in _split_paragraph(text, start, end):
            piece = text[a:b]
            a, b = a + len(piece) - len(piece.lstrip()), b - len(piece) + len(piece.rstrip())
            if a < b:
                sentences.append(Sentence(a, b, collapse(text[a:b]), paragraph))
    return tuple(sentences)


def _split_paragraph(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans, last = [], start
    for match in _SENTENCE_END.finditer(text, start, end):
        if not _ABBREVIATION.search(text[max(start, match.start() - 12) : match.end()]):
            spans.append((last, match.end()))
            last = match.end()
    spans.append((last, end))
    # Legal lists run over hundreds of words: cut them where they cut themselves.
    short = []
    for a, b in spans:
        while b - a > _LONG:
            cut = max(text.rfind(mark, a + 60, a + _LONG) + 1 for mark in ("; ", ";\n", ": ", "\n"))
            if cut <= a + 60:
                break
            short.append((a, cut))
            a = cut
        short.append((a, b))
    return short


def read_folder(folder: Path) -> dict[str, Text]:
    """Every `*.txt` of a folder by file name."""
    texts = {}
    for path in sorted(folder.iterdir()):
        if path.suffix == ".txt":
            text = path.read_bytes().decode("utf-8", errors="replace")
            texts[path.name] = Text(path.name, text, split_sentences(text))
    return texts


def overlapping(text: Text, start: int, end: int) -> set[int]:
    """Numbers of the sentences that share at least 4 code points (or all of the span) with a span."""
    least = min(4, end - start)
    return {i for i, s in enumerate(text.sentences) if min(end, s.end) - max(start, s.start) >= least}


def window(text: Text, centre: int, words: int, before_first: bool = True) -> tuple[int, int]:
    """The widest (first, last) of whole sentences around `centre` within a budget of words.

    Grows by turns to both sides; leaves a paragraph only when the paragraph is exhausted on both
    sides, and then only if fewer than half of the words are used (a heading, a list item).
    """
    counts = [len(s.text.split()) for s in text.sentences[max(0, centre - 12) : centre + 13]]
    base = max(0, centre - 12)
    first = last = centre
    used = counts[centre - base]
    home = text.sentences[centre].paragraph
    before = before_first
    blocked: set[str] = set()
    while len(blocked) < 2:
        side = "before" if before else "after"
        i = first - 1 if before else last + 1
        before = not before
        if side in blocked:
            continue
        inside = base <= i < base + len(counts) and 0 <= i < len(text.sentences)
        if not inside or used + counts[i - base] > words:
            blocked.add(side)
            continue
        if text.sentences[i].paragraph != home and used * 2 > words:
            blocked.add(side)
            continue
        used += counts[i - base]
        first, last = min(first, i), max(last, i)
    return first, last
