"""How much the bot does at a time, and for whom.

Owns: the one bounded executor in which everything blocking runs, its short queue, the cooldown of each person,
and the memory of recent answers. Commands, buttons, modals, menus and messages all come through here; only
autocompletion doesn't, because it never asks the model. Refuses to know of Discord.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
PEOPLE = 10_000
"""So many people's cooldowns are remembered at most."""
REMEMBERED = 256
TOLD_SECONDS = 5.0
"""A refusal within so many seconds of another is `repeated`: whoever floods need not hear each one."""


class Refused(Exception):
    """The gate is closed for now. key: the phrase that says why; seconds: until it may open."""

    def __init__(self, key: str, seconds: int = 0, *, repeated: bool = False) -> None:
        super().__init__(key)
        self.key = key
        self.seconds = seconds
        self.repeated = repeated


class Gate:
    """Lets work through, up to a limit.

    workers: how many run at once. queue: how many more may wait. cooldown: seconds in which a person earns one
    act. burst: acts a person may save up. remember: seconds for which `once` gives the same result again.
    """

    def __init__(
        self,
        *,
        workers: int,
        queue: int,
        cooldown: float,
        burst: int,
        remember: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="answer")
        self._limit = workers + queue
        self._cooldown, self._burst, self._remember = cooldown, burst, remember
        self._clock = clock
        self._allowance: OrderedDict[int, tuple[float, float]] = OrderedDict()
        self._told: OrderedDict[int, float] = OrderedDict()
        self._recent: OrderedDict[Hashable, tuple[float, asyncio.Future[Any]]] = OrderedDict()
        self._idle = asyncio.Event()
        self._idle.set()
        self._acts = 0
        self.stopping = False
        self.abandoned = False
        self.pending = 0

    def admit(self, person: int, *, work: bool = True) -> None:
        """Count one act of a person. work: whether it needs the executor.

        Raises `Refused`: `stopping`, `busy` (at once, nothing is counted), or `cooldown`, with `repeated` when
        the person has been refused just before.
        """
        if self.stopping:
            raise self._refused(person, "stopping")
        if work and self.pending >= self._limit:
            raise self._refused(person, "busy")
        now = self._clock()
        saved, since = self._allowance.pop(person, (float(self._burst), now))
        earned = (now - since) / self._cooldown if self._cooldown else float(self._burst)
        saved = min(float(self._burst), saved + earned)
        if saved < 1:
            self._allowance[person] = (saved, now)
            raise self._refused(person, "cooldown", max(1, round((1 - saved) * self._cooldown)))
        self._allowance[person] = (saved - 1, now)
        _shorten(self._allowance, PEOPLE)

    @contextmanager
    def act(self) -> Iterator[None]:
        """Around everything that must be finished before the bot may leave: computing an answer, and sending it."""
        self._acts += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._acts -= 1
            if not self._acts:
                self._idle.set()

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking work off the event loop. Raises `Refused` when too much waits already."""
        if self.pending >= self._limit:
            raise Refused("busy")
        self.pending += 1
        with self.act():
            try:
                return await asyncio.get_running_loop().run_in_executor(self._executor, work)
            finally:
                self.pending -= 1

    async def once(self, key: Hashable, work: Callable[[], T]) -> T:
        """`run`, but the same key gets the result of work under way or just done."""
        now = self._clock()
        while self._recent and now - next(iter(self._recent.values()))[0] > self._remember:
            self._recent.popitem(last=False)
        if key not in self._recent:
            task = asyncio.ensure_future(self.run(work))
            self._recent[key] = (now, task)
            _shorten(self._recent, REMEMBERED)
        shared = self._recent[key][1]
        try:
            result: T = await asyncio.shield(shared)
        except BaseException:
            if shared.done():
                self._recent.pop(key, None)
            raise
        return result

    def forget(self) -> None:
        """Forget recent results: the documents have changed."""
        self._recent.clear()

    async def drain(self, seconds: float) -> bool:
        """Let nothing new in and wait for what runs. False when `seconds` didn't suffice."""
        self.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            self.abandoned = True
            return False
        return True

    def _refused(self, person: int, key: str, seconds: int = 0) -> Refused:
        now = self._clock()
        repeated = now - self._told.get(person, float("-inf")) < max(TOLD_SECONDS, self._cooldown)
        if not repeated:
            self._told.pop(person, None)
            self._told[person] = now
            _shorten(self._told, PEOPLE)
        return Refused(key, seconds, repeated=repeated)

    def close(self) -> None:
        """Give up the threads; what still runs ends on its own."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _shorten(remembered: OrderedDict[Any, Any], most: int) -> None:
    """Forget the oldest beyond `most`."""
    while len(remembered) > most:
        remembered.popitem(last=False)
