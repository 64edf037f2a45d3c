"""The world of the bot's tests: real documents in a real index, and an answerer that anybody can predict.

`Predictable` ranks sentences by how many words of the question they hold. Everything else is the real thing:
quotes are slices of the index, their files are compared before they are shown, references are looked up.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import simcord
import simcord.interactions

from bot.fakediscord.world import walk
from qabot import smalltalk
from qabot.answering import Answerer
from qabot.bot.client import QabotClient
from qabot.bot.desk import Desk
from qabot.bot.options import BotSettings
from qabot.bot.store import Store
from qabot.library import Library
from qabot.quoting import Ranked, build_quotes
from qabot.types import Answer, Outcome
from support import SEEDS, FakeEncoder, build, settings_for, write_files

WORD = re.compile(r"\w{4,}")
HOSTILE_LINE = (
    "The **harbour pilot** said: @everyone see <@123456789012345678> at [this page](https://evil.example/x) or "
    "discord.gg/abc, ||hidden|| and `code` with ```fences```, \u202ereversed\u202c and zero\u200bwidth <t:1700000000:R>."
)
LONG_LINE = "The endless customs ledger " + "records another barrel of tar and rope " * 125 + "until the page is full."
FILES = {
    "hostile.txt": f"Notes of the harbour\n\n# not a heading\n{HOSTILE_LINE}\n> not a quote\n- not a list\n",
    "ledger.txt": f"Customs ledger\n\nA short sentence before it. {LONG_LINE} A short sentence behind it.\n",
    "handbook/hours.txt": "Opening hours\r\n\r\nThe reading room opens at nine on weekdays, and on Saturdays it\r\n"
    "opens at ten in the morning. It closes at six.\r\n",
    "handbook/fees.txt": "Fees\n\nBorrowing a laptop costs two euros each day. A deposit is not needed.\n",
}
SOURCES = """
["handbook/hours.txt"]
title = "Opening hours of the reading room"
publisher = "The library"
url = "https://docs.example.org/hours"

["handbook/fees.txt"]
title = "Fees"
url = "https://elsewhere.example.net/fees"

