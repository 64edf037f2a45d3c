"""What the bot remembers: one SQLite file.

Owns: what admins set for servers and channels, feedback, questions without an answer, and the ledger of recent
answers. Holds no user's id or name: votes are told apart by a keyed digest that nobody can turn back.
Thread-safe; everything here blocks, reads of settings excepted (they are kept in memory).
"""

from __future__ import annotations

import hashlib
import json
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from qabot.bot.custom_id import QuoteKey
from qabot.types import Span

REFUSED_KEPT = 1000
FEEDBACK_KEPT = 5000
Verdict = Literal["up", "down", "wrong", "missed"]
SCHEMA = """
CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS settings (place INTEGER PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS feedback (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, vote BLOB NOT NULL UNIQUE, server INTEGER, question TEXT NOT NULL,
    verdict TEXT NOT NULL, reason TEXT NOT NULL, quotes TEXT NOT NULL, decision TEXT, line TEXT
);
CREATE TABLE IF NOT EXISTS refused (
    server INTEGER NOT NULL, question TEXT NOT NULL, count INTEGER NOT NULL, at REAL NOT NULL,
    PRIMARY KEY (server, question)
);
CREATE TABLE IF NOT EXISTS ledger (
    message INTEGER PRIMARY KEY, channel INTEGER NOT NULL, at REAL NOT NULL, quotes TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class PlaceSettings:
    """What is set for a server or a channel; None: not set there.

    answers: whether the bot answers for all to see. private: answers to commands go to the asker alone unless
    they say. folders: what to search (empty: all). every_question, forum: answer unaddressed messages, new posts.
    """

    answers: bool | None = None
    private: bool | None = None
    folders: tuple[str, ...] | None = None
    quotes: int | None = None
    every_question: bool | None = None
    forum: bool | None = None
    language: str | None = None

    def over(self, wider: PlaceSettings) -> PlaceSettings:
        """These settings, filled from those of the wider place where nothing is set."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return PlaceSettings(**{k: getattr(wider, k) if v is None else v for k, v in own.items()})


@dataclass(frozen=True, slots=True)
class Feedback:
    """One person's opinion of one answer, or a question that should have had one."""

    id: int
    question: str
    verdict: Verdict
    reason: str
    quotes: tuple[ShownQuote, ...]


@dataclass(frozen=True, slots=True)
class ShownQuote:
    """A quote as it was shown: enough to find it again, and to notice that its document has changed."""

    path: str
    sha256: str
    start: int
    end: int
    highlights: tuple[tuple[int, int], ...]
    text: str

    def key(self) -> QuoteKey:
        """As buttons name it."""
        spans = tuple(Span(start, end) for start, end in self.highlights)
        return QuoteKey(self.sha256[:12], self.start, self.end, spans)


@dataclass(frozen=True, slots=True)
class Posted:
    """An answer that stands in a channel."""

    message: int
    channel: int
    quotes: tuple[ShownQuote, ...]


