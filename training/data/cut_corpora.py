"""Cuts the documents of wiki_1 to wiki_4 and rules_1 out of the public sets that they come from.

    python training/data/cut_corpora.py --data DATA --leave-out FOLDER [FOLDER ...] [--out FOLDER]

DATA holds the folders squad2, squadshifts_wiki and obliqa, each with `corpus/*.txt`: one file an article (paragraphs
divided by blank lines) or rulebook (passages as lines). --leave-out names the development folders: a paragraph of an
article that any text file below them holds is left out. README.md says which folders and which versions.

Writes SET/corpus/*.txt below --out (default: beside this file). A document is only written when its sha256 is the one
in SET/corpus.sha256, so that the quotes of the questions stand in it.

Owns: which documents are cut, and where. Refuses to know: questions.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ARTICLES = {
    "wiki_1": ("Acronym", "Insurance_in_the_United_States", "Tin", "Saxophone", "Black_Death"),
    "wiki_2": ("Ice_hockey", "Manhattan", "Precipitation", "Pharmacy", "Huguenot"),
    "wiki_3": ("Oxford", "Lipid", "Sierra_Nevada_(U.S.)", "Scottish_Parliament", "Steam_engine"),
    "wiki_4": ("University_of_Pittsburgh", "Private_school", "1973_oil_crisis", "Amazon_rainforest", "Rhine"),
}
ARTICLE_SOURCES = ("squadshifts_wiki", "squad2")
ARTICLE_WORDS = 1480
"""An article ends with the paragraph that takes it beyond this many words."""
SHORTEST_LEFT_OUT = 6
"""Words; shorter lines of the development folders are titles, and stay."""
RULEBOOK_SET = "rules_1"
RULEBOOK_SOURCE = "obliqa"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a rulebook: from the first line that begins with `start`, at least `words` words."""

    name: str
    start: str
    words: int


RULEBOOKS = (
    Part("01_AML_VER09.211223", "12. MONEY LAUNDERING REPORTING OFFICER", 1480),
    Part("03_COBS_VER15.150823", "5. ADDITIONAL RULES — PROVIDING TRUST", 1550),
    Part("04_FEES_VER16.181223", "1. INTRODUCTION", 1600),
    Part("22_CMC_VER03.270922", "5.2.(5)", 1750),
    Part(
        "36_SFWG_Guidance_on_Principles_for_the_Effective_Management_of_Climate-related_Financial_Risk",
        "A. INTRODUCTION",
        1500,
    ),
)


class CutError(Exception):
    """A source is missing, or is not the version that the documents were cut from."""


def cut_article(text: str, left_out: Container[str]) -> str:
    """The article's first paragraphs without those in `left_out`, until they have more than `ARTICLE_WORDS` words."""
    kept: list[str] = []
    words = 0
    for paragraph in text.split("\n"):
        if paragraph.strip() in left_out:
            continue
        kept.append(paragraph)
        words += len(paragraph.split())
        if words > ARTICLE_WORDS:
            break
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept).rstrip()) + "\n"


def cut_rulebook(text: str, part: Part) -> str:
    """The rulebook's title line and `part`, which ends before a numbered line that follows a blank one.

    Raises `CutError` when no line begins with the part's start.
    """
    lines = text.split("\n")
    first = next((number for number, line in enumerate(lines) if line.startswith(part.start)), None)
    if first is None:
        raise CutError(f"{part.name}: no line begins with {part.start!r}. Use the version that README.md names.")
    end, words = first, 0
    while end < len(lines):
        if words > part.words and not lines[end - 1].strip() and re.match(r"[A-Z]?\.?\d", lines[end]):
            break
        words += len(lines[end].split())
        end += 1
    return lines[0] + "\n\n" + "\n".join(lines[first:end]).rstrip() + "\n"


def paragraphs(folders: Iterable[Path]) -> frozenset[str]:
    """Every line of at least `SHORTEST_LEFT_OUT` words in the text files below the folders.

    Raises `CutError` for a folder without text files.
    """
    found: set[str] = set()
    for folder in folders:
        files = sorted(folder.rglob("*.txt"))
        if not files:
            raise CutError(f"{folder}: no text files. --leave-out takes folders of development documents.")
        for file in files:
            found.update(line.strip() for line in _read(file).split("\n") if len(line.split()) >= SHORTEST_LEFT_OUT)
    return frozenset(found)


def cut(data: Path, left_out: Container[str]) -> Iterator[tuple[str, str, str]]:
    """Set, file name and text of every document. Raises `CutError` for a source that is missing."""
    for name, articles in ARTICLES.items():
        for article in articles:
            files = [data / source / "corpus" / f"{article}.txt" for source in ARTICLE_SOURCES]
            yield name, f"{article}.txt", cut_article(_read(next(filter(Path.is_file, files), files[-1])), left_out)
    for part in RULEBOOKS:
        file = data / RULEBOOK_SOURCE / "corpus" / f"{part.name}.txt"
        yield RULEBOOK_SET, file.name, cut_rulebook(_read(file), part)


def write(name: str, file: str, text: str, out: Path) -> None:
    """Writes out/name/corpus/file. Raises `CutError` when its sha256 is not the recorded one."""
    record = HERE / name / "corpus.sha256"
    wanted = {path: digest for digest, path in (line.split(maxsplit=1) for line in _read(record).splitlines())}
    digest = hashlib.sha256(text.encode()).hexdigest()
    if digest != wanted.get(f"corpus/{file}"):
        raise CutError(
            f"{name}/corpus/{file}: the text cut has sha256 {digest}, {record.name} says {wanted.get(f'corpus/{file}')}. "
            "Give the sets in the versions that README.md names, and all development folders to leave out."
        )
    target = out / name / "corpus" / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode())


def main() -> int:
    """Cuts all documents; 1 when one of them cannot be cut as recorded."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True, help="folder with squad2, squadshifts_wiki and obliqa")
    parser.add_argument("--leave-out", type=Path, nargs="+", required=True, help="development folders")
    parser.add_argument("--out", type=Path, default=HERE, help="where the sets are (default: here)")
    args = parser.parse_args()
    count = 0
    try:
        for name, file, text in cut(args.data, paragraphs(args.leave_out)):
            write(name, file, text, args.out)
            count += 1
    except CutError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{count} documents, each as in corpus.sha256")
    return 0


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CutError(f"{file} cannot be read ({error.strerror}).") from error


if __name__ == "__main__":
    sys.exit(main())
