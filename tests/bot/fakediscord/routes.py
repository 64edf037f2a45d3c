"""The REST routes: one small handler each.  Unknown routes are recorded in ``FakeDiscord.unhandled``."""

from __future__ import annotations

import copy
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from . import limits
from .gateway import GUILDS
from .limits import ApiError
from .world import (
    EPHEMERAL,
    LOADING,
    Call,
    Payload,
    Request,
    attachment,
    iso_now,
    new_channel,
    new_message,
    notify,
    snowflake,
)

if TYPE_CHECKING:
    from .server import FakeDiscord

ACK_SECONDS = 3.0
USER_INSTALL_FOLLOWUPS = 5

Handler = Callable[..., Awaitable[Any]]

ROUTES: list[tuple[str, re.Pattern[str], Handler, bool]] = []


def _serve(method: str, template: str, *, public: bool = False) -> Callable[[Handler], Handler]:
    pattern = re.compile(re.sub(r"{(\w+)}", r"(?P<\1>[^/]+)", template))

    def register(handler: Handler) -> Handler:
        ROUTES.append((method, pattern, handler, public))
        return handler

    return register


@_serve("GET", "/users/@me")
async def _me(fake: FakeDiscord, _: Request) -> Payload:
    return fake.bot | {"verified": True, "mfa_enabled": True, "locale": "en-US", "email": None}


@_serve("GET", "/applications/@me")
@_serve("GET", "/oauth2/applications/@me")
async def _application(fake: FakeDiscord, _: Request) -> Payload:
    return fake.application()


@_serve("GET", "/gateway/bot")
async def _gateway_bot(fake: FakeDiscord, _: Request) -> Payload:
    start = {"total": 1000, "remaining": 1000, "reset_after": 0, "max_concurrency": 1}
    return {"url": fake.gateway_url, "shards": 1, "session_start_limit": start}


@_serve("GET", "/users/@me/guilds")
async def _my_guilds(fake: FakeDiscord, request: Request) -> list[Payload]:
    if "after" in request.query:
        return []
    return [
        {"id": g["id"], "name": g["name"], "icon": None, "owner": False, "permissions": "0", "features": []}
        for g in fake.guilds.values()
    ]


@_serve("GET", "/guilds/{guild}")
async def _guild(fake: FakeDiscord, _: Request, guild: str) -> Payload:
    return {k: v for k, v in fake.guilds[guild].items() if k not in ("members", "channels", "threads")}


@_serve("GET", "/guilds/{guild}/channels")
async def _channels(fake: FakeDiscord, _: Request, guild: str) -> list[Payload]:
    channels: list[Payload] = fake.guilds[guild]["channels"]
    return channels


@_serve("GET", "/guilds/{guild}/members/{user}")
async def _member(fake: FakeDiscord, _: Request, guild: str, user: str) -> Payload:
    return next(m for m in fake.guilds[guild]["members"] if m["user"]["id"] == user)


@_serve("GET", "/users/{user}")
async def _user(fake: FakeDiscord, _: Request, user: str) -> Payload:
    if user not in fake.users:
        raise ApiError(404, 10013, "Unknown User")
    return fake.users[user]


@_serve("POST", "/users/@me/channels")
async def _open_dm(fake: FakeDiscord, request: Request) -> Payload:
    return fake.add_dm(fake.users[str(request.body["recipient_id"])])


@_serve("GET", "/applications/{app}/commands")
@_serve("GET", "/applications/{app}/guilds/{guild}/commands")
async def _commands(fake: FakeDiscord, _: Request, app: str, guild: str | None = None) -> list[Payload]:
    return fake.commands.get(guild, [])


@_serve("PUT", "/applications/{app}/commands")
@_serve("PUT", "/applications/{app}/guilds/{guild}/commands")
async def _sync(fake: FakeDiscord, request: Request, app: str, guild: str | None = None) -> list[Payload]:
    limits.check_commands(request.body)
    before = {(c["name"], c["type"]): c["id"] for c in fake.commands.get(guild, [])}
    fake.commands[guild] = [
        {"type": 1, "description": "", "options": [], "default_member_permissions": None}
        | command
        | {
            "integration_types": command.get("integration_types") or [0],
            "id": before.get((command["name"], command.get("type", 1))) or snowflake(),
            "application_id": app,
            "version": snowflake(),
        }
        | ({"guild_id": guild} if guild else {})
        for command in request.body
    ]
    for command in fake.commands[guild]:
        needed = command["default_member_permissions"]
        command["default_member_permissions"] = None if needed is None else str(needed)
    return fake.commands[guild]


