"""The bot over sockets, against a strict stand-in for Discord on 127.0.0.1: connections, limits, processes, payloads."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from bot.botworld import HOSTILE, LONG, MANY, NEAR, NOTHING, ONE, Predictable, make_desk, predictable
from bot.fakediscord import FakeDiscord, redirect
from bot.fakediscord.gateway import MESSAGE_CONTENT
from bot.fakediscord.world import EPHEMERAL, Call, Payload, iso_now, new_channel, new_message, text_of, walk
from qabot.answering import Answerer
from qabot.bot import run
from qabot.bot.client import QabotClient
from qabot.bot.desk import Desk
from qabot.bot.doctor import Finding, run_doctor
from qabot.bot.options import BotSettings
from qabot.bot.store import PlaceSettings, Store
from qabot.build import BuildReport, Progress
from qabot.config import Settings, load_settings
from qabot.indexing import reindex
from support import REPOSITORY, SEEDS, FakeEncoder, build, settings_for

SPECIFICATION = REPOSITORY.parent / "shared" / "fakediscord_kit" / "discord-openapi.json"


class Place:
    """A stand-in with one server, one channel and two people."""

    def __init__(self, fake: FakeDiscord) -> None:
        self.fake = fake
        self.guild = fake.add_guild("Readers")
        self.channel = fake.add_channel(self.guild, "questions")
        self.alice = fake.join(self.guild, fake.add_user("alice"))
        self.bob = fake.join(self.guild, fake.add_user("bob"))


@asynccontextmanager
async def place(**options: Any) -> AsyncIterator[Place]:
    async with FakeDiscord(**options) as fake:
        with redirect(fake):
            yield Place(fake)
        assert not fake.unhandled, [f"{r.method} {r.path}" for r in fake.unhandled]


@asynccontextmanager
async def connected(root: Path, p: Place, **options: Any) -> AsyncIterator[Desk]:
    """The bot on the stand-in."""
    desk = make_desk(root, **options)
    client = QabotClient(desk)
    task = asyncio.create_task(client.start(p.fake.token))
    try:
        await p.fake.wait_ready()
        yield desk
    finally:
        predictable(desk).hold.set()
        await client.close()
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(task, 5)
        desk.gate.close()
        desk.store.close()


def labelled(message: Payload, label: str) -> str:
    for part in walk(message["components"]):
        if part["type"] == 2 and label in (part.get("label"), (part.get("emoji") or {}).get("name")):
            custom_id: str = part["custom_id"]
            return custom_id
    raise AssertionError(f"no button {label}")


async def ask(p: Place, question: str, **options: Any) -> Call:
    return await p.fake.slash(p.alice, p.channel, "ask", question=question, **options)


async def test_start_asks_for_shards_and_no_privileged_intent(root: Path) -> None:
    async with place() as p, connected(root, p):
        paths = [f"{r.method} {r.path}" for r in p.fake.requests]
        assert "GET /gateway/bot" in paths
        identify = p.fake.gateway.identifies[0]
        assert identify["intents"] == (1 << 0) | (1 << 9) | (1 << 12)
        assert identify["shard"] == [0, 1]


async def test_a_second_command_is_acknowledged_while_the_first_computes(root: Path) -> None:
    async with place() as p, connected(root, p, workers=1, queue=4) as desk:
        predictable(desk).hold.clear()
        first = await ask(p, ONE)
        await first.ack()
        second = await p.fake.slash(p.bob, p.channel, "ask", question=MANY)
        await second.ack()
        assert second.callback_after is not None
        assert second.callback_after < 1
        assert second.deferred
        predictable(desk).hold.set()
        assert "opens at nine" in text_of(await first.answer())
        await second.answer()


async def test_busy_is_said_at_once(root: Path) -> None:
    async with place() as p, connected(root, p, workers=1, queue=1) as desk:
        predictable(desk).hold.clear()
        calls = [await ask(p, question) for question in (ONE, MANY)]
        for call in calls:
            await call.ack()
        await asyncio.sleep(0.1)
        third = await p.fake.slash(p.bob, p.channel, "ask", question=NEAR)
        said = await third.answer()
        assert said["content"] == "Too many questions at once. Try again in a few seconds."
        assert said["flags"] & EPHEMERAL
        assert third.callback_after is not None
        assert third.callback_after < 1
        for _ in range(3):
            await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {NEAR}")
        assert "Too many questions" in (await p.fake.next_post(p.channel))["content"]
        await asyncio.sleep(0.2)
        assert len(p.fake.posts(p.channel)) == 1
        predictable(desk).hold.set()
        for call in calls:
            await call.answer()


async def test_cooldown_is_each_persons_own_and_covers_every_way(root: Path) -> None:
    async with place() as p, connected(root, p, cooldown=60, burst=2) as desk:
        message = await (await ask(p, ONE)).answer()
        await (await p.fake.click(p.alice, message, labelled(message, "👍"))).answer()
        refused = await (await ask(p, ONE)).answer()
        assert refused["content"].startswith("One moment: you can go on in ")
        pressed = await (await p.fake.click(p.alice, message, labelled(message, "More quotes"))).answer()
        assert pressed["content"].startswith("One moment")
        for _ in range(3):
            await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {MANY}")
        await asyncio.sleep(0.3)
        assert len(p.fake.posts(p.channel)) == 0
        await (await p.fake.slash(p.bob, p.channel, "ask", question=ONE)).answer()
        assert MANY not in predictable(desk).asked


async def test_the_same_question_is_computed_once(root: Path) -> None:
    async with place() as p, connected(root, p, remember=30.0, workers=2) as desk:
        predictable(desk).hold.clear()
        calls = [await p.fake.slash(person, p.channel, "ask", question=ONE) for person in (p.alice, p.bob)]
        for call in calls:
            await call.ack()
        predictable(desk).hold.set()
        for call in calls:
            await call.answer()
        assert predictable(desk).asked == [ONE]


async def test_user_install_in_a_direct_message(root: Path) -> None:
    async with place() as p, connected(root, p):
        call = await p.fake.slash(p.alice, p.fake.add_dm(p.alice), "ask", question=ONE)
        assert "opens at nine" in text_of(await call.answer())


async def post_in_forum(p: Place, forum: Payload, title: str) -> Payload:
    """A person opens a post: the thread, and its first message, which has the thread's id."""
    thread = new_channel(title, p.guild["id"], kind=11) | {
        "parent_id": forum["id"],
        "owner_id": p.alice["id"],
        "message_count": 0,
        "member_count": 1,
        "thread_metadata": {
            "archived": False,
            "auto_archive_duration": 1440,
            "archive_timestamp": iso_now(),
            "locked": False,
        },
    }
    p.fake.channels[thread["id"]] = thread
    await p.fake.gateway.dispatch("THREAD_CREATE", thread, guild_id=p.guild["id"], intent=1)
    message = new_message(thread, p.alice, {"content": "Please tell me."}) | {"id": thread["id"]}
    await p.fake._post(message, thread)
    return thread


