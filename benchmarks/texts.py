"""Any amount of text that reads like text: real documents, cut and perturbed by a seed.

    python -m benchmarks.texts TARGET FOLDER [FOLDER ...] --documents 100000 [--characters 1100]

Takes paragraphs of the `.txt` and `.md` files in the folders (/sub-folders, too), and swaps about one word in six for
another that the same texts use about as often, so that no two documents are the same, words are as frequent and
sentences as long as they were, and what documents say goes on being about something.
"""

from __future__ import annotations

import argparse
import random
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

WORD = re.compile(r"[A-Za-z]{3,}")
PARAGRAPH = re.compile(r"\n\s*\n")
SWAPPED = 1 / 6
NEAR = 400
"""How far from a word, by its rank of frequency, its replacement may be."""
SEED = 11


def paragraphs_of(folders: list[Path]) -> list[str]:
    """Every paragraph of 40 to 4,000 characters."""
    files = sorted(file for folder in folders for file in folder.rglob("*") if file.suffix in (".txt", ".md"))
    found = (part.strip() for file in files for part in PARAGRAPH.split(file.read_text("utf-8", "replace")))
    return sorted({part for part in found if 40 <= len(part) <= 4000})


def documents(paragraphs: list[str], characters: int, seed: int = SEED) -> Iterator[str]:
    """Texts of at least `characters` characters, whole paragraphs, without end; the n-th is the same for the same paragraphs and seed."""
    counts = Counter(word for text in paragraphs for word in WORD.findall(text) if word.islower())
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    rank = {word: number for number, word in enumerate(ranked)}
    chance = random.Random(seed)
    ends: list[int] = []
    for text in paragraphs:
        ends.append(len(text) + (ends[-1] if ends else 0))

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        number = rank.get(word)
        if number is None or chance.random() > SWAPPED:
            return word
        # The commonest words stay: they hold sentences together.
        return word if number < 100 else ranked[min(number + chance.randrange(NEAR), len(ranked) - 1)]

    while True:
        first = bisect_left(ends, chance.randrange(ends[-1]))
        parts: list[str] = []
        while sum(map(len, parts)) < characters:
            parts.append(WORD.sub(swap, paragraphs[(first + len(parts)) % len(paragraphs)]))
        text = "\n\n".join(parts)
        yield text[: characters + max(text[characters:].find(". "), 0) + 1] if len(text) > 2 * characters else text


def write_texts(target: Path, folders: list[Path], count: int, characters: int) -> int:
    """Write `count` documents into sub-folders of 1,000; gives their bytes."""
    size = 0
    for number, text in zip(range(count), documents(paragraphs_of(folders), characters), strict=False):
        file = target / f"{number // 1000:04}" / f"{number:07}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        size += file.write_text(text + "\n", encoding="utf-8")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--characters", type=int, default=1_100)
    args = parser.parse_args()
    size = write_texts(args.target, args.folders, args.documents, args.characters)
    print(f"{args.documents:,} documents, {size / 1e6:,.0f} MB in {args.target}")


if __name__ == "__main__":
    main()