@_serve("POST", "/interactions/{interaction}/{token}/callback", public=True)
async def _callback(fake: FakeDiscord, request: Request, interaction: str, token: str) -> Any:
    call = fake.calls.get(token)
    late = call is not None and fake.now() - call.sent_at > ACK_SECONDS
    if call is None or call.payload["id"] != interaction or (late and not call.acknowledged):
        raise ApiError(404, 10062, "Unknown interaction")
    if call.acknowledged:
        raise ApiError(400, 40060, "Interaction has already been acknowledged.")
    kind, data = request.body["type"], request.body.get("data") or {}
    source = call.payload.get("message")
    meta = {"id": interaction, "type": call.payload["type"], "user": call.user, "authorizing_integration_owners": {}}
    if call.payload["type"] == 3:
        assert source is not None
        meta["interacted_message_id"] = source["id"]
    if call.payload["type"] == 5:
        first = {"id": interaction, "type": 2, "user": call.user, "authorizing_integration_owners": {}}
        meta["triggering_interaction_metadata"] = first
    extra = {"interaction_metadata": meta, "application_id": fake.application_id, "webhook_id": fake.application_id}
    message: Payload | None = None
    if kind == 4:
        message = await fake.compose(call.channel, request, data, **extra)
    elif kind == 5:
        if (data.get("flags") or 0) & ~EPHEMERAL:
            raise limits.invalid("data.flags", "INTERACTION_DEFER_FLAGS", "A deferral may only be EPHEMERAL")
        message = new_message(call.channel, fake.bot, {"flags": LOADING | (data.get("flags") or 0)}) | extra
        fake.messages[message["id"]] = message
    elif kind == 6:
        assert source is not None
        message = fake.message(source["id"])
    elif kind == 7:
        assert source is not None
        message = fake.edit(fake.message(source["id"]), data)
    elif kind == 8:
        limits.at_most("data.choices", data.get("choices"), 25)
        for i, choice in enumerate(data["choices"]):
            limits.required(f"data.choices.{i}.name", choice["name"])
            for key in ("name", "value"):
                if isinstance(choice[key], str):
                    limits.at_most(f"data.choices.{i}.{key}", choice[key], 100)
    elif kind == 9:
        if call.payload["type"] == 5:
            raise limits.invalid("type", "INTERACTION_CALLBACK_INVALID", "A modal cannot answer a modal")
        limits.check_modal(data)
    else:
        raise limits.invalid("type", "BASE_TYPE_CHOICES", f"unexpected callback type {kind}")
    call.callback, call.callback_after = request.body, fake.now() - call.sent_at
    if message is not None:
        call.original = message
        call.history.append(copy.deepcopy(message))
    call.changed.set()
    if request.query.get("with_response") not in ("1", "true"):
        return None
    about = {
        "id": interaction,
        "type": call.payload["type"],
        "response_message_loading": kind == 5,
        "response_message_ephemeral": call.ephemeral,
    } | ({"response_message_id": message["id"]} if message else {})
    if message is None or kind not in (4, 7):
        return {"interaction": about}
    return {"interaction": about, "resource": {"type": kind, "message": message}}


@_serve("POST", "/webhooks/{app}/{token}", public=True)
async def _followup(fake: FakeDiscord, request: Request, app: str, token: str) -> Payload:
    call = fake.call(token)
    if call.original is not None and call.original["flags"] & LOADING:
        # The first follow-up after a deferral fills the placeholder; its ephemerality is fixed.
        limits.check_message(request.body, files=len(request.files))
        message = fake.edit(call.original, request.body)
    else:
        if "0" not in call.payload["authorizing_integration_owners"] and len(call.followups) >= USER_INSTALL_FOLLOWUPS:
            raise ApiError(400, 40094, "Maximum number of follow-ups for a user-installed app reached")
        meta = {"interaction_metadata": call.original["interaction_metadata"]} if call.original else {}
        message = await fake.compose(call.channel, request, request.body, **meta)
        call.followups.append(message)
    call.history.append(copy.deepcopy(message))
    call.changed.set()
    return message


