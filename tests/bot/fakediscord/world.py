"""What the fake Discord knows: ids, people, places, messages and calls, as API payloads."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import re
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .server import FakeDiscord

Payload = dict[str, Any]

EPOCH_MS = 1_420_070_400_000
EPHEMERAL, LOADING, COMPONENTS_V2 = 1 << 6, 1 << 7, 1 << 15
CHAT_INPUT, USER_MENU, MESSAGE_MENU = 1, 2, 3
SUBCOMMAND, SUBCOMMAND_GROUP = 1, 2

# The permissions of an ordinary member: view, send, embed, attach, history, react,
# threads, slash commands and external apps.
MEMBER_PERMISSIONS = sum(1 << bit for bit in (6, 10, 11, 14, 15, 16, 18, 31, 34, 35, 36, 38, 50))
ADMINISTRATOR = 1 << 3

MENTION = re.compile(r"<@!?(\d+)>")

_counter = itertools.count(1)


class SetupError(AssertionError):
    """The test asked for something that a real person could not do in a real client."""


def snowflake(at: float | None = None) -> str:
    """A new id, unique in this process, that carries a time as Discord's ids do."""
    millis = int((time.time() if at is None else at) * 1000) - EPOCH_MS
    return str((millis << 22) | (next(_counter) & 0x3FFFFF))


def iso_now() -> str:
    """The present moment in the form of Discord's timestamps."""
    return dt.datetime.now(dt.UTC).isoformat()


def new_user(name: str, *, bot: bool = False) -> Payload:
    """A user.  ``discriminator`` and ``avatar`` may not be missing: discord.py indexes them."""
    return {
        "id": snowflake(),
        "username": name,
        "discriminator": "0",
        "global_name": name.title(),
        "avatar": None,
        "bot": bot,
        "public_flags": 0,
        "flags": 0,
        "banner": None,
        "accent_color": None,
        "avatar_decoration_data": None,
        "collectibles": None,
        "primary_guild": None,
    }


def new_member(user: Payload, *, permissions: int = MEMBER_PERMISSIONS) -> Payload:
    """A user's membership of one guild."""
    return {
        "user": user,
        "nick": None,
        "avatar": None,
        "roles": [],
        "joined_at": iso_now(),
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "pending": False,
        "flags": 0,
        "permissions": str(permissions),
        "communication_disabled_until": None,
    }


def new_channel(name: str, guild_id: str | None, *, kind: int = 0) -> Payload:
    """A guild text channel, or (kind 1) a direct-message channel."""
    channel = {"id": snowflake(), "type": kind, "last_message_id": None}
    if guild_id is None:
        return channel
    return channel | {
        "guild_id": guild_id,
        "name": name,
        "position": 0,
        "permission_overwrites": [],
        "nsfw": False,
        "topic": None,
        "rate_limit_per_user": 0,
        "parent_id": None,
        "flags": 0,
    }


def new_guild(name: str, owner_id: str) -> Payload:
    """A guild as GUILD_CREATE carries it, with its @everyone role."""
    guild_id = snowflake()
    everyone = {
        "id": guild_id,
        "name": "@everyone",
        "color": 0,
        "hoist": False,
        "position": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "permissions": str(MEMBER_PERMISSIONS),
        "managed": False,
        "mentionable": False,
        "flags": 0,
    }
    return {
        "id": guild_id,
        "name": name,
        "icon": None,
        "splash": None,
        "banner": None,
        "owner_id": owner_id,
        "afk_channel_id": None,
        "afk_timeout": 300,
        "verification_level": 0,
        "default_message_notifications": 0,
        "explicit_content_filter": 0,
        "roles": [everyone],
        "emojis": [],
        "stickers": [],
        "features": [],
        "mfa_level": 0,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "rules_channel_id": None,
        "premium_tier": 0,
        "preferred_locale": "en-US",
        "nsfw_level": 0,
        "premium_progress_bar_enabled": False,
        "joined_at": iso_now(),
        "large": False,
        "unavailable": False,
        "member_count": 0,
        "voice_states": [],
        "members": [],
        "channels": [],
        "threads": [],
        "presences": [],
        "stage_instances": [],
        "guild_scheduled_events": [],
        "soundboard_sounds": [],
    }


def new_message(channel: Payload, author: Payload, body: Payload) -> Payload:
    """A message, from what a bot or a person sent."""
    return {
        "id": snowflake(),
        "channel_id": channel["id"],
        "author": author,
        "content": body.get("content") or "",
        "timestamp": iso_now(),
        "edited_timestamp": None,
        "tts": bool(body.get("tts")),
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": body.get("embeds") or [],
        "pinned": False,
        "type": 0,
        "flags": int(body.get("flags") or 0),
        "components": body.get("components") or [],
    } | ({"guild_id": channel["guild_id"]} if channel.get("guild_id") else {})


@dataclass(slots=True)
class Request:
    """One REST request that the bot made."""

    method: str
    path: str
    body: Any
    query: dict[str, str]
    headers: dict[str, str]
    at: float
    files: dict[str, bytes] = field(default_factory=dict)
    status: int = 0
    reply: Any = None


