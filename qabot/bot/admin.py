"""`/qabot`: status, re-indexing, settings, unanswered questions, review of feedback.

Owns: what admins see and do. Discord hides these commands from others; every one checks the permission again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import Any

import discord
from discord import app_commands

from qabot.bot.cards import MOST_QUOTES
from qabot.bot.commands import Tree, phrase
from qabot.bot.display import escape, escape_line, utf16_length
from qabot.bot.health import memory_mb, span_words
from qabot.bot.layout import MAX_TEXT, Card, Text
from qabot.bot.ledger import follow_index
from qabot.bot.phrases import NAMES, say
from qabot.bot.replies import Denied, Interaction, language_for, notice, settle, where_of
from qabot.bot.reviewing import may_manage, review_card
from qabot.bot.rights import missing
from qabot.bot.store import PlaceSettings
from qabot.build import Advance, BuildReport
from qabot.errors import IndexBusy, QabotError
from qabot.indexing import reindex
from qabot.snapshot import MANIFEST

log = logging.getLogger("qabot.bot")
LISTED = 10
DIGEST = 20
TICK = 2.0
ALL_FOLDERS = "*"


Channel = app_commands.AppCommandChannel | app_commands.AppCommandThread


class Answerable(app_commands.Transformer):
    """A channel in which people write: text, news, forum or thread."""

    @property
    def type(self) -> discord.AppCommandOptionType:
        """A channel."""
        return discord.AppCommandOptionType.channel

    @property
    def channel_types(self) -> list[discord.ChannelType]:
        """Which kinds Discord offers."""
        kinds = discord.ChannelType
        return [kinds.text, kinds.news, kinds.forum, kinds.public_thread, kinds.private_thread, kinds.news_thread]

    async def transform(self, interaction: discord.Interaction[Any], value: Any, /) -> Channel:
        """As Discord sends it: the bot need not know the channel."""
        chosen: Channel = value
        return chosen


class Admin(app_commands.Group):
    """The commands under `/qabot`."""

    def __init__(self) -> None:
        super().__init__(
            name=phrase("command.qabot"),
            description=phrase("command.qabot.about"),
            default_permissions=discord.Permissions(manage_guild=True),
            allowed_contexts=app_commands.AppCommandContext(guild=True),
            allowed_installs=app_commands.AppInstallationType(guild=True, user=False),
        )
        self._building = False

    async def interaction_check(self, interaction: discord.Interaction[Any], /) -> bool:
        """Only who may manage the server, whatever Discord's client showed."""
        if not may_manage(interaction):
            raise Denied("denied" if interaction.guild_id else "server_only")
        return True

    @app_commands.command(name=phrase("command.status"), description=phrase("command.status.about"))
    async def status(self, interaction: Interaction) -> None:
        """What is indexed, and whether all is well."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        desk, language = interaction.client.desk, language_for(interaction)
        found = await desk.remember(desk.answerer.status)
        built = await desk.remember(lambda: (desk.answerer.settings.index / MANIFEST).stat().st_mtime)
        counts = {"documents": found.manifest.documents, "passages": found.manifest.passages}
        lines = [say(language, "status.index", index=found.index, age=span_words(time.time() - built), **counts)]
        lines.append(say(language, "status.model", model=escape_line(str(found.manifest.recipe["model"]))))
        if found.current:
            lines.append(say(language, "status.fresh"))
        else:
            states = {name: len(getattr(found, name)) for name in ("changed", "gone", "new", "unreadable")}
            lines.append(say(language, "status.state", **states))
        if found.problem:
            lines.append(say(language, "status.unlisted"))
        health = {"answered": desk.answered, "refused": desk.refused, "waiting": desk.gate.pending}
        uptime = span_words(time.monotonic() - desk.started)
        lines.append(say(language, "status.health", uptime=uptime, memory=memory_mb(), **health))
        lacking = [say(language, f"right.{name}") for name in missing(interaction.app_permissions)]
        rights = say(language, "status.rights.ok")
        if lacking:
            rights = say(language, "status.rights.missing", missing=", ".join(lacking))
        lines.append(say(language, "status.rights", rights=rights))
        documents = [f"- {escape_line(stored.source.title)}" for stored in found.documents[:LISTED]]
        if len(found.documents) > LISTED:
            documents.append(say(language, "reindex.more", count=len(found.documents) - LISTED))
        await settle(
            interaction, Card((Text("\n".join(lines)), Text(_within("\n".join(documents) or "-"))), (), 0x5865F2)
        )

    @app_commands.command(name=phrase("command.reindex"), description=phrase("command.reindex.about"))
    async def reindex(self, interaction: Interaction) -> None:
        """Build, show the progress, post the difference, mark old answers."""
        language = language_for(interaction)
        if self._building:
            await notice(interaction, "reindex.running")
            return
        self._building = True
        try:
            await interaction.response.defer(ephemeral=True, thinking=True)
            await self._reindex(interaction, language)
        finally:
            self._building = False

    async def _reindex(self, interaction: Interaction, language: str) -> None:
        desk = interaction.client.desk
        meter = Meter()
        await settle(interaction, Card((Text(say(language, "reindex.start")),)))
        ticker = asyncio.create_task(_tick(interaction, meter, language))
        try:
            report = await asyncio.to_thread(reindex, desk.answerer.settings, progress=meter.stage)
        except IndexBusy:
            await settle(interaction, Card((Text(say(language, "reindex.running")),)))
            return
        except QabotError as error:
            log.error("%s", error)
            reason = _within(f"> {escape_line(str(error))}")
            await settle(interaction, Card((Text(say(language, "reindex.failed", reason=reason)),)))
            return
        finally:
            ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await ticker
        marked = await follow_index(interaction.client)
        await settle(interaction, Card((Text(_within(report_text(report, marked, language))),), (), 0x5865F2))

    @app_commands.command(name=phrase("command.settings"), description=phrase("command.settings.about"))
    @app_commands.rename(
        channel=phrase("option.channel"),
        answers=phrase("option.answers"),
        private=phrase("option.private"),
        folders=phrase("option.folders"),
        quotes=phrase("option.quotes"),
        every_question=phrase("option.every"),
        forum=phrase("option.forum"),
        language=phrase("option.language"),
        reset=phrase("option.reset"),
    )
    @app_commands.describe(
        channel=phrase("option.channel.about"),
        answers=phrase("option.answers.about"),
        private=phrase("option.private_default.about"),
        folders=phrase("option.folders.about"),
        quotes=phrase("option.quotes.about"),
        every_question=phrase("option.every.about"),
        forum=phrase("option.forum.about"),
        language=phrase("option.language.about"),
        reset=phrase("option.reset.about"),
    )
    @app_commands.choices(language=[app_commands.Choice(name=name, value=code) for code, name in NAMES.items()])
    async def settings(
        self,
        interaction: Interaction,
        channel: app_commands.Transform[Channel, Answerable] | None = None,
        answers: bool | None = None,
        private: bool | None = None,
        folders: app_commands.Range[str, 1, 1000] | None = None,
        quotes: app_commands.Range[int, 1, MOST_QUOTES] | None = None,
        every_question: bool | None = None,
        forum: bool | None = None,
        language: str | None = None,
        reset: bool = False,
    ) -> None:
        """Show what is set, after setting what is given."""
        desk, spoken = interaction.client.desk, language_for(interaction)
        place = channel.id if channel else interaction.guild_id or 0
        own = PlaceSettings() if reset else desk.store.settings(place)
        given: dict[str, Any] = {
            "answers": answers,
            "private": private,
            "quotes": quotes,
            "every_question": every_question,
            "forum": forum,
            "language": language,
        }
        if folders is not None:
            names = tuple(filter(None, (name.strip().strip("/") for name in folders.split(","))))
            unknown = [name for name in names if name != ALL_FOLDERS and not desk.is_place(name)]
            if unknown:
                await notice(interaction, "settings.unknown_folder", folder=escape_line(unknown[0]))
                return
            given["folders"] = () if ALL_FOLDERS in names else names
        changes = {name: value for name, value in given.items() if value is not None}
        await interaction.response.defer(ephemeral=True, thinking=True)
        if changes or reset:
            own = replace(own, **changes)
            await desk.remember(lambda: desk.store.set_settings(place, own))
            spoken = language_for(interaction)
        lines = [
            say(spoken, "settings.channel", channel=channel.mention) if channel else say(spoken, "settings.server")
        ]
        lines += [f"{name}: {shown(getattr(own, name), spoken)}" for name in _names(own)]
        if changes or reset:
            lines.append(say(spoken, "settings.saved"))
        if (own.every_question or own.forum) and not desk.options.message_content:
            lines.append(f"-# {say(spoken, 'settings.intent')}")
        await settle(interaction, Card((Text(_within("\n".join(lines))),)))

    @app_commands.command(name=phrase("command.unanswered"), description=phrase("command.unanswered.about"))
    async def unanswered(self, interaction: Interaction) -> None:
        """Refused and down-voted questions of this server, without who asked."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        desk, language, server = interaction.client.desk, language_for(interaction), where_of(interaction).server
        refused = await desk.remember(lambda: desk.store.refused(server, DIGEST))
        complaints = await desk.remember(lambda: desk.store.complaints(server, DIGEST))
        lines = [f"- {escape_line(q)} · {say(language, 'unanswered.refused', count=n)}" for q, n in refused]
        lines += [f"- {escape_line(q)} · {say(language, f'unanswered.{verdict}')}" for q, verdict in complaints]
        if not lines:
            await settle(interaction, Card((Text(say(language, "unanswered.none")),)))
            return
        text = "\n".join([say(language, "unanswered.title"), *lines])
        await settle(interaction, Card((Text(_within(text)),)))

    @app_commands.command(name=phrase("command.review"), description=phrase("command.review.about"))
    async def review(self, interaction: Interaction) -> None:
        """Decide on feedback, one piece at a time."""
        await interaction.response.defer(ephemeral=True, thinking=True)
        desk, server = interaction.client.desk, where_of(interaction).server
        waiting = await desk.remember(lambda: desk.store.undecided(server))
        await settle(interaction, review_card(waiting, language_for(interaction)))


