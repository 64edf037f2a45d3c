"""Questions that are not for the documents: greetings, thanks, and questions about the bot itself.

Owns: recognising them. Pure. Only whole messages count: "hi" is a greeting, "hi, who signed the treaty?" is
a question.
"""

from __future__ import annotations

import re

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
EDGES = " \t\r\n.,;:!?¡¿…)(~*_\"'👋🙏😀🙂👍"


def kind_of(question: str) -> str | None:
    """`greeting`, `thanks` or `about_bot` when the whole message is one, else None."""
    words = " ".join(question.split()).strip(EDGES)
    for kind, pattern in (("greeting", GREETING), ("thanks", THANKS), ("about_bot", ABOUT_BOT)):
        if pattern.fullmatch(words):
            return kind
    return None
