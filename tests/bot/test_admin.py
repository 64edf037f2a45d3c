"""What admins do: permissions, status, re-index, settings, unanswered, review; and old answers that are marked."""

import json
from pathlib import Path
from typing import Any

import pytest
import simcord

from bot.botworld import MANY, NEAR, NOTHING, ONE, World, labels, text_of, world
from qabot.bot.admin import Admin
from qabot.bot.reviewing import export_feedback
from qabot.bot.store import PlaceSettings
from qabot.errors import ConfigError
from qabot.evaluation.questions import read_questions
from support import FakeEncoder, build, use_encoder


async def test_admin_commands_are_refused_on_the_server_too(root: Path) -> None:
    """Even where a server's settings let everybody see the commands."""
    async with world(root) as w:
        w.env.check_errors = False
        for name in ("status", "reindex", "settings", "unanswered", "review"):
            result = await forced(w, w.alice, f"qabot {name}")
            assert result.ephemeral
            assert result.response is not None
            assert result.response.content == "That needs the permission Manage Server."


async def forced(w: World, person: simcord.MemberActor, name: str) -> simcord.InteractionResult:
    """Run a command that the client would hide."""
    import simcord.actors as actors

    original = actors._resolve_visible_command

    def seen(actor: simcord.MemberActor, *command: Any, **named: Any) -> dict[str, Any]:
        return original(w.admin, *command, **named)

    actors._resolve_visible_command = seen
    try:
        return await person.slash(w.channel, name)
    finally:
        actors._resolve_visible_command = original


async def test_status(own_corpus: Path) -> None:
    async with world(own_corpus) as w:
        await w.alice.slash(w.channel, "ask", question=ONE)
        text = text_of((await w.admin.slash(w.channel, "qabot status")).response)
        assert "9 documents" in text
        assert "all as they were indexed" in text
        assert "1 answers, 0 refusals" in text
        assert "all that are needed in this channel" in text
        (own_corpus / "documents" / "new.txt").write_text("A new one.")
        assert "0 changed, 0 removed, 1 new" in text_of((await w.admin.slash(w.channel, "qabot status")).response)


async def test_status_names_missing_permissions(root: Path) -> None:
    import discord

    async with world(root) as w:
        hidden = w.guild.create_text_channel(
            "quiet", overwrites={w.guild.default_role: discord.PermissionOverwrite(send_messages=False)}
        )
        text = text_of((await w.admin.slash(hidden, "qabot status")).response)
        assert "missing in this channel: Send Messages" in text


async def test_settings_are_kept_shown_and_reset(root: Path) -> None:
    async with world(root) as w:
        saved = await w.admin.slash(
            w.channel, "qabot settings", private=True, quotes=2, folders="handbook", language="ru"
        )
        assert "Сохранено." in text_of(saved.response) or "Saved." in text_of(saved.response)
        assert w.desk.store.settings(w.guild.id) == PlaceSettings(
            private=True, quotes=2, folders=("handbook",), language="ru"
        )
        await w.admin.slash(w.channel, "qabot settings", channel=w.channel, answers=False)
        assert w.desk.store.settings(w.channel.id, w.guild.id).answers is False
        bad = await w.admin.slash(w.channel, "qabot settings", folders="nowhere")
        assert bad.response is not None
        assert "No document or folder is called nowhere." in bad.response.content
        await w.admin.slash(w.channel, "qabot settings", folders="*")
        assert w.desk.store.settings(w.guild.id).folders == ()
        await w.admin.slash(w.channel, "qabot settings", reset=True)
        assert w.desk.store.settings(w.guild.id) == PlaceSettings()
        warned = await w.admin.slash(w.channel, "qabot settings", every_question=True)
        assert "message_content = true" in text_of(warned.response)


