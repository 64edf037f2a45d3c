"""`/ask`, the message menu, and the names of all commands in every language."""

from __future__ import annotations

from typing import Any

import discord
from discord import app_commands
from discord.app_commands import locale_str

from qabot.bot.cards import MOST_QUOTES, QUESTION_LIMIT, answer_card
from qabot.bot.desk import clean
from qabot.bot.phrases import CATALOGUE, FALLBACK, LOCALES, say
from qabot.bot.replies import Interaction, enter, fail, notice, setting_for, settle, where_of

CHOICES = 25


def phrase(key: str) -> locale_str:
    """A name or description that Discord shows, to be translated by `Names`."""
    return locale_str(say(FALLBACK, key), key=key)


class Names(app_commands.Translator):
    """Gives Discord the commands' names and descriptions in every language of the catalogue."""

    async def translate(
        self, string: locale_str, locale: discord.Locale, context: app_commands.TranslationContextTypes
    ) -> str | None:
        """The phrase in that locale; None for the default language and for locales that aren't spoken."""
        language = LOCALES.get(locale.value)
        key = string.extras.get("key")
        if language in (None, FALLBACK) or key is None:
            return None
        return CATALOGUE[language].get(key)


class Tree(app_commands.CommandTree[Any]):
    """The command tree behind the gate, with one place where errors end."""

    async def interaction_check(self, interaction: Interaction, /) -> bool:
        """Every command passes the gate; autocompletion doesn't need to."""
        if interaction.type is discord.InteractionType.autocomplete:
            return True
        gate = interaction.client.desk.gate
        try:
            gate.admit(interaction.user.id, work=_needs_work(interaction))
        except Exception as refused:
            await fail(interaction, refused)
            return False
        return True

    async def on_error(self, interaction: Interaction, error: app_commands.AppCommandError, /) -> None:
        """Say what went wrong instead of leaving the person waiting."""
        await fail(interaction, error)


def _needs_work(interaction: Interaction) -> bool:
    data: Any = interaction.data or {}
    return bool(data.get("name") != "qabot")


async def answer_interaction(
    interaction: Interaction,
    text: str,
    *,
    private: bool | None = None,
    document: str | None = None,
    quotes: int | None = None,
) -> None:
    """Acknowledge, answer off the event loop, show."""
    desk, where = interaction.client.desk, where_of(interaction)
    question = clean(text)
    if len(question) > QUESTION_LIMIT:
        await notice(interaction, "too_long", found=len(question), limit=QUESTION_LIMIT)
        return
    place = desk.place(where)
    if private is None:
        private = desk.options.private if place.private is None else place.private
    hidden = private or place.answers is False
    with desk.gate.act():
        await interaction.response.defer(ephemeral=hidden, thinking=True)
        answer = await desk.ask(question, where, document=document, quotes=quotes)
        card = answer_card(answer, setting_for(interaction, private=hidden, scope=document))
        sent = await settle(interaction, card)
        if not hidden:
            await enter(interaction, sent.id, card, answer)


def add_commands(tree: Tree) -> None:
    """Add `/ask` and the message menu to the tree."""

    @tree.command(name=phrase("command.ask"), description=phrase("command.ask.about"))
    @app_commands.allowed_installs(guilds=True, users=True)
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=True)
    @app_commands.rename(
        question=phrase("option.question"),
        private=phrase("option.private"),
        document=phrase("option.document"),
        quotes=phrase("option.quotes"),
    )
    @app_commands.describe(
        question=phrase("option.question.about"),
        private=phrase("option.private.about"),
        document=phrase("option.document.about"),
        quotes=phrase("option.quotes.about"),
    )
    async def ask(
        interaction: Interaction,
        question: app_commands.Range[str, 1, QUESTION_LIMIT],
        private: bool | None = None,
        document: app_commands.Range[str, 1, 100] | None = None,
        quotes: app_commands.Range[int, 1, MOST_QUOTES] | None = None,
    ) -> None:
        await answer_interaction(interaction, question, private=private, document=document, quotes=quotes)

    @ask.autocomplete("document")
    async def documents(interaction: Interaction, typed: str) -> list[app_commands.Choice[str]]:
        desk = interaction.client.desk
        folders = desk.place(where_of(interaction)).folders or ()
        return [app_commands.Choice(name=name, value=value) for name, value in desk.offered(typed, folders, CHOICES)]

    @tree.context_menu(name=phrase("menu.sources"))
    @app_commands.allowed_installs(guilds=True, users=True)
    @app_commands.allowed_contexts(guilds=True, dms=True, private_channels=True)
    async def sources(interaction: Interaction, message: discord.Message) -> None:
        if not message.content.strip():
            await notice(interaction, "no_text")
            return
        await answer_interaction(interaction, message.content, private=True)
