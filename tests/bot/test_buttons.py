"""Every button and modal, in a simulated Discord: for the asker, for others, after a restart, on old messages."""

import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from bot.botworld import LONG, MANY, NEAR, ONE, ids, labels, parts, speaking, text_of, world
from qabot.bot.client import QabotClient
from qabot.bot.custom_id import Press, QuoteKey, decode, encode
from qabot.bot.phrases import say


def quotes_shown(message: Any) -> int:
    return sum(part["type"] == 10 and "\n> " in part["content"] for part in parts(message))


def key_of(custom_id: str) -> QuoteKey:
    press = decode(custom_id)
    assert press is not None
    assert press.quote is not None
    return press.quote


async def test_more_quotes_changes_the_message_for_the_asker_alone(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=MANY, quotes=1)
        copy = await w.press(w.bob, result.response, "More quotes")
        assert copy.ephemeral
        assert quotes_shown(copy.response) > 1
        assert quotes_shown(w.channel.last_message) == 1
        await w.press(w.alice, result.response, "More quotes")
        assert quotes_shown(w.channel.last_message) > 1


async def test_more_quotes_when_there_are_no_more(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=LONG, document="ledger.txt", quotes=3)
        before = text_of(result.response)
        pressed = await w.press(w.alice, result.response, "More quotes")
        told = [message.content for message in pressed.followups]
        assert "There are no more quotes." in told
        assert text_of(w.channel.last_message) == before


async def test_one_per_document(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=MANY, quotes=5)
        await w.press(w.alice, result.response, "One per document")
        text = text_of(w.channel.last_message)
        files = re.findall(r"00\d\\_\w+\.txt", text)
        assert len(files) == len(set(files)) > 1


