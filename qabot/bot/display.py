"""Text of others -> Discord markdown that shows exactly that text, and back.

Owns: escaping, the marks for what can't be seen, block quotes, bold, and lengths as Discord counts them. Pure.
Refuses to know what an answer is.

What a document holds must neither act (mention, link, embed an invite, format) nor deceive (turn text around,
hide). A backslash goes before everything that Discord reads as markup; an invisible character is shown as
`⟨U+200B⟩`. `reveal` undoes both and gives the text back, code point for code point; a property test holds it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from qabot.types import Span

MARK_LEFT, MARK_RIGHT = "⟨", "⟩"
QUOTE_PREFIX = "> "
COMBINING_RUN = 4
"""This many combining marks on one letter are shown; the rest of a longer run is marked."""

# Filler letters that show as nothing: they are letters to Unicode, so no category catches them.
FILLERS = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
SOFT_HYPHEN = "\u00ad"
ZWNJ, ZWJ = "\u200c", "\u200d"
FLAG = re.compile("\U0001f3f4[\U000e0020-\U000e007f]+")
MARKED = re.compile(rf"{MARK_LEFT}U\+([0-9A-F]{{4,6}}){MARK_RIGHT}")
LITERAL_MARK = re.compile(rf"{MARK_LEFT}(?=U\+[0-9A-F]{{4,6}}{MARK_RIGHT})")

ANYWHERE = re.compile(
    r"[\\*_~|`<\[\]]"  # formatting, code, spoilers, mentions, timestamps, custom emoji, masked links
    r"|:(?=//)"  # links
    r"|:(?=[\w+\-]+:)"  # :emoji: by name
    r"|@(?=everyone|here)"
    r"|\.(?=gg/|com/invite)",  # invites show without a scheme
    re.IGNORECASE,
)
LINE_START = re.compile(r"^(\s*(?:\d+(?=\.)|(?=[#>+\-])))")


def utf16_length(text: str) -> int:
    """Length in UTF-16 code units, never fewer than what Discord's limits count."""
    return len(text) + sum(character > "\uffff" for character in text)


def newline_of(text: str) -> str:
    r"""What ends the lines of a text: `\r\n` when that occurs, else `\n`."""
    return "\r\n" if "\r\n" in text else "\n"


def escape(text: str, newline: str = "\n") -> str:
    r"""Discord markdown that shows `text`.

    newline: what ends the lines of the text; it is shown as a line break, and any other control character as a
    mark. Without markup around it, the result is read back by `reveal`.
    """
    lines, breaks = _lines(text, newline)
    return "".join(_escape_line(line) + end for line, end in zip(lines, [*breaks, ""], strict=True))


def escape_line(text: str) -> str:
    """`escape` for what must stay on one line: line breaks are marked too."""
    return "".join(_escape_line(part) if part != "\n" else _mark("\n") for part in re.split("(\n)", text))


def block_quote(text: str, bold: Sequence[Span], newline: str = "\n") -> str:
    """`text` as a block quote; the spans `bold` (of `text`, sorted, apart from each other) in bold."""
    pieces, last = [], 0
    for span in bold:
        pieces.append((text[last : span.start], False))
        pieces.append((text[span.start : span.end], True))
        last = span.end
    pieces.append((text[last:], False))
    return QUOTE_PREFIX + _styled(pieces, newline).replace("\n", "\n" + QUOTE_PREFIX)


def reveal(shown: str, newline: str = "\n") -> str:
    """The text that `escape`, `escape_line` or (with its prefixes) `block_quote` shows. Inverse of each.

    Takes away `> ` at line starts, unescaped asterisks (bold) and backslashes, and turns marks into characters.
    """
    lines = shown.split("\n")
    if all(line.startswith(QUOTE_PREFIX) for line in lines):
        lines = [line.removeprefix(QUOTE_PREFIX) for line in lines]
    plain = re.sub(r"\\(.)|\*", lambda match: match[1] or "", "\n".join(lines), flags=re.DOTALL)
    if newline == "\r\n":
        bare = _mark("\n") + "\n"
        return "\n".join(_unmark(part.replace("\n", "\r\n")) for part in plain.split(bare))
    return _unmark(plain)


def merged(spans: Sequence[Span], within: Span) -> list[Span]:
    """The parts of `spans` inside `within`, sorted, touching ones joined, relative to its start."""
    found: list[Span] = []
    for span in sorted(spans, key=lambda span: span.start):
        start, end = max(span.start, within.start) - within.start, min(span.end, within.end) - within.start
        if start >= end:
            continue
        if found and start <= found[-1].end:
            found[-1] = Span(found[-1].start, max(found[-1].end, end))
        else:
            found.append(Span(start, end))
    return found


