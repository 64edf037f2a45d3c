"""Answering interactions: acknowledging, sending cards and notices, and saying what went wrong.

Owns: that every interaction is acknowledged before any work, that nothing sent can ping anybody, and that every
error ends as one sentence for the person and a line in the log. `QabotError` is caught here and nowhere else in
the bot's replies.
"""

from __future__ import annotations

import io
import logging
from typing import TYPE_CHECKING

import discord

from qabot.bot.cards import MOST_QUOTES, Setting
from qabot.bot.desk import Where, shown_quote
from qabot.bot.gate import Refused
from qabot.bot.layout import Card
from qabot.bot.phrases import say
from qabot.bot.store import Posted
from qabot.bot.views import view_of
from qabot.errors import QabotError, UnknownReference
from qabot.types import Answer

if TYPE_CHECKING:
    from qabot.bot.client import QabotClient
    from qabot.bot.desk import Desk

    Interaction = discord.Interaction[QabotClient]
else:
    Interaction = discord.Interaction

log = logging.getLogger("qabot.bot")


class Denied(discord.app_commands.CheckFailure):
    """A person may not use a command. key: the phrase that says why."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.key = key


SETTLED = "settled"
NOBODY = discord.AllowedMentions.none()


def where_of(interaction: Interaction) -> Where:
    """The place of an interaction."""
    parent = getattr(interaction.channel, "parent_id", None)
    return Where(interaction.guild_id or 0, interaction.channel_id, parent)


def language_for(interaction: Interaction) -> str:
    """The person's language, else the server's."""
    desk = interaction.client.desk
    server = interaction.guild_locale.value if interaction.guild_locale else None
    return desk.language(interaction.locale.value, desk.place(where_of(interaction)).language, server)


def setting_for(interaction: Interaction, *, private: bool, scope: str | None = None) -> Setting:
    """How a card for this interaction looks."""
    options = interaction.client.desk.options
    return Setting(language_for(interaction), interaction.user.id, private, options.link_hosts, scope=scope)


async def notice(interaction: Interaction, key: str, **values: object) -> None:
    """Say one phrase to the person alone."""
    await whisper(interaction, say(language_for(interaction), key, **values))


async def whisper(interaction: Interaction, text: str) -> None:
    """Say something that only the person sees, whatever the interaction has been answered with before."""
    if interaction.response.is_done():
        await interaction.followup.send(text, ephemeral=True, allowed_mentions=NOBODY)
    else:
        await interaction.response.send_message(text, ephemeral=True, allowed_mentions=NOBODY)


async def settle(interaction: Interaction, card: Card) -> discord.InteractionMessage:
    """Fill what the deferral promised."""
    sent = await interaction.edit_original_response(view=view_of(card), allowed_mentions=NOBODY)
    interaction.extras[SETTLED] = True
    return sent


async def settle_text(interaction: Interaction, text: str) -> None:
    """Fill what the deferral promised with one sentence."""
    await interaction.edit_original_response(content=text, allowed_mentions=NOBODY)


def text_file(name: str, text: str) -> discord.File:
    """A text file of exactly these characters."""
    return discord.File(io.BytesIO(text.encode("utf-8", "surrogatepass")), filename=name)


async def admit(interaction: Interaction, *, work: bool = True) -> bool:
    """Let an interaction through the gate, or say why not."""
    try:
        interaction.client.desk.gate.admit(interaction.user.id, work=work)
    except Refused as refused:
        await notice(interaction, refused.key, seconds=refused.seconds)
        return False
    return True


async def fail(interaction: Interaction, error: BaseException) -> None:
    """Say what went wrong, in the place where the answer would have been."""
    language = language_for(interaction)
    cause = error.__cause__ if isinstance(error, discord.app_commands.CommandInvokeError) and error.__cause__ else error
    if isinstance(cause, Refused):
        text = say(language, cause.key, seconds=cause.seconds)
    elif isinstance(cause, Denied):
        text = say(language, cause.key)
    elif isinstance(cause, UnknownReference):
        text = say(language, "expired")
    elif isinstance(cause, discord.NotFound) and cause.code == 10062:
        log.warning("an interaction could not be acknowledged within Discord's three seconds")
        return
    else:
        if isinstance(cause, QabotError):
            log.error("%s", cause)
        else:
            log.error("unexpected error", exc_info=cause)
        text = say(language, "failed")
    try:
        if waiting(interaction):
            await settle_text(interaction, text)
        else:
            await whisper(interaction, text)
    except discord.HTTPException as problem:
        log.warning("an error could not be reported to the person: HTTP %s, code %s", problem.status, problem.code)


def waiting(interaction: Interaction) -> bool:
    """Whether the person sees the bot think, so that the answer must take that place."""
    thinking = interaction.response.type is discord.InteractionResponseType.deferred_channel_message
    return thinking and SETTLED not in interaction.extras


async def enter(interaction: Interaction, message: int, card: Card, answer: Answer) -> None:
    """Enter a public answer to an interaction into the ledger, where the bot is a member and can edit it later."""
    if interaction.guild_id and interaction.client.get_guild(interaction.guild_id) and interaction.channel_id:
        await enter_posted(interaction.client.desk, message, interaction.channel_id, card, answer)


async def enter_posted(desk: Desk, message: int, channel: int, card: Card, answer: Answer) -> None:
    """Enter an answer into the ledger if its card shows quotes, so that it can be marked when its source changes."""
    if desk.options.ledger and any(press.quote for press in card.presses()):
        posted = Posted(message, channel, tuple(map(shown_quote, answer.quotes[:MOST_QUOTES])))
        await desk.remember(lambda: desk.store.post(posted, desk.options.ledger))
