"""Asking in every way, in a simulated Discord."""

from pathlib import Path
from typing import Any

import discord
import pytest

from bot.botworld import (
    HOSTILE,
    HOSTILE_LINE,
    LONG,
    LONG_LINE,
    MANY,
    NEAR,
    NOTHING,
    ONE,
    World,
    ids,
    labels,
    parts,
    speaking,
    text_of,
    world,
)
from qabot.bot.client import QabotClient
from qabot.bot.display import reveal
from qabot.bot.store import PlaceSettings
from qabot.types import Answer


def callbacks(w: World) -> list[Any]:
    return [r.json for r in w.env.http_requests if r.path.endswith("/callback")]


async def test_ask_defers_and_quotes_the_passage_with_its_source(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        text = text_of(result.response)
        assert callbacks(w)[0]["type"] == 5
        assert not result.ephemeral
        assert f"**{ONE}**" in text
        assert (
            "> **The reading room opens at nine on weekdays, and on Saturdays it**\n> **opens at ten in the morning.** It"
            in text
        )
        assert (
            "Opening hours of the reading room\n-# The library · handbook/hours.txt, lines 3–4 · Opening hours" in text
        )
        assert labels(result.response) == ["Open source", "Look closer", "More quotes", "One per document", "👍", "👎"]


async def test_quotes_come_best_first_and_no_more_than_wished(root: Path) -> None:
    async with world(root) as w:
        for count in (1, 2, 5):
            result = await w.alice.slash(w.channel, "ask", question=MANY, quotes=count)
            shown = [part for part in parts(result.response) if part["type"] == 10 and "\n> " in part["content"]]
            assert len(shown) == count
        index, best = w.answerer.index, w.answerer.ask(MANY, quotes=5).quotes
        for part, quote in zip(shown, best, strict=True):
            body = "\n".join(line for line in part["content"].split("\n") if line.startswith("> "))
            stored = index.find_document(quote.place.path)
            assert stored is not None
            assert reveal(body) == index.text(stored.id, quote.place.start, quote.place.end)


async def test_refusal_is_one_sentence_and_the_closest_passages_a_button_away(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=NEAR)
        assert "\n>" not in text_of(result.response)
        assert labels(result.response) == ["Closest passages", "It is in there"]
        await w.press(w.alice, result.response, "Closest passages")
        assert "**Not an answer.**" in text_of(w.channel.last_message)
        assert "\n> " in text_of(w.channel.last_message)


async def test_nothing_close_has_no_button_for_it(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=NOTHING)
        assert "Nothing in the documents answers that." in text_of(result.response)
        assert labels(result.response) == ["It is in there"]


async def test_private(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, private=True)
        assert result.ephemeral
        assert "Share" in labels(result.response)
        shared = await w.press(w.alice, result.response, "Share")
        assert not shared.ephemeral
        assert f"Shared by <@{w.alice.id}>" in text_of(shared.response)
        assert "The reading room opens at nine" in text_of(w.channel.last_message)
        assert "Share" not in labels(w.channel.last_message)


async def test_private_by_default_where_the_server_says_so(root: Path) -> None:
    async with world(root) as w:
        w.desk.store.set_settings(w.guild.id, PlaceSettings(private=True))
        assert (await w.alice.slash(w.channel, "ask", question=ONE)).ephemeral
        assert not (await w.alice.slash(w.channel, "ask", question=ONE, private=False)).ephemeral


async def test_share_needs_the_right_to_write_here(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=ONE, private=True)
        w.desk.store.set_settings(w.channel.id, PlaceSettings(answers=False))
        refused = await w.press(w.alice, result.response, "Share")
        assert refused.ephemeral
        assert refused.response.content == "You may not write in this channel."


async def test_document_option_limits_the_search_and_is_kept_by_buttons(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=MANY, document="000_4533c2ae0de87c8d.txt", quotes=2)
        assert "Searched only in: 000\\_4533c2ae0de87c8d.txt" in text_of(result.response)
        more = await w.press(w.alice, result.response, "More quotes")
        shown = [part["content"] for part in parts(more.response) if part["type"] == 10 and "\n> " in part["content"]]
        assert len(shown) > 2
        assert all("000\\_4533c2ae0de87c8d.txt" in text for text in shown)
        nowhere = await w.alice.slash(w.channel, "ask", question=MANY, document="no such thing")
        assert "No document or folder is called that." in text_of(nowhere.response)


async def test_autocompletion_offers_titles_and_folders_without_asking(root: Path) -> None:
    async with world(root, workers=1, queue=0, cooldown=600, burst=1) as w:
        for _ in range(3):
            offered = await w.alice.autocomplete(w.channel, "ask", "document", "hand", question="x")
            assert {"📁 handbook/", "Opening hours of the reading room", "Fees"} == {c["name"] for c in offered}
        offered = await w.alice.autocomplete(w.channel, "ask", "document", "READING", question="x")
        assert [c["value"] for c in offered] == ["handbook/hours.txt"]
        assert w.answerer.asked == []


async def test_message_menu(root: Path) -> None:
    async with world(root) as w:
        said = await w.bob.send(w.channel, ONE)
        result = await w.alice.context_menu(w.channel, "Find sources for this", said)
        assert result.ephemeral
        assert "opens at nine" in text_of(result.response)
        long = await w.bob.send(w.channel, "why " * 200)
        result = await w.alice.context_menu(w.channel, "Find sources for this", long)
        assert result.ephemeral
        assert result.response is not None
        assert result.response.content == "That is 799 characters. A question may have 300."


async def test_mention(root: Path) -> None:
    async with world(root) as w:
        said = await w.alice.send(w.channel, w.mention(ONE))
        reply = w.channel.last_message
        assert reply is not None
        assert reply.reference is not None
        assert reply.reference.message_id == said.id
        assert "opens at nine" in text_of(reply)
        assert w.answerer.asked == [ONE]
        assert not reply.mentions


async def test_pinging_reply_to_an_answer_is_a_new_question(root: Path) -> None:
    async with world(root) as w:
        await w.alice.send(w.channel, w.mention(ONE))
        await w.bob.send(w.channel, MANY, reply_to=w.channel.last_message)
        assert w.answerer.asked == [ONE, MANY]


async def test_direct_message(root: Path) -> None:
    async with world(root) as w:
        await w.alice.send_dm(ONE)
        assert w.answerer.asked == [ONE]
        history = w.alice.user.dm_channel.history()
        assert any("opens at nine" in text_of(message) for message in history)


async def test_what_is_not_for_the_bot_yields_nothing(root: Path) -> None:
    """No reply, no reaction, no typing, no request of any kind, and no question computed."""
    async with world(root) as w:
        other = w.guild.add_member(w.env.create_user("other", bot=True))
        hook = w.guild.create_webhook(w.channel)
        before = len(w.env.http_requests)
        await w.alice.send(w.channel, ONE)
        await w.alice.send(w.channel, f"{w.bob.mention} {ONE}")
        await other.send(w.channel, w.mention(ONE))
        await hook.send(w.mention(ONE))
        said = await w.bob.send(w.channel, "hello")
        await w.alice.send(w.channel, ONE, reply_to=said)
        assert len(w.env.http_requests) == before
        assert w.answerer.asked == []


async def test_no_privileged_intent(root: Path) -> None:
    async with world(root) as w:
        assert not w.bot.intents.message_content
        assert not w.bot.intents.members
        assert not w.bot.intents.presences


async def test_smalltalk_and_empty_mentions_get_a_phrase(root: Path) -> None:
    async with world(root) as w:
        await w.alice.send(w.channel, w.mention("hello!"))
        assert "Hello! Ask a question" in text_of(w.channel.last_message)
        await w.alice.send(w.channel, w.mention(""))
        assert "There was no question." in text_of(w.channel.last_message)


async def test_long_questions_are_refused_kindly(root: Path) -> None:
    async with world(root) as w:
        await w.alice.send(w.channel, w.mention("why " * 200))
        assert w.channel.last_message is not None
        assert w.channel.last_message.content == "That is 799 characters. A question may have 300."
        assert w.answerer.asked == []
        with pytest.raises(simcord_setup_error()):
            await w.alice.slash(w.channel, "ask", question="x" * 301)


def simcord_setup_error() -> type[Exception]:
    from simcord.backend.errors import SetupError

    return SetupError


async def test_channels_where_it_must_not_answer(root: Path) -> None:
    async with world(root) as w:
        w.desk.store.set_settings(w.channel.id, PlaceSettings(answers=False))
        await w.alice.send(w.channel, w.mention(ONE))
        assert w.answerer.asked == []
        assert (await w.alice.slash(w.channel, "ask", question=ONE)).ephemeral


async def test_every_question_only_where_switched_on_and_only_with_answers(root: Path) -> None:
    async with world(root, message_content=True) as w:
        await w.alice.send(w.channel, ONE)
        assert w.answerer.asked == []
        w.desk.store.set_settings(w.channel.id, PlaceSettings(every_question=True))
        await w.alice.send(w.channel, "The reading room opens on weekdays")
        assert w.answerer.asked == []
        await w.alice.send(w.channel, NEAR)
        assert w.channel.last_message is not None
        assert w.channel.last_message.content == NEAR
        await w.alice.send(w.channel, ONE)
        assert "opens at nine" in text_of(w.channel.last_message)


async def test_folders_of_a_channel_are_all_that_is_searched(root: Path) -> None:
    async with world(root) as w:
        w.desk.store.set_settings(w.channel.id, PlaceSettings(folders=("handbook",)))
        assert "opens at nine" in text_of((await w.alice.slash(w.channel, "ask", question=ONE)).response)
        refused = await w.alice.slash(w.channel, "ask", question=MANY)
        assert "Nothing in the documents answers that." in text_of(refused.response)
        outside = await w.alice.slash(w.channel, "ask", question=HOSTILE, document="hostile.txt")
        assert "No document or folder is called that." in text_of(outside.response)
        offered = await w.alice.autocomplete(w.channel, "ask", "document", "", question="x")
        assert {choice["value"] for choice in offered} == {"handbook", "handbook/hours.txt", "handbook/fees.txt"}


async def test_hostile_document_is_shown_as_it_is_and_does_nothing(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=HOSTILE, document="hostile.txt", quotes=1)
        shown = next(
            part["content"] for part in parts(result.response) if part["type"] == 10 and "\n> " in part["content"]
        )
        body = "\n".join(line for line in shown.split("\n") if line.startswith("> "))
        assert HOSTILE_LINE in reveal(body)
        message = w.channel.last_message
        assert message is not None
        assert not message.mentions
        assert not message.mention_everyone
        assert "evil.example" not in str([part.get("url") for part in parts(message)])


async def test_links_only_to_allowed_hosts(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question="What does borrowing a laptop cost each day?", quotes=1)
        assert "Borrowing a laptop costs two euros each day." in text_of(result.response)
        assert "Open source" not in labels(result.response)


async def test_long_sentence_is_cut_openly_and_offered_whole(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=LONG, quotes=1)
        text = text_of(result.response)
        assert len(text) <= 4000
        assert "> […]" in text
        assert "Shortened where […] stands" in text
        shown = next(
            part["content"] for part in parts(result.response) if part["type"] == 10 and "\n> " in part["content"]
        )
        body = [line for line in shown.split("\n") if line.startswith("> ") and line != "> […]"]
        assert LONG_LINE.startswith(reveal("\n".join(body)))
        closer = await w.press(w.alice, result.response, "Look closer")
        raw = await w.press(w.alice, closer.response, "Exact text")
        assert (await raw.response.attachments[0].read()).decode().startswith(
            "A short sentence before it."
        ) or LONG_LINE in (await raw.response.attachments[0].read()).decode()


async def test_removed_and_changed_files(own_corpus: Path) -> None:
    async with world(own_corpus) as w:
        hours = own_corpus / "documents" / "handbook" / "hours.txt"
        hours.write_text("Something else.")
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        assert "⚠ The document has changed since this was indexed" in text_of(result.response)
        hours.unlink()
        result = await w.alice.slash(w.channel, "ask", question=ONE, quotes=1)
        assert "opens at nine" not in text_of(result.response)
        assert "A passage of a document that has been removed is not shown." in text_of(result.response)


async def test_languages(root: Path) -> None:
    async with world(root) as w:
        with speaking("ru"):
            result = await w.alice.slash(w.channel, "ask", question=NOTHING)
            assert "В документах нет ответа" in text_of(result.response)
            assert labels(result.response) == ["Ответ там есть"]
        w.desk.store.set_settings(w.guild.id, PlaceSettings(language="ru"))
        with speaking("de"):
            result = await w.alice.slash(w.channel, "ask", question=NOTHING)
            assert "В документах нет ответа" in text_of(result.response)
        await w.alice.send(w.channel, w.mention(NOTHING))
        assert "В документах нет ответа" in text_of(w.channel.last_message)
        result = await w.alice.slash(w.channel, "ask", question=NOTHING)
        assert "Nothing in the documents" in text_of(result.response)


async def test_failures_end_as_one_sentence(root: Path) -> None:
    async with world(root) as w:
        w.env.check_errors = False

        def broken(*args: object, **options: object) -> Answer:
            raise ValueError("secret detail")

        w.answerer.ask = broken  # type: ignore[method-assign]
        result = await w.alice.slash(w.channel, "ask", question=ONE)
        assert result.response is not None
        assert result.response.content == "That went wrong here, and was noted in the bot's log. Try again later."


async def test_nothing_is_kept_per_message(root: Path) -> None:
    async with world(root) as w:
        for _ in range(5):
            result = await w.alice.slash(w.channel, "ask", question=MANY)
            await w.press(w.alice, result.response, "👎")
        views = w.bot._connection._view_store
        assert not views._views
        assert not views._modals
        assert not views._synced_message_views
        assert len(views._dynamic_items) == 1


async def test_registered_only_when_changed(root: Path) -> None:
    async with world(root) as w:
        syncs = [r for r in w.env.http_requests if r.method == "PUT"]
        assert len(syncs) == 1
        assert syncs[0].json is not None
        commands = {c["name"]: c for c in syncs[0].json}
        assert commands["ask"]["contexts"] == [0, 1, 2]
        assert commands["ask"]["integration_types"] == [0, 1]
        assert commands["ask"]["name_localizations"] == {"ru": "спросить"}
        assert commands["qabot"]["default_member_permissions"] == discord.Permissions(manage_guild=True).value
        assert commands["Find sources for this"]["name_localizations"] == {"ru": "Найти источники"}
        again = QabotClient(w.desk)
        await w.env.restart_bot(again)
        assert len([r for r in w.env.http_requests if r.method == "PUT"]) == 1
        w.bot = again
        result = await w.alice.slash(w.channel, "ask", question=ONE)
        assert "opens at nine" in text_of(result.response)


async def test_buttons_hold_no_secret_and_stay_short(root: Path) -> None:
    async with world(root) as w:
        result = await w.alice.slash(w.channel, "ask", question=MANY, quotes=5)
        assert all(len(custom_id) <= 100 for custom_id in ids(result.response).values())
