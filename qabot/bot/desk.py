"""What every way of asking needs: the answerer behind the gate, what a place has set, and what is remembered.

Owns: cleaning questions, which documents a place may search, and counting. Everything blocking is run off the
event loop. Refuses to know how questions come in and how answers look.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from qabot.answering import Answerer
from qabot.bot.cards import MOST_QUOTES
from qabot.bot.custom_id import QuoteKey
from qabot.bot.gate import Gate
from qabot.bot.options import BotSettings
from qabot.bot.phrases import language_of
from qabot.bot.store import PlaceSettings, ShownQuote, Store
from qabot.errors import UnknownReference
from qabot.snapshot import manifest_stamp
from qabot.types import WITHHELD, Answer, Quote

log = logging.getLogger("qabot.bot")
T = TypeVar("T")
LONG_PATH = "sha256:"
INTERROGATIVE = re.compile(
    r"(?:who|whom|whose|what|when|where|which|why|how|is|are|was|were|do|does|did|can|could|should|would|will|has|have"
    r"|кто|что|когда|где|куда|откуда|какой|какая|какое|какие|каков[аы]?|почему|зачем|как|сколько|чей|чья|чьё|можно)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Where:
    """A place to answer in. server: 0 outside servers. channel, parent: ids; parent of a thread or forum post."""

    server: int
    channel: int | None
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A document as autocompletion offers it."""

    path: str
    title: str
    sha256: str


