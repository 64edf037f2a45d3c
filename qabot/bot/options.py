"""The bot's settings: the table `[bot]` of config.toml. Imports nothing of discord.

Owns: their names, ranges and meaning. What admins set for their server while the bot runs is in the store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

HOST = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"


class BotSettings(BaseModel):
    """What whoever runs the bot decides for all servers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Path = Field(Path("bot.sqlite"), description="File with the servers' settings, feedback and recent answers.")
    language: Literal["en", "ru"] = Field("en", description="Language of the bot's own words where nobody chose one.")
    private: bool = Field(
        False, description="Whether answers to commands are shown to the asker alone unless they say."
    )
    link_hosts: tuple[Annotated[str, Field(pattern=HOST)], ...] = Field(
        (), description="Hosts that documents may link to. A document's URL on another host is not shown."
    )
    workers: int = Field(1, ge=1, le=16, description="Questions answered at the same time.")
    queue: int = Field(
        8, ge=0, le=1000, description="Questions that may wait; the next one hears that the bot is busy."
    )
    cooldown: float = Field(3.0, ge=0, le=600, description="Seconds a person earns the next act in.")
    burst: int = Field(4, ge=1, le=100, description="Acts a person may do at once before the cooldown counts.")
    remember: float = Field(
        10.0, ge=0, le=3600, description="Seconds for which the same question gets the same answer."
    )
    watch: float = Field(
        30.0, ge=1, le=86400, description="Seconds between looks for a new index, to mark old answers."
    )
    ledger: int = Field(500, ge=0, le=100_000, description="Recent answers that are marked when their source changes.")
    message_content: bool = Field(
        False, description="Ask Discord for the privileged message-content intent, to answer unaddressed questions."
    )
