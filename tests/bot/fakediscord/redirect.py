"""Point discord.py at another server.  The only monkeypatching in this package.

discord.py 2.7.1 has exactly two hard-coded origins that a bot needs:

* ``discord.http.Route.BASE``: the REST origin *and* the webhook/interaction origin
  (``discord.webhook.async_`` builds its URLs with the same class);
* ``DiscordWebSocket.DEFAULT_GATEWAY``: where the first connection goes.  A plain
  ``Client``/``Bot`` never calls ``GET /gateway/bot``; only an ``AutoShardedClient``
  without ``shard_count`` does.  Later connections use ``resume_gateway_url`` from READY.

``Asset.BASE`` (the CDN) matters only to a bot that downloads avatars or icons.
"""

from __future__ import annotations

import contextlib
import os
import runpy
import sys
from collections.abc import Iterator
from typing import Protocol

import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

API_VARIABLE = "FAKEDISCORD_API"
GATEWAY_VARIABLE = "FAKEDISCORD_GATEWAY"


class Origins(Protocol):
    """Anything that knows its REST and gateway addresses."""

    @property
    def api_url(self) -> str: ...

    @property
    def gateway_url(self) -> str: ...


def point_at(api_url: str, gateway_url: str) -> None:
    """Send every later REST request and first gateway connection to these addresses."""
    for url in (api_url, gateway_url):
        if yarl.URL(url).host not in {"127.0.0.1", "localhost", "::1"}:
            raise ValueError(f"refusing a target that is not loopback: {url}")
    Route.BASE = api_url
    DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway_url)
    discord.Asset.BASE = api_url.rsplit("/api/", 1)[0] + "/cdn"


@contextlib.contextmanager
def redirect(target: Origins) -> Iterator[None]:
    """Point discord.py at *target* for the length of a ``with`` block."""
    saved = Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, discord.Asset.BASE
    point_at(target.api_url, target.gateway_url)
    try:
        yield
    finally:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY, discord.Asset.BASE = saved


def main() -> None:
    """``python -m bot.fakediscord.redirect MODULE [ARGS...]``: run an unmodified bot as a process."""
    point_at(os.environ[API_VARIABLE], os.environ[GATEWAY_VARIABLE])
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