async def test_look_closer_and_around(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        closer = await w.press(w.bob, result.response, "Look closer")
        assert closer.ephemeral
        assert labels(closer.response) == [
            "Open source",
            "← Before",
            "After →",
            "Exact text",
            "Verify",
            "Wrong passage",
        ]
        wider = await w.press(w.bob, closer.response, "← Before")
        assert text_of(wider.response) != text_of(closer.response) or "Opening hours" in text_of(wider.response)
        assert "**The reading room opens at nine on weekdays, and on Saturdays it**" in text_of(wider.response)
        assert quotes_shown(w.channel.last_message) == 1


async def test_around_grows_until_the_document_ends(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=MANY, quotes=1)
        shown = (await w.press(w.alice, result.response, "Look closer")).response
        lengths = [len(text_of(shown))]
        for _ in range(12):
            pressed = await w.press(w.alice, shown, "After →")
            if pressed.followups and any(f.content for f in pressed.followups):
                assert "ends there, or the message has no more room" in pressed.followups[-1].content
                break
            shown = pressed.response
            lengths.append(len(text_of(shown)))
        assert len(lengths) > 2
        assert lengths == sorted(lengths)
        assert max(lengths) <= 4000
        key = key_of(ids(shown)["Exact text"])
        index = w.answerer.index
        document = index.find_digest(key.digest)
        assert document is not None
        assert w.desk.quote(key).text == index.text(document.id)[key.start : key.end]


async def test_exact_text_is_the_slice_byte_for_byte(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        key = key_of(ids(result.response)["Look closer"])
        closer = await w.press(w.alice, result.response, "Look closer")
        raw = await w.press(w.alice, closer.response, "Exact text")
        document = (root / "documents" / "handbook" / "hours.txt").read_bytes()
        sent = await raw.response.attachments[0].read()
        assert raw.ephemeral
        assert sent == document.decode()[key.start : key.end].encode()
        assert b"\r\n" in sent
        assert hashlib.sha256(document).hexdigest() in raw.response.content
        assert hashlib.sha256(sent).hexdigest() in raw.response.content
        assert f"handbook/hours.txt:{key.start}-{key.end}" in raw.response.content


async def test_verify_compares_with_the_file_now(own_corpus: Path) -> None:
    async with world(own_corpus) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        closer = await w.press(w.alice, result.response, "Look closer")
        file = own_corpus / "documents" / "handbook" / "hours.txt"
        verdicts = [(await w.press(w.alice, closer.response, "Verify")).response.content]
        file.write_text("other")
        verdicts.append((await w.press(w.alice, closer.response, "Verify")).response.content)
        file.unlink()
        verdicts.append((await w.press(w.alice, closer.response, "Verify")).response.content)
        assert [verdict[0] for verdict in verdicts] == ["✓", "⚠", "✗"]
        # What has been deleted is quoted no more, not even by an old button.
        for message, label in (
            (result.response, "Look closer"),
            (closer.response, "Exact text"),
            (closer.response, "After →"),
        ):
            pressed = await w.press(w.alice, message, label)
            said = [m.content for m in (pressed.response, *pressed.followups) if m and m.content]
            assert said == ["The document of that quote has been changed or removed since. Ask again."]
            assert not any(m.attachments for m in (pressed.response, *pressed.followups) if m and m.content)


async def test_opinions_become_feedback_without_names(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        assert "good answer" in (await w.press(w.bob, result.response, "👍")).response.content
        modal = await w.press(w.alice, result.response, "👎")
        assert modal.modal["title"] == "What is bad about it?"
        sent = await w.alice.submit_modal(modal, {"reason": "too\nshort"})
        assert sent.response is not None
        assert "bad answer" in sent.response.content
        found = w.desk.store.undecided(w.guild.id)
        assert [(f.question, f.verdict, f.reason) for f in found] == [(ONE, "up", ""), (ONE, "down", "too short")]
        assert found[0].quotes[0].path == "handbook/hours.txt"
        closer = await w.press(w.alice, result.response, "Look closer")
        modal = await w.press(w.alice, closer.response, "Wrong passage")
        await w.alice.submit_modal(modal, {"reason": ""})
        assert w.desk.store.undecided(w.guild.id)[-1].verdict == "wrong"
        data = (root / "bot.sqlite").read_bytes() + (root / "bot.sqlite-wal").read_bytes()
        for person in (w.alice, w.bob):
            assert str(person.id).encode() not in data
            assert person.id.to_bytes(8, "big") not in data
            assert person.name.encode() not in data


async def test_a_second_opinion_replaces_the_first(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE)
        await w.press(w.bob, result.response, "👍")
        await w.press(w.bob, result.response, "👍")
        modal = await w.press(w.bob, result.response, "👎")
        await w.bob.submit_modal(modal, {"reason": "no"})
        assert [f.verdict for f in w.desk.store.undecided(w.guild.id)] == ["down"]


async def test_a_refusal_can_be_contradicted(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=NEAR)
        modal = await w.press(w.alice, result.response, "It is in there")
        await w.alice.submit_modal(modal, {"reason": "page 3"})
        assert [(f.verdict, f.reason) for f in w.desk.store.undecided(w.guild.id)] == [("missed", "page 3")]


@pytest.mark.parametrize("label", ["More quotes", "One per document", "Look closer", "👍", "👎"])
async def test_every_button_works_after_a_restart(root: Path, label: str) -> None:
    async with world(root, watch=86400) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        await w.env.advance_time(40 * 86400)
        await w.env.restart_bot(QabotClient(w.desk))
        pressed = await w.press(w.alice, result.response, label)
        assert pressed.acknowledged


async def test_a_modal_survives_a_restart(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE)
        modal = await w.press(w.alice, result.response, "👎")
        await w.env.restart_bot(QabotClient(w.desk))
        await w.alice.submit_modal(modal, {"reason": "late"})
        assert [f.reason for f in w.desk.store.undecided(w.guild.id)] == ["late"]


async def test_buttons_say_why_they_cannot(own_corpus: Path) -> None:
    from support import FakeEncoder, build

    async with world(own_corpus) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        closer = await w.press(w.alice, result.response, "Look closer")
        (own_corpus / "documents" / "handbook" / "hours.txt").write_text("Other words entirely stand here now.\n")
        build(own_corpus / "documents", own_corpus / "index", FakeEncoder(window=4000))
        for label in ("Exact text", "Verify", "After →"):
            pressed = await w.press(w.alice, closer.response, label)
            said = [m.content for m in (pressed.response, *pressed.followups) if m and m.content]
            assert any("changed or removed" in text for text in said), label


async def test_buttons_of_other_versions_say_so(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        assert result.response is not None
        stored = w.env.backend.get_message(w.channel.id, result.response.id)
        for part in parts(result.response):
            if part["type"] == 2 and part.get("custom_id", "").startswith("qb1:more"):
                old = part["custom_id"]
        for component in stored.components:
            for button in component.get("components", []):
                if button.get("custom_id") == old:
                    button["custom_id"] = old.replace("qb1", "qb0")
        pressed = await w.alice.click(result.response, custom_id=old.replace("qb1", "qb0"))
        assert pressed.response is not None
        assert pressed.response.content == say("en", "old_button")
        assert pressed.ephemeral


async def test_buttons_speak_the_language_of_whoever_presses(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        with speaking("ru"):
            closer = await w.press(w.bob, result.response, "Look closer")
        assert "Точный текст" in labels(closer.response)
        assert "Вернуться" not in labels(closer.response)


async def test_forged_states_are_refused(root: Path) -> None:
    """A client may send any custom_id that a message shows; only ours are shown, and odd ones do no harm."""
    for text in (
        "qb1:more:zz",
        "qb1:nothing:1:1:",
        "qb1:look:1:1:zzzz",
        "qb1:look:1:1:0123456789ab.1.2.x",
        "qb1:::::",
        "",
    ):
        assert decode(text) is None
    assert decode(encode(Press("up"))) == Press("up")
