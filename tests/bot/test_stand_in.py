"""The stand-in for Discord refuses what Discord refuses: otherwise the tests over it could not fail."""

from typing import Any

import pytest

from bot.fakediscord.limits import ApiError, check_commands, check_message, check_modal
from bot.fakediscord.world import COMPONENTS_V2

V2 = {"flags": COMPONENTS_V2}


def text(content: str) -> dict[str, Any]:
    return {"type": 10, "content": content}


def button(custom_id: str = "a", label: str = "b") -> dict[str, Any]:
    return {"type": 2, "style": 2, "custom_id": custom_id, "label": label}


def row(*items: dict[str, Any]) -> dict[str, Any]:
    return {"type": 1, "components": list(items)}


@pytest.mark.parametrize(
    "body",
    [
        V2 | {"components": [text("x" * 4001)]},
        V2 | {"components": [text("x" * 2001), text("y" * 2000)]},
        V2 | {"components": [text("x") for _ in range(41)]},
        V2 | {"components": [text("")]},
        V2 | {"components": [text("x")], "content": "beside it"},
        V2 | {"components": [row(*(button(str(n)) for n in range(6)))]},
        V2 | {"components": [row()]},
        V2 | {"components": [row(button(), button())]},
        V2 | {"components": [row(button("x" * 101))]},
        V2 | {"components": [row(button(label="x" * 81))]},
        V2 | {"components": [{"type": 9, "components": [text("x")]}]},
        {"content": "x" * 2001},
        {"content": ""},
    ],
)
def test_messages_beyond_the_limits(body: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        check_message(body)


def test_a_message_at_the_limits() -> None:
    check_message(V2 | {"components": [text("x" * 4000), row(*(button(str(n)) for n in range(5)))]})


@pytest.mark.parametrize(
    "command",
    [
        {"type": 1, "name": "Ask", "description": "d"},
        {"type": 1, "name": "ask", "description": ""},
        {"type": 1, "name": "ask", "description": "d" * 101},
        {"type": 3, "name": "menu", "description": "no"},
    ],
)
def test_commands_beyond_the_limits(command: dict[str, Any]) -> None:
    with pytest.raises(ApiError):
        check_commands([command])


def test_modals_beyond_the_limits() -> None:
    with pytest.raises(ApiError):
        check_modal({"title": "t" * 46, "custom_id": "c", "components": []})