def _webhook_message(fake: FakeDiscord, call: Call, message: str) -> Payload:
    if message != "@original":
        return fake.message(message)
    if call.original is None:
        raise ApiError(404, 10008, "Unknown Message")
    return call.original


@_serve("GET", "/webhooks/{app}/{token}/messages/{message}", public=True)
async def _webhook_get(fake: FakeDiscord, _: Request, app: str, token: str, message: str) -> Payload:
    return _webhook_message(fake, fake.call(token), message)


@_serve("PATCH", "/webhooks/{app}/{token}/messages/{message}", public=True)
async def _webhook_edit(fake: FakeDiscord, request: Request, app: str, token: str, message: str) -> Payload:
    call = fake.call(token)
    edited = fake.edit(_webhook_message(fake, call, message), request.body)
    edited["attachments"] += [attachment(n, d) for n, d in request.files.items()]
    notify(fake.users, edited, request.body.get("allowed_mentions"))
    call.history.append(copy.deepcopy(edited))
    call.changed.set()
    return edited


@_serve("DELETE", "/webhooks/{app}/{token}/messages/{message}", public=True)
async def _webhook_delete(fake: FakeDiscord, _: Request, app: str, token: str, message: str) -> None:
    call = fake.call(token)
    del fake.messages[_webhook_message(fake, call, message)["id"]]


@_serve("POST", "/channels/{channel}/messages")
async def _send(fake: FakeDiscord, request: Request, channel: str) -> Payload:
    place, body, extra = fake.channel(channel), request.body or {}, {}
    if reference := body.get("message_reference"):
        target = fake.messages.get(str(reference["message_id"]))
        if target is None and reference.get("fail_if_not_exists", True):
            raise limits.invalid("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        # discord.py sends these ids as numbers; Discord always answers with strings.
        ids = {k: str(v) for k, v in reference.items() if k.endswith("_id")}
        link = {"type": 0, "channel_id": channel} | ids
        extra = {"type": 19, "message_reference": link, "referenced_message": target}
    return await fake.compose(place, request, body, **extra)


@_serve("GET", "/channels/{channel}")
async def _get_channel(fake: FakeDiscord, _: Request, channel: str) -> Payload:
    return fake.channel(channel)


@_serve("GET", "/channels/{channel}/messages/{message}")
async def _get_message(fake: FakeDiscord, _: Request, channel: str, message: str) -> Payload:
    return fake.message(message)


@_serve("PATCH", "/channels/{channel}/messages/{message}")
async def _edit_message(fake: FakeDiscord, request: Request, channel: str, message: str) -> Payload:
    found = fake.message(message)
    if found["author"]["id"] != fake.bot["id"]:
        raise ApiError(403, 50005, "Cannot edit a message authored by another user")
    if found["flags"] & EPHEMERAL:
        raise ApiError(404, 10008, "Unknown Message")
    return fake.edit(found, request.body)


@_serve("DELETE", "/channels/{channel}/messages/{message}")
async def _delete_message(fake: FakeDiscord, _: Request, channel: str, message: str) -> None:
    del fake.messages[fake.message(message)["id"]]


@_serve("POST", "/channels/{channel}/typing")
async def _typing(fake: FakeDiscord, _: Request, channel: str) -> None:
    fake.typing.append(fake.channel(channel)["id"])


@_serve("POST", "/channels/{channel}/messages/{message}/threads")
async def _thread(fake: FakeDiscord, request: Request, channel: str, message: str) -> Payload:
    parent, source = fake.channel(channel), fake.message(message)
    thread = new_channel(request.body["name"], parent["guild_id"], kind=11) | {
        "id": source["id"],
        "parent_id": channel,
        "owner_id": fake.bot["id"],
        "message_count": 0,
        "member_count": 1,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": iso_now(),
            "locked": False,
        },
    }
    fake.channels[thread["id"]] = thread
    await fake.gateway.dispatch("THREAD_CREATE", thread, guild_id=parent["guild_id"], intent=GUILDS)
    return thread
