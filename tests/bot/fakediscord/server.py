"""The fake server: its world, the acts of its people, and the rules that every request meets."""

from __future__ import annotations

import asyncio
import copy
import json
import re
import ssl
import time
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import BodyPartReader, web

from . import limits
from .gateway import DIRECT_MESSAGES, GUILD_MESSAGES, MESSAGE_CONTENT, Gateway, Session
from .limits import ApiError
from .routes import ROUTES
from .world import (
    ADMINISTRATOR,
    CHAT_INPUT,
    EPHEMERAL,
    LOADING,
    MEMBER_PERMISSIONS,
    MENTION,
    MESSAGE_MENU,
    SUBCOMMAND,
    SUBCOMMAND_GROUP,
    USER_MENU,
    Call,
    Payload,
    Request,
    SetupError,
    attachment,
    iso_now,
    new_channel,
    new_guild,
    new_member,
    new_message,
    new_user,
    notify,
    number,
    snowflake,
    walk,
)

TOKEN_SECONDS = 15 * 60.0


@dataclass(slots=True)
class Fault:
    """A prepared bad answer for the next matching requests."""

    method: str
    pattern: re.Pattern[str]
    status: int
    body: Any
    headers: dict[str, str]
    times: int
    delay: float


class FakeDiscord:
    """Discord on 127.0.0.1, for one bot."""

    def __init__(
        self,
        *,
        approved_intents: int = 0,
        host: str = "127.0.0.1",
        ssl_context: ssl.SSLContext | None = None,
        gateway_url: str | None = None,
    ) -> None:
        self.host = host
        self._ssl = ssl_context
        self._gateway_url = gateway_url
        self.token = "ZmFrZQ.fake00.not-a-real-token-only-for-loopback"
        self.approved_intents = approved_intents
        self.bot = new_user("qabot", bot=True)
        self.application_id = self.bot["id"]
        self.owner = new_user("owner")
        self.guilds: dict[str, Payload] = {}
        self.channels: dict[str, Payload] = {}
        self.users: dict[str, Payload] = {u["id"]: u for u in (self.bot, self.owner)}
        self.messages: dict[str, Payload] = {}
        self.commands: dict[str | None, list[Payload]] = {None: []}
        self.calls: dict[str, Call] = {}
        self.requests: list[Request] = []
        self.unhandled: list[Request] = []
        self.typing: list[str] = []
        self.faults: list[Fault] = []
        self.clock_skew = 0.0
        self.gateway = Gateway(self)
        self._posted = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self.port = 0

    # -- life ---------------------------------------------------------------------------

    @property
    def api_url(self) -> str:
        """For ``discord.http.Route.BASE``."""
        return f"http://{self.host}:{self.port}/api/v10"

    @property
    def gateway_url(self) -> str:
        """For ``DiscordWebSocket.DEFAULT_GATEWAY`` and READY's ``resume_gateway_url``."""
        return self._gateway_url or f"ws://{self.host}:{self.port}/gateway"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=32 * 2**20)
        for path in ("/", "/gateway"):
            app.router.add_get(path, self.gateway.handle)
        app.router.add_route("*", "/api/v10{path:/.*}", self._rest)
        self._runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.host, 0, ssl_context=self._ssl)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        for link in self.gateway.links:
            if not link.socket.closed:
                await link.socket.close(code=1001)
        if self._runner is not None:
            await self._runner.cleanup()

    def now(self) -> float:
        """The server's clock; tests move it by changing ``clock_skew``."""
        return time.monotonic() + self.clock_skew

    async def wait_ready(self, timeout: float = 10.0) -> None:
        """Wait until the bot has a session."""
        await self.gateway.until(lambda: self.gateway.live, timeout, "no gateway session")

    # -- arranging the world ------------------------------------------------------------

    def add_user(self, name: str, *, bot: bool = False) -> Payload:
        """A new person (or another bot)."""
        user = new_user(name, bot=bot)
        self.users[user["id"]] = user
        return user

    def add_guild(self, name: str) -> Payload:
        """A guild that the bot has joined.  Call before the bot connects."""
        guild = new_guild(name, self.owner["id"])
        self.guilds[guild["id"]] = guild
        self.join(guild, self.bot)
        self.join(guild, self.owner, permissions=ADMINISTRATOR | MEMBER_PERMISSIONS)
        return guild

    def add_channel(self, guild: Payload, name: str) -> Payload:
        """A text channel of a guild."""
        channel = new_channel(name, guild["id"])
        guild["channels"].append(channel)
        self.channels[channel["id"]] = channel
        return channel

    def add_dm(self, user: Payload) -> Payload:
        """The direct-message channel of the bot and a person."""
        for channel in self.channels.values():
            if channel["type"] == 1 and channel["recipients"][0]["id"] == user["id"]:
                return channel
        channel = new_channel("", None, kind=1) | {"recipients": [user]}
        self.channels[channel["id"]] = channel
        return channel

    def join(self, guild: Payload, user: Payload, *, permissions: int = MEMBER_PERMISSIONS) -> Payload:
        """Make a person a member of a guild; returns the person."""
        guild["members"].append(new_member(user, permissions=permissions))
        guild["member_count"] += 1
        return user

    def fail_next(
        self,
        method: str,
        pattern: str,
        status: int,
        body: Any = None,
        *,
        headers: dict[str, str] | None = None,
        times: int = 1,
        delay: float = 0.0,
    ) -> None:
        """Answer the next matching requests badly (or, with status 0, only late)."""
        self.faults.append(Fault(method, re.compile(pattern), status, body, headers or {}, times, delay))

    def rate_limit_next(self, method: str, pattern: str, *, retry_after: float, scope: str = "user") -> None:
        """A 429 as Discord sends it.  Without ``Via`` discord.py takes it for a Cloudflare ban."""
        self.fail_next(
            method,
            pattern,
            429,
            {"message": "You are being rate limited.", "retry_after": retry_after, "global": scope == "global"},
            headers={"Via": "1.1 google", "Retry-After": str(retry_after), "X-RateLimit-Scope": scope},
        )

    # -- acts of people -----------------------------------------------------------------

    async def say(
        self, user: Payload, channel: Payload, content: str, *, reply_to: Payload | None = None, ping: bool = True
    ) -> Payload:
        """A person posts a message; ``<@id>`` in it, or a reply with *ping*, mentions somebody."""
        message = new_message(channel, user, {"content": content})
        message["mentions"] = [self.users[i] for i in dict.fromkeys(MENTION.findall(content)) if i in self.users]
        if reply_to is not None:
            message["type"] = 19
            message["message_reference"] = {
                "type": 0,
                "message_id": reply_to["id"],
                "channel_id": channel["id"],
                "guild_id": channel.get("guild_id"),
            }
            message["referenced_message"] = reply_to
            if ping and reply_to["author"] not in message["mentions"]:
                message["mentions"].append(reply_to["author"])
        return await self._post(message, channel)

    async def slash(self, user: Payload, channel: Payload, name: str, /, **options: Any) -> Call:
        """A person runs a slash command; *name* may be ``"group sub"``."""
        return await self._command(user, channel, name, options)

    async def autocomplete(self, user: Payload, channel: Payload, name: str, focused: str, /, **options: Any) -> Call:
        """A person types into an autocompleted option."""
        return await self._command(user, channel, name, options, focused=focused)

    async def menu(self, user: Payload, channel: Payload, name: str, target: Payload) -> Call:
        """A person picks an app command from the menu of a message or a user."""
        kind = MESSAGE_MENU if "content" in target else USER_MENU
        command = self._registered(name, channel, kind)
        resolved = {"messages" if kind == MESSAGE_MENU else "users": {target["id"]: target}}
        data = {"id": command["id"], "name": name, "type": kind, "target_id": target["id"], "resolved": resolved}
        return await self._interact(2, user, channel, data, command)

    async def click(self, user: Payload, message: Payload, label_or_id: str) -> Call:
        """A person presses a button, found by label or custom id."""
        current = self.messages[message["id"]]
        for part in walk(current["components"]):
            if part["type"] == 2 and label_or_id in (part.get("label"), part.get("custom_id")):
                if part.get("disabled") or part["style"] == 5:
                    raise SetupError(f"nobody can press {label_or_id!r}: disabled, or a link")
                return await self._component(user, current, part, {})
        raise SetupError(f"no button {label_or_id!r} in {current['components']}")

    async def select(self, user: Payload, message: Payload, custom_id: str, *values: str) -> Call:
        """A person picks values in a select menu."""
        current = self.messages[message["id"]]
        for part in walk(current["components"]):
            if part["type"] == 3 and part["custom_id"] == custom_id:
                offered = {option["value"] for option in part["options"]}
                if not set(values) <= offered:
                    raise SetupError(f"{values} are not among {offered}")
                return await self._component(user, current, part, {"values": list(values)})
        raise SetupError(f"no select {custom_id!r}")

    async def submit(self, call: Call, **values: str) -> Call:
        """The person who got a modal fills and submits it; keys are custom ids."""
        modal = await call.modal()
        rows = copy.deepcopy(modal["components"])
        inputs = [part for part in walk(rows) if part["type"] == 4]
        missing = set(values) - {part["custom_id"] for part in inputs}
        if missing:
            raise SetupError(f"the modal has no {missing}")
        for part in inputs:
            value = values.get(part["custom_id"], part.get("value") or "")
            if not part.get("min_length", 0) <= len(value) <= part.get("max_length", 4000):
                raise SetupError(f"{part['custom_id']}: the client refuses {len(value)} characters")
            part["value"] = value
        extra = {"message": call.payload["message"]} if "message" in call.payload else {}
        return await self._interact(
            5, call.user, call.channel, {"custom_id": modal["custom_id"], "components": rows}, None, **extra
        )

    # -- reading --------------------------------------------------------------------------

    def posts(self, channel: Payload) -> list[Payload]:
        """What the bot posted in a channel outside interactions, oldest first."""
        return [
            m
            for m in self.messages.values()
            if m["channel_id"] == channel["id"]
            and m["author"]["id"] == self.bot["id"]
            and "interaction_metadata" not in m
        ]

    async def next_post(self, channel: Payload, *, after: int = 0, timeout: float = 5.0) -> Payload:
        """Wait for the bot's post number *after* (from 0) in a channel."""

        async def wait() -> Payload:
            while len(found := self.posts(channel)) <= after:
                self._posted.clear()
                await self._posted.wait()
            return found[after]

        return await asyncio.wait_for(wait(), timeout)

    def application(self) -> Payload:
        """The bot's application.  discord.py indexes every key up to ``verify_key``."""
        return {
            "id": self.application_id,
            "name": "qabot",
            "description": "",
            "icon": None,
            "bot_public": True,
            "bot_require_code_grant": False,
            "owner": self.owner,
            "team": None,
            "verify_key": "0" * 64,
            "flags": (1 << 19) | (1 << 23),
            "flags_new": str((1 << 19) | (1 << 23)),
            "interactions_endpoint_url": None,
            "approximate_guild_count": len(self.guilds),
            "type": None,
            "approximate_user_install_count": 0,
            "approximate_user_authorization_count": 0,
            "integration_types_config": {"0": {}, "1": {}},
            "redirect_uris": [],
            "explicit_content_filter": 0,
            "role_connections_verification_url": None,
            "eligible_oauth2_scopes": [],
        }

    def as_seen_by(self, session: Session, event: str, data: Payload) -> Payload:
        """Strip what a session's intents do not let it see, above all message content."""
        if event == "GUILD_CREATE":
            mine = [m for m in data["members"] if m["user"]["id"] == self.bot["id"]]
            return data | {"members": mine}
        if event in ("MESSAGE_CREATE", "MESSAGE_UPDATE") and not session.intents & MESSAGE_CONTENT:
            data = self._without_content(data)
            if data.get("referenced_message"):
                data["referenced_message"] = self._without_content(data["referenced_message"])
        return data

    def _without_content(self, message: Payload) -> Payload:
        own = message["author"]["id"] == self.bot["id"]
        mentioned = any(u["id"] == self.bot["id"] for u in message["mentions"])
        if own or mentioned or "guild_id" not in message:
            return dict(message)
        return message | {"content": "", "embeds": [], "attachments": [], "components": []}

    # -- building interactions --------------------------------------------------------------

    def _registered(self, name: str, channel: Payload, kind: int = CHAT_INPUT) -> Payload:
        for scope in (channel.get("guild_id"), None):
            for command in self.commands.get(scope, []):
                if (command["name"], command["type"]) == (name, kind):
                    return command
        known = [c["name"] for group in self.commands.values() for c in group]
        raise SetupError(f"{name!r} is not registered (did the bot sync?); registered: {known}")

    async def _command(
        self, user: Payload, channel: Payload, name: str, given: dict[str, Any], *, focused: str | None = None
    ) -> Call:
        words = name.split()
        command = self._registered(words[0], channel)
        node, path = command, []
        for word in words[1:]:
            groups = [o for o in node.get("options", []) if o["type"] in (SUBCOMMAND, SUBCOMMAND_GROUP)]
            found = [o for o in groups if o["name"] == word]
            if not found:
                raise SetupError(f"{name!r}: no subcommand {word!r}")
            node = found[0]
            path.append(node)
        declared = {o["name"]: o for o in node.get("options", [])}
        if unknown := set(given) - set(declared):
            raise SetupError(f"{name!r} has no options {unknown}")
        resolved: Payload = {}
        options = [self._option(declared[k], v, focused, resolved) for k, v in given.items()]
        lacking = {k for k, o in declared.items() if o.get("required")} - set(given)
        if lacking and focused is None:
            raise SetupError(f"{name!r} needs {lacking}")
        for part in reversed(path):
            options = [{"name": part["name"], "type": part["type"], "options": options}]
        data = {"id": command["id"], "name": command["name"], "type": CHAT_INPUT, "options": options}
        if command.get("guild_id"):
            data["guild_id"] = command["guild_id"]
        if resolved:
            data["resolved"] = resolved
        return await self._interact(4 if focused else 2, user, channel, data, command)

    def _option(self, declared: Payload, value: Any, focused: str | None, resolved: Payload) -> Payload:
        kind, name = declared["type"], declared["name"]
        within = kind != 3 or declared.get("min_length", 0) <= len(value) <= declared.get("max_length", 6000)
        if focused is None and not within:
            raise SetupError(f"{name}: the client refuses {len(value)} characters")
        if kind in (4, 10) and focused is None:
            low, high = declared.get("min_value", value), declared.get("max_value", value)
            if not low <= value <= high:
                raise SetupError(f"{name}: the client refuses {value}")
        if declared.get("choices") and value not in [c["value"] for c in declared["choices"]]:
            raise SetupError(f"{name}: {value!r} is not a choice")
        tables = {6: "users", 7: "channels", 8: "roles"}
        if kind in tables:
            resolved.setdefault(tables[kind], {})[value["id"]] = value
            value = value["id"]
        return {"name": name, "type": kind, "value": value} | ({"focused": True} if name == focused else {})

    async def _component(self, user: Payload, message: Payload, part: Payload, extra: Payload) -> Call:
        if message["flags"] & EPHEMERAL and message["interaction_metadata"]["user"]["id"] != user["id"]:
            raise SetupError("an ephemeral message is invisible to others")
        data = {"custom_id": part["custom_id"], "component_type": part["type"], "id": part.get("id", 1)} | extra
        channel = self.channels[message["channel_id"]]
        return await self._interact(3, user, channel, data, None, message=message)

    async def _interact(
        self, kind: int, user: Payload, channel: Payload, data: Payload, command: Payload | None, **extra: Any
    ) -> Call:
        guild = self.guilds.get(channel.get("guild_id") or "")
        where: Payload = {"context": 0 if guild else 1}
        if guild is not None:
            member = next((m for m in guild["members"] if m["user"]["id"] == user["id"]), None)
            if member is None:
                raise SetupError(f"{user['username']} is not in {guild['name']}")
            self._check_permitted(command, int(member["permissions"]))
            where |= {
                "guild_id": guild["id"],
                "member": member,
                "guild_locale": guild["preferred_locale"],
                "guild": {"id": guild["id"], "locale": guild["preferred_locale"], "features": []},
                "authorizing_integration_owners": {"0": guild["id"]},
            }
        else:
            where |= {"user": user, "authorizing_integration_owners": {"1": user["id"]}}
        contexts = command.get("contexts") if command else None
        if contexts is not None and where["context"] not in contexts:
            assert command is not None
            raise SetupError(f"/{command['name']} is not offered in context {where['context']}")
        call = Call(self, {}, user, channel, self.now())
        call.payload = (
            {
                "id": snowflake(),
                "application_id": self.application_id,
                "type": kind,
                "version": 1,
                "token": call.token,
                "data": data,
                "locale": user.get("locale", "en-US"),
                "entitlements": [],
                "app_permissions": str(MEMBER_PERMISSIONS),
                "attachment_size_limit": 10 * 2**20,
                "channel_id": channel["id"],
                "channel": {"permissions": str(MEMBER_PERMISSIONS)} | channel,
            }
            | where
            | extra
        )
        self.calls[call.token] = call
        await self.gateway.dispatch("INTERACTION_CREATE", copy.deepcopy(call.payload), guild_id=channel.get("guild_id"))
        return call

    @staticmethod
    def _check_permitted(command: Payload | None, permissions: int) -> None:
        needed = command.get("default_member_permissions") if command else None
        if needed is None or permissions & ADMINISTRATOR:
            return
        if int(needed) == 0 or int(needed) & ~permissions:
            assert command is not None
            raise SetupError(f"the client hides /{command['name']} from this member")

    # -- REST -------------------------------------------------------------------------------

    async def _rest(self, http: web.Request) -> web.StreamResponse:
        path = http.match_info["path"]
        body, files = await self._read(http)
        record = Request(http.method, path, body, dict(http.query), dict(http.headers), self.now(), files=files)
        self.requests.append(record)
        try:
            for fault in list(self.faults):
                if fault.method in ("*", http.method) and fault.pattern.fullmatch(path):
                    fault.times -= 1
                    if not fault.times:
                        self.faults.remove(fault)
                    await asyncio.sleep(fault.delay)
                    if fault.status:
                        record.status, record.reply = fault.status, fault.body
                        return _json(fault.body, fault.status, fault.headers)
            record.reply = await self._route(record)
            record.status = 204 if record.reply is None else 200
        except ApiError as error:
            record.status, record.reply = error.status, error.body
        if record.status == 204:
            return web.Response(status=204)
        return _json(record.reply, record.status)

    @staticmethod
    async def _read(http: web.Request) -> tuple[Any, dict[str, bytes]]:
        if http.content_type != "multipart/form-data":
            raw = await http.read()
            return (json.loads(raw) if raw else None), {}
        body, files = None, {}
        async for part in await http.multipart():
            assert isinstance(part, BodyPartReader)
            if part.name == "payload_json":
                body = json.loads(await part.text())
            else:
                files[part.filename or part.name or "?"] = bytes(await part.read())
        return body, files

    async def _route(self, request: Request) -> Any:
        for method, pattern, handler, public in ROUTES:
            if method == request.method and (match := pattern.fullmatch(request.path)):
                if not public and request.headers.get("Authorization") != f"Bot {self.token}":
                    raise ApiError(401, 0, "401: Unauthorized")
                return await handler(self, request, **match.groupdict())
        self.unhandled.append(request)
        raise ApiError(404, 0, "404: Not Found")

    def channel(self, channel_id: str) -> Payload:
        if channel_id not in self.channels:
            raise ApiError(404, 10003, "Unknown Channel")
        return self.channels[channel_id]

    def message(self, message_id: str) -> Payload:
        if message_id not in self.messages:
            raise ApiError(404, 10008, "Unknown Message")
        return self.messages[message_id]

    def call(self, token: str) -> Call:
        call = self.calls.get(token)
        if call is None or not call.acknowledged:
            raise ApiError(404, 10015, "Unknown Webhook")
        if self.now() - call.sent_at > TOKEN_SECONDS:
            raise ApiError(401, 50027, "Invalid Webhook Token")
        return call

    async def _post(self, message: Payload, channel: Payload) -> Payload:
        self.messages[message["id"]] = message
        channel["last_message_id"] = message["id"]
        guild = self.guilds.get(channel.get("guild_id") or "")
        event = dict(message)
        if guild:
            member = next((m for m in guild["members"] if m["user"]["id"] == message["author"]["id"]), None)
            if member:
                event["member"] = {k: v for k, v in member.items() if k not in ("user", "permissions")}
        intent = GUILD_MESSAGES if guild else DIRECT_MESSAGES
        if not message["flags"] & EPHEMERAL:
            await self.gateway.dispatch("MESSAGE_CREATE", event, guild_id=channel.get("guild_id"), intent=intent)
        self._posted.set()
        return message

    async def compose(self, channel: Payload, request: Request, body: Payload, **extra: Any) -> Payload:
        limits.check_message(body, files=len(request.files))
        message = new_message(channel, self.bot, body) | extra
        message["attachments"] = [attachment(name, data) for name, data in request.files.items()]
        number(message["components"])
        notify(self.users, message, body.get("allowed_mentions"))
        return await self._post(message, channel)

    def edit(self, message: Payload, body: Payload) -> Payload:
        limits.check_message(body, partial=True, base_flags=message["flags"])
        for key in ("content", "embeds", "components"):
            if key in body:
                message[key] = body[key] or ("" if key == "content" else [])
        if "flags" in body:
            message["flags"] |= int(body["flags"] or 0) & ~EPHEMERAL
        message["flags"] &= ~LOADING
        message["edited_timestamp"] = iso_now()
        number(message["components"])
        if not any(message[k] for k in ("content", "embeds", "components", "attachments")):
            raise ApiError(400, 50006, "Cannot send an empty message")
        return message


def _json(body: Any, status: int, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer.  discord.py compares the content type for equality: no charset may follow."""
    content_type = {"Content-Type": "application/json"}
    return web.Response(body=json.dumps(body).encode(), status=status, headers=content_type | (headers or {}))
