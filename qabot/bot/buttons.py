"""The buttons under answers. Their state is in their `custom_id`; they work after a restart and on old messages.

Owns: what each button does. The question comes from the message itself. Who asked may change the message; anybody
else gets a copy of their own.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import Any

import discord
from discord import ui

from qabot.bot import reviewing
from qabot.bot.cards import MOST_QUOTES, answer_card, near_card, place_words, quote_card, whole_fits
from qabot.bot.custom_id import TEMPLATE, Press, QuoteKey, decode, encode
from qabot.bot.phrases import say
from qabot.bot.replies import (
    NOBODY,
    Interaction,
    admit,
    enter,
    fail,
    language_for,
    notice,
    setting_for,
    settle,
    text_file,
    where_of,
    whisper,
)
from qabot.bot.store import Verdict
from qabot.bot.views import presses_of, question_of, quotes_of, scope_of
from qabot.errors import UnknownReference

LIGHT = frozenset({"up", "down", "wrong", "drop", "none", "place"})
"""Actions that need no model: they pass when the queue is full."""
STEP = 2
"""Sentences that one press of ◀ or ▶ adds."""
REASON_LIMIT = 300


class Pressed(ui.DynamicItem[ui.Button[Any]], template=TEMPLATE):
    """Any button of the bot, found again by its `custom_id`."""

    def __init__(self, button: ui.Button[Any], press: Press | None) -> None:
        super().__init__(button)
        self.press = press

    @classmethod
    async def from_custom_id(
        cls, interaction: discord.Interaction[Any], item: ui.Item[Any], match: re.Match[str], /
    ) -> Pressed:
        """The button that was pressed."""
        assert isinstance(item, ui.Button)
        return cls(item, decode(match.string))

    async def interaction_check(self, interaction: discord.Interaction[Any]) -> bool:
        """The gate."""
        return await admit(interaction, work=self.press is None or self.press.action not in LIGHT)

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Do what the button says, or say why not."""
        with interaction.client.desk.gate.act():
            try:
                if self.press is None:
                    await notice(interaction, "old_button")
                else:
                    await _do(interaction, self.press)
            except Exception as error:
                await fail(interaction, error)


async def _do(interaction: Interaction, press: Press) -> None:
    match press.action:
        case "more" | "docs" | "near":
            await _ask_again(interaction, press)
        case "share":
            await _share(interaction, press)
        case "look" | "back" | "fore" | "raw" | "check":
            if press.quote is None:
                await notice(interaction, "old_button")
            else:
                await _quote(interaction, press, press.quote)
        case "up":
            await _vote(interaction, "up", "")
        case "down" | "wrong":
            await interaction.response.send_modal(_reason_modal(press, language_for(interaction)))
        case _:
            await reviewing.decide(interaction, press)


async def _ask_again(interaction: Interaction, press: Press) -> None:
    """More quotes, one per document, or the closest passages: in place for the asker, a copy for others."""
    message = _message(interaction)
    question, scope = question_of(message), scope_of(message)
    if question is None:
        await notice(interaction, "no_question")
        return
    mine = message.flags.ephemeral or interaction.user.id == press.asker
    if mine:
        await interaction.response.defer()
    else:
        await interaction.response.defer(ephemeral=True, thinking=True)
    desk, docs = interaction.client.desk, press.action == "docs"
    count = None if press.action == "near" else MOST_QUOTES
    answer = await desk.ask(
        question, where_of(interaction), document=scope, quotes=count, per_document=docs, counted=False
    )
    if press.action == "more" and mine and answer.answered and len(answer.quotes) <= _shown(message):
        await whisper(interaction, say(language_for(interaction), "more.none"))
        return
    private = message.flags.ephemeral or not mine
    setting = replace(setting_for(interaction, private=private, scope=scope), per_document=docs)
    card = near_card(answer, setting) if press.action == "near" else answer_card(answer, setting)
    sent = await settle(interaction, card)
    if not private:
        await enter(interaction, sent.id, card, answer)


async def _share(interaction: Interaction, press: Press) -> None:
    """Post to the channel what only the asker saw."""
    message = _message(interaction)
    question, scope = question_of(message), scope_of(message)
    desk, where = interaction.client.desk, where_of(interaction)
    rights = interaction.permissions
    may = rights.send_messages_in_threads if isinstance(interaction.channel, discord.Thread) else rights.send_messages
    if interaction.guild_id and (not (may or rights.administrator) or desk.place(where).answers is False):
        await notice(interaction, "share.denied")
        return
    if question is None:
        await notice(interaction, "no_question")
        return
    await interaction.response.defer(thinking=True)
    count, docs = divmod(press.number, 2)
    answer = await desk.ask(
        question, where, document=scope, quotes=max(1, count), per_document=bool(docs), counted=False
    )
    setting = replace(setting_for(interaction, private=False, scope=scope), shared_by=interaction.user.mention)
    card = answer_card(answer, setting)
    sent = await settle(interaction, card)
    await enter(interaction, sent.id, card, answer)


