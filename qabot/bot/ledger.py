"""Marking answers whose source has changed.

Owns: noticing that the index is a new one, and editing the bot's own recent answers whose passage moved or went.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Literal

import discord
from discord import ui

from qabot.bot.layout import MAX_COMPONENTS, MAX_TEXT
from qabot.bot.phrases import say
from qabot.bot.replies import NOBODY
from qabot.bot.store import Posted, ShownQuote

if TYPE_CHECKING:
    from qabot.answering import Answerer
    from qabot.bot.client import QabotClient

log = logging.getLogger("qabot.bot")
INDEX_FACT = "index marked for"
Fate = Literal["same", "moved", "gone"]


def fate(answerer: Answerer, quote: ShownQuote) -> Fate:
    """What became of a quoted passage in the index of now. Blocks."""
    index = answerer.index
    if index.find_digest(quote.sha256[:12]) is not None:
        return "same"
    document = index.find_document(quote.path)
    if document is None:
        return "gone"
    text = index.text(document.id)
    if text[quote.start : quote.end] == quote.text:
        return "same"
    return "moved" if quote.text in text else "gone"


def _fates(answerer: Answerer, posted: Posted) -> list[Fate]:
    return [fate(answerer, quote) for quote in posted.quotes]


async def mark_outdated(client: QabotClient) -> int:
    """Look at every recent answer; mark those whose passages moved or went. Returns how many were marked."""
    desk = client.desk
    marked = 0
    for posted in await desk.remember(desk.store.posts):
        fates = await desk.remember(partial(_fates, desk.answerer, posted))
        if all(each == "same" for each in fates):
            continue
        marked += await _mark(client, posted, fates)
        await desk.remember(partial(desk.store.forget_post, posted.message))
    return marked


async def follow_index(client: QabotClient) -> int:
    """When the index is another than the one last looked at, forget cached answers and mark old ones."""
    desk = client.desk
    current = await desk.remember(desk.look_again)
    if current == await desk.remember(lambda: desk.store.fact(INDEX_FACT)):
        return 0
    desk.gate.forget()
    marked = await mark_outdated(client)
    await desk.remember(lambda: desk.store.set_fact(INDEX_FACT, current))
    return marked


async def _mark(client: QabotClient, posted: Posted, fates: list[Fate]) -> bool:
    channel = client.get_channel(posted.channel) or client.get_partial_messageable(posted.channel)
    if not isinstance(channel, discord.abc.Messageable):
        return False
    guild = getattr(channel, "guild", None)
    language = desk_language(client, guild, posted.channel)
    warnings = [say(language, f"stale.{each}", number=number) for number, each in enumerate(fates, 1) if each != "same"]
    try:
        message = await channel.fetch_message(posted.message)
        view = _warned(message, warnings)
        if view is None:
            return False
        await message.edit(view=view, allowed_mentions=NOBODY)
    except discord.HTTPException as problem:
        log.info("an old answer could not be marked: HTTP %s, code %s", problem.status, problem.code)
        return False
    return True


def desk_language(client: QabotClient, guild: discord.Guild | None, channel: int) -> str:
    """The language for a message to a channel at large."""
    place = client.desk.store.settings(channel, guild.id if guild else None)
    return client.desk.language(place.language, guild.preferred_locale.value if guild else None)


def _warned(message: discord.Message, warnings: list[str]) -> ui.LayoutView | None:
    """The message's view with the warnings on top of its box; None when it has no box or no room."""
    for shown in (warnings, warnings[:1]):
        view = ui.LayoutView.from_message(message, timeout=None)
        view.stop()
        box = next((item for item in view.children if isinstance(item, ui.Container)), None)
        if box is None:
            return None
        old = list(box.children)
        box.clear_items()
        box.add_item(ui.TextDisplay("\n".join(shown)))
        for item in old:
            box.add_item(item)
        if view.total_children_count <= MAX_COMPONENTS and view.content_length() <= MAX_TEXT:
            return view
    return None
