"""Discord's published limits, as the API enforces them: error 50035 and friends."""

from __future__ import annotations

import re
from typing import Any

from .world import COMPONENTS_V2, Payload, walk

NAME = re.compile(r"^[-_'\w\u0900-\u097F\u0E00-\u0E7F]{1,32}$")


class ApiError(Exception):
    """An error answer: HTTP status, Discord's error code, message and field errors."""

    def __init__(self, status: int, code: int, message: str, errors: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.body: Payload = {"code": code, "message": message}
        if errors:
            self.body["errors"] = errors


def invalid(where: str, code: str, message: str) -> ApiError:
    """The shape of Discord's form errors: nested keys down to ``_errors``."""
    node: Any = {"_errors": [{"code": code, "message": message}]}
    for key in reversed(where.split(".")):
        node = {key: node}
    return ApiError(400, 50035, "Invalid Form Body", node)


def at_most(where: str, value: str | list[Any] | None, limit: int) -> None:
    """Refuse a string or list that is longer than *limit*."""
    if value is not None and len(value) > limit:
        unit = "in length" if isinstance(value, str) else "items"
        raise invalid(where, "BASE_TYPE_BAD_LENGTH", f"Must be {limit} or fewer {unit}.")


def required(where: str, value: str | None) -> None:
    """Refuse a missing or empty string."""
    if not value:
        raise invalid(where, "BASE_TYPE_REQUIRED", "This field is required")


def check_embeds(embeds: list[Payload]) -> None:
    """At most 10 embeds, each part within its limit, 6000 characters over all of them."""
    at_most("embeds", embeds, 10)
    total = 0
    for i, embed in enumerate(embeds):
        at = f"embeds.{i}"
        parts = [
            ("title", embed.get("title"), 256),
            ("description", embed.get("description"), 4096),
            ("footer.text", (embed.get("footer") or {}).get("text"), 2048),
            ("author.name", (embed.get("author") or {}).get("name"), 256),
        ]
        at_most(f"{at}.fields", embed.get("fields"), 25)
        for j, item in enumerate(embed.get("fields") or []):
            required(f"{at}.fields.{j}.name", item.get("name"))
            required(f"{at}.fields.{j}.value", item.get("value"))
            parts += [(f"fields.{j}.name", item["name"], 256), (f"fields.{j}.value", item["value"], 1024)]
        for name, value, limit in parts:
            at_most(f"{at}.{name}", value, limit)
            total += len(value or "")
        for key in ("url", "thumbnail.url", "image.url"):
            url: Any = embed
            for step in key.split("."):
                url = (url or {}).get(step)
            if url and not url.startswith(("http://", "https://", "attachment://")):
                raise invalid(f"{at}.{key}", "URL_TYPE_INVALID_SCHEME", "Scheme must be http or https.")
    if total > 6000:
        raise invalid("embeds", "MAX_EMBED_SIZE_EXCEEDED", "Embed size exceeds maximum size of 6000")


def check_components(components: list[Payload], *, v2: bool) -> None:
    """Counts, labels, ids and nesting, in the old and in the V2 layout."""
    every = walk(components)
    if v2:
        if len(every) > 40:
            raise invalid("components", "BASE_TYPE_BAD_LENGTH", "Must be 40 or fewer components.")
        if sum(len(c["content"]) for c in every if c["type"] == 10) > 4000:
            raise invalid("components", "COMPONENT_MAX_TEXT_SIZE_EXCEEDED", "Text exceeds 4000 characters")
    else:
        at_most("components", components, 5)
        if any(c["type"] != 1 for c in components):
            raise invalid("components.0", "UNION_TYPE_CHOICES", 'Value of field "type" must be one of (1,).')
    ids: set[str] = set()
    for i, part in enumerate(every):
        at = f"components.{i}"
        kind = part["type"]
        if kind == 1 and not 1 <= len(part["components"]) <= 5:
            raise invalid(f"{at}.components", "BASE_TYPE_BAD_LENGTH", "Must be between 1 and 5 in length.")
        if kind == 2:
            at_most(f"{at}.label", part.get("label"), 80)
            if part.get("style") == 5:
                required(f"{at}.url", part.get("url"))
                at_most(f"{at}.url", part["url"], 512)
                if not part["url"].startswith(("http://", "https://", "discord://")):
                    raise invalid(f"{at}.url", "URL_TYPE_INVALID_SCHEME", "Scheme must be http, https or discord.")
            else:
                required(f"{at}.custom_id", part.get("custom_id"))
            if not part.get("label") and not part.get("emoji"):
                raise invalid(at, "BUTTON_COMPONENT_LABEL_EMOJI_REQUIRED", "A label or an emoji is required.")
        if kind == 3:
            at_most(f"{at}.options", part.get("options"), 25)
            at_most(f"{at}.placeholder", part.get("placeholder"), 150)
            for j, option in enumerate(part.get("options") or []):
                for key in ("label", "value", "description"):
                    at_most(f"{at}.options.{j}.{key}", option.get(key), 100)
        if kind == 10:
            required(f"{at}.content", part.get("content"))
        if kind == 9 and not (1 <= len(part["components"]) <= 3 and part.get("accessory")):
            raise invalid(at, "BASE_TYPE_REQUIRED", "A section has 1 to 3 texts and an accessory.")
        if custom_id := part.get("custom_id"):
            at_most(f"{at}.custom_id", custom_id, 100)
            if custom_id in ids:
                raise invalid(at, "COMPONENT_CUSTOM_ID_DUPLICATED", "Component custom id cannot be duplicated")
            ids.add(custom_id)


def check_message(body: Payload, *, files: int = 0, partial: bool = False, base_flags: int = 0) -> None:
    """What Discord checks before it accepts a message or (partial) an edit."""
    flags = int(body.get("flags") or 0) | base_flags
    v2 = bool(flags & COMPONENTS_V2)
    content = body.get("content")
    if content is not None and not isinstance(content, str):
        raise invalid("content", "BASE_TYPE_BAD_STRING", "Must be a string.")
    at_most("content", content, 2000)
    check_embeds(body.get("embeds") or [])
    check_components(body.get("components") or [], v2=v2)
    if v2 and (content or body.get("embeds") or body.get("poll")):
        raise invalid(
            "content",
            "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2",
            "The 'content' field cannot be used when using MessageFlags.IS_COMPONENTS_V2",
        )
    check_allowed_mentions(body.get("allowed_mentions"))
    seen = [(content or "").strip(), body.get("embeds"), body.get("components"), body.get("poll"), files]
    if not partial and not any(seen):
        raise ApiError(400, 50006, "Cannot send an empty message")


def check_allowed_mentions(allowed: Payload | None) -> None:
    """``parse`` and explicit lists exclude each other; lists hold at most 100 ids."""
    if not allowed:
        return
    for kind in ("users", "roles"):
        at_most(f"allowed_mentions.{kind}", allowed.get(kind), 100)
        if kind in (allowed.get("parse") or []) and allowed.get(kind):
            raise invalid(
                "allowed_mentions",
                "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE",
                f'parse:["{kind}"] and {kind}: [ids...] are mutually exclusive.',
            )


def check_modal(data: Payload) -> None:
    """Title and ids of a modal."""
    required("data.title", data.get("title"))
    at_most("data.title", data["title"], 45)
    at_most("data.custom_id", data.get("custom_id"), 100)
    at_most("data.components", data.get("components"), 5)


def check_commands(commands: list[Payload]) -> None:
    """Names, descriptions and counts of a bulk overwrite of application commands."""
    per_type: dict[int, int] = {}
    for i, command in enumerate(commands):
        kind = command.get("type", 1)
        per_type[kind] = per_type.get(kind, 0) + 1
        if kind == 1:
            check_command(f"{i}", command)
        else:
            at_most(f"{i}.name", command["name"], 32)
            if command.get("description"):
                raise invalid(
                    f"{i}.description",
                    "APPLICATION_COMMAND_INVALID_DESCRIPTION",
                    "Context menu commands cannot have a description",
                )
    if per_type.get(1, 0) > 100 or max(per_type.get(2, 0), per_type.get(3, 0)) > 15:
        raise ApiError(400, 30032, "Maximum number of application commands reached")


def check_command(at: str, node: Payload) -> None:
    """One slash command or option, with everything below it."""
    name = node.get("name", "")
    if not NAME.match(name) or name != name.lower():
        raise invalid(f"{at}.name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
    required(f"{at}.description", node.get("description"))
    at_most(f"{at}.description", node["description"], 100)
    at_most(f"{at}.options", node.get("options"), 25)
    at_most(f"{at}.choices", node.get("choices"), 25)
    optional_seen = False
    for j, option in enumerate(node.get("options") or []):
        check_command(f"{at}.options.{j}", option)
        if option["type"] > 2:
            if option.get("required") and optional_seen:
                raise invalid(
                    f"{at}.options.{j}",
                    "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                    "Required options must be placed before non-required options",
                )
            optional_seen |= not option.get("required")