class Store:
    """The file at `path`, made when it isn't there."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._clock = clock
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + SCHEMA)
        self._key = bytes.fromhex(self.fact("vote key") or self._new_key())
        rows = self._all("SELECT place, value FROM settings")
        self._settings = {place: _settings(value) for place, value in rows}

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    # Facts and settings

    def fact(self, name: str) -> str | None:
        """A remembered string, for example the digest of the commands last registered."""
        rows = self._all("SELECT value FROM facts WHERE name = ?", name)
        return str(rows[0][0]) if rows else None

    def set_fact(self, name: str, value: str) -> None:
        """Remember a string."""
        self._do("INSERT OR REPLACE INTO facts VALUES (?, ?)", name, value)

    def settings(self, *places: int | None) -> PlaceSettings:
        """What holds in the first place: its own settings, then those of the wider places that follow."""
        found = PlaceSettings()
        for place in places:
            if place is not None:
                found = found.over(self._settings.get(place, PlaceSettings()))
        return found

    def set_settings(self, place: int, settings: PlaceSettings) -> None:
        """Set everything for a server or channel."""
        self._settings[place] = settings
        if settings == PlaceSettings():
            self._do("DELETE FROM settings WHERE place = ?", place)
        else:
            self._do("INSERT OR REPLACE INTO settings VALUES (?, ?)", place, json.dumps(asdict(settings)))

    # Questions without an answer, and feedback

    def note_refused(self, server: int, question: str) -> None:
        """Count a question that got no answer. server: 0 outside servers."""
        now = self._clock()
        self._do(
            "INSERT INTO refused VALUES (?, ?, 1, ?) ON CONFLICT DO UPDATE SET count = count + 1, at = excluded.at",
            server,
            question,
            now,
        )
        self._do(
            "DELETE FROM refused WHERE rowid IN (SELECT rowid FROM refused ORDER BY at DESC LIMIT -1 OFFSET ?)",
            REFUSED_KEPT,
        )

    def refused(self, server: int, limit: int) -> list[tuple[str, int]]:
        """(question, how often), most often first."""
        sql = "SELECT question, count FROM refused WHERE server = ? ORDER BY count DESC, at DESC LIMIT ?"
        return [(str(question), int(count)) for question, count in self._all(sql, server, limit)]

    def vote(
        self,
        message: int,
        person: int,
        *,
        server: int,
        question: str,
        verdict: Verdict,
        reason: str,
        quotes: Sequence[ShownQuote],
    ) -> None:
        """Note an opinion; a person's later opinion of the same message replaces the earlier."""
        vote = hashlib.blake2b(f"{message}:{person}".encode(), key=self._key, digest_size=16).digest()
        shown = json.dumps([asdict(quote) for quote in quotes])
        self._do("DELETE FROM feedback WHERE vote = ? AND decision IS NULL", vote)
        self._do(
            "INSERT OR IGNORE INTO feedback (at, vote, server, question, verdict, reason, quotes) VALUES (?,?,?,?,?,?,?)",
            self._clock(),
            vote,
            server,
            question,
            verdict,
            reason,
            shown,
        )
        self._do(
            "DELETE FROM feedback WHERE id IN (SELECT id FROM feedback ORDER BY at DESC LIMIT -1 OFFSET ?)",
            FEEDBACK_KEPT,
        )

    def complaints(self, server: int, limit: int) -> list[tuple[str, Verdict]]:
        """(question, verdict) of answers that somebody found bad and nobody has decided on, newest first."""
        sql = (
            "SELECT question, verdict FROM feedback WHERE server = ? AND verdict != 'up' AND decision IS NULL "
            "ORDER BY at DESC LIMIT ?"
        )
        return [(str(question), verdict) for question, verdict in self._all(sql, server, limit)]

    def undecided(self, server: int) -> list[Feedback]:
        """Feedback that waits for an admin, oldest first."""
        sql = "SELECT id, question, verdict, reason, quotes FROM feedback WHERE server = ? AND decision IS NULL ORDER BY id"
        return [_feedback(row) for row in self._all(sql, server)]

    def feedback(self, number: int, server: int) -> Feedback | None:
        """Feedback of a server that nobody has decided on yet."""
        sql = "SELECT id, question, verdict, reason, quotes FROM feedback WHERE id = ? AND server = ? AND decision IS NULL"
        rows = self._all(sql, number, server)
        return _feedback(rows[0]) if rows else None

    def decide(self, number: int, decision: str, line: dict[str, Any] | None) -> None:
        """Settle feedback: `line` is the evaluation question it becomes, if any."""
        text = None if line is None else json.dumps(line, ensure_ascii=False)
        self._do("UPDATE feedback SET decision = ?, line = ? WHERE id = ?", decision, text, number)

    def evaluation_lines(self) -> list[str]:
        """The evaluation questions made of feedback, as JSON lines, oldest first."""
        return [str(row[0]) for row in self._all("SELECT line FROM feedback WHERE line IS NOT NULL ORDER BY id")]

    # Ledger

    def post(self, posted: Posted, keep: int) -> None:
        """Remember an answer, and forget the oldest beyond `keep`."""
        quotes = json.dumps([asdict(quote) for quote in posted.quotes])
        self._do(
            "INSERT OR REPLACE INTO ledger VALUES (?,?,?,?)", posted.message, posted.channel, self._clock(), quotes
        )
        self._do(
            "DELETE FROM ledger WHERE message IN (SELECT message FROM ledger ORDER BY at DESC LIMIT -1 OFFSET ?)", keep
        )

    def forget_post(self, message: int) -> None:
        """The answer is marked, or gone."""
        self._do("DELETE FROM ledger WHERE message = ?", message)

    def posts(self) -> list[Posted]:
        """Recent answers, oldest first."""
        rows = self._all("SELECT message, channel, quotes FROM ledger ORDER BY at, message")
        return [Posted(message, channel, _quotes(quotes)) for message, channel, quotes in rows]

    def _new_key(self) -> str:
        key = secrets.token_hex(32)
        self.set_fact("vote key", key)
        return key

    def _do(self, sql: str, *values: Any) -> None:
        with self._lock:
            self._connection.execute(sql, values)

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return list(self._connection.execute(sql, values))


def _settings(value: str) -> PlaceSettings:
    stored = json.loads(value)
    known = {field.name for field in fields(PlaceSettings)}
    kept: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in stored.items() if name in known}
    return PlaceSettings(**kept)


def _quotes(value: str) -> tuple[ShownQuote, ...]:
    found = []
    for quote in json.loads(value):
        highlights = tuple((int(start), int(end)) for start, end in quote.pop("highlights"))
        found.append(ShownQuote(highlights=highlights, **quote))
    return tuple(found)


def _feedback(row: tuple[Any, ...]) -> Feedback:
    number, question, verdict, reason, quotes = row
    return Feedback(number, question, verdict, reason, _quotes(quotes))
