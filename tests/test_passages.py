"""Passages are slices of sentences that fit the model; blocks contain them and fit, too."""

from __future__ import annotations

import json
import re
import sys
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from qabot.embedding import ENCODER_FILE, TOKENIZER_FILE, EncoderFacts, OnnxEncoder, Tokenized
from qabot.gathering import LIMIT_MARGIN
from qabot.models import OWN_FOLDER
from qabot.passages import Passage, TokenEnds, cut_passages, model_text
from qabot.sentences import segment
from qabot.sessions import shared_tokenizer
from qabot.types import Segmentation
from support import HOSTILE, TEXTS, FakeEncoder, universal_lines

FAKE = FakeEncoder()


def byte_ends(text: str) -> list[int]:
    """A byte-level tokenizer: a token a UTF-8 byte, so that one code point may end up to four tokens."""
    return [position + 1 for position, character in enumerate(text) for _ in character.encode()]


class OwnTokenizer(Tokenized):
    """That of the model that comes with qabot, without the model: BERT's. It gives a word of more than 100 letters one token."""

    def __init__(self) -> None:
        self._facts = EncoderFacts(**json.loads((OWN_FOLDER / ENCODER_FILE).read_text()))
        self._tokenizer = shared_tokenizer(OWN_FOLDER / TOKENIZER_FILE)


OWN = OwnTokenizer()


def check(
    text: str, markdown: bool, found: Segmentation, passages: list[Passage], token_ends: TokenEnds, limit: int
) -> None:
    position, lines = 0, universal_lines(text)
    for passage in passages:
        assert position <= passage.start < passage.end <= len(text)
        position = passage.end
        body = text[passage.start : passage.end]
        assert body == body.strip()
        assert passage.block.start <= passage.start
        assert passage.end <= passage.block.end
        assert passage.line == lines[passage.start]
        for span in passage.scales():
            tokens = len(token_ends(model_text(text[span.start : span.end], markdown=markdown)))
            # A single code point may have more tokens than any limit; it can't be cut.
            assert tokens <= limit + LIMIT_MARGIN or span.end - span.start == 1
        sentence = [s for s in found.sentences if s.start <= passage.start and passage.end <= s.end]
        assert len(sentence) == 1
        assert sentence[0].furniture == passage.furniture
        assert found.paragraphs[sentence[0].paragraph].heading == passage.heading
    covered = {n for passage in passages for n in range(passage.start, passage.end)}
    for one in found.sentences:
        missing = [n for n in range(one.start, one.end) if n not in covered]
        assert not "".join(text[n] for n in missing).strip().strip("\ufeff").strip()
    blocks = sorted({(p.block.start, p.block.end) for p in passages})
    for (_, end), (start, _) in pairwise(blocks):
        assert end <= start


@pytest.mark.parametrize("markdown", [False, True])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts(name: str, markdown: bool) -> None:
    text = HOSTILE[name]
    found = segment(text, markdown=markdown)
    for token_ends in (FAKE.token_ends, byte_ends, OWN.token_ends):
        for limit in (1, 7, 38, 246):
            check(text, markdown, found, list(cut_passages(text, found, token_ends, limit)), token_ends, limit)


@settings(max_examples=500)
@given(TEXTS, st.booleans(), st.integers(1, 60), st.sampled_from([FAKE.token_ends, byte_ends, OWN.token_ends]))
@example("😀", False, 2, byte_ends)
@example("ab 😀😀 c", False, 3, byte_ends)
def test_any_text(text: str, markdown: bool, limit: int, token_ends: TokenEnds) -> None:
    found = segment(text, markdown=markdown)
    check(text, markdown, found, list(cut_passages(text, found, token_ends, limit)), token_ends, limit)


SPACES = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()]


@pytest.mark.parametrize("space", SPACES, ids=[f"U+{ord(space):04X}" for space in SPACES])
@pytest.mark.parametrize("token_ends", [byte_ends, OWN.token_ends], ids=["bytes", "own"])
def test_names_between_any_white_space_fit_the_model(space: str, token_ends: TokenEnds) -> None:
    # Word writes line breaks as \x0b. BERT's tokenizer deletes it, but what the model is given has a space there.
    text = space.join(f"Name{n}" for n in range(300))
    found = segment(text)
    check(text, False, found, list(cut_passages(text, found, token_ends, 246)), token_ends, 246)


def test_a_long_sentence_is_cut_at_white_space() -> None:
    text = " ".join(f"word{n}" for n in range(100)) + "."
    found = segment(text)
    passages = list(cut_passages(text, found, FAKE.token_ends, 30))
    assert len(passages) == 4
    assert " ".join(text[p.start : p.end] for p in passages) == text


def test_blocks_share_a_paragraph_evenly() -> None:
    text = " ".join(f"Sentence {n} has six words." for n in range(20))
    found = segment(text)
    passages = list(cut_passages(text, found, FAKE.token_ends, 60))
    blocks = {(p.block.start, p.block.end) for p in passages}
    sizes = sorted(sum((p.block.start, p.block.end) == block for p in passages) for block in blocks)
    assert len(passages) == 20
    assert len(blocks) == 2
    assert sizes == [10, 10]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        list(cut_passages("a", segment("a"), FAKE.token_ends, 0))


@pytest.mark.parametrize(
    ("text", "markdown", "expected"),
    [
        ("a\r\n  b\u00a0c\t", False, "a b c"),
        ("see [the *text*](https://example.org) ![alt](x.png)", True, "see the *text* alt"),
        ("see [the text](https://example.org)", False, "see [the text](https://example.org)"),
        ("f[0](x", True, "f[0](x"),
    ],
)
def test_model_text(text: str, markdown: bool, expected: str) -> None:
    assert model_text(text, markdown=markdown) == expected


@settings(max_examples=500)
@given(st.lists(st.sampled_from(["!", "[", "]", "(", ")", "](", "\n", " ", "a"]), max_size=40).map("".join))
def test_links_are_those_of_the_plain_pattern(text: str) -> None:
    # As one would write it, without a thought for the time that it takes.
    plain = re.sub(r"!?\[([^\]\n]*)\]\([^)\n]*\)", r"\1", text)
    assert model_text(text, markdown=True) == " ".join(plain.split())


@pytest.mark.parametrize("text", ["[", "![](", "[a](b", "![a](b) "])
def test_a_megabyte_of_links_is_reduced(text: str) -> None:
    # Hours, where time grows with the square.
    whole = text * (1_000_000 // len(text))
    links = text.endswith(") ")
    assert model_text(whole, markdown=True) == (" ".join("a" * (len(whole) // len(text))) if links else whole.strip())


def test_the_default_models_tokenizer_fits_every_hostile_text(model_cache: Path) -> None:
    encoder = OnnxEncoder(next(model_cache.glob("*/encoder.json")).parent)
    limit = encoder.limit - LIMIT_MARGIN
    window = encoder.facts.window
    extra = ["ab-" * 3000, "Ünïcödé" * 700, "antidisestablishmentarianism-" * 400, "\u200b\u00adx" * 3000]
    for text in (*HOSTILE.values(), *extra, "\n\n".join(HOSTILE.values())):
        found = segment(text, markdown=True)
        for passage in cut_passages(text, found, encoder.token_ends, limit):
            for span in passage.scales():
                given = model_text(text[span.start : span.end], markdown=True)
                # Two special tokens; `embed` refuses what is longer.
                assert len(encoder.token_ends(given)) + 2 <= window
