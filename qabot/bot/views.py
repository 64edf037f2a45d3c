"""Cards -> discord.py's views, and back from a message to what its buttons need."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import discord
from discord import ui

from qabot.bot.custom_id import Press, QuoteKey, decode
from qabot.bot.display import reveal
from qabot.bot.layout import QUESTION_ID, SCOPE_ID, Button, Card, Link, Linked, Row, Rule, Text

SMALL_PRINT = "-# "


def view_of(card: Card) -> ui.LayoutView:
    """The view to send. It is finished already: buttons carry their state, so discord.py need remember nothing."""
    view = ui.LayoutView(timeout=None)
    box: ui.Container[ui.LayoutView] = ui.Container(accent_colour=card.accent)
    for block in card.blocks:
        if isinstance(block, Rule):
            box.add_item(ui.Separator())
        elif isinstance(block, Linked):
            box.add_item(ui.Section(_text(block.text), accessory=_link(block.link)))
        else:
            box.add_item(_text(block))
    view.add_item(box)
    for row in card.rows:
        view.add_item(_row(row))
    view.stop()
    return view


def _text(text: Text) -> ui.TextDisplay[Any]:
    return ui.TextDisplay(text.markdown, id=text.id)


def _link(link: Link) -> ui.Button[Any]:
    return ui.Button(style=discord.ButtonStyle.link, label=link.label, url=link.url)


def _row(row: Row) -> ui.ActionRow[Any]:
    items: ui.ActionRow[Any] = ui.ActionRow()
    for button in row:
        items.add_item(_link(button) if isinstance(button, Link) else _button(button))
    return items


def _button(button: Button) -> ui.Button[Any]:
    style = discord.ButtonStyle.primary if button.strong else discord.ButtonStyle.secondary
    return ui.Button(
        style=style, label=button.label, emoji=button.emoji, custom_id=button.custom_id, disabled=button.disabled
    )


def components(message: discord.Message) -> Iterator[Any]:
    """Every component of a message, parents first."""

    def walk(parts: Any) -> Iterator[Any]:
        for part in parts:
            yield part
            yield from walk(getattr(part, "children", ()))

    yield from walk(message.components)


def question_of(message: discord.Message) -> str | None:
    """The question that a message of the bot answers, read back from what it shows."""
    for part in components(message):
        if isinstance(part, discord.TextDisplay) and part.id == QUESTION_ID:
            return reveal(part.content)
    return None


def scope_of(message: discord.Message) -> str | None:
    """The document or folder that the question was limited to, if it was."""
    for part in components(message):
        if isinstance(part, discord.TextDisplay) and part.id == SCOPE_ID:
            return reveal(part.content.removeprefix(SMALL_PRINT)).partition(": ")[2]
    return None


def presses_of(message: discord.Message) -> list[Press]:
    """What the buttons of a message do, in order."""
    found = [decode(part.custom_id) for part in components(message) if getattr(part, "custom_id", None)]
    return [press for press in found if press]


def quotes_of(message: discord.Message) -> list[QuoteKey]:
    """The quotes that a message shows, read back from its buttons, without repeats."""
    keys = [press.quote for press in presses_of(message) if press.quote]
    return list(dict.fromkeys(keys))
