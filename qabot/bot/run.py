"""Running the bot: from the token to a clean exit.

Owns: where the token comes from, the start loop with its backoff, signals, and exit codes. Refuses to know what
the bot does while it runs.

Exit codes: 0 stopped by SIGTERM or SIGINT; 2 an error of qabot (raised as `QabotError`); 3 no token, or Discord
refuses it; 4 an intent is not switched on for the application.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import discord

from qabot.answering import Answerer
from qabot.bot import logs
from qabot.bot.client import QabotClient
from qabot.bot.desk import Desk
from qabot.bot.options import BotSettings
from qabot.bot.store import Store
from qabot.config import Settings
from qabot.errors import ConfigError

log = logging.getLogger("qabot.bot")
EXIT_STOPPED, EXIT_TOKEN, EXIT_INTENT = 0, 3, 4
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "QABOT_DISCORD_TOKEN", "QABOT_DISCORD_TOKEN_FILE"
TOKEN_FORM = re.compile(r"[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{20,}")
DRAIN_SECONDS = 8.0
CLOSE_SECONDS = 2.0
BACKOFF_FIRST, BACKOFF_MOST = 1.0, 60.0
STEADY = 300.0
"""Seconds after which a connection counts as good, and the backoff begins anew."""

NO_TOKEN = (
    f"There is no bot token. Set {TOKEN_VARIABLE}, or {TOKEN_FILE_VARIABLE} to a file that holds it; "
    "docs/bot.md says how to get one."
)
BAD_TOKEN = f"Discord refuses the token in {TOKEN_VARIABLE}. Copy it again from the developer portal, page Bot."
BAD_INTENT = (
    "Discord refuses the message-content intent. Switch it on in the developer portal, page Bot, or set "
    "message_content = false in the table [bot]."
)
Make = Callable[[Desk], QabotClient]


def read_token(environment: Mapping[str, str]) -> str | None:
    """The token from the environment, or from the file that it names; None when there is none.

    Raises `ConfigError` when the file can't be read.
    """
    token = environment.get(TOKEN_VARIABLE, "").strip()
    file = environment.get(TOKEN_FILE_VARIABLE, "").strip()
    if token or not file:
        return token or None
    try:
        return Path(file).read_text(encoding="utf-8").strip() or None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{TOKEN_FILE_VARIABLE} names {file}, which can't be read ({error}).") from error


def run_bot(
    settings: Settings,
    options: BotSettings,
    *,
    sync: bool = False,
    guild: int | None = None,
    level: int = logging.INFO,
) -> int:
    """Run until a signal says stop; returns the exit code. What `qabot bot` calls.

    sync: register the commands even when they haven't changed. guild: register them for this server only, where
    they appear at once. Raises `QabotError` when the index, the model or the configuration can't be used.
    """
    token = read_token(os.environ)
    if token is None:
        print(f"qabot: {NO_TOKEN}", file=sys.stderr)
        return EXIT_TOKEN
    logs.set_up(level, token)
    store = Store(options.store)
    try:
        desk = Desk(Answerer(settings, lambda sentence: log.info("%s", sentence)), store, options)
        desk.warm()
        log.info("ready: %d documents, reader %s", len(desk.known), desk.answerer.reader)
        code = asyncio.run(serve(desk, token, lambda ready: QabotClient(ready, sync=sync, guild=guild)))
    finally:
        store.close()
    if desk.gate.abandoned:
        # Python would wait for the threads of unanswered questions; whoever stops the bot shall not.
        logging.shutdown()
        os._exit(code)
    return code


async def serve(desk: Desk, token: str, make: Make) -> int:
    """Stay connected until SIGTERM or SIGINT; returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        return await _connected(desk, token, make, stop)
    finally:
        desk.gate.close()


async def _connected(desk: Desk, token: str, make: Make, stop: asyncio.Event) -> int:
    pause = BACKOFF_FIRST
    while True:
        client = make(desk)
        begun = asyncio.get_running_loop().time()
        running = asyncio.create_task(client.start(token), name="connection")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            await _leave(desk, client, running)
            return EXIT_STOPPED
        error = running.exception()
        with contextlib.suppress(Exception):
            await client.close()
        code = _verdict(error)
        if code is not None:
            return code
        if asyncio.get_running_loop().time() - begun > STEADY:
            pause = BACKOFF_FIRST
        # An AttributeError may be discord.py's (see below) or ours: then the traceback says so.
        trace = error if isinstance(error, AttributeError) else None
        log.warning(
            "no connection to Discord (%s); trying again in about %.0f s", _described(error), pause, exc_info=trace
        )
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause * random.uniform(0.8, 1.2))
            return EXIT_STOPPED
        pause = min(pause * 2, BACKOFF_MOST)


async def _leave(desk: Desk, client: QabotClient, running: asyncio.Task[None]) -> None:
    """Let answers under way finish, then say goodbye to Discord."""
    log.info("stopping: %d questions under way", desk.gate.pending)
    if not await desk.gate.drain(DRAIN_SECONDS):
        log.warning("stopped with %d questions unanswered", desk.gate.pending)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(client.close(), CLOSE_SECONDS)
    running.cancel()
    with contextlib.suppress(Exception, asyncio.CancelledError):
        await running


def _verdict(error: BaseException | None) -> int | None:
    """The exit code when trying again is pointless, with one line for a person; None otherwise."""
    if isinstance(error, discord.LoginFailure):
        print(f"qabot: {BAD_TOKEN}", file=sys.stderr)
        return EXIT_TOKEN
    if isinstance(error, discord.PrivilegedIntentsRequired):
        print(f"qabot: {BAD_INTENT}", file=sys.stderr)
        return EXIT_INTENT
    if isinstance(error, discord.ConnectionClosed) and error.code == 4004:
        print(f"qabot: {BAD_TOKEN}", file=sys.stderr)
        return EXIT_TOKEN
    if error is None or isinstance(error, NETWORK_FAULTS):
        return None
    raise error


# AttributeError: discord.py 2.7 ends so when its very first gateway connection fails (Rapptz/discord.py#10520).
NETWORK_FAULTS = (
    OSError,
    aiohttp.ClientError,
    TimeoutError,
    discord.GatewayNotFound,
    discord.ConnectionClosed,
    discord.HTTPException,
    AttributeError,
)


def _described(error: BaseException | None) -> str:
    if error is None:
        return "it was closed"
    if isinstance(error, discord.HTTPException):
        return f"HTTP {error.status}"
    return type(error).__name__
