"""The bot as a process, for tests: `python -m bot.fakediscord.redirect bot.botprocess ROOT LEVEL [measure]`.

With `stuck` instead, one question is never answered. With `measure` it answers with the default model, and writes how late its event loop ran to ROOT/lag.json.
"""

import asyncio
import json
import logging
import sys
import time
from pathlib import Path

from bot.botworld import HOSTS, ONE, Predictable
from qabot.bot import run
from qabot.bot.client import QabotClient
from qabot.bot.options import BotSettings
from qabot.config import load_settings
from qabot.types import Answer
from support import settings_for

TICK = 0.01


class Measured(QabotClient):
    """Notes how late a timer of 10 ms fires."""

    async def setup_hook(self) -> None:
        await super().setup_hook()
        self.lags: list[float] = []
        self.ticking = asyncio.create_task(self.tick())

    async def tick(self) -> None:
        while True:
            begun = time.perf_counter()
            await asyncio.sleep(TICK)
            self.lags.append(time.perf_counter() - begun - TICK)

    async def close(self) -> None:
        self.ticking.cancel()
        (root / "lag.json").write_text(json.dumps(self.lags))
        await super().close()


class Stuck(Predictable):
    """Never finishes one question."""

    def ask(self, question: str, **options: object) -> Answer:
        if question == ONE:
            time.sleep(300)
        return super().ask(question, **options)  # type: ignore[arg-type]


if __name__ == "__main__":
    root = Path(sys.argv[1])
    options = {"store": root / "process.sqlite", "link_hosts": HOSTS, "cooldown": 0}
    level = logging.getLevelNamesMapping()[sys.argv[2]] if len(sys.argv) > 2 else logging.INFO
    if "measure" in sys.argv:
        settings = load_settings(None, {"documents": root / "documents", "index": root / "index"})
        run.QabotClient = Measured  # type: ignore[attr-defined]
        options |= {"queue": 100, "remember": 0}
    else:
        settings = settings_for(root)
        kind = Stuck if "stuck" in sys.argv else Predictable
        run.Answerer = lambda settings, tell: kind(settings)  # type: ignore[assignment, attr-defined, misc]
    sys.exit(run.run_bot(settings, BotSettings(**options), level=level))