async def test_forum_posts_are_answered_by_their_title_without_the_intent(root: Path) -> None:
    async with place() as p:
        forum = p.fake.add_channel(p.guild, "help")
        forum |= {"type": 15, "available_tags": [], "default_reaction_emoji": None}
        async with connected(root, p) as desk:
            unset = await post_in_forum(p, forum, ONE)
            await asyncio.sleep(0.3)
            desk.store.set_settings(int(forum["id"]), PlaceSettings(forum=True))
            thread = await post_in_forum(p, forum, ONE)
            assert "opens at nine" in text_of(await p.fake.next_post(thread))
            refused = await post_in_forum(p, forum, NOTHING)
            await asyncio.sleep(0.3)
            assert p.fake.posts(unset) == p.fake.posts(refused) == []
            # A later message of the post is not its question.
            await p.fake.say(p.alice, thread, ONE)
            await asyncio.sleep(0.2)
            assert len(p.fake.posts(thread)) == 1
            assert predictable(desk).asked == [ONE, NOTHING]


async def test_an_answer_that_discord_refuses_does_not_leave_people_waiting(root: Path) -> None:
    async with place() as p, connected(root, p):
        p.fake.fail_next("PATCH", r".*/messages/@original", 400, {"code": 50035, "message": "Invalid Form Body"})
        call = await ask(p, ONE)
        said = await call.answer()
        assert said["content"] == "That went wrong here, and was noted in the bot's log. Try again later."
        assert call.followups == []


