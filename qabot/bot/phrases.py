"""Every word that the bot says itself, in every language it speaks.

Owns: the catalogue and choosing from it. What answers a question is never here; it is always a quote.
To add a language: add a table with the same keys to `CATALOGUE` and its Discord locales to `LOCALES`; a test
compares keys and placeholders.
"""

from __future__ import annotations

from qabot.bot.phrases_en import ENGLISH
from qabot.bot.phrases_ru import RUSSIAN

CATALOGUE: dict[str, dict[str, str]] = {"en": ENGLISH, "ru": RUSSIAN}
LOCALES = {"en-US": "en", "en-GB": "en", "ru": "ru"}
"""Discord's locale -> language of the catalogue."""
NAMES = {"en": "English", "ru": "Русский"}
FALLBACK = "en"


def language_of(*wishes: str | None) -> str:
    """The language of the first wish that the catalogue has; wishes are Discord locales or languages."""
    for wish in wishes:
        if wish and (language := LOCALES.get(wish, wish)) in CATALOGUE:
            return language
    return FALLBACK


def say(language: str, key: str, **values: object) -> str:
    """The phrase `key` in `language`, its placeholders filled. Values that others wrote come in escaped."""
    return CATALOGUE[language][key].format(**values)


def note_key(note: str) -> str:
    """The phrase for an `Answer.note`; a plain refusal for one that the catalogue doesn't know."""
    key = f"note.{note}"
    return key if key in ENGLISH else "nothing"
