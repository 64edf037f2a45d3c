"""Feedback -> evaluation questions, by an admin's decision.

Owns: `/qabot review`, its buttons, and the form of the lines that `qabot feedback export` writes: those that
`qabot eval` reads, {"id", "question", "answerable", "kind", "gold": [{"doc", "quote"}], "must_contain"}.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import discord
from discord import ui

from qabot.bot.custom_id import Press, encode
from qabot.bot.cutting import CUT
from qabot.bot.display import block_quote, escape, escape_line, newline_of, utf16_length
from qabot.bot.layout import Button, Card, Text
from qabot.bot.phrases import say
from qabot.bot.replies import Interaction, language_for, notice, settle
from qabot.bot.store import Feedback, ShownQuote, Store
from qabot.errors import ConfigError, UnknownReference

if TYPE_CHECKING:
    from qabot.bot.desk import Desk

QUOTE_ROOM = 1500


def may_manage(interaction: Interaction) -> bool:
    """Whether the person may run the bot on this server. Discord hides the commands; this is checked here too."""
    rights = interaction.permissions
    return interaction.guild_id is not None and (rights.manage_guild or rights.administrator)


def review_card(waiting: Sequence[Feedback], language: str) -> Card:
    """The oldest feedback that waits, with the decisions that it may get."""
    if not waiting:
        return Card((Text(say(language, "review.none")),))
    first = waiting[0]
    key = "review.up" if first.verdict == "up" else f"unanswered.{first.verdict}"
    blocks = [
        Text(say(language, "review.title", position=1, total=len(waiting), verdict=say(language, key))),
        Text(f"**{escape_line(first.question)}**"),
    ]
    if first.reason:
        blocks.append(Text(say(language, "review.reason", reason=escape(first.reason))))
    if first.quotes:
        shown = block_quote(_gold_text(first.quotes[0]), [], newline_of(first.quotes[0].text))
        if utf16_length(shown) > QUOTE_ROOM:
            # The reference below names the whole; here it only has to be recognised.
            shown = block_quote(_gold_text(first.quotes[0])[: QUOTE_ROOM // 3], []) + f"\n> {CUT}"
        blocks.append(Text(f"{shown}\n-# {escape_line(_reference(first.quotes[0]))}"))
    row = [Button(Press("accept", 0, first.id), say(language, "review.accept"), disabled=not first.quotes)]
    row.append(Button(Press("place", 0, first.id), say(language, "review.place")))
    row.append(Button(Press("none", 0, first.id), say(language, "review.unanswerable")))
    row.append(Button(Press("drop", 0, first.id), say(language, "review.drop")))
    return Card(tuple(blocks), (tuple(row),))


async def decide(interaction: Interaction, press: Press) -> None:
    """An admin's decision on one piece of feedback; then the next is shown."""
    language, desk = language_for(interaction), interaction.client.desk
    if not may_manage(interaction):
        await notice(interaction, "denied")
        return
    server = interaction.guild_id or 0
    if press.action == "place":
        await interaction.response.send_modal(_place_modal(press, language))
        return
    await interaction.response.defer()
    found = await desk.remember(lambda: desk.store.feedback(press.number, server))
    if found is None:
        await notice(interaction, "review.gone")
    elif press.action == "drop":
        await desk.remember(lambda: desk.store.decide(found.id, "drop", None))
        await notice(interaction, "review.dropped")
    else:
        quotes = found.quotes[:1] if press.action == "accept" else ()
        line = evaluation_line(found, quotes)
        await desk.remember(lambda: desk.store.decide(found.id, press.action, line))
        await notice(interaction, "review.saved")
    await _next(interaction, desk, server, language)


async def place_named(interaction: Interaction, number: int, reference: str) -> None:
    """An admin named the passage that would have answered."""
    language, desk = language_for(interaction), interaction.client.desk
    if not may_manage(interaction):
        await notice(interaction, "denied")
        return
    await interaction.response.defer()
    server = interaction.guild_id or 0
    found = await desk.remember(lambda: desk.store.feedback(number, server))
    if found is None:
        await notice(interaction, "review.gone")
        return
    try:
        quote = await desk.run(lambda: desk.answerer.quote(reference))
    except UnknownReference:
        await notice(interaction, "review.bad_reference")
        return
    place = quote.place
    named = ShownQuote(place.path, place.sha256, place.start, place.end, ((place.start, place.end),), quote.text)
    await desk.remember(lambda: desk.store.decide(found.id, "place", evaluation_line(found, (named,))))
    await notice(interaction, "review.saved")
    await _next(interaction, desk, server, language)


def evaluation_line(feedback: Feedback, quotes: Sequence[ShownQuote]) -> dict[str, Any]:
    """The evaluation question: answerable by each of these quotes, or by nothing when there are none."""
    gold = [{"doc": quote.path, "quote": _gold_text(quote)} for quote in quotes]
    return {
        "id": f"feedback-{feedback.id}",
        "question": feedback.question,
        "answerable": bool(gold),
        "kind": "feedback",
        "gold": gold,
        "must_contain": [],
    }


def export_feedback(store: Path, target: Path) -> int:
    """Write the approved feedback of the store at `store` to `target`, one question a line. Returns how many.

    Raises `ConfigError` when there is no store.
    """
    if not store.is_file():
        raise ConfigError(
            f"There is no file {store}, in which the bot keeps feedback. Look at store in the table [bot]."
        )
    opened = Store(store)
    try:
        lines = opened.evaluation_lines()
    finally:
        opened.close()
    target.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return len(lines)


async def _next(interaction: Interaction, desk: Desk, server: int, language: str) -> None:
    waiting = await desk.remember(lambda: desk.store.undecided(server))
    await settle(interaction, review_card(waiting, language))


def _gold_text(quote: ShownQuote) -> str:
    """From the first highlighted sentence to the last: an exact piece of the document."""
    if not quote.highlights:
        return quote.text
    start = max(min(low for low, _ in quote.highlights), quote.start)
    end = min(max(high for _, high in quote.highlights), quote.end)
    return quote.text[start - quote.start : end - quote.start]


def _reference(quote: ShownQuote) -> str:
    return f"{quote.path}:{quote.start}-{quote.end}"


def _place_modal(press: Press, language: str) -> ui.Modal:
    modal = ui.Modal(title=say(language, "review.modal"), custom_id=encode(press), timeout=None)
    field: ui.TextInput[Any] = ui.TextInput(custom_id="reference", style=discord.TextStyle.short, max_length=500)
    modal.add_item(ui.Label(text=say(language, "review.modal.reference"), component=field))
    modal.stop()
    return modal