async def test_an_answer_outlives_a_full_queue(root: Path) -> None:
    """What happens after an answer is shown can't take it away again."""
    async with place() as p, connected(root, p, workers=1, queue=0) as desk:

        def broken(*anything: object, **named: object) -> None:
            raise OSError("disk full")

        desk.store.post = broken  # type: ignore[method-assign]
        call = await ask(p, ONE)
        await call.answer()
        await asyncio.sleep(0.2)
        assert call.original is not None
        assert "opens at nine" in text_of(call.original)
        assert [message["content"] for message in call.followups] == [
            "That went wrong here, and was noted in the bot's log. Try again later."
        ]


async def test_content_intent_only_when_asked_for(root: Path) -> None:
    async with place(approved_intents=MESSAGE_CONTENT) as p, connected(root, p, message_content=True) as desk:
        desk.store.set_settings(int(p.channel["id"]), PlaceSettings(every_question=True))
        await p.fake.say(p.alice, p.channel, ONE)
        assert "opens at nine" in text_of(await p.fake.next_post(p.channel))


async def test_op7_resumes_and_answers_what_came_meanwhile(root: Path) -> None:
    async with place() as p, connected(root, p):
        await p.fake.gateway.reconnect()
        await p.fake.gateway.until(lambda: not p.fake.gateway.live, 5, "old link still up")
        await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {ONE}")
        await p.fake.gateway.until(lambda: p.fake.gateway.resumes, 5, "no resume")
        assert "opens at nine" in text_of(await p.fake.next_post(p.channel))
        assert len(p.fake.gateway.identifies) == 1


async def test_dropped_tcp_connection_resumes(root: Path) -> None:
    async with place() as p, connected(root, p):
        p.fake.gateway.drop()
        await p.fake.gateway.until(lambda: p.fake.gateway.resumes, 10, "no resume")
        assert "opens at nine" in text_of(await (await ask(p, ONE)).answer())


@pytest.mark.slow
async def test_op9_identifies_again_and_registers_nothing_anew(root: Path) -> None:
    async with place() as p, connected(root, p):
        await p.fake.gateway.invalidate(resumable=False)
        await p.fake.gateway.until(lambda: len(p.fake.gateway.identifies) == 2, 15, "no new identify")
        await p.fake.gateway.until(lambda: p.fake.gateway.live, 5, "not live")
        assert "opens at nine" in text_of(await (await ask(p, ONE)).answer())
        assert len([r for r in p.fake.requests if r.method == "PUT"]) == 1


async def test_rate_limits_are_waited_out(root: Path) -> None:
    async with place() as p, connected(root, p):
        p.fake.rate_limit_next("PATCH", r".*/messages/@original", retry_after=0.2)
        assert "opens at nine" in text_of(await (await ask(p, ONE)).answer())
        assert [r.status for r in p.fake.requests if r.method == "PATCH"] == [429, 200]


