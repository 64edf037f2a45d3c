"""Logging that can't give a secret away.

Owns: the levels below which libraries may not speak (discord.py logs interaction tokens and people's words at
DEBUG), and a filter on every handler that blanks tokens wherever they turn up.
"""

from __future__ import annotations

import logging
import re
import sys

PINNED = {
    "discord": logging.INFO,
    "discord.http": logging.INFO,
    "discord.client": logging.INFO,
    "discord.gateway": logging.INFO,
    "discord.shard": logging.INFO,
    "discord.state": logging.INFO,
    "discord.webhook": logging.INFO,
    "discord.webhook.async_": logging.INFO,
    "discord.ui.view": logging.INFO,
    "discord.app_commands.tree": logging.INFO,
    "aiohttp": logging.INFO,
    "asyncio": logging.INFO,
}
BLANK = "[redacted]"
SECRETS = (
    re.compile(r"(?<=/interactions/)(\d+)/[^/\s'\"]+"),
    re.compile(r"(?<=/webhooks/)(\d+)/[^/\s'\"?]+"),
)
TOKEN_SHAPE = re.compile(r"[A-Za-z0-9_-]{20,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{20,}")
INTERACTION_TOKEN = re.compile(r"\baW50ZXJhY3Rpb24[A-Za-z0-9_\-=]{20,}")


def redact(text: str, token: str | None = None) -> str:
    """`text` without the bot's token, interaction tokens and anything shaped like a token."""
    if token:
        text = text.replace(token, BLANK)
    for pattern in SECRETS:
        text = pattern.sub(rf"\1/{BLANK}", text)
    return INTERACTION_TOKEN.sub(BLANK, TOKEN_SHAPE.sub(BLANK, text))


class Redacting(logging.Formatter):
    """Formats as another formatter does, then blanks secrets: tracebacks and arguments included."""

    def __init__(self, inner: logging.Formatter, token: str | None) -> None:
        super().__init__()
        self._inner = inner
        self._token = token

    def format(self, record: logging.LogRecord) -> str:
        """The finished line without secrets."""
        return redact(self._inner.format(record), self._token)


class Pinned(logging.Filter):
    """Drops what a pinned library says below its level, however its logger was set meanwhile."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass."""
        return record.levelno >= logging.INFO or record.name.split(".")[0] not in {"discord", "aiohttp", "asyncio"}


def set_up(level: int, token: str | None) -> None:
    """Log to stderr at `level`. Every handler of the root logger redacts."""
    root = logging.getLogger()
    root.setLevel(level)
    if not root.handlers:
        stderr = logging.StreamHandler(sys.stderr)
        stderr.setFormatter(logging.Formatter("{asctime} {levelname:<7} {name}: {message}", style="{"))
        root.addHandler(stderr)
    for handler in root.handlers:
        inner = handler.formatter or logging.Formatter()
        if not isinstance(inner, Redacting):
            handler.setFormatter(Redacting(inner, token))
            handler.addFilter(Pinned())
    for name, lowest in PINNED.items():
        logging.getLogger(name).setLevel(max(level, lowest))