["hostile.txt"]
title = "Notes @everyone [x](https://evil.example) **bold**"
"""
HOSTS = ("docs.example.org",)
# Questions that `Predictable` answers from one document, from several, and not at all.
ONE = "When does the reading room open on weekdays?"
MANY = "What human rights obligations does Russia have under international law?"
HOSTILE = "What did the harbour pilot say at this page?"
LONG = "What does the endless customs ledger record?"
NEAR = "Which laptop may visitors photograph during thunderstorms at weekends?"
NOTHING = "zylophonic quixotry xenogamous?"


class Predictable(Library):
    """An answerer without a model. `hold`: cleared, questions wait; `asked`: every question that came through."""

    reader = "none"

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self.asked: list[str] = []
        self.hold = threading.Event()
        self.hold.set()

    def ask(
        self,
        question: str,
        *,
        quotes: int | None = None,
        scope: Sequence[str] = (),
        per_document: bool = False,
        explain: bool = False,
    ) -> Answer:
        self.asked.append(question)
        assert self.hold.wait(20), "held for too long"
        index = self.index
        answer = Answer(question, "nothing", 0.0, (), "predictable", index.id)
        kind = smalltalk.kind_of(question) or (None if question.strip() else "empty")
        if kind:
            return Answer(question, "nothing", 0.0, (), "predictable", index.id, note=kind)
        wanted = set(WORD.findall(question.lower()))
        scored = []
        for document in index.documents():
            if scope and not any(name in document.path for name in scope):
                continue
            text = index.text(document.id)
            for stored in index.passages_of(document.id, 0, len(text)):
                words = set(WORD.findall(text[stored.passage.start : stored.passage.end].lower()))
                score = len(wanted & words) / max(1, len(wanted))
                if score > 0.1 and not stored.passage.furniture:
                    scored.append(Ranked(stored, score))
        scored.sort(key=lambda ranked: (-ranked.score, ranked.stored.id))
        best = scored[0].score if scored else 0.0
        found = build_quotes(index, scored[:50], quotes or self.settings.quotes, 90, per_document=per_document)
        shown, withheld = Answerer._verified(self, found)  # type: ignore[arg-type]
        outcome: Outcome = "answered" if best >= 0.5 and shown else "related" if best >= 0.3 else "nothing"
        return Answer(question, outcome, best, shown, "predictable", answer.index, gone=tuple(withheld))


def make_corpus(root: Path) -> Path:
    """Seeds and hostile documents under root/documents, indexed in root/index."""
    documents = root / "documents"
    shutil.copytree(SEEDS, documents)
    write_files(documents, FILES)
    with (documents / "sources.toml").open("a", encoding="utf-8") as file:
        file.write(SOURCES)
    # A wide window, so that the encoder splits no sentence.
    build(documents, root / "index", FakeEncoder(window=4000))
    return root


def make_desk(root: Path, **options: Any) -> Desk:
    """A desk over the corpus in `root`; nobody has to wait for a cooldown unless the test says so."""
    chosen = {"store": root / "bot.sqlite", "cooldown": 0.0, "link_hosts": HOSTS, "remember": 0.0, **options}
    desk = Desk(Predictable(settings_for(root)), Store(chosen["store"]), BotSettings(**chosen))  # type: ignore[arg-type]
    desk.look_again()
    return desk


def predictable(desk: Desk) -> Predictable:
    """The stand-in that answers at a desk of `make_desk`."""
    return cast(Predictable, desk.answerer)


class World:
    """One server with a channel, a member, another member and an admin, and the bot."""

    def __init__(self, env: simcord.Env, bot: QabotClient, *, locale: str = "en-US") -> None:
        import discord

        self.env, self.bot, self.desk = env, bot, bot.desk
        self.guild = env.create_guild("Readers", preferred_locale=locale)
        self.channel = self.guild.create_text_channel("questions")
        self.alice = self.guild.add_member(env.create_user("alice"))
        self.bob = self.guild.add_member(env.create_user("bob"))
        managers = self.guild.create_role("Managers", permissions=discord.Permissions(manage_guild=True))
        self.admin = self.guild.add_member(env.create_user("ada"), roles=[managers])

    @property
    def answerer(self) -> Predictable:
        return predictable(self.desk)

    async def press(self, person: Any, message: Any, label: str) -> Any:
        """A person presses the button with this label or emoji."""
        return await person.click(message, custom_id=ids(message)[label])

    def mention(self, text: str) -> str:
        assert self.bot.user is not None
        return f"<@{self.bot.user.id}> {text}"


@contextmanager
def speaking(locale: str) -> Iterator[None]:
    """Everybody's client is in this language; simcord itself knows only en-US."""
    original = simcord.interactions.base_payload

    def translated(*args: Any, **options: Any) -> Any:
        record, payload = original(*args, **options)
        return record, payload | {"locale": locale}

    simcord.interactions.base_payload = translated
    try:
        yield
    finally:
        simcord.interactions.base_payload = original


@asynccontextmanager
async def world(root: Path, *, locale: str = "en-US", **options: Any) -> AsyncIterator[World]:
    """The bot in a simulated Discord."""
    desk = make_desk(root, **options)
    bot = QabotClient(desk)
    try:
        async with simcord.run(bot, shard_count=1) as env:
            yield World(env, bot, locale=locale)
    finally:
        desk.gate.close()
        desk.store.close()


def parts(message: Any) -> list[dict[str, Any]]:
    """Every component of a message, parents first."""
    raw = message.components
    return walk([part if isinstance(part, dict) else part.to_dict() for part in raw])


def text_of(message: Any) -> str:
    """Everything a reader of a message sees as text."""
    found = [message.content or "", *(part["content"] for part in parts(message) if part["type"] == 10)]
    return "\n".join(piece for piece in found if piece)


def labels(message: Any) -> list[str]:
    """What stands on its buttons."""
    return [part.get("label") or part["emoji"]["name"] for part in parts(message) if part["type"] == 2]


def ids(message: Any) -> dict[str, str]:
    """Button label -> custom_id."""
    return {
        part.get("label") or part["emoji"]["name"]: part["custom_id"]
        for part in parts(message)
        if part["type"] == 2 and "custom_id" in part
    }