async def test_late_acknowledgement_is_survived(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as p, connected(root, p):
        p.fake.fail_next("POST", r"/interactions/.*", 0, delay=0.1)
        call = await ask(p, ONE)
        p.fake.clock_skew += 4
        with pytest.raises(AssertionError):
            await call.ack(timeout=0.5)
        p.fake.clock_skew = 0
        assert "opens at nine" in text_of(await (await ask(p, ONE)).answer())
        assert "could not be acknowledged" in caplog.text


async def test_deleted_question_and_missing_rights_are_no_errors(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with place() as p, connected(root, p):
        p.fake.fail_next("POST", r"/channels/\d+/messages", 403, {"code": 50013, "message": "Missing Permissions"})
        await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {ONE}")
        await asyncio.sleep(0.5)
        assert p.fake.posts(p.channel) == []
        assert "Traceback" not in caplog.text
        await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {ONE}")
        assert "opens at nine" in text_of(await p.fake.next_post(p.channel))


async def test_reindex_shows_its_progress(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(settings: Settings, *, progress: Progress) -> BuildReport:
        with progress("reading", 4) as advance:
            advance(4)
        with progress("embedding", 10) as advance:
            advance(3)
            time.sleep(0.5)
        return BuildReport((), (), (), (), (), (), (), (), (), (), 0, 0, 0, committed=False)

    monkeypatch.setattr("qabot.bot.admin.reindex", slow)
    monkeypatch.setattr("qabot.bot.admin.TICK", 0.05)
    async with place() as p, connected(root, p):
        call = await p.fake.slash(p.fake.owner, p.channel, "qabot reindex")
        await call.ack()
        busy = await p.fake.slash(p.fake.owner, p.channel, "qabot reindex")
        assert (await busy.answer())["content"] == "A re-index is running already."
        answered = await p.fake.slash(p.alice, p.channel, "ask", question=ONE)
        assert "opens at nine" in text_of(await answered.answer())
        assert len(call.history) < 5
        for _ in range(50):
            await asyncio.sleep(0.05)
            assert call.original is not None
            if "Nothing has changed" in text_of(call.original):
                break
        shown = [text_of(message) for message in call.history]
        assert "Re-indexing…" in shown
        assert shown.count("Re-indexing: embedding 3/10") == 1
        assert shown[-1] == "Nothing has changed; the index is up to date."


# The run loop


async def serving(root: Path, p: Place, **options: Any) -> tuple[Desk, asyncio.Task[int]]:
    desk = make_desk(root, **options)
    return desk, asyncio.create_task(run.serve(desk, p.fake.token, QabotClient))


@pytest.mark.slow
async def test_first_gateway_connection_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """discord.py alone dies of this, or waits; the run loop gets through."""
    monkeypatch.setattr(run, "BACKOFF_FIRST", 0.05)
    async with place() as p:
        p.fake.gateway.refuse = True
        desk, task = await serving(root, p)
        await asyncio.sleep(1)
        p.fake.gateway.refuse = False
        await p.fake.wait_ready(20)
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(task, 12) == run.EXIT_STOPPED
        desk.store.close()


@pytest.mark.slow
async def test_rest_down_at_start(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BACKOFF_FIRST", 0.05)
    async with place() as p:
        p.fake.fail_next("GET", "/users/@me", 503, {"message": "down"}, times=7)
        desk, task = await serving(root, p)
        # discord.py itself tries five times, ever more slowly; the run loop goes on from there.
        await p.fake.wait_ready(60)
        assert sum(r.path == "/users/@me" for r in p.fake.requests) == 8
        os.kill(os.getpid(), signal.SIGINT)
        assert await asyncio.wait_for(task, 12) == run.EXIT_STOPPED
        desk.store.close()


async def test_wrong_token_and_refused_intent_end_at_once(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with place() as p:
        desk = make_desk(root)
        assert await run.serve(desk, "wrong", QabotClient) == run.EXIT_TOKEN
        desk = make_desk(root, message_content=True)
        assert await asyncio.wait_for(run.serve(desk, p.fake.token, QabotClient), 10) == run.EXIT_INTENT
    lines = capfd.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("qabot:")] == [
        f"qabot: {run.BAD_TOKEN}",
        f"qabot: {run.BAD_INTENT}",
    ]


async def test_sigterm_lets_answers_finish(root: Path) -> None:
    async with place() as p:
        desk, task = await serving(root, p, workers=1)
        await p.fake.wait_ready()
        predictable(desk).hold.clear()
        call = await ask(p, ONE)
        await call.ack()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(0.2)
        late = await p.fake.slash(p.bob, p.channel, "ask", question=MANY)
        assert (await late.answer())["content"] == "The bot is restarting. Try again in a minute."
        predictable(desk).hold.set()
        assert "opens at nine" in text_of(await call.answer())
        assert await asyncio.wait_for(task, 10) == run.EXIT_STOPPED
        desk.store.close()


@asynccontextmanager
async def process(
    root: Path, p: Place, level: str = "INFO", token: str | None = None, mode: str = ""
) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {
        "FAKEDISCORD_API": p.fake.api_url,
        "FAKEDISCORD_GATEWAY": p.fake.gateway_url,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "tests")]),
        run.TOKEN_VARIABLE: p.fake.token if token is None else token,
    }
    command = [sys.executable, "-m", "bot.fakediscord.redirect", "bot.botprocess", str(root), level, mode]
    started = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.PIPE)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
            await started.wait()


@pytest.mark.slow
@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING"])
async def test_as_a_process_no_log_holds_a_secret(root: Path, level: str) -> None:
    """A full run at every level: commands, buttons, modal, messages, an error, SIGTERM; nothing secret is written."""
    async with place() as p, process(root, p, level) as started:
        await p.fake.wait_ready(30)
        message = await (await ask(p, ONE)).answer()
        await (await p.fake.click(p.alice, message, labelled(message, "More quotes"))).answer()
        modal = await p.fake.click(p.alice, message, labelled(message, "👎"))
        await (await p.fake.submit(modal, reason="a private reason")).answer()
        await p.fake.say(p.alice, p.channel, f"<@{p.fake.bot['id']}> {MANY}")
        await p.fake.next_post(p.channel)
        p.fake.fail_next("PATCH", r".*/messages/@original", 400, {"code": 50035, "message": "Invalid Form Body"})
        await (await ask(p, NEAR)).ack()
        await asyncio.sleep(0.3)
        begun = asyncio.get_running_loop().time()
        started.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(started.communicate(), 12)
        assert started.returncode == 0
        assert asyncio.get_running_loop().time() - begun < 10
        log = errors.decode()
        assert ("reader none" in log) == (level != "WARNING")
        secrets = [p.fake.token, *(call.token for call in p.fake.calls.values())]
        assert not [secret for secret in secrets if secret in log]
        assert ONE not in log
        assert MANY not in log
        assert "a private reason" not in log