def _styled(pieces: Sequence[tuple[str, bool]], newline: str) -> str:
    """Escape the whole once, so that context decides, then put the bold where the pieces stand."""
    whole = "".join(piece for piece, _ in pieces)
    shown = escape(whole, newline)
    edges = _edges(whole, shown, newline)
    out, start = [], 0
    for piece, bold in pieces:
        part = shown[edges[start] : edges[start + len(piece)]]
        out.append(_bold(part) if bold else part)
        start += len(piece)
    return "".join(out)


def _edges(text: str, shown: str, newline: str) -> list[int]:
    """Where each code point of `text` begins in `escape(text)`; one more for the end."""
    tokens = [match.end() for match in re.finditer(rf"\\.|{MARKED.pattern}|.", shown, re.DOTALL)]
    if newline == "\r\n":
        return _edges_crlf(text, shown, tokens)
    return [0, *tokens]


def _edges_crlf(text: str, shown: str, tokens: list[int]) -> list[int]:
    r"""As `_edges`, where `\r\n` is one token and a bare `\n` is a mark and a line break."""
    edges, token, position = [0], 0, 0
    while position < len(text):
        if text.startswith("\r\n", position):
            edges += [edges[-1], tokens[token]]
            token, position = token + 1, position + 2
        elif text[position] == "\n":
            edges.append(tokens[token + 1])
            token, position = token + 2, position + 1
        else:
            edges.append(tokens[token])
            token, position = token + 1, position + 1
    return edges


def _bold(shown: str) -> str:
    """Bold line by line: markup that spans an empty line, or begins with a space, is not always read as such."""
    lines = []
    for line in shown.split("\n"):
        inner = line.strip()
        before, after = len(line) - len(line.lstrip()), len(line.rstrip())
        lines.append(f"{line[:before]}**{inner}**{line[after:]}" if inner else line)
    return "\n".join(lines)


def _escape_line(line: str) -> str:
    marked = _mark_hidden(LITERAL_MARK.sub(_mark(MARK_LEFT), line))
    escaped = ANYWHERE.sub(lambda match: "\\" + match[0], marked)
    return LINE_START.sub(lambda match: match[1] + "\\", escaped)


def _mark_hidden(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    flags = [(match.start(), match.end()) for match in FLAG.finditer(text)]
    shown, run = [], 0
    for position, character in enumerate(text):
        combining = unicodedata.category(character) in ("Mn", "Me")
        run = run + 1 if combining else 0
        hidden = run > COMBINING_RUN or _hidden(text, position, flags)
        shown.append(_mark(character) if hidden else character)
    return "".join(shown)


def _hidden(text: str, position: int, flags: Sequence[tuple[int, int]]) -> bool:
    character = text[position]
    if character in "\n\t" or character == SOFT_HYPHEN:
        return False
    if character in FILLERS:
        return True
    if unicodedata.category(character) not in HIDDEN_CATEGORIES:
        return False
    if character in (ZWJ, ZWNJ):
        return not _joins(text, position)
    return not any(start <= position < end for start, end in flags)


def _joins(text: str, position: int) -> bool:
    """Whether the joiner here stands where writing needs it: between letters of a joining script, or emoji."""
    before, after = text[position - 1 : position], text[position + 1 : position + 2]
    if not before or not after:
        return False
    if text[position] == ZWJ and _pictograph(after) and (_pictograph(before) or before == "\ufe0f"):
        return True
    return _joining_script(before) and _joining_script(after)


def _pictograph(character: str) -> bool:
    return unicodedata.category(character) in ("So", "Sk") and (character >= "\u2190")


def _joining_script(character: str) -> bool:
    return "\u0600" <= character <= "\u08ff" or "\u0900" <= character <= "\u0dff" or "\ufb50" <= character <= "\ufdff"


def _mark(character: str) -> str:
    return f"{MARK_LEFT}U+{ord(character):04X}{MARK_RIGHT}"


def _unmark(text: str) -> str:
    return MARKED.sub(lambda match: chr(int(match[1], 16)), text)


def _lines(text: str, newline: str) -> tuple[list[str], list[str]]:
    r"""The lines of a text, and how each break between them is shown.

    A bare \n in a text of \r\n is a line break too, but must not come back as \r\n: it is marked.
    """
    if newline == "\n":
        lines = text.split("\n")
        return lines, ["\n"] * (len(lines) - 1)
    pieces = re.split("(\r?\n)", text)
    return pieces[::2], ["\n" if end == newline else _mark("\n") + "\n" for end in pieces[1::2]]
