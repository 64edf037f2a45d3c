"""Every sentence that qabot says itself: fixed phrases, so that they can be read in one place and translated.

Owns: the words around quotes. What answers a question is never here; it is always a quote.
"""

from __future__ import annotations

from qabot.types import Answer, State

RELATED = "No sentence here is trusted to answer that. The closest passages, which are not an answer:"
NOTHING = "Nothing in the documents answers that."
NOTES = {
    "empty": "There is no question. Ask one in your own words, or with a few keywords.",
    "too_long": "That question is longer than {limit} characters. Ask for one thing at a time.",
    "gibberish": "No word of that is known here. Ask in your own words, or with a few keywords.",
    "greeting": "Hello! Ask a question, and you get the passages of the documents that answer it, word for word.",
    "thanks": "You are welcome.",
    "about_bot": "I am qabot. I write nothing of my own: I find the passages of the documents that answer a question "
    "and quote them word for word, with their source. Where nothing answers, I say so.",
    "foreign": "Nothing found. The documents are searched in their own language; try asking in that.",
    "no_documents": "The index holds no documents yet. Put some into the documents folder and run `qabot index`.",
    "out_of_scope": "No document of the index is called that: {scope}.",
}
"""Note of an `Answer` -> sentence."""

GONE = "Withheld: a passage of {path}, which has been removed since it was indexed. Run `qabot index`."
UNREADABLE = "Withheld: a passage of {path}, which can't be read now. Give qabot the right to read it."
STATES: dict[State, str] = {
    "current": "The file still holds what was indexed.",
    "changed": "The file has changed since this was indexed; the quote is from the older text. Run `qabot index`.",
    "gone": "The file has been removed since this was indexed.",
    "unreadable": "The file can't be read now, so it couldn't be compared with what was indexed.",
}
ALSO = "Also in {places}"
CUT_BEFORE = "[...]"
CUT = "[...] Shown are {shown:,} of {all:,} characters. All of it: qabot show {reference}"
QUESTION_LIMIT = 2000
"""Longest question, in characters, that is searched for."""


def outcome(answer: Answer) -> str | None:
    """The sentence above the quotes, or None where the quotes speak for themselves."""
    if answer.note:
        return NOTES[answer.note].format(limit=QUESTION_LIMIT, scope=", ".join(answer.scope))
    if answer.outcome == "nothing":
        return NOTHING
    return RELATED if answer.outcome == "related" else None


def counted(number: int, noun: str) -> str:
    """`1 document`, `2,000 documents`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