@pytest.mark.slow
async def test_as_a_process_sigterm_does_not_wait_for_ever(root: Path) -> None:
    async with place() as p, process(root, p, "WARNING", mode="stuck") as started:
        await p.fake.wait_ready(30)
        await (await ask(p, ONE)).ack()
        await asyncio.sleep(0.3)
        begun = asyncio.get_running_loop().time()
        started.send_signal(signal.SIGTERM)
        _, errors = await asyncio.wait_for(started.communicate(), 15)
        assert started.returncode == 0
        assert 7 < asyncio.get_running_loop().time() - begun <= 10.5
        assert "stopped with 1 questions unanswered" in errors.decode()


@pytest.mark.slow
async def test_as_a_process_without_and_with_a_wrong_token(root: Path) -> None:
    async with place() as p:
        for token, line in (("", run.NO_TOKEN), ("wrong", run.BAD_TOKEN)):
            async with process(root, p, "WARNING", token) as started:
                _, errors = await asyncio.wait_for(started.communicate(), 30)
            assert started.returncode == run.EXIT_TOKEN
            said = [text for text in errors.decode().splitlines() if "RuntimeWarning" not in text]
            assert said == [f"qabot: {line}"]


# Every payload


async def everything(p: Place, desk: Desk) -> None:
    """One of each thing that the bot can be made to send."""
    fake = p.fake
    for question in (ONE, MANY, HOSTILE, LONG, NEAR, NOTHING, "hello"):
        await (await ask(p, question)).answer()
    await (await fake.autocomplete(p.alice, p.channel, "ask", "document", document="h", question="x")).choices()
    private = await ask(p, ONE, private=True)
    message = await private.answer()
    await (await fake.click(p.alice, message, labelled(message, "Share"))).answer()
    message = await (await ask(p, MANY, quotes=5)).answer()
    for label in ("🔍", "One per document", "👍"):
        pressed = await fake.click(p.bob, message, labelled(message, label))
        answer = await pressed.answer()
        if label == "🔍":
            for inner in ("← Before", "After →", "Exact text", "Verify"):
                await (await fake.click(p.bob, answer, labelled(answer, inner))).ack()
                await asyncio.sleep(0.1)
            modal = await fake.click(p.bob, answer, labelled(answer, "Wrong passage"))
            await (await fake.submit(modal, reason="@everyone no")).answer()
    near = await (await ask(p, NEAR)).answer()
    await (await fake.click(p.alice, near, labelled(near, "Closest passages"))).answer()
    for text in (ONE, HOSTILE, NOTHING, "why " * 100, "@everyone <@1> https://evil.example/ hello?"):
        posts = len(fake.posts(p.channel))
        said = await fake.say(p.alice, p.channel, f"<@{fake.bot['id']}> {text}")
        await fake.next_post(p.channel, after=posts)
    await (await fake.menu(p.alice, p.channel, "Find sources for this", said)).answer()
    for command in ("status", "settings", "unanswered", "review"):
        await (await fake.slash(fake.owner, p.channel, f"qabot {command}")).answer()
    await (await fake.slash(fake.owner, p.channel, "qabot settings", folders="@everyone")).answer()
    review = await (await fake.slash(fake.owner, p.channel, "qabot review")).answer()
    for label in ("The quote answers", "Ignore"):
        await (await fake.click(fake.owner, review, labelled(review, label))).ack()
        await asyncio.sleep(0.2)
    await fake.say(p.alice, fake.add_dm(p.alice), ONE)
    await fake.next_post(fake.add_dm(p.alice))
    russian = p.fake.join(p.guild, fake.add_user("boris") | {"locale": "ru"})
    for question in (LONG, NOTHING):
        await (await fake.slash(russian, p.channel, "ask", question=question)).answer()
    hours = desk.answerer.settings.documents / "handbook" / "hours.txt"
    hours.unlink()
    build(desk.answerer.settings.documents, desk.answerer.settings.index, FakeEncoder(window=4000))
    for _ in range(40):
        await asyncio.sleep(0.1)
        if any("no longer in the documents" in text_of(message) for message in fake.messages.values()):
            return
    raise AssertionError("no old answer was marked")


