"""`qabot doctor`: is everything as it must be for the bot to run? One line a finding, in plain words.

Owns: the checks. Never prints the token. `--online` asks Discord, through its REST interface only, which
permissions the bot lacks in which channel.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import discord

from qabot.answering import Answerer
from qabot.bot.client import intents_for
from qabot.bot.options import BotSettings
from qabot.bot.phrases import say
from qabot.bot.rights import invite_link, missing
from qabot.bot.run import BAD_TOKEN, NO_TOKEN, TOKEN_FORM, TOKEN_VARIABLE, read_token
from qabot.bot.store import Store
from qabot.config import Settings
from qabot.errors import QabotError


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at. good: nothing has to be done about it."""

    good: bool
    text: str


def run_doctor(
    settings: Settings,
    options: BotSettings,
    *,
    online: bool = False,
    environment: Mapping[str, str] | None = None,
    tell: Callable[[Finding], None],
) -> bool:
    """Check everything, telling each finding as it comes; True when all are good. What `qabot doctor` calls."""
    found = os.environ if environment is None else environment
    findings: list[Finding] = []

    def note(finding: Finding) -> None:
        findings.append(finding)
        tell(finding)

    token = None
    for finding, value in _token(found):
        note(finding)
        token = value
    for finding in _index(settings):
        note(finding)
    for finding in _store(options):
        note(finding)
    if online and token:
        for finding in asyncio.run(_online(token, options)):
            note(finding)
    elif online:
        note(Finding(False, "Discord was not asked: there is no usable token."))
    return all(finding.good for finding in findings)


def _token(environment: Mapping[str, str]) -> Iterator[tuple[Finding, str | None]]:
    try:
        token = read_token(environment)
    except QabotError as error:
        yield Finding(False, str(error)), None
        return
    if token is None:
        yield Finding(False, NO_TOKEN), None
        return
    application = application_of(token)
    if application is None:
        text = (
            f"{TOKEN_VARIABLE} holds {len(token)} characters that have not the form of a bot token (three parts, "
            "separated by dots). Copy it from the developer portal, page Bot; not the client secret or public key."
        )
        yield Finding(False, text), None
        return
    yield Finding(True, f"The token has the form of a bot token, for application {application}."), token
    yield Finding(True, f"Invite link with the least permissions: {invite_link(application)}"), token


def application_of(token: str) -> str | None:
    """The application's id, which is the first part of a well-formed token."""
    if not TOKEN_FORM.fullmatch(token):
        return None
    first = token.split(".")[0]
    try:
        digits = base64.b64decode(first + "=" * (-len(first) % 4), validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return digits if digits.isdigit() else None


def _index(settings: Settings) -> Iterator[Finding]:
    try:
        answerer = Answerer(settings)
        status = answerer.status()
        index = answerer.index
        wrong = index.check()
        if answerer.index is not index:
            # Replaced meanwhile, its files are missing; of the new one that isn't likely, too.
            wrong = answerer.index.check()
        answerer.ask("What is this about?", quotes=1)
    except QabotError as error:
        yield Finding(False, str(error))
        return
    manifest = status.manifest
    counts = f"{manifest.documents:,} documents, {manifest.passages:,} passages"
    models = f"the model {manifest.recipe['model']} and the reader {answerer.reader}"
    yield Finding(True, f"The index in {settings.index} answers with {models}: {counts}.")
    for difference in wrong:
        yield Finding(False, f"{difference}. Run `qabot index --rebuild`.")
    if status.problem:
        yield Finding(False, f"New documents can't be looked for. {status.problem}")
    if status.unreadable:
        yield Finding(False, f"{len(status.unreadable)} documents or folders can't be read: {status.unreadable[0]} ...")
    if status.changed or status.gone or status.new:
        changes = f"{len(status.changed)} changed, {len(status.gone)} removed, {len(status.new)} new"
        yield Finding(False, f"The documents differ from the index ({changes}). Run `qabot index`.")


def _store(options: BotSettings) -> Iterator[Finding]:
    try:
        Store(options.store).close()
    except Exception as error:
        yield Finding(
            False, f"The bot's store {options.store} can't be used ({error}). Choose another with [bot] store."
        )
    else:
        yield Finding(True, f"The bot's store is {options.store}.")


async def _online(token: str, options: BotSettings) -> list[Finding]:
    """Log in without opening the gateway, and look at every channel of every server."""
    findings: list[Finding] = []
    async with discord.Client(intents=intents_for(options.message_content)) as client:
        try:
            await client.login(token)
            application = await client.application_info()
            if options.message_content and not _has_content_intent(application):
                text = "message_content is true, but the intent is off in the developer portal, page Bot."
                findings.append(Finding(False, text))
            async for partial in client.fetch_guilds(limit=None):
                findings += await _server(client, partial.id)
        except discord.LoginFailure:
            findings.append(Finding(False, BAD_TOKEN))
        except (discord.HTTPException, OSError) as error:
            findings.append(Finding(False, f"Discord could not be asked ({type(error).__name__})."))
    if not findings:
        findings.append(Finding(False, "The bot is on no server yet. Open the invite link."))
    return findings


async def _server(client: discord.Client, number: int) -> list[Finding]:
    guild = await client.fetch_guild(number)
    assert client.user is not None
    me = await guild.fetch_member(client.user.id)
    findings = []
    for channel in await guild.fetch_channels():
        if isinstance(channel, discord.CategoryChannel):
            continue
        lacking = [say("en", f"right.{name}") for name in missing(channel.permissions_for(me))]
        if lacking:
            findings.append(Finding(False, f"{guild.name} #{channel.name}: the bot lacks {', '.join(lacking)}."))
    return findings or [Finding(True, f"{guild.name}: the bot has every permission it needs.")]


def _has_content_intent(application: discord.AppInfo) -> bool:
    flags = application.flags
    return flags.gateway_message_content or flags.gateway_message_content_limited
