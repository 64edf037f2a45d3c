"""Check recorded requests, and the fake's own answers, against Discord's official OpenAPI file.

The file is ``specs/openapi.json`` of github.com/discord/discord-api-spec (MIT).  It states shapes,
lengths and counts, so it is an oracle that neither the bot's authors nor the fake's authors wrote.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from referencing import Registry, Resource

from .world import Request

ALIASES = {"/oauth2/applications/@me": "/applications/@me"}


class Spec:
    """Validators for the request and answer bodies of every documented route."""

    def __init__(self, path: Path) -> None:
        self.document = json.loads(path.read_text())
        root = Resource.from_contents(self.document | {"$schema": "https://json-schema.org/draft/2020-12/schema"})
        self.registry = Registry().with_resource("spec:", root)
        # A literal path (``/users/@me``) goes before a pattern (``/users/{user_id}``).
        self.routes = sorted(
            ((re.compile(re.sub(r"{\w+}", "[^/]+", route) + "$"), route) for route in self.document["paths"]),
            key=lambda pair: pair[1].count("{"),
        )

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        path = ALIASES.get(path, path)
        for pattern, route in self.routes:
            if pattern.match(path) and method.lower() in self.document["paths"][route]:
                return route, self.document["paths"][route][method.lower()]
        return None

    def _errors(self, where: str, body: Any) -> list[str]:
        validator = Draft202012Validator({"$ref": f"spec:#{where}"}, registry=self.registry)
        return [explain(error) for error in validator.iter_errors(body)]

    @staticmethod
    def _forgiven(body: Any) -> Any:
        """discord.py sends numeric ids in `message_reference` and `attachments`; Discord accepts them."""
        if not isinstance(body, dict):
            return body
        body = dict(body)
        if body.get("message_reference"):
            ids = {k: str(v) if k.endswith("_id") else v for k, v in body["message_reference"].items()}
            body["message_reference"] = ids
        if body.get("attachments"):
            body["attachments"] = [attachment | {"id": str(attachment["id"])} for attachment in body["attachments"]]
        return body

    def problems(self, request: Request) -> list[str]:
        """What is wrong with a request body and with the answer it got."""
        found = self._operation(request.method, request.path)
        if found is None:
            return [f"{request.method} {request.path}: not in the specification"]
        route, operation = found
        base = f"/paths/{route.replace('~', '~0').replace('/', '~1')}/{request.method.lower()}"
        out: list[str] = []
        if request.body is not None and "requestBody" in operation:
            content = operation["requestBody"]["content"]
            if "application/json" in content:
                where = f"{base}/requestBody/content/application~1json/schema"
                errors = self._errors(where, self._forgiven(request.body))
                out += [f"request: {e}" for e in errors]
        if request.status == 200:
            content = operation["responses"].get("200", {}).get("content", {})
            if "application/json" in content:
                errors = self._errors(f"{base}/responses/200/content/application~1json/schema", request.reply)
                out += [f"answer: {e}" for e in errors]
        return [f"{request.method} {route}: {problem}" for problem in out]


def explain(error: Any) -> str:
    """The deepest, most telling cause of a validation error."""
    while error.context:
        error = max(error.context, key=lambda e: (len(e.absolute_path), e.validator != "type"))
    return f"{'/'.join(map(str, error.absolute_path))}: {error.message[:160]}"
