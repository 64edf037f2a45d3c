"""What the tests of the core share: an encoder that one can compute by hand, hostile texts, and brute-force oracles."""

from __future__ import annotations

import errno
import os
import re
import threading
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from qabot.build import BuildReport, build_index
from qabot.config import Settings, load_settings
from qabot.documents import Folder
from qabot.embedding import EncoderFacts, Vectors
from qabot.index import Index
from qabot.models import silent
from qabot.refusal import choose_calibration as chosen
from qabot.retrieval import Candidate
from qabot.types import Outcome

REPOSITORY = Path(__file__).resolve().parent.parent
SEEDS = REPOSITORY / "seeds"
DIMENSION = 64
WINDOW = 48
SPECIAL = 2
TOKEN = re.compile(r"\w{1,8}|[^\w\s]")
"""The fake tokenizer: words in pieces of at most eight letters, and every other sign by itself."""


class FakeEncoder:
    """Bags of words: each word adds 1 at `crc32(word) % DIMENSION`, then the vector gets length 1.

    Remembers every text it embedded. Refuses texts beyond its window, as the real encoder does.
    """

    def __init__(self, name: str = "fake", window: int = WINDOW, fingerprint: str | None = None) -> None:
        self._facts = EncoderFacts(name, fingerprint or f"fingerprint-of-{name}", DIMENSION, window, "", "")
        self._lock = threading.Lock()
        self._positions: dict[str, int] = {}
        self.embedded: list[str] = []
        self.known_words = {"zebra", "quantum", "xylophone"}

    @property
    def facts(self) -> EncoderFacts:
        return self._facts

    @property
    def limit(self) -> int:
        return self._facts.window - SPECIAL

    def token_ends(self, text: str) -> list[int]:
        return [match.end() for match in TOKEN.finditer(text)]

    def knows(self, word: str) -> bool:
        return word in self.known_words

    def embed(self, texts: Sequence[str], advance: Callable[[int], None] | None = None) -> Vectors:
        for text in texts:
            if len(self.token_ends(text)) > self.limit:
                raise ValueError(f"{text!r} does not fit the window of {self._facts.window} tokens")
        with self._lock:
            self.embedded += texts
        if advance:
            advance(len(texts))
        return np.stack([self.vector(text) for text in texts])

    def embed_question(self, question: str) -> Vectors:
        return self.vector(question)

    def vector(self, text: str) -> Vectors:
        counts = np.zeros(DIMENSION, np.float32)
        for word in re.findall(r"\w+", text.lower()):
            position = self._positions.get(word)
            if position is None:
                position = self._positions[word] = zlib.crc32(word.encode()) % DIMENSION
            counts[position] += 1
        if not counts.any():
            counts[0] = 1
        unit: Vectors = (counts / np.linalg.norm(counts)).astype(np.float32)
        return unit


def use_encoder(monkeypatch: Any, encoder: FakeEncoder) -> None:
    """Let everything in this process that asks for a model get `encoder`."""

    def given(*args: object, **options: object) -> FakeEncoder:
        return encoder

    for module in ("qabot.models", "qabot.answering", "qabot.indexing"):
        for name in ("encoder_for_name", "encoder_for_index"):
            monkeypatch.setattr(f"{module}.{name}", given, raising=False)
    # The calibrations have their own tests; bags of words need a threshold that one can compute by hand.
    monkeypatch.setattr("qabot.answering.judge", judge_by_cosine)
    monkeypatch.setattr("qabot.answering.choose_calibration", lambda file, recipe, tell: chosen(file, recipe, silent))


def judge_by_cosine(calibration: object, candidates: Sequence[Candidate]) -> tuple[float, Outcome]:
    """Answered from a dense score of 0.7, related from 0.3."""
    best = max((min(1.0, max(0.0, candidate.dense)) for candidate in candidates), default=0.0)
    return best, "answered" if best >= 0.7 else "related" if best >= 0.3 else "nothing"


