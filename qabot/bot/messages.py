"""Answering messages: mentions, pinging replies, direct messages, and what a channel has switched on.

Owns: which messages are questions to the bot. Everything else yields nothing: no reply, no reaction, no log.
Needs no privileged intent; unaddressed messages are only seen when the operator switched that intent on.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import discord

from qabot.bot.cards import QUESTION_LIMIT, Setting, answer_card
from qabot.bot.desk import Where, clean, is_question
from qabot.bot.gate import Refused
from qabot.bot.layout import Card
from qabot.bot.phrases import say
from qabot.bot.replies import NOBODY, enter_posted
from qabot.bot.views import view_of
from qabot.errors import QabotError

if TYPE_CHECKING:
    from qabot.bot.client import QabotClient

log = logging.getLogger("qabot.bot")
PERSONAL = (discord.MessageType.default, discord.MessageType.reply)


@dataclass(frozen=True, slots=True)
class Asked:
    """A message that is a question. addressed: to the bot, so that a refusal is an answer too."""

    question: str
    addressed: bool


def read(client: QabotClient, message: discord.Message) -> Asked | None:
    """The question in a message, or None when the message isn't for the bot."""
    me = client.user
    if me is None or message.author.bot or message.webhook_id or message.type not in PERSONAL:
        return None
    if message.guild is None:
        return Asked(clean(message.content, me.id), addressed=True)
    place = client.desk.place(where_of(message))
    if place.answers is False:
        return None
    if any(user.id == me.id for user in message.mentions):
        return Asked(clean(message.content, me.id), addressed=True)
    if place.forum and _opens_post(message):
        title = clean(getattr(message.channel, "name", ""))
        whole = clean(f"{title} {message.content}")
        return Asked(whole if len(whole) <= QUESTION_LIMIT else title, addressed=False)
    if place.every_question and is_question(message.content):
        question = clean(message.content)
        return Asked(question, addressed=False) if len(question) <= QUESTION_LIMIT else None
    return None


async def answer_message(client: QabotClient, message: discord.Message) -> None:
    """Answer a message if it is a question for the bot."""
    asked = read(client, message)
    if asked is None:
        return
    language = _language(client, message)
    try:
        client.desk.gate.admit(message.author.id)
        with client.desk.gate.act():
            await _answer(client, message, asked, language)
    except Refused as refused:
        # Said once a cooldown, and never to somebody who didn't ask the bot.
        if asked.addressed and not refused.repeated:
            await _say(message, say(language, refused.key, seconds=refused.seconds))
    except discord.HTTPException as problem:
        log.info("a message could not be answered: HTTP %s, code %s", problem.status, problem.code)
    except Exception as error:
        log.error("%s", error, exc_info=None if isinstance(error, QabotError) else error)
        if asked.addressed:
            await _say(message, say(language, "failed"))


async def _answer(client: QabotClient, message: discord.Message, asked: Asked, language: str) -> None:
    desk = client.desk
    if len(asked.question) > QUESTION_LIMIT:
        await _say(message, say(language, "too_long", found=len(asked.question), limit=QUESTION_LIMIT))
        return
    setting = Setting(language, message.author.id, hosts=desk.options.link_hosts)
    if not asked.addressed:
        answer = await desk.ask(asked.question, where_of(message), counted=False)
        if not answer.answered:
            return
    else:
        async with message.channel.typing():
            answer = await desk.ask(asked.question, where_of(message))
    card = answer_card(answer, setting)
    sent = await _post(message, card)
    await enter_posted(desk, sent.id, message.channel.id, card, answer)


async def _post(message: discord.Message, card: Card) -> discord.Message:
    reference = message.to_reference(fail_if_not_exists=False)
    return await message.channel.send(
        view=view_of(card), reference=reference, mention_author=False, allowed_mentions=NOBODY
    )


async def _say(message: discord.Message, text: str) -> None:
    reference = message.to_reference(fail_if_not_exists=False)
    try:
        await message.channel.send(text, reference=reference, mention_author=False, allowed_mentions=NOBODY)
    except discord.HTTPException as problem:
        log.info("a notice could not be sent: HTTP %s, code %s", problem.status, problem.code)


def where_of(message: discord.Message) -> Where:
    """The place of a message."""
    parent = getattr(message.channel, "parent_id", None)
    return Where(message.guild.id if message.guild else 0, message.channel.id, parent)


def _language(client: QabotClient, message: discord.Message) -> str:
    server = message.guild.preferred_locale.value if message.guild else None
    return client.desk.language(client.desk.place(where_of(message)).language, server)


def _opens_post(message: discord.Message) -> bool:
    """Whether the message is the first of a forum post: it has the id of its thread."""
    channel = message.channel
    return (
        isinstance(channel, discord.Thread)
        and message.id == channel.id
        and isinstance(channel.parent, discord.ForumChannel)
    )
