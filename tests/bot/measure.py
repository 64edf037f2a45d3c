"""How fast the bot is on this machine: `python -m bot.measure QUESTIONS.jsonl`, in tests/.

The bot runs as a process of its own with the default model over the seeds; people ask over sockets. Printed:
milliseconds to the acknowledgement and to the answer, for 1 and for 20 people at once, the event loop's lag, and
the process's memory.
"""

import asyncio
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bot.fakediscord import FakeDiscord
from bot.fakediscord.world import Payload
from qabot.bot.run import TOKEN_VARIABLE
from qabot.config import load_settings
from qabot.indexing import reindex
from support import REPOSITORY, SEEDS


def share(values: list[float], part: float) -> float:
    """The value below which this share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def line(name: str, seconds: list[float]) -> str:
    spent = [value * 1000 for value in seconds]
    return f"{name:<28} n={len(spent):<5} p50 {statistics.median(spent):7.1f} ms   p95 {share(spent, 0.95):7.1f} ms"


async def ask(fake: FakeDiscord, person: Payload, channel: Payload, question: str) -> tuple[float, float]:
    begun = time.perf_counter()
    call = await fake.slash(person, channel, "ask", question=question[:300])
    await call.ack(30)
    acknowledged = time.perf_counter() - begun
    await call.answer(60)
    return acknowledged, time.perf_counter() - begun


async def main(questions: list[str]) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "documents").symlink_to(SEEDS)
        reindex(load_settings(None, {"documents": root / "documents", "index": root / "index"}))
        async with FakeDiscord() as fake:
            guild = fake.add_guild("Readers")
            channel = fake.add_channel(guild, "questions")
            people = [fake.join(guild, fake.add_user(f"person{n}")) for n in range(20)]
            environment = os.environ | {
                "FAKEDISCORD_API": fake.api_url,
                "FAKEDISCORD_GATEWAY": fake.gateway_url,
                "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
                TOKEN_VARIABLE: fake.token,
            }
            begun = time.perf_counter()
            command = [sys.executable, "-m", "bot.fakediscord.redirect", "bot.botprocess", place, "WARNING", "measure"]
            process = await asyncio.create_subprocess_exec(*command, env=environment)
            await fake.wait_ready(60)
            print(f"from start to connected      {time.perf_counter() - begun:.1f} s")
            one = [await ask(fake, people[0], channel, question) for question in questions[:100]]
            print(line("1 person, acknowledged", [pair[0] for pair in one]))
            print(line("1 person, answered", [pair[1] for pair in one]))
            many = []
            for first in range(0, 100, 20):
                batch = zip(people, questions[first : first + 20], strict=True)
                many += await asyncio.gather(*(ask(fake, person, channel, text) for person, text in batch))
            print(line("20 at once, acknowledged", [pair[0] for pair in many]))
            print(line("20 at once, answered", [pair[1] for pair in many]))
            memory = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
            print(f"memory of the process        {int(memory) // 1024} MB")
            process.send_signal(signal.SIGTERM)
            await process.wait()
            lags = json.loads((root / "lag.json").read_text())
            print(line("event loop, lag of a timer", lags) + f"   most {max(lags) * 1000:.1f} ms")


if __name__ == "__main__":
    asyncio.run(main([json.loads(text)["question"] for text in Path(sys.argv[1]).read_text().splitlines()]))
