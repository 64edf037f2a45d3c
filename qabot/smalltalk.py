"""Messages that are not for the documents: greetings, thanks, questions about the bot itself, other languages.

Owns: recognising them. Pure. Only whole messages count: "hi" is a greeting, "hi, who signed the treaty?" is
a question.
"""

from __future__ import annotations

import re
import unicodedata

GREETING = re.compile(
    r"(?:(?:hi|hello|hey|hiya|yo|howdy|greetings|hallo|hola|bonjour|salut|ciao|привет|здравствуйте?|добрый (?:день|вечер)|доброе утро)"
    r"|good (?:morning|afternoon|evening|day))(?: (?:there|everyone|everybody|all|guys|folks|bot|qabot|team|again|friends?))*"
    r"(?:[ ,]+(?:how are (?:you|things)(?: all)?(?: doing)?(?: today)?|what'?s up|how'?s it going))?",
    re.IGNORECASE,
)
THANKS = re.compile(
    r"(?:(?:ok(?:ay)?|great|cool|nice|perfect|awesome|good|lovely)[ ,]+)?(?:many thanks|thanks?(?: you)?|thx|ty|cheers|merci|danke|gracias|спасибо)"
    r"(?: (?:a lot|so much|very much|a bunch|again|you|bot|qabot|mate|большое|for (?:the|your) (?:help|answer|quotes?)))*"
    r"|(?:good|nice|great) (?:bot|job|work|answer)|(?:bye|goodbye|good night|see (?:you|ya))(?: .{0,20})?",
    re.IGNORECASE,
)
ABOUT_BOT = re.compile(
    r"(?:who|what) (?:are|r) (?:you|u)|what(?:'s| is) (?:your name|qabot|this bot)|who (?:made|built|wrote|created|runs) (?:you|this bot|qabot)"
    r"|what (?:can|do) (?:you|u|this bot|qabot) (?:do|know|answer)(?: about)?|how do(?:es)? (?:you|u|this|this bot|qabot|it) work"
    r"|are (?:you|u) (?:a |an )?(?:bot|robot|ai|human|person|real|chatgpt|gpt|llm|language model)(?: .{0,20})?|(?:can you )?help(?: me)?|how do i use (?:you|this|this bot|qabot)"
    r"|what (?:questions )?can i ask(?: you)?|кто ты|что ты (?:умеешь|знаешь)|wer bist du|qui es-tu|quién eres",
    re.IGNORECASE,
)
COMMON_WORDS = {
    "de": "der die das und ist wie wo wer wann warum welche welcher ein eine nicht mit von zu den dem für auf sind hat",
    "en": "the and is how where who when why which what a an not with of to in for on are has did does was can",
    "es": "el la los las y es cómo dónde quién cuándo qué cuál un una no con de por para en son ha deberían fue",
    "fr": "le la les et est comment où qui quand pourquoi quel quelle un une pas avec de du des pour dans sont été",
    "it": "il lo la gli e è come dove chi quando perché quale un una non con di per nel sono ha stato che",
    "nl": "de het een en is hoe waar wie wanneer waarom welke niet met van te voor op zijn heeft",
    "pt": "o a os as e é como onde quem quando por que qual um uma não com de para em são foi",
}
"""The commonest words of languages in Latin script, by ISO 639-1 code."""
LEAD = 2
EDGES = " \t\r\n.,;:!?¡¿…)(~*_\"'👋🙏😀🙂👍"


def kind_of(question: str) -> str | None:
    """`greeting`, `thanks` or `about_bot` when the whole message is one, else None."""
    words = " ".join(question.split()).strip(EDGES)
    for kind, pattern in (("greeting", GREETING), ("thanks", THANKS), ("about_bot", ABOUT_BOT)):
        if pattern.fullmatch(words):
            return kind
    return None


def is_foreign(question: str, language: str) -> bool:
    """Whether a question seems to be in another language than `language` (ISO 639-1).

    In Latin script by its commonest words, of which it has to have two more than of `language`: names have one ("de
    Gaulle"). Any other script is foreign to a language that is written in Latin.
    """
    letters = [character for character in question if character.isalpha()]
    latin = sum(unicodedata.name(character, "").startswith("LATIN") for character in letters)
    if language not in COMMON_WORDS or not letters:
        return False
    if latin < len(letters) / 2:
        return True
    found = re.findall(r"\w+", question.lower())
    counts = {code: sum(word in common.split() for word in found) for code, common in COMMON_WORDS.items()}
    return max(counts.values()) >= counts[language] + LEAD
