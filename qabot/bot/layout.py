"""What a message of Components V2 consists of, as plain records, and Discord's limits on it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from qabot.bot.custom_id import Press, encode
from qabot.bot.display import utf16_length

MAX_COMPONENTS = 40
MAX_TEXT = 4000
"""Discord's limit over all texts of a message, in characters; UTF-16 units are counted, which are never fewer."""
MAX_ROW = 5
QUESTION_ID, SCOPE_ID = 7001, 7002
"""Component ids by which a button finds the question again in the message it stands on."""


@dataclass(frozen=True, slots=True)
class Text:
    """Markdown. id: Discord's component id, where the text must be found again."""

    markdown: str
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A button that opens `url`. `label` is a fixed phrase: never somebody else's text."""

    label: str
    url: str


@dataclass(frozen=True, slots=True)
class Button:
    """A button that the bot answers. At least one of `label` and `emoji`."""

    press: Press
    label: str | None = None
    emoji: str | None = None
    disabled: bool = False
    strong: bool = False

    @property
    def custom_id(self) -> str:
        """The button's whole state."""
        return encode(self.press)


@dataclass(frozen=True, slots=True)
class Linked:
    """A text with a link at its side."""

    text: Text
    link: Link


@dataclass(frozen=True, slots=True)
class Rule:
    """A thin line between two quotes."""


Block = Text | Linked | Rule
Row = tuple[Button | Link, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """A framed box of blocks, and rows of buttons under it. accent: 0xRRGGBB of its edge."""

    blocks: tuple[Block, ...]
    rows: tuple[Row, ...] = ()
    accent: int | None = None

    def texts(self) -> Iterator[Text]:
        """Every text, in order."""
        for block in self.blocks:
            if isinstance(block, Text):
                yield block
            elif isinstance(block, Linked):
                yield block.text

    def text_size(self) -> int:
        """UTF-16 units over all texts."""
        return sum(utf16_length(text.markdown) for text in self.texts())

    def components(self) -> int:
        """How many components Discord counts: the box, every block, row and button."""
        blocks = sum(3 if isinstance(block, Linked) else 1 for block in self.blocks)
        return 1 + blocks + sum(1 + len(row) for row in self.rows)

    def presses(self) -> Iterator[Press]:
        """What its buttons do, in order."""
        for row in self.rows:
            for button in row:
                if isinstance(button, Button):
                    yield button.press