async def test_no_payload_can_ping_and_all_obey_the_specification(own_corpus: Path) -> None:
    async with place() as p, connected(own_corpus, p, workers=2, queue=50, watch=1.0) as desk:
        await everything(p, desk)
        sent = 0
        for request in p.fake.requests:
            body = request.body if isinstance(request.body, dict) else {}
            data = body.get("data") or {} if "/callback" in request.path else body
            if data.get("content") or (data.get("components") and "custom_id" not in data) or request.files:
                sent += 1
                assert data["allowed_mentions"]["parse"] == [], request.path
                assert not data["allowed_mentions"].get("replied_user")
        print(f"{sent} payloads with content, of {len(p.fake.requests)} requests")
        assert sent > 35
        shown = "\n".join(text_of(message) for message in p.fake.messages.values())
        for words in ("Manage Server", "went wrong", "Too many"):
            assert words not in shown
        for message in p.fake.messages.values():
            if message["author"]["id"] == p.fake.bot["id"]:
                assert not message["mentions"]
                assert not message["mention_everyone"]
                for part in walk(message["components"]):
                    if part["type"] == 2 and part["style"] == 5:
                        assert part["label"].startswith("Open source")
                        assert part["url"].startswith("https://docs.example.org/")
        refused = [(r.method, r.path, r.reply) for r in p.fake.requests if r.status >= 400]
        assert not refused
        if SPECIFICATION.exists():
            pytest.importorskip("jsonschema")
            from bot.fakediscord.speccheck import Spec

            specification = Spec(SPECIFICATION)
            problems = [problem for request in p.fake.requests for problem in specification.problems(request)]
            assert not problems, "\n".join(dict.fromkeys(problems))


async def test_doctor_names_missing_permissions(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qabot.bot.doctor.Answerer", Predictable)

    async with place() as p:
        quiet = p.fake.add_channel(p.guild, "quiet")
        quiet["permission_overwrites"] = [{"id": p.guild["id"], "type": 0, "allow": "0", "deny": str(1 << 11)}]
        token = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GAbcde.not-a-real-token-only-for-loopback"
        p.fake.token = token
        findings: list[Finding] = []
        options = BotSettings(store=tmp_path / "doctor.sqlite")

        def look() -> bool:
            return run_doctor(
                settings_for(root), options, online=True, environment={run.TOKEN_VARIABLE: token}, tell=findings.append
            )

        assert not await asyncio.to_thread(look)
        texts = [finding.text for finding in findings]
        assert "Readers #quiet: the bot lacks Send Messages." in texts
        assert any("application 123456789012345678" in text for text in texts)
        assert not any("#questions" in text for text in texts)
        assert not any(token in text for text in texts)


@pytest.mark.slow
async def test_with_the_real_model(tmp_path: Path, model_cache: Path) -> None:
    """From the command to the quote with nothing replaced but Discord."""
    (tmp_path / "documents").symlink_to(SEEDS)
    settings = load_settings(None, {"documents": tmp_path / "documents", "index": tmp_path / "index"})
    reindex(settings)
    store = Store(tmp_path / "bot.sqlite")
    desk = Desk(Answerer(settings), store, BotSettings(cooldown=0))
    desk.warm()
    async with place() as p:
        client = QabotClient(desk)
        task = asyncio.create_task(client.start(p.fake.token))
        await p.fake.wait_ready()
        asked = "How many states signed the statement about Navalny's arrest?"
        message = await (await ask(p, asked, quotes=1)).answer()
        assert "statement signed by 45 states" in text_of(message)
        closer = await (await p.fake.click(p.bob, message, labelled(message, "🔍"))).answer()
        checked = await (await p.fake.click(p.bob, closer, labelled(closer, "Verify"))).answer()
        assert checked["content"].startswith("✓ 000\\_4533c2ae0de87c8d.txt, line 7")
        await client.close()
        await asyncio.wait_for(task, 10)
    desk.gate.close()
    store.close()
