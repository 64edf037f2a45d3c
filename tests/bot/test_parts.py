"""The bot's small parts by themselves: phrases, gate, store, logs, token, questions."""

import asyncio
import inspect
import logging
import re
import string
import threading
from pathlib import Path
from typing import Any

import pytest

import qabot.bot
from bot.botworld import Predictable
from qabot.bot import logs, phrases
from qabot.bot.custom_id import QuoteKey
from qabot.bot.desk import clean, is_question
from qabot.bot.doctor import Finding, application_of, run_doctor
from qabot.bot.gate import Gate, Refused
from qabot.bot.options import BotSettings
from qabot.bot.phrases_en import ENGLISH
from qabot.bot.rights import NEEDED, invite_link, invite_permissions
from qabot.bot.run import NO_TOKEN, TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, read_token
from qabot.bot.store import PlaceSettings, Posted, ShownQuote, Store
from qabot.config import Settings
from qabot.errors import ConfigError
from qabot.phrases import NOTES
from support import REPOSITORY, settings_for

TOKEN = "MTIzNDU2Nzg5MDEyMzQ1Njc4.GAbcde.not-a-real-token-only-for-loopback"


# Phrases


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", sorted(phrases.CATALOGUE))
def test_every_language_is_complete(language: str) -> None:
    english, other = phrases.CATALOGUE["en"], phrases.CATALOGUE[language]
    assert set(other) == set(english)
    for key, text in english.items():
        assert placeholders(other[key]) == placeholders(text), key
        assert other[key].strip() == other[key] != ""
        if language != "en" and re.search("[a-z]{4}", re.sub(r"`[^`]*`|\{\w+\}|sha256|qabot|\*\*", "", text)):
            assert other[key] != text or key == "command.qabot", f"{key} is not translated"


@pytest.mark.parametrize("language", sorted(phrases.CATALOGUE))
def test_phrases_keep_discords_limits(language: str) -> None:
    for key, text in phrases.CATALOGUE[language].items():
        if key.startswith(("command.", "option.")):
            limit = 100 if key.endswith(".about") else 32
            assert len(text) <= limit, key
            if limit == 32:
                assert re.fullmatch(r"[-_\w]{1,32}", text), key
                assert text == text.lower()
        if key.startswith(("button.", "review.")):
            assert len(text) <= 80, key
        if key.startswith("menu."):
            assert len(text) <= 32
        if key.startswith("modal."):
            assert len(text) <= (100 if key.endswith("hint") else 45)


def test_every_phrase_is_used_and_every_used_phrase_exists() -> None:
    source = "".join(
        p.read_text() for p in Path(inspect.getfile(qabot.bot)).parent.glob("*.py") if "phrases_" not in p.name
    )
    source = source.replace("'", '"')
    made = ("note.", "check.", "stale.", "thanks.", "right.", "unanswered.", "reindex.", "review.")
    for key in ENGLISH:
        assert f'"{key}"' in source or key.startswith(made) or f'"{key.removesuffix(".about")}' in source, key
    for key in re.findall(r'(?:say\(\w+(?:\.\w+)?, |phrase\(|notice\(\w+, )"([\w.]+)"', source):
        assert key in ENGLISH, key


def test_every_note_of_an_answer_has_a_phrase() -> None:
    assert {f"note.{note}" for note in NOTES} <= set(ENGLISH)
    assert phrases.note_key("unheard_of") == "nothing"


def test_languages_are_chosen_by_the_first_wish_that_is_spoken() -> None:
    assert phrases.language_of("de", None, "ru") == "ru"
    assert phrases.language_of("en-GB", "ru") == "en"
    assert phrases.language_of("xx") == "en"


# Gate


def gate(**options: Any) -> Gate:
    return Gate(**{"workers": 1, "queue": 1, "cooldown": 10.0, "burst": 2, "remember": 60.0, **options})


