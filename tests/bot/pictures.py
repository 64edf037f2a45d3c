"""Pictures of real answers for the docs: `python -m bot.pictures FOLDER`, in tests/.

The bot answers in a simulated Discord, from the seeds and the default model; simcord renders what it posted, and
Debian's chromium-headless-shell photographs it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import simcord
from PIL import Image, ImageChops

from bot.botworld import FILES, HOSTS, SOURCES, World, speaking
from qabot.answering import Answerer
from qabot.bot.client import QabotClient
from qabot.bot.desk import Desk
from qabot.bot.options import BotSettings
from qabot.bot.store import Store
from qabot.config import load_settings
from qabot.indexing import reindex
from support import SEEDS, write_files

BROWSER = "chromium-headless-shell"
WIDTH, HEIGHT, SCALE = 860, 1500, 1.5
SIDE, HEAD, FOOT = 350, 180, 260
ONE = "How many states signed the statement about Navalny's arrest?"
THREE = "How do Russian authorities silence independent human rights groups?"
REFUSED = "What is the capital of Australia?"
HOSTILE = "What did the harbour pilot say?"


async def shoot(w: World, viewer: simcord.MemberActor, target: Path, *, locale: str = "en-US") -> None:
    """Photograph the channel as one person sees it, without the tool around it."""
    shot = target.with_suffix(".shot.png")
    async with w.env.preview(
        w.channel, viewers=[viewer], layout="channel", display="fixed", width=WIDTH, height=HEIGHT, locale=locale
    ) as preview:
        command = [
            BROWSER, "--no-sandbox", "--hide-scrollbars", f"--force-device-scale-factor={SCALE}",
            "--virtual-time-budget=6000", f"--window-size={WIDTH + 460},{HEIGHT + 160}", f"--screenshot={shot}", preview.url,
        ]  # fmt: skip
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    if not shot.exists():
        raise SystemExit(errors.decode())
    crop(shot, target)
    shot.unlink()


def crop(shot: Path, target: Path) -> None:
    """Keep the messages: what lies right of the side bar, under the date and above the composer."""
    with Image.open(shot) as opened:
        picture = opened.convert("RGB")
    left, top = int(SIDE * SCALE), int(HEAD * SCALE)
    picture = picture.crop((left, top, left + int((WIDTH - 20) * SCALE), picture.height - int(FOOT * SCALE)))
    empty = Image.new("RGB", picture.size, picture.getpixel((2, picture.height - 2)))
    differs = ImageChops.difference(picture, empty).convert("L").point(lambda value: 255 if value > 6 else 0)
    box = differs.getbbox() or (0, 0, *picture.size)
    margin = int(12 * SCALE)
    picture = picture.crop((0, 0, min(picture.width, box[2] + margin), min(picture.height, box[3] + margin)))
    picture.quantize(128).save(target, optimize=True)


async def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        documents = root / "documents"
        subprocess.run(["cp", "-r", SEEDS, documents], check=True)
        write_files(documents, FILES)
        with (documents / "sources.toml").open("a", encoding="utf-8") as file:
            file.write(SOURCES)
        settings = load_settings(None, {"documents": documents, "index": root / "index"})
        reindex(settings)
        answerer = Answerer(settings)
        for name, question, options, locale in (
            ("one", ONE, {"quotes": 1}, "en-US"),
            ("three", THREE, {"quotes": 3}, "en-US"),
            ("refusal", REFUSED, {}, "en-US"),
            ("hostile", HOSTILE, {"document": "hostile.txt", "quotes": 1}, "en-US"),
            ("private", "When does the reading room open?", {"private": True, "quotes": 1}, "en-US"),
            ("russian", ONE, {"quotes": 1}, "ru"),
        ):
            store = Store(root / f"{name}.sqlite")
            desk = Desk(answerer, store, BotSettings(store=root / "x", cooldown=0, link_hosts=HOSTS))
            desk.look_again()
            bot = QabotClient(desk)
            async with simcord.run(bot, shard_count=1) as env:
                assert bot.user is not None
                env.backend.get_user(bot.user.id).name = "qabot"
                w = World(env, bot, locale=locale)
                with speaking(locale):
                    await w.alice.slash(w.channel, "ask", question=question, **options)
                await shoot(w, w.alice, folder / f"{name}.png", locale=locale)
                if name == "one":
                    await w.press(w.alice, w.channel.last_message, "Look closer")
                    await shoot(w, w.alice, folder / "closer.png")
            store.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