async def test_reindex_posts_the_difference_and_marks_old_answers(
    own_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_encoder(monkeypatch, FakeEncoder(window=4000))
    async with world(own_corpus) as w:
        await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        answer = w.channel.last_message
        await w.alice.slash(w.channel, "ask", question=MANY, quotes=1)
        kept = w.channel.last_message
        hours = own_corpus / "documents" / "handbook" / "hours.txt"
        hours.write_bytes(b"A new first line.\r\n\r\n" + hours.read_bytes())
        (own_corpus / "documents" / "handbook" / "fees.txt").unlink()
        (own_corpus / "documents" / "extra.txt").write_text("An extra document.\n")
        result = await w.admin.slash(w.channel, "qabot reindex")
        text = text_of(result.response)
        assert "1 added, 1 changed, 1 removed, 0 renamed" in text
        assert "`+` extra.txt" in text
        assert "`−` handbook/fees.txt" in text
        assert "Answers marked as outdated: 1" in text
        shown = {message.id: text_of(message) for message in w.channel.history()}
        assert answer is not None
        assert shown[answer.id].startswith("⚠ Quote 1: its document has changed, and the passage now stands elsewhere")
        assert "opens at nine" in shown[answer.id]
        assert kept is not None
        assert "⚠" not in shown[kept.id]
        again = await w.admin.slash(w.channel, "qabot reindex")
        assert "Nothing has changed" in text_of(again.response)


async def test_a_rebuild_by_somebody_else_is_noticed(own_corpus: Path) -> None:
    async with world(own_corpus, watch=30) as w:
        await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        answer = w.channel.last_message
        (own_corpus / "documents" / "handbook" / "hours.txt").unlink()
        build(own_corpus / "documents", own_corpus / "index", FakeEncoder(window=4000))
        await w.env.advance_time(31)
        shown = {message.id: text_of(message) for message in w.channel.history()}
        assert answer is not None
        assert shown[answer.id].startswith("⚠ Quote 1: the passage is no longer in the documents.")
        assert "handbook/hours.txt" not in {known.path for known in w.desk.known}
        assert w.desk.store.posts() == []


async def test_a_failed_reindex_leaves_the_old_index(own_corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_encoder(monkeypatch, FakeEncoder(window=4000))
    async with world(own_corpus) as w:
        (own_corpus / "documents" / "broken.txt").write_bytes(b"\x00\x01\x02binary\x00")
        result = await w.admin.slash(w.channel, "qabot reindex")
        assert "the old index still answers" in text_of(result.response)
        assert "broken.txt" in text_of(result.response)
        assert "opens at nine" in text_of((await w.alice.slash(w.channel, "ask", question=ONE)).response)


async def test_a_documents_folder_that_is_not_mounted_does_not_empty_the_index(
    own_corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_encoder(monkeypatch, FakeEncoder(window=4000))
    async with world(own_corpus) as w:
        (own_corpus / "documents").rename(own_corpus / "elsewhere")
        (own_corpus / "documents").mkdir()
        result = await w.admin.slash(w.channel, "qabot reindex")
        assert "the old index still answers" in text_of(result.response)
        assert "none of them is in" in text_of(result.response)
        (own_corpus / "documents").rmdir()
        (own_corpus / "elsewhere").rename(own_corpus / "documents")
        assert "opens at nine" in text_of((await w.alice.slash(w.channel, "ask", question=ONE)).response)


async def test_one_reindex_at_a_time(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(root) as w:
        group = w.bot.tree.get_command("qabot")
        assert isinstance(group, Admin)
        group._building = True
        result = await w.admin.slash(w.channel, "qabot reindex")
        assert result.response is not None
        assert result.response.content == "A re-index is running already."


async def test_unanswered_is_a_digest_without_people(root: Path) -> None:
    async with world(root) as w:
        for person in (w.alice, w.bob, w.bob):
            await person.slash(w.channel, "ask", question=NOTHING)
        await w.alice.slash(w.channel, "ask", question=NEAR)
        await w.alice.send_dm("zzyzx qwertyuiop asdfgh?")
        result = await w.alice.slash(w.channel, "ask", question=ONE)
        modal = await w.press(w.alice, result.response, "👎")
        await w.alice.submit_modal(modal, {"reason": ""})
        text = text_of((await w.admin.slash(w.channel, "qabot unanswered")).response)
        lines = text.split("\n")
        assert lines[1] == f"- {NOTHING} · refused ×3"
        assert lines[2] == f"- {NEAR} · refused ×1"
        assert lines[3] == f"- {ONE} · down-voted"
        assert "zzyzx" not in text
        assert str(w.alice.id) not in text


async def test_feedback_becomes_evaluation_questions(root: Path, tmp_path: Path) -> None:
    async with world(root) as w:
        for person, question in ((w.alice, ONE), (w.bob, MANY), (w.alice, NEAR)):
            result = await person.slash(w.channel, "ask", question=question, quotes=1)
            if question == NEAR:
                modal = await w.press(person, result.response, "It is in there")
                await person.submit_modal(modal, {"reason": ""})
            else:
                await w.press(person, result.response, "👍")
        review = await w.admin.slash(w.channel, "qabot review")
        assert "**Feedback 1 of 3** · good answer" in text_of(review.response)
        assert labels(review.response) == ["The quote answers", "Name the passage", "Nothing answers", "Ignore"]
        await w.press(w.admin, review.response, "The quote answers")
        await w.press(w.admin, review.response, "Ignore")
        modal = await w.press(w.admin, review.response, "Name the passage")
        bad = await w.admin.submit_modal(modal, {"reference": "nowhere.txt:1-2"})
        assert any("no such place" in message.content for message in bad.followups)
        modal = await w.press(w.admin, review.response, "Name the passage")
        await w.admin.submit_modal(modal, {"reference": "handbook/fees.txt:6-47"})
        assert "No feedback waits" in text_of(review.response)
        w.desk.store.close()
        target = tmp_path / "feedback.jsonl"
        assert export_feedback(root / "bot.sqlite", target) == 2
        lines = [json.loads(line) for line in target.read_text().splitlines()]
        assert lines[0]["question"] == ONE
        assert lines[0]["answerable"] is True
        documents = root / "documents"
        for line in lines:
            for gold in line["gold"]:
                assert gold["quote"] in (documents / gold["doc"]).read_bytes().decode()
        questions = read_questions([target])
        assert [question.id for question in questions.questions] == [line["id"] for line in lines]
        with pytest.raises(ConfigError, match="There is no file"):
            export_feedback(tmp_path / "nowhere.sqlite", target)
        assert lines[1]["gold"] == [{"doc": "handbook/fees.txt", "quote": "Borrowing a laptop costs two euros each d"}]


async def test_review_buttons_check_the_permission(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        await w.press(w.alice, result.response, "👍")
        review = await w.admin.slash(w.channel, "qabot review")
        role = next(r for name, r in w.guild.roles.items() if name == "Managers")
        w.env.backend.get_guild(w.guild.id).members[w.admin.id].role_ids.remove(role.id)
        pressed = await w.press(w.admin, review.response, "The quote answers")
        assert "Manage Server" in pressed.response.content
        assert len(w.desk.store.undecided(w.guild.id)) == 1


async def test_only_the_quotes_concerned_are_marked_and_lost_messages_are_forgotten(own_corpus: Path) -> None:
    async with world(own_corpus, watch=30) as w:
        both = "Borrowing laptop costs euros each, reading room opens nine weekdays?"
        await w.alice.slash(w.channel, "ask", question=both, quotes=2)
        answer = w.channel.last_message
        assert {quote.path for quote in w.desk.store.posts()[0].quotes} == {"handbook/hours.txt", "handbook/fees.txt"}
        await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        lost = w.channel.last_message
        assert lost is not None
        w.env.backend.delete_message(w.channel.id, lost.id)
        number = 1 + [quote.path for quote in w.desk.store.posts()[0].quotes].index("handbook/hours.txt")
        (own_corpus / "documents" / "handbook" / "hours.txt").unlink()
        build(own_corpus / "documents", own_corpus / "index", FakeEncoder(window=4000))
        await w.env.advance_time(31)
        shown = {message.id: text_of(message) for message in w.channel.history()}
        assert answer is not None
        assert shown[answer.id].startswith(
            f"⚠ Quote {number}: the passage is no longer in the documents. Ask again.\n**Borrowing"
        )
        assert w.desk.store.posts() == []