def test_cooldown_earns_one_act_a_time_and_keeps_people_apart() -> None:
    now = [0.0]
    g = gate(clock=lambda: now[0])
    g.admit(1)
    g.admit(1)
    with pytest.raises(Refused) as told:
        g.admit(1)
    assert (told.value.key, told.value.seconds, told.value.repeated) == ("cooldown", 10, False)
    with pytest.raises(Refused) as told:
        g.admit(1)
    assert told.value.repeated
    g.admit(2)
    now[0] = 9.9
    with pytest.raises(Refused):
        g.admit(1)
    now[0] = 10.0
    g.admit(1)
    with pytest.raises(Refused):
        g.admit(1)
    now[0] = 1000.0
    for _ in range(2):
        g.admit(1)
    with pytest.raises(Refused):
        g.admit(1)


def test_busy_is_not_counted_against_anybody() -> None:
    g = gate(burst=1)
    g.pending = 2
    for _ in range(3):
        with pytest.raises(Refused, match="busy"):
            g.admit(1)
    g.pending = 0
    g.admit(1)


async def test_no_more_than_workers_run_and_no_more_than_queue_wait() -> None:
    g = gate(workers=2, queue=1)
    hold, running, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def work() -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        hold.wait(5)
        with lock:
            running[0] -= 1

    tasks = [asyncio.create_task(g.run(work)) for _ in range(3)]
    await asyncio.sleep(0.1)
    with pytest.raises(Refused, match="busy"):
        await g.run(work)
    hold.set()
    await asyncio.gather(*tasks)
    assert most[0] == 2
    assert g.pending == 0
    g.close()


async def test_the_same_work_is_done_once_and_failures_are_not_kept() -> None:
    now, calls = [0.0], []
    g = gate(queue=5, clock=lambda: now[0])

    def work() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        return len(calls)

    with pytest.raises(ValueError):
        await g.once("q", work)
    assert await asyncio.gather(*[g.once("q", work), g.once("q", work)]) == [2, 2]
    now[0] = 61.0
    assert await g.once("q", work) == 3
    g.forget()
    assert await g.once("q", work) == 4
    g.close()


def test_whoever_floods_is_told_once_in_a_while() -> None:
    now = [0.0]
    g = gate(clock=lambda: now[0], cooldown=0.0)
    g.stopping = True
    told = []
    for now[0] in (0.0, 1.0, 4.9, 5.0, 5.1):
        with pytest.raises(Refused) as refused:
            g.admit(1)
        told.append(not refused.value.repeated)
    assert told == [True, False, False, True, False]


async def test_drain_waits_for_sending_too() -> None:
    g = gate()
    with g.act():
        assert not await g.drain(0.05)
    assert await g.drain(0.05)
    g.close()


async def test_drain_waits_and_lets_nothing_in() -> None:
    g = gate()
    hold = threading.Event()
    task = asyncio.create_task(g.run(lambda: hold.wait(5)))
    await asyncio.sleep(0.05)
    assert not await g.drain(0.05)
    with pytest.raises(Refused, match="stopping"):
        g.admit(1)
    hold.set()
    await task
    assert await g.drain(1)
    g.close()


# Store


def shown(n: int = 0) -> ShownQuote:
    return ShownQuote("a.txt", "ab" * 32, n, n + 5, ((n, n + 3),), "Hallo")


def test_store_keeps_everything_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "bot.sqlite"
    store = Store(path)
    chosen = PlaceSettings(answers=False, folders=("a", "b"), quotes=2, language="ru")
    store.set_settings(7, chosen)
    store.set_fact("x", "y")
    store.post(Posted(11, 22, (shown(),)), 10)
    store.vote(11, 1, server=5, question="q", verdict="down", reason="r", quotes=[shown(3)])
    store.close()
    store = Store(path)
    assert store.settings(7) == chosen
    assert store.fact("x") == "y"
    assert store.posts() == [Posted(11, 22, (shown(),))]
    assert store.undecided(5)[0].quotes == (shown(3),)
    store.vote(11, 1, server=5, question="q", verdict="up", reason="", quotes=[])
    assert [f.verdict for f in store.undecided(5)] == ["up"]
    store.close()


