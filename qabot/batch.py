"""Question files: JSON lines `{"id", "question"}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from qabot.errors import QuestionError


def read_questions(lines: Iterable[str]) -> Iterator[tuple[str | None, str]]:
    """(id or None, question) of each line, one at a time; blank lines are passed over, other keys ignored.

    Raises `QuestionError` with the line's number when a line is of another form.
    """
    try:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise QuestionError(
                    f'Line {number} of the questions is not JSON ({error}). Expected {{"id": "1", "question": "..."}}.'
                ) from error
            question = value.get("question") if isinstance(value, dict) else None
            if not isinstance(question, str):
                raise QuestionError(
                    f'Line {number} of the questions has no text "question". Expected {{"id": "1", "question": "..."}}.'
                )
            identifier = value.get("id")
            yield None if identifier is None else str(identifier), question
    except UnicodeDecodeError as error:
        raise QuestionError(f"The questions are not UTF-8 ({error}). Save the file as UTF-8.") from error
