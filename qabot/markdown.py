"""Which lines of a Markdown text make underlined headings and tables.

Owns: CommonMark's rules for underlined ("setext") headings, GitHub's for tables. Pure. Refuses to know of offsets, and of
what a line shows by itself (`qabot.sentences` has told headings with signs, code and blank lines by then).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

UNDERLINE = re.compile(r"[ ]{0,3}(?:=++|-++)[ \t]*+\Z")
THEMATIC = re.compile(r"[ ]{0,3}([-*_])(?:[ \t]*+\1){2,}+[ \t]*+\Z")
CONTAINER = re.compile(r"[ ]{0,3}(?:>|(?:[-*+]|\d{1,9}[.)])(?:[ \t]|\Z))")
"""What opens a list item or a block quote. The lines right below go on with it; what is underlined inside is no heading."""
DELIMITER = re.compile(r"[ ]{0,3}(?=[^|]*+\|)\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+(?:\|[ \t]*+)?\Z")
"""The line between a table's header and its rows."""
CELL_BORDER = re.compile(r"(?<!\\)\|")


def combine(lines: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """The kind of each line, once lines are seen together.

    kinds: of each line alone. Lines of kind `text` or `item` may become `underlined` (the words of a heading; as many
    lines as its paragraph has) with an `underline`, or `header`, `delimiter` and `row` of a table.
    """
    result = list(kinds)
    paragraph: list[int] = []
    contained = False
    position = 0
    while position < len(lines):
        line = lines[position].removeprefix("\ufeff")
        if kinds[position] not in ("text", "item"):
            paragraph, contained = [], False
        elif not contained and (past := _table_end(lines, kinds, position)):
            result[position : position + 2] = "header", "delimiter"
            result[position + 2 : past] = ["row"] * (past - position - 2)
            paragraph, position = [], past
            continue
        elif paragraph and UNDERLINE.match(line):
            for number in paragraph:
                result[number] = "underlined"
            result[position] = "underline"
            paragraph = []
        elif THEMATIC.match(line):
            paragraph, contained = [], False
        elif opening := CONTAINER.match(line):
            # An empty item has nothing that could go on.
            paragraph, contained = [], bool(line[opening.end() :].strip())
        elif not contained and (paragraph or not _is_indented(line)):
            paragraph.append(position)
        position += 1
    return result


def _table_end(lines: Sequence[str], kinds: Sequence[str], first: int) -> int | None:
    """The line after the table that begins here, if one does: a header, then a delimiter of as many cells."""
    if first + 1 == len(lines) or not DELIMITER.match(lines[first + 1]):
        return None
    header = lines[first].removeprefix("\ufeff")
    if (
        "|" not in header
        or _is_indented(header)
        or CONTAINER.match(header)
        or _cells(header) != _cells(lines[first + 1])
    ):
        return None
    end = first + 2
    while end < len(lines) and kinds[end] in ("text", "item"):
        line = lines[end]
        if CONTAINER.match(line) or THEMATIC.match(line) or _is_indented(line):
            break
        end += 1
    return end


def _cells(row: str) -> int:
    """How many cells a row has; the pipes at its ends are only a frame."""
    borders = len(CELL_BORDER.findall(row.strip()))
    return 1 + borders - row.strip().startswith("|") - (row.strip().endswith("|") and not row.strip().endswith("\\|"))


def _is_indented(line: str) -> bool:
    """Whether a line is indented as far as code."""
    return line.expandtabs(4).startswith("    ")