class Meter:
    """How far a build is: written by its thread, read by the event loop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: tuple[str, int, int] | None = None

    @contextmanager
    def stage(self, stage: str, total: int) -> Iterator[Advance]:
        """What `reindex` calls for each stage."""
        with self._lock:
            self._now = (stage, 0, total)

        def advance(steps: int) -> None:
            with self._lock:
                if self._now:
                    self._now = (stage, self._now[1] + steps, total)

        yield advance

    def now(self) -> tuple[str, int, int] | None:
        """(stage, done, total)."""
        with self._lock:
            return self._now


async def _tick(interaction: Interaction, meter: Meter, language: str) -> None:
    """Show the progress every two seconds, when it has moved."""
    last = None
    while True:
        await asyncio.sleep(TICK)
        now = meter.now()
        if now and now != last:
            last = now
            stage, done, total = now
            words = say(language, f"reindex.{stage}")
            text = say(language, "reindex.progress", stage=words, done=min(done, total), total=total)
            await settle(interaction, Card((Text(text),)))


def report_text(report: BuildReport, marked: int, language: str) -> str:
    """What a build changed, for a message."""
    if not report.committed:
        return say(language, "reindex.same")
    counts = {name: len(getattr(report, name)) for name in ("added", "changed", "removed", "renamed")}
    lines = [say(language, "reindex.done", **counts)]
    renamed = tuple(f"{old} → {new}" for old, new in report.renamed)
    for sign, paths in (("+", report.added), ("~", report.changed), ("−", report.removed), ("→", renamed)):
        lines += [f"`{sign}` {escape_line(path)}" for path in paths[:LISTED]]
        if len(paths) > LISTED:
            lines.append(say(language, "reindex.more", count=len(paths) - LISTED))
    lines += [f"`!` {escape(left.reason)}" for left in report.unreadable[:LISTED]]
    if marked:
        lines.append(say(language, "reindex.marked", count=marked))
    return "\n".join(lines)


def shown(value: object, language: str) -> str:
    """A setting's value in words."""
    if value is None:
        return f"*{say(language, 'settings.inherited')}*"
    if isinstance(value, bool):
        return say(language, "settings.yes" if value else "settings.no")
    if isinstance(value, tuple):
        return ", ".join(map(escape_line, value)) if value else say(language, "settings.all")
    return NAMES.get(str(value), str(value))


def add_admin(tree: Tree) -> None:
    """Add `/qabot` to the tree."""
    tree.add_command(Admin())


def _names(settings: PlaceSettings) -> list[str]:
    return [field.name for field in fields(settings)]


def _within(text: str) -> str:
    """Whole lines of a list of ours, as many as a message holds."""
    lines = text.split("\n")
    while len(lines) > 1 and utf16_length("\n".join(lines)) > MAX_TEXT // 2:
        lines.pop()
    return "\n".join(lines)[: MAX_TEXT // 2]
