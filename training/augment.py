"""Questions as people really type and say them: typos, keywords, transcribed speech.

Owns: random rewrites of a question that keep its meaning. Refuses to know: documents, models.
"""

import random
import re

_KEYBOARD = {
    key: near
    for row in ("qwertyuiop", "asdfghjkl", "zxcvbnm")
    for key, near in zip(row, (row[max(0, i - 1) : i] + row[i + 1 : i + 2] for i in range(len(row))), strict=True)
}
# Pairs and triples that a recogniser mixes up because they sound alike.
_SOUND_ALIKE = [
    group.split()
    for group in (
        "to two too|for four fore|their there they're|its it's|your you're|whose who's|were where wear"
        "|by buy bye|know no|new knew|right write|hear here|than then|which witch|one won|our hour are"
        "|see sea|son sun|week weak|whole hole|would wood|wait weight|peace piece|plain plane"
        "|principal principle|past passed|great grate|made maid|male mail|meet meat|main mane"
        "|rain reign|role roll|root route|sail sale|scene seen|site sight cite|some sum|steel steal"
        "|tail tale|threw through|war wore|way weigh|whether weather|affect effect|accept except"
        "|allowed aloud|board bored|brake break|cell sell|cent sent scent|coarse course|days daze"
        "|died dyed|fair fare|find fined|flour flower|guest guessed|higher hire|him hymn|led lead"
        "|lessen lesson|loan lone|missed mist|not knot|ate eight|pair pear|poor pour|prince prints"
        "|raise rays|read red|real reel|seem seam|state stayed|tied tide|time thyme|use ewes|or oar"
        "|and an end|in inn|the a|did had|has as is|does dose|many any|what watt|when win|law lore"
        "|force fours|countries country's|laws loss|users uses|rights writes"
    ).split("|")
]
_MIXUPS: dict[str, list[str]] = {}
for _group in _SOUND_ALIKE:
    for _word in _group:
        _MIXUPS.setdefault(_word, []).extend(w for w in _group if w != _word)
_SPELLED = [
    ("ph", "f"),
    ("ough", "uff"),
    ("tion", "shun"),
    ("ck", "k"),
    ("ee", "ea"),
    ("ei", "ie"),
    ("ai", "ay"),
    ("ou", "ow"),
    ("s", "z"),
    ("c", "k"),
    ("y", "ie"),
    ("x", "cks"),
    ("qu", "kw"),
]
_FUNCTION_WORDS = frozenset(
    "a an the of to in on at for by with from and or is are was were be been do does did has have had "
    "will would can could should may might what which who whom whose when where why how that this "
    "these those it its i me my we our you your they their he she his her there any some if as about "
    "into so than then just please tell".split()
)


def typos(question: str, rng: random.Random, rate: float = 0.06) -> str:
    """Each letter is, with probability `rate`, swapped, dropped, doubled or mistyped."""
    out = list(question)
    i = 0
    while i < len(out):
        if out[i].isalpha() and rng.random() < rate:
            kind = rng.randrange(4)
            if kind == 0 and i + 1 < len(out) and out[i + 1].isalpha():
                out[i], out[i + 1] = out[i + 1], out[i]
                i += 1
            elif kind == 1:
                out[i] = ""
            elif kind == 2:
                out[i] *= 2
            else:
                out[i] = rng.choice(_KEYBOARD.get(out[i].lower(), out[i]) or out[i])
        i += 1
    return "".join(out)


def keywords(question: str, rng: random.Random) -> str:
    """The content words in order, lower-cased half of the time; the question itself if too few."""
    kept = [w for w in re.findall(r"[\w'’.-]*\w", question) if w.lower() not in _FUNCTION_WORDS]
    if len(kept) < 3:
        return question
    text = " ".join(kept)
    return text.lower() if rng.random() < 0.5 else text


def spoken(question: str, rng: random.Random, rate: float = 0.15) -> str:
    """Lower case, no punctuation, and words now and then replaced by what sounds alike."""
    words = re.findall(r"[\w'’]+", question.lower())
    out = []
    for word in words:
        if rng.random() < rate:
            if word in _MIXUPS:
                word = rng.choice(_MIXUPS[word])
            elif len(word) > 5:
                if rng.random() < 0.35:
                    cut = rng.randrange(2, len(word) - 2)
                    word = word[:cut] + " " + word[cut:]
                else:
                    fits = [(a, b) for a, b in _SPELLED if a in word[1:]]
                    if fits:
                        a, b = rng.choice(fits)
                        word = word[0] + word[1:].replace(a, b, 1)
        out.append(word)
    return " ".join(out)


def rewrite(question: str, rng: random.Random, strength: float = 1.0) -> str:
    """The question as it stands in about half of the cases (always, when `strength` is 0), else one of the rewrites above."""
    roll = rng.random() / max(strength, 1e-9)
    if roll < 0.12:
        return typos(question, rng, rng.choice((0.03, 0.06, 0.1)))
    if roll < 0.24:
        return spoken(question, rng)
    if roll < 0.30:
        return keywords(question, rng)
    if roll < 0.38:
        return question.lower().rstrip("?.! ")
    if roll < 0.42:
        return question.rstrip("?.! ")
    return question