async def _quote(interaction: Interaction, press: Press, key: QuoteKey) -> None:
    """Look at one quote: closely, wider, exactly, or against its file. Only the person who pressed sees it."""
    message, desk = _message(interaction), interaction.client.desk
    in_place = press.action in ("back", "fore") and message.flags.ephemeral and not _is_answer(message)
    if in_place:
        await interaction.response.defer()
    else:
        await interaction.response.defer(ephemeral=True, thinking=True)
    language = language_for(interaction)
    if press.action == "raw":
        await _raw(interaction, key, language)
        return
    if press.action == "check":
        await _check(interaction, key, press.number, language)
        return
    question, scope = question_of(message), scope_of(message)
    setting = setting_for(interaction, private=True, scope=scope)
    before, after = (STEP if press.action == "back" else 0), (STEP if press.action == "fore" else 0)
    quote = await desk.run(lambda: desk.widened(key, before, after))
    same = (quote.place.start, quote.place.end) == (key.start, key.end)
    if press.action != "look" and (same or not whole_fits(quote, question, scope, setting)):
        if in_place:
            await whisper(interaction, say(language, "no_further"))
            return
        quote = await desk.run(lambda: desk.quote(key))
    ends = (quote.place.start == 0, press.action == "fore" and same)
    await settle(interaction, quote_card(question, scope, quote, setting, ends))


async def _raw(interaction: Interaction, key: QuoteKey, language: str) -> None:
    desk = interaction.client.desk
    quote = await desk.run(lambda: desk.quote(key))
    digest = hashlib.sha256(quote.text.encode("utf-8", "surrogatepass")).hexdigest()
    reference = quote.place.reference.replace("`", "'")
    text = say(language, "raw", reference=reference, sha256=quote.place.sha256, digest=digest)
    file = text_file(f"{quote.place.sha256[:12]}-{key.start}-{key.end}.txt", quote.text)
    await interaction.edit_original_response(content=text, attachments=[file], allowed_mentions=NOBODY)


async def _check(interaction: Interaction, key: QuoteKey, number: int, language: str) -> None:
    desk = interaction.client.desk
    try:
        quote = await desk.run(lambda: desk.checked(key))
    except UnknownReference:
        text = say(language, "check.unknown", number=number or 1)
    else:
        text = say(language, f"check.{quote.state}", place=place_words(quote.place, language))
    await interaction.edit_original_response(content=text, allowed_mentions=NOBODY)


async def submitted(interaction: Interaction) -> None:
    """A modal came back. Its `custom_id` carries what it is about, so no modal is kept in memory."""
    data: Any = interaction.data or {}
    press = decode(str(data.get("custom_id", "")))
    try:
        if press is None:
            await notice(interaction, "old_button")
        elif await admit(interaction, work=press.action == "place"):
            text = " ".join(_typed(data.get("components") or []).split())
            if press.action == "place":
                await reviewing.place_named(interaction, press.number, text)
            else:
                missed = press.action == "down" and press.number == 1
                verdict: Verdict = "missed" if missed else "wrong" if press.action == "wrong" else "down"
                await _vote(interaction, verdict, text[:REASON_LIMIT])
    except Exception as error:
        await fail(interaction, error)


async def _vote(interaction: Interaction, verdict: Verdict, reason: str) -> None:
    message, desk = _message(interaction), interaction.client.desk
    question = question_of(message)
    if question is None:
        await notice(interaction, "no_question")
        return
    await interaction.response.defer(ephemeral=True, thinking=True)
    keys = [] if verdict == "missed" else quotes_of(message)
    person, server = interaction.user.id, interaction.guild_id or 0

    def note() -> None:
        quotes = desk.shown(keys)
        desk.store.vote(
            message.id, person, server=server, question=question, verdict=verdict, reason=reason, quotes=quotes
        )

    await desk.remember(note)
    thanks = "down" if verdict == "missed" else verdict
    await interaction.edit_original_response(
        content=say(language_for(interaction), f"thanks.{thanks}"), allowed_mentions=NOBODY
    )


def _reason_modal(press: Press, language: str) -> ui.Modal:
    title = say(language, "modal.wrong" if press.action == "wrong" else "modal.down")
    modal = ui.Modal(title=title, custom_id=encode(press), timeout=None)
    field: ui.TextInput[Any] = ui.TextInput(
        custom_id="reason", style=discord.TextStyle.paragraph, required=False, max_length=REASON_LIMIT
    )
    label: ui.Label[Any] = ui.Label(
        text=say(language, "modal.reason"), description=say(language, "modal.reason.hint"), component=field
    )
    modal.add_item(label)
    # Finished before it is sent: discord.py need not remember it, `submitted` reads its custom_id.
    modal.stop()
    return modal


def _typed(parts: list[Any]) -> str:
    """The first text of a modal, in either of Discord's forms."""
    for part in parts:
        inner = part.get("component")
        text = part.get("value") or _typed([inner] if inner else part.get("components") or [])
        if text:
            return str(text)
    return ""


def _message(interaction: Interaction) -> discord.Message:
    if interaction.message is None:
        raise RuntimeError("a button or modal without a message")
    return interaction.message


def _is_answer(message: discord.Message) -> bool:
    return any(press.action == "more" for press in presses_of(message))


def _shown(message: discord.Message) -> int:
    return max(1, sum(press.action == "look" for press in presses_of(message)))