class Desk:
    """One answerer, shared by all servers."""

    def __init__(self, answerer: Answerer, store: Store, options: BotSettings) -> None:
        self.answerer = answerer
        self.store = store
        self.options = options
        self.gate = Gate(
            workers=options.workers,
            queue=options.queue,
            cooldown=options.cooldown,
            burst=options.burst,
            remember=options.remember,
        )
        self.started = time.monotonic()
        self.answered = 0
        self.refused = 0
        self.known: tuple[Known, ...] = ()

    def warm(self) -> None:
        """Load everything that the first question would wait for. Blocks."""
        self.answerer.ask("What is this about?", quotes=1)
        self.look_again()

    def look_again(self) -> str:
        """Read which documents there are now, and return the index's id. Blocks."""
        found = self.answerer.documents()
        self.known = tuple(Known(stored.path, stored.source.title, stored.sha256) for stored in found)
        return self.answerer.index_id

    def place(self, where: Where) -> PlaceSettings:
        """What holds there: the channel's settings, else its parent's, else the server's."""
        return self.store.settings(where.channel, where.parent, where.server or None)

    def language(self, *wishes: str | None) -> str:
        """The language of the first wish that the bot speaks, else the configured one."""
        return language_of(*wishes, self.options.language)

    async def ask(
        self,
        question: str,
        where: Where,
        *,
        document: str | None = None,
        quotes: int | None = None,
        per_document: bool = False,
        counted: bool = True,
    ) -> Answer:
        """Answer a question as the place allows. counted: it is a new question, not a button. Raises `Refused` and what `Answerer.ask` raises."""
        place = self.place(where)
        paths = self._paths(place.folders or (), document)
        count = quotes or place.quotes or min(self.answerer.settings.quotes, MOST_QUOTES)
        if paths is not None and not paths:
            return Answer(question, "nothing", 0.0, (), "", "", note="out_of_scope")
        scope = paths or ()

        def work() -> Answer:
            return self.answerer.ask(question, quotes=count, scope=scope, per_document=per_document)

        stamp = manifest_stamp(self.answerer.settings.index)
        answer = await self.gate.once((question, count, scope, per_document, stamp), work)
        if paths is not None:
            # A scope names documents loosely; what a place may not show must not slip in by a similar name.
            answer = replace(answer, quotes=tuple(quote for quote in answer.quotes if quote.place.path in paths))
            if not answer.quotes and answer.answered:
                answer = replace(answer, outcome="nothing")
        if counted:
            await self._count(answer, where)
        return answer

    async def run(self, work: Callable[[], T]) -> T:
        """Any other blocking work, behind the same gate."""
        return await self.gate.run(work)

    async def remember(self, work: Callable[[], T]) -> T:
        """A write to the store: short, and never refused."""
        return await asyncio.to_thread(work)

    def quote(self, key: QuoteKey) -> Quote:
        """The quote that a button names. Blocks. Raises `UnknownReference`, also when its file is gone or unreadable."""
        quote = self.checked(key)
        if quote.state in WITHHELD:
            raise UnknownReference(f"{quote.place.path} is {quote.state}: it can't be compared with what was indexed.")
        return quote

    def checked(self, key: QuoteKey) -> Quote:
        """As `quote`, whatever has become of the file: only for saying what has. Blocks."""
        quote = self.answerer.quote_of(key.digest, key.start, key.end)
        return replace(quote, highlights=key.highlights)

    def widened(self, key: QuoteKey, before: int, after: int) -> Quote:
        """That quote with more sentences on its sides. Blocks. Raises `UnknownReference`."""
        quote = self.quote(key)
        start, end = quote.place.start, quote.place.end
        if before:
            start = self.answerer.around(quote, before).place.start
        if after:
            end = self.answerer.around(quote, after).place.end
        return self.quote(replace(key, start=start, end=end))

    def shown(self, keys: Sequence[QuoteKey]) -> tuple[ShownQuote, ...]:
        """The quotes that buttons name, as the store keeps them; those that are gone are left out. Blocks."""
        found = []
        for key in keys:
            try:
                found.append(shown_quote(self.quote(key)))
            except UnknownReference:
                continue
        return tuple(found)

    def offered(self, typed: str, folders: Sequence[str], limit: int) -> list[tuple[str, str]]:
        """(what to show, what to send) for documents and folders that match what somebody types."""
        allowed = [known for known in self.known if not folders or _inside(known.path, folders)]
        parents = sorted({known.path.rpartition("/")[0] for known in allowed} - {""})
        wanted = typed.casefold()
        found = [(f"📁 {folder}/", folder) for folder in parents if wanted in folder.casefold() and len(folder) <= 100]
        for known in allowed:
            if wanted in known.title.casefold() or wanted in known.path.casefold():
                value = known.path if len(known.path) <= 100 else LONG_PATH + known.sha256[:12]
                name = "".join(character for character in known.title if character.isprintable()) or known.path
                found.append((name if len(name) <= 100 else name[:99] + "…", value))
        return found[:limit]

    def is_place(self, name: str) -> bool:
        """Whether a document or folder is called exactly that."""
        return any(_inside(known.path, [name]) for known in self.known)

    def _paths(self, folders: Sequence[str], document: str | None) -> tuple[str, ...] | None:
        """The documents to search, or None for all."""
        if not folders and not document:
            return None
        paths = [known for known in self.known if not folders or _inside(known.path, folders)]
        if document:
            if document.startswith(LONG_PATH):
                exact = [k for k in paths if k.sha256.startswith(document.removeprefix(LONG_PATH))]
            else:
                exact = [k for k in paths if _inside(k.path, [document])]
            wanted = document.casefold()
            loose = [k for k in paths if wanted in k.title.casefold() or wanted in k.path.casefold()]
            paths = exact or loose
        return tuple(known.path for known in paths)

    async def _count(self, answer: Answer, where: Where) -> None:
        if answer.answered:
            self.answered += 1
            return
        self.refused += 1
        if answer.note is None:
            await self.remember(lambda: self.store.note_refused(where.server, answer.question))


def shown_quote(quote: Quote) -> ShownQuote:
    """A quote as the store keeps it."""
    place = quote.place
    spans = tuple((span.start, span.end) for span in quote.highlights)
    return ShownQuote(place.path, place.sha256, place.start, place.end, spans, quote.text)


def clean(text: str, own_id: int | None = None) -> str:
    """A question on one line, without a mention of the bot."""
    if own_id is not None:
        text = re.sub(rf"<@!?{own_id}>", " ", text)
    return " ".join(text.split())


def is_question(text: str) -> bool:
    """Whether an unaddressed message asks something: it ends in a question mark or begins with a question word."""
    words = text.split()
    return len(words) >= 3 and (text.rstrip(" \"'»”)").endswith(("?", "？", "؟")) or bool(INTERROGATIVE.match(text)))


def _inside(path: str, places: Sequence[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)