def write_files(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make a folder hold these files, sub-folders included; a text is written as UTF-8, byte for byte."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    root.mkdir(parents=True, exist_ok=True)
    return root


def edit(documents: Path, kind: str, name: str, more: Sequence[str]) -> None:
    """One edit of a folder. more: the paragraphs to write, or the name to rename or copy to."""
    path = documents / name
    if kind == "write":
        write_files(documents, {name: "\n\n".join(more)})
    elif kind == "touch" and path.exists():
        path.touch()
    elif kind == "remove":
        path.unlink(missing_ok=True)
    elif kind in ("rename", "copy") and path.exists() and more[0] != name:
        write_files(documents, {more[0]: path.read_bytes()})
        if kind == "rename":
            path.unlink()


def build(documents: Path, target: Path, encoder: FakeEncoder | None = None, **options: Any) -> BuildReport:
    return build_index(Folder(documents), target, encoder or FakeEncoder(), **options)


def build_files(
    root: Path, files: Mapping[str, str | bytes], encoder: FakeEncoder | None = None, **options: Any
) -> Index:
    """Write `files` to root/documents, index them in root/index, and open that."""
    write_files(root / "documents", files)
    build(root / "documents", root / "index", encoder, **options)
    return Index(root / "index")


def settings_for(root: Path, **flags: Any) -> Settings:
    """Settings whose folders are root/documents and root/index, and whose model is the fake one, and which have no reader."""
    return load_settings(
        None, {"documents": root / "documents", "index": root / "index", "model": "fake", "reader": "none", **flags}
    )


def universal_lines(text: str) -> list[int]:
    """The line of each offset, its end included, counted one code point at a time: the oracle for line numbers."""
    lines = [1]
    for position, character in enumerate(text):
        ends = character == "\n" or (character == "\r" and text[position + 1 : position + 2] != "\n")
        lines.append(lines[-1] + ends)
    return lines


def forbid(monkeypatch: Any, folder: Path) -> None:
    """Let this process be refused to list `folder`, as anybody but root would be by its rights."""
    scandir = os.scandir

    def refused(path: Any) -> Any:
        if str(path) == str(folder):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


LINE_ENDS = ["\n", "\r\n", "\r", "\n\n", "\r\n\r\n", "\r\r", "\n \n", "\n\t\r\n"]
SPACES = [" ", "  ", "\t", "\u00a0", "\u2003", "\u3000", "\u2028", "\u2029", "\x0b", "\x0c", "\x85", "\x1c", "\u200b"]
MARKUP = [
    "- ",
    "* ",
    "• ",
    "1. ",
    "12) ",
    "(a) ",
    "iv. ",
    "1 The",
    "# ",
    "## Two ##",
    "###### ",
    "#hash",
    "# C#",
    "```",
    "~~~",
    "---",
    "+++",
    "> ",
    "[link](https://example.org/a)",
    "![](x)",
    "**bold**",
    "| a | b |",
    "\u2014 ",
]
WORDS = [
    "Treaty",
    "The",
    "they",
    "This",
    "signed",
    "in",
    "2021",
    "Dr.",
    "e.g.",
    "U.S.",
    "No.",
    "3.14",
    "don't",
    "A",
    "x",
    "naïve",
    "e\u0301te\u0301",
    "\u0301",
    "שלום",
    "العربية",
    "\u202eabc\u202c",
    "Привет",
    "日本語です。",
    "誰ですか？",
    "👩\u200d👩\u200d👧",
    "🇫🇷",
    "❤\ufe0f",
    "\ufeff",
    "\u00ad",
    "Print",
    "Subscribe to our newsletter",
    "Stay updated",
    "a" * 90,
]
SIGNS = [
    ". ",
    "! ",
    "? ",
    "… ",
    "; ",
    ", ",
    ": ",
    "“",
    "”",
    '"',
    "'",
    "(",
    ")",
    "[",
    "]",
    "«",
    "»",
    ".",
    "...",
    "-",
    "–",
]

PIECES = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(SIGNS),
    st.sampled_from(LINE_ENDS),
    st.sampled_from(SPACES),
    st.sampled_from(MARKUP),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
)
TEXTS = st.lists(PIECES, max_size=60).map("".join)
"""Texts of everything that layout and scripts can do to a segmenter; NUL is no text (see test_documents)."""

HOSTILE = {
    "empty": "",
    "white space": " \t\r\n\u00a0\u2003\n\n\u2028\x0b\x0c",
    "marks alone": "\ufeff\ufeff\n\ufeff",
    "crlf": "One line.\r\nAnother line.\r\n\r\nA paragraph. It has two sentences.\r\n",
    "cr": "One line.\rAnother line.\r\rA paragraph. It has two sentences.\r",
    "mixed": "One.\nTwo.\r\nThree.\rFour.\n\rFive.\r\n\nSix.",
    "separators": "One.\u2028Two.\u2029Three.\x0bFour.\x0cFive.\x85Six.\x1cSeven.\x1dEight.\x1eNine.",
    "mark": "\ufeffA title\n\nThe text begins with a byte-order mark. It goes on.\n",
    "no-break": "\u00a0\u00a0Indented\u00a0with\u00a0NBSP.\u00a0 Another\u00a0one.\u00a0",
    "right to left": "שלום עולם. זה משפט שני! \u202eabc\u202c\nمرحبا بالعالم؟ نعم.\n",
    "combining": "Z" + "\u0301\u0316\u0330" * 40 + "algo. e\u0301te\u0301. \u0301alone.",
    "emoji": "Family 👩\u200d👩\u200d👧 here. 🇫🇷🇩🇪! ❤\ufe0f\u200d🔥 Done.",
    "long line": "word " * 1000 + "end. Next sentence.",
    "no spaces": "x" * 5000,
    "signs without spaces": "a!b?" * 1250,
    "cjk": "日本語の文章です。" * 600,
    "unclosed quote": 'He said: "It began. ' + "Then it went on and on. " * 120,
    "unclosed bracket": "A list (one. Two. Three. " * 80,
    "list": "- one\n* two\n• three\n1. four\n(b) five\n iv) six\n1 The seventh\n- \n-\n1.\n",
    "nested list": "- - a\n- 1. b\n• • c",
    "fences": "# T\n\n```py\nx = 1. Y\n\nz = 2\n```\nAfter. Then.\n~~~\nnever closed\n\n# not a heading\n",
    "front matter": "---\ntitle: A\n\nb: c\n---\n# H\nText.\n",
    "front matter crlf": "---\r\ntitle: A\r\n---\r\n# H\r\nText.\r\n",
    "unclosed front matter": "---\ntitle: A\n# H\nText.\n",
    "headings": "# \n## #\n### C#\n# A # \n#\n####### seven\n\nTitle\n\nBody text below it.\n",
    "furniture": "Print\n\nStay updated\n\nSubscribe to our newsletter\n\n© 2020 A. All rights reserved.\n",
    "wrapped": "This sentence was wrapped by hand at some sixty\ncode points, and it goes on over three lines until\nit ends. Another begins here and is wrapped as well\nand ends.\n",
    "abbreviations": "Dr. A. B. Smith vs. the U.S. Army, e.g. no. 3. Mr. X left. P.S. Bye.",
    "dots": "." * 300 + " …… ?!?! " + ". . . . .",
}
