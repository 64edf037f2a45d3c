"""The Discord client: what it listens to, and registering its commands.

Owns: intents, the command tree, and that commands are registered only when they changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from typing import Any

import discord
from discord.ext import commands

from qabot.bot.admin import add_admin
from qabot.bot.buttons import Pressed, submitted
from qabot.bot.commands import Names, Tree, add_commands
from qabot.bot.desk import Desk
from qabot.bot.ledger import follow_index
from qabot.bot.messages import answer_message

log = logging.getLogger("qabot.bot")


def intents_for(message_content: bool) -> discord.Intents:
    """No privileged intent, unless the operator asked for message content."""
    intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
    intents.message_content = message_content
    return intents


class QabotClient(commands.AutoShardedBot):
    """One connection to Discord. The desk outlives it: a reconnecting run makes a new client on the same desk."""

    def __init__(self, desk: Desk, *, sync: bool = False, guild: int | None = None, **extra: Any) -> None:
        super().__init__(
            command_prefix=commands.when_mentioned,
            help_command=None,
            intents=intents_for(desk.options.message_content),
            allowed_mentions=discord.AllowedMentions.none(),
            tree_cls=Tree,
            member_cache_flags=discord.MemberCacheFlags.none(),
            max_messages=None,
            chunk_guilds_at_startup=False,
            enable_debug_events=False,
            **extra,
        )
        self.desk = desk
        self._sync_always = sync
        self._sync_guild = discord.Object(guild) if guild else None
        self._watch: asyncio.Task[None] | None = None
        add_commands(self._tree)
        add_admin(self._tree)

    @property
    def _tree(self) -> Tree:
        tree = self.tree
        assert isinstance(tree, Tree)
        return tree

    async def setup_hook(self) -> None:
        """Runs once, logged in and before the gateway opens."""
        self.add_dynamic_items(Pressed)
        await self._tree.set_translator(Names())
        if self._sync_guild:
            self._tree.copy_global_to(guild=self._sync_guild)
        await self._register()
        self._watch = asyncio.create_task(self._follow(), name="follow the index")

    async def close(self) -> None:
        """Stop following the index, then disconnect."""
        if self._watch:
            self._watch.cancel()
        await super().close()

    async def on_message(self, message: discord.Message, /) -> None:
        """Messages are questions or nothing; there are no text commands."""
        await answer_message(self, message)

    async def on_interaction(self, interaction: discord.Interaction[Any]) -> None:
        """Modals: their state is in their `custom_id`, as with buttons."""
        if interaction.type is discord.InteractionType.modal_submit:
            await submitted(interaction)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """An event handler failed: one line with its traceback, without the event."""
        log.exception("unexpected error in %s", event_method)

    async def _register(self) -> None:
        """Register the commands when they differ from those last registered."""
        found = self._tree._get_all_commands(guild=self._sync_guild)
        payload = [await command.get_translated_payload(self._tree, Names()) for command in found]
        digest = hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()
        name = f"commands {self.application_id} {self._sync_guild.id if self._sync_guild else 'everywhere'}"
        known = await self.desk.remember(lambda: self.desk.store.fact(name))
        if known == digest and not self._sync_always:
            return
        await self._tree.sync(guild=self._sync_guild)
        await self.desk.remember(lambda: self.desk.store.set_fact(name, digest))
        log.info("registered %d commands", len(payload))

    async def _follow(self) -> None:
        """Notice a new index, whoever built it."""
        while True:
            try:
                marked = await follow_index(self)
                if marked:
                    log.info("marked %d old answers", marked)
            except Exception:
                log.exception("the index could not be looked at")
            await asyncio.sleep(self.desk.options.watch)
