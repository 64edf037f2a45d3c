"""The gateway: HELLO, IDENTIFY, READY, RESUME, heartbeats, close codes and event delivery."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from aiohttp import WSMsgType, web

from .world import Payload

if TYPE_CHECKING:
    from .server import FakeDiscord

DISPATCH, HEARTBEAT, IDENTIFY, PRESENCE, RESUME = 0, 1, 2, 3, 6
RECONNECT, REQUEST_MEMBERS, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 7, 8, 9, 10, 11

GUILDS, GUILD_MEMBERS, PRESENCES = 1 << 0, 1 << 1, 1 << 8
GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 9, 1 << 12, 1 << 15
PRIVILEGED = GUILD_MEMBERS | PRESENCES | MESSAGE_CONTENT


@dataclass(slots=True)
class Session:
    """A gateway session.  It outlives its connection, so that the bot can resume it."""

    id: str
    intents: int
    shard: list[int]
    seq: int = 0
    log: list[Payload] = field(default_factory=list)
    link: Link | None = None
    dead: bool = False

    def wants(self, guild_id: str | None, intent: int) -> bool:
        """Whether this session subscribes to an event and its shard holds the guild."""
        shard_id, shards = self.shard
        mine = shard_id == (0 if guild_id is None else (int(guild_id) >> 22) % shards)
        return mine and (not intent or bool(self.intents & intent))


class Link:
    """One WebSocket, with the transport compression that the bot asked for."""

    def __init__(self, socket: web.WebSocketResponse, compress: str | None) -> None:
        self.socket = socket
        self._deflate = zlib.compressobj() if compress == "zlib-stream" else None
        self.heartbeats = 0

    async def send(self, op: int, data: Any = None, *, seq: int | None = None, event: str | None = None) -> None:
        """Send one gateway payload; a peer that has gone is no error."""
        text = json.dumps({"op": op, "d": data, "s": seq, "t": event})
        with contextlib.suppress(ConnectionError):
            if self._deflate is None:
                await self.socket.send_str(text)
            else:
                frame = self._deflate.compress(text.encode()) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
                await self.socket.send_bytes(frame)


class Gateway:
    """Every session of the bot, and the tests' levers on their connections."""

    def __init__(self, fake: FakeDiscord) -> None:
        self.fake = fake
        self.sessions: list[Session] = []
        self.identifies: list[Payload] = []
        self.resumes: list[Payload] = []
        self.links: list[Link] = []
        self.compression: list[str | None] = []
        self.heartbeat_ms = 41_250
        self.answer_heartbeats = True
        self.refuse = False
        self.changed = asyncio.Event()

    @property
    def live(self) -> list[Session]:
        """Sessions that have a connection now."""
        return [s for s in self.sessions if s.link is not None and not s.dead]

    def notify(self) -> None:
        """Wake whoever waits for a change of state."""
        self.changed.set()

    async def until(self, ready: Any, timeout: float, what: str) -> None:
        """Wait until *ready()* is true."""

        async def wait() -> None:
            while not ready():
                self.changed.clear()
                await self.changed.wait()

        try:
            await asyncio.wait_for(wait(), timeout)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {timeout} s") from None

    # -- delivery -----------------------------------------------------------------

    async def dispatch(self, event: str, data: Payload, *, guild_id: str | None = None, intent: int = 0) -> None:
        """Send an event to every session that subscribes to it; a lost one gets it on resume."""
        for session in list(self.sessions):
            if not session.dead and session.wants(guild_id, intent):
                await self.deliver(session, event, self.fake.as_seen_by(session, event, data))

    async def deliver(self, session: Session, event: str, data: Payload) -> None:
        """Send one event within a session and keep it for a resume."""
        session.seq += 1
        session.log.append({"t": event, "s": session.seq, "d": data})
        if session.link is not None:
            await session.link.send(DISPATCH, data, seq=session.seq, event=event)

    # -- levers -------------------------------------------------------------------

    async def reconnect(self) -> None:
        """Ask every connection to reconnect and resume (op 7), as Discord does daily."""
        for session in self.live:
            assert session.link is not None
            await session.link.send(RECONNECT)

    async def invalidate(self, *, resumable: bool) -> None:
        """Declare sessions invalid (op 9); not resumable ones are forgotten."""
        for session in self.live:
            session.dead = not resumable
            assert session.link is not None
            await session.link.send(INVALID_SESSION, resumable)

    async def close(self, code: int) -> None:
        """Close every connection with a close code."""
        for session in self.live:
            assert session.link is not None
            await session.link.socket.close(code=code)

    def drop(self) -> None:
        """Cut every connection without a closing handshake, as a lost network does."""
        for session in self.live:
            assert session.link is not None
            socket = session.link.socket
            transport = socket.get_extra_info("transport") or cast(web.BaseRequest, socket._req).transport
            assert transport is not None
            transport.abort()

    # -- the protocol ---------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.WebSocketResponse:
        """Serve one connection from HELLO to its end."""
        if self.refuse:
            raise web.HTTPServiceUnavailable
        compress = request.query.get("compress")
        if compress not in (None, "zlib-stream"):
            raise web.HTTPBadRequest(text=f"compress={compress} is not supported by this fake")
        socket = web.WebSocketResponse(autoping=True, max_msg_size=4096 * 4)
        await socket.prepare(request)
        link = Link(socket, compress)
        self.links.append(link)
        self.compression.append(compress)
        session: Session | None = None
        await link.send(HELLO, {"heartbeat_interval": self.heartbeat_ms, "_trace": []})
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                frame = json.loads(message.data)
                op, data = frame["op"], frame.get("d")
                if op == HEARTBEAT:
                    link.heartbeats += 1
                    if self.answer_heartbeats:
                        await link.send(HEARTBEAT_ACK)
                elif op == IDENTIFY:
                    session = await self._identify(link, data)
                elif op == RESUME:
                    session = await self._resume(link, data)
                elif op == REQUEST_MEMBERS and session:
                    await self._members(session, data)
                self.notify()
        finally:
            if session is not None and session.link is link:
                session.link = None
            self.notify()
        return socket

    async def _identify(self, link: Link, data: Payload) -> Session | None:
        self.identifies.append(data)
        if data["token"] != self.fake.token:
            await link.socket.close(code=4004, message=b"Authentication failed.")
            return None
        intents = data["intents"]
        if intents & PRIVILEGED & ~self.fake.approved_intents:
            await link.socket.close(code=4014, message=b"Disallowed intent(s).")
            return None
        session = Session(secrets.token_hex(16), intents, data.get("shard", [0, 1]), link=link)
        self.sessions.append(session)
        guilds = [g for g in self.fake.guilds.values() if session.wants(g["id"], GUILDS)]
        await self.deliver(
            session,
            "READY",
            {
                "v": 10,
                "user": self.fake.bot,
                "session_id": session.id,
                "session_type": "normal",
                "resume_gateway_url": self.fake.gateway_url,
                "shard": session.shard,
                "guilds": [{"id": g["id"], "unavailable": True} for g in guilds],
                "application": {"id": self.fake.application_id, "flags": self.fake.application()["flags"]},
                "private_channels": [],
                "relationships": [],
                "presences": [],
                "_trace": [],
            },
        )
        for guild in guilds:
            await self.deliver(session, "GUILD_CREATE", self.fake.as_seen_by(session, "GUILD_CREATE", guild))
        return session

    async def _resume(self, link: Link, data: Payload) -> Session | None:
        self.resumes.append(data)
        known = [s for s in self.sessions if s.id == data["session_id"] and not s.dead]
        if data["token"] != self.fake.token or not known:
            await link.send(INVALID_SESSION, False)
            return None
        session = known[0]
        session.link = link
        for missed in [e for e in session.log if e["s"] > data["seq"]]:
            await link.send(DISPATCH, missed["d"], seq=missed["s"], event=missed["t"])
        await self.deliver(session, "RESUMED", {"_trace": []})
        return session

    async def _members(self, session: Session, data: Payload) -> None:
        guild = self.fake.guilds[str(data["guild_id"])]
        await self.deliver(
            session,
            "GUILD_MEMBERS_CHUNK",
            {
                "guild_id": guild["id"],
                "members": guild["members"],
                "chunk_index": 0,
                "chunk_count": 1,
                "not_found": [],
                "presences": [],
                "nonce": data.get("nonce"),
            },
        )