@dataclass(slots=True)
class Call:
    """One interaction: what was sent to the bot and everything it answered."""

    fake: FakeDiscord
    payload: Payload
    user: Payload
    channel: Payload
    sent_at: float
    callback: Payload | None = None
    callback_after: float | None = None
    original: Payload | None = None
    followups: list[Payload] = field(default_factory=list)
    history: list[Payload] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    token: str = field(default_factory=lambda: "tok-" + secrets.token_urlsafe(48))

    @property
    def acknowledged(self) -> bool:
        """Whether the bot has sent its one callback."""
        return self.callback is not None

    @property
    def deferred(self) -> bool:
        """Whether the bot asked for more time (callback type 5 or 6)."""
        return self.callback is not None and self.callback["type"] in (5, 6)

    @property
    def ephemeral(self) -> bool:
        """Whether only the caller sees the answer."""
        return bool(self.original and self.original["flags"] & EPHEMERAL)

    async def _until(self, ready: Any, timeout: float, what: str) -> Any:
        async def wait() -> Any:
            while not (value := ready()):
                self.changed.clear()
                await self.changed.wait()
            return value

        try:
            return await asyncio.wait_for(wait(), timeout)
        except TimeoutError:
            seen = [f"{r.method} {r.path} -> {r.status}" for r in self.fake.requests[-8:]]
            raise AssertionError(f"no {what} in {timeout} s; last requests: {seen}") from None

    async def ack(self, timeout: float = 3.0) -> Payload:
        """Wait for the callback; return it as the bot sent it."""
        found: Payload = await self._until(lambda: self.callback, timeout, "callback")
        return found

    async def answer(self, timeout: float = 10.0) -> Payload:
        """Wait for the visible answer (not the 'thinking' placeholder); return the message."""

        def visible() -> Payload | None:
            message = self.original
            return message if message is not None and not message["flags"] & LOADING else None

        found: Payload = await self._until(visible, timeout, "answer")
        return found

    async def choices(self, timeout: float = 3.0) -> list[Payload]:
        """Wait for autocompletion results."""
        callback = await self.ack(timeout)
        if callback["type"] != 8:
            raise AssertionError(f"expected autocompletion choices, got callback {callback}")
        choices: list[Payload] = callback["data"]["choices"]
        return choices

    async def modal(self, timeout: float = 3.0) -> Payload:
        """Wait for the modal that the bot opens."""
        callback = await self.ack(timeout)
        if callback["type"] != 9:
            raise AssertionError(f"expected a modal, got callback {callback}")
        modal: Payload = callback["data"]
        return modal


def text_of(message: Payload) -> str:
    """All text that a reader of a message sees: content, embeds and components, in order."""
    parts: list[str] = [message.get("content") or ""]
    for embed in message.get("embeds") or []:
        parts += [embed.get("title", ""), embed.get("description", "")]
        parts += [f"{f['name']}\n{f['value']}" for f in embed.get("fields", [])]
        parts.append(embed.get("footer", {}).get("text", ""))
    parts += [c["content"] for c in walk(message.get("components") or []) if c["type"] == 10]
    return "\n".join(part for part in parts if part)


def walk(components: list[Payload]) -> list[Payload]:
    """Every component of a tree, parents first."""
    found: list[Payload] = []
    for component in components:
        found.append(component)
        found += walk(component.get("components") or [])
        for key in ("accessory", "component"):
            if component.get(key):
                found += walk([component[key]])
    return found


def attachment(name: str, data: bytes) -> Payload:
    """An uploaded file as a message shows it."""
    url = f"http://127.0.0.1/attachments/{name}"
    return {"id": snowflake(), "filename": name, "size": len(data), "url": url, "proxy_url": url}


def number(components: list[Payload]) -> None:
    """Give every component the id that Discord gives it."""
    for n, part in enumerate(walk(components), start=1):
        part.setdefault("id", n)
        if "emoji" in part:
            part["emoji"] = {key: value for key, value in part["emoji"].items() if value is not None}


def notify(users: dict[str, Payload], message: Payload, allowed: Payload | None) -> None:
    """Work out whom a message notifies, so that tests can assert that it is nobody."""
    text = message["content"] + "".join(c["content"] for c in walk(message["components"]) if c["type"] == 10)
    parse = {"users", "roles", "everyone"} if allowed is None else set(allowed.get("parse") or [])
    chosen = set(map(str, (allowed or {}).get("users") or []))
    ids = [i for i in dict.fromkeys(MENTION.findall(text)) if i in users]
    message["mentions"] = [users[i] for i in ids if "users" in parse or i in chosen]
    message["mention_everyone"] = "everyone" in parse and bool(re.search(r"@(everyone|here)\b", text))
    roles = dict.fromkeys(re.findall(r"<@&(\d+)>", text))
    message["mention_roles"] = [r for r in roles if "roles" in parse]
