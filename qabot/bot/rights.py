"""Which permissions the bot needs, and which it lacks."""

from __future__ import annotations

import discord

NEEDED = ("view_channel", "send_messages", "send_messages_in_threads", "read_message_history")
"""View and send: to answer. Threads: to answer in them. History: to reply to messages and to mark old answers."""
INVITE = "https://discord.com/oauth2/authorize?client_id={application}&scope=bot+applications.commands&permissions={permissions}"


def invite_permissions() -> int:
    """The least permissions, as the invite link states them."""
    return discord.Permissions(**dict.fromkeys(NEEDED, True)).value


def invite_link(application: int | str) -> str:
    """The link that adds the bot to a server with no more than it needs."""
    return INVITE.format(application=application, permissions=invite_permissions())


def missing(permissions: discord.Permissions) -> list[str]:
    """What of the needed is not granted, by discord.py's names."""
    if permissions.administrator:
        return []
    return [name for name in NEEDED if not getattr(permissions, name)]