def test_narrower_settings_go_first(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.set_settings(1, PlaceSettings(private=True, quotes=5))
    store.set_settings(2, PlaceSettings(private=False))
    assert store.settings(2, None, 1) == PlaceSettings(private=False, quotes=5)
    assert store.settings(3, 1).private is True
    store.set_settings(2, PlaceSettings())
    assert store.settings(2, 1).private is True
    store.close()


def test_ledger_and_refusals_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter(range(10_000))
    monkeypatch.setattr("qabot.bot.store.REFUSED_KEPT", 3)
    store = Store(tmp_path / "s", clock=lambda: float(next(times)))
    for n in range(6):
        store.post(Posted(n, 1, ()), 4)
        store.note_refused(1, f"q{n}")
    assert [posted.message for posted in store.posts()] == [2, 3, 4, 5]
    assert [question for question, _ in store.refused(1, 10)] == ["q5", "q4", "q3"]
    store.close()


def test_servers_do_not_see_each_others_questions(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    store.note_refused(1, "one")
    store.vote(1, 1, server=1, question="one", verdict="down", reason="", quotes=[])
    assert store.refused(2, 10) == []
    assert store.complaints(2, 10) == []
    assert store.undecided(2) == []
    assert store.feedback(store.undecided(1)[0].id, 2) is None
    store.close()


def test_shown_quotes_name_the_same_place_as_buttons() -> None:
    assert shown(3).key() == QuoteKey("ab" * 6, 3, 8, shown(3).key().highlights)


# Logs, token, questions


def test_redaction() -> None:
    text = (
        f"token {TOKEN} POST /interactions/123456/aW50ZXJhY3Rpb246abcdefghijklmnopqrstuvwxyz/callback "
        "PATCH https://x/api/v10/webhooks/99/tok-abc_DEF-123/messages/@original"
    )
    shown_text = logs.redact(text, TOKEN)
    assert TOKEN not in shown_text
    assert "aW50" not in shown_text
    assert "tok-abc" not in shown_text
    assert "/interactions/123456/[redacted]/callback" in shown_text
    assert "/webhooks/99/[redacted]/messages/@original" in shown_text
    assert logs.redact("another " + TOKEN.replace("MTIz", "MTIx")) == "another [redacted]"


def test_tracebacks_are_redacted_and_libraries_pinned(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    root.handlers = []
    try:
        logs.set_up(logging.DEBUG, TOKEN)
        logging.getLogger("discord.http").setLevel(logging.DEBUG)
        logging.getLogger("discord.http").debug("payload %s", "what people say")
        logging.getLogger("qabot.bot").debug("ours")
        try:
            raise ValueError(f"bad {TOKEN}")
        except ValueError:
            logging.getLogger("qabot.bot").exception("failed with %s", TOKEN)
        written = capsys.readouterr().err
    finally:
        root.handlers, root.level = kept, level
        for name in logs.PINNED:
            logging.getLogger(name).setLevel(logging.NOTSET)
    assert "ours" in written
    assert "what people say" not in written
    assert TOKEN not in written
    assert "ValueError: bad [redacted]" in written


def test_token_comes_from_the_environment_only(tmp_path: Path) -> None:
    assert read_token({}) is None
    assert read_token({TOKEN_VARIABLE: f" {TOKEN}\n"}) == TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token({TOKEN_FILE_VARIABLE: str(file)}) == TOKEN
    assert read_token({TOKEN_FILE_VARIABLE: str(file), TOKEN_VARIABLE: "first"}) == "first"
    with pytest.raises(ConfigError, match="can't be read"):
        read_token({TOKEN_FILE_VARIABLE: str(tmp_path / "none")})
    assert not [name for name in BotSettings.model_fields if "token" in name or "secret" in name]


def test_token_shape() -> None:
    assert application_of(TOKEN) == "123456789012345678"
    for wrong in ("", "abc", "a.b.c", TOKEN.replace(".", ""), "x" * 32, "bm90ZGlnaXRz.GAbcde." + "a" * 30):
        assert application_of(wrong) is None


def test_invite_asks_for_no_more_than_is_needed() -> None:
    assert invite_permissions() == (1 << 10) | (1 << 11) | (1 << 38) | (1 << 16)
    assert invite_link(5).endswith(f"client_id=5&scope=bot+applications.commands&permissions={invite_permissions()}")
    assert len(NEEDED) == 4


def test_questions_are_cleaned() -> None:
    assert clean(" <@12>  who\n\tis <@!12> it? ", 12) == "who is it?"
    assert clean("<@13> who", 12) == "<@13> who"


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        ("when does it open", True),
        ("The door is open, right?", True),
        ("кто подписал заявление", True),
        ("I like it here.", False),
        ("ok?", False),
        ("what", False),
        ("whatever you say today", False),
        ("", False),
    ],
)
def test_unaddressed_questions(text: str, asks: bool) -> None:
    assert is_question(text) == asks


def test_the_docs_name_every_button_command_and_picture() -> None:
    docs = (REPOSITORY / "docs" / "bot.md").read_text()
    for key, text in ENGLISH.items():
        if key.startswith("command.") and not key.endswith(".about") and key not in ("command.ask", "command.qabot"):
            assert f"/qabot {text}`" in docs, key
        if key.startswith("button.") and "{" not in text and key not in ("button.near", "button.missed", "button.open"):
            assert text.strip("←→ ") in docs, key
        if key.startswith("option.") and not key.endswith(".about"):
            assert f"`{text}`" in docs or text.replace("_", " ") in docs, key
    assert str(invite_permissions()) in docs
    for picture in re.findall(r"\]\((pictures/\w+\.png)\)", docs):
        assert (REPOSITORY / "docs" / picture).is_file()


def findings(settings: Settings, store: Path, environment: dict[str, str]) -> list[Finding]:
    found: list[Finding] = []
    good = run_doctor(settings, BotSettings(store=store), environment=environment, tell=found.append)
    assert good == all(finding.good for finding in found)
    return found


def test_doctor(own_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qabot.bot.doctor.Answerer", Predictable)
    settings, store = settings_for(own_corpus), tmp_path / "doctor.sqlite"
    well = findings(settings, store, {TOKEN_VARIABLE: TOKEN})
    assert all(finding.good for finding in well)
    assert any(invite_link(123456789012345678) in finding.text for finding in well)
    assert not any(TOKEN in finding.text for finding in well)
    (own_corpus / "documents" / "new.txt").write_text("New.")
    ill = findings(settings, tmp_path, {TOKEN_VARIABLE: "client-secret"})
    bad = [finding.text for finding in ill if not finding.good]
    assert len(bad) == 3
    assert "13 characters that have not the form of a bot token" in bad[0]
    assert "0 changed, 0 removed, 1 new" in bad[1]
    assert "can't be used" in bad[2]
    assert not any("client-secret" in text for text in bad)
    none = findings(settings_for(tmp_path / "nowhere"), store, {})
    bad = [finding.text for finding in none if not finding.good]
    assert bad[0] == NO_TOKEN
    assert "There is no index" in bad[1]


def test_doctor_notices_damage(own_corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qabot.bot.doctor.Answerer", Predictable)
    vectors = next((own_corpus / "index").glob("vectors-*"))
    raw = bytearray(vectors.read_bytes())
    raw[-1] ^= 1
    vectors.write_bytes(raw)
    found = findings(settings_for(own_corpus), tmp_path / "s", {TOKEN_VARIABLE: TOKEN})
    assert any("has sha256" in finding.text and not finding.good for finding in found)
