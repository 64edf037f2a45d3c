"""Which question sets are trained on, and which are kept apart.

Owns: finding the sets of a data folder; leaving out whatever touches a development document; questions without labels.
Refuses to know: models, sampling.
"""

from dataclasses import replace
from pathlib import Path

from questions import Collection, Question, read_collection
from texts import Text

# Folder -> layout. A folder of `asked` or `pairs` holds several sets.
_TRAINING = {
    "asked": "asked",
    "pairs": "pairs",
    "squad2": "squad",
    "squadshifts_wiki": "squad",
    "policyqa": "policyqa",
    "obliqa": "obliqa",
}


def _sets(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(p.parent for p in folder.glob("**/questions.jsonl"))


def _key(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def development(data: Path) -> list[Collection]:
    """asked_dev and pairs_dev: for measuring only."""
    return [
        read_collection(folder, name.split("_")[0])
        for name in ("asked_dev", "pairs_dev")
        for folder in _sets(data / name)
    ]


UNLABELLED = "unlabelled"
"""The kind of a question that nobody has looked for an answer to: for a teacher to read, never for its labels."""


def training(data: Path, written: Path | None = None, unlabelled: Path | None = None) -> list[Collection]:
    """All training collections; `written` (training/data) holds further sets of the asked and pairs layouts; those
    whose corpus has not been cut yet (data/cut_corpora.py) are left out. Documents that occur in a development set are removed
    with their questions. `unlabelled` holds further questions, one a line, in `SET/DOCUMENT.txt`.
    """
    apart = {_key(name) for c in development(data) for name in c.texts}
    found = [(folder, layout) for name, layout in _TRAINING.items() for folder in _sets(data / name)]
    if written:
        for folder in _sets(written):
            if (folder / "corpus").is_dir():
                pairs = '"pair"' in (folder / "questions.jsonl").read_text()[:20000]
                found.append((folder, "pairs" if pairs else "asked"))
    collections = []
    for folder, layout in found:
        c = read_collection(folder, layout)
        clash = {name for name in c.texts if _key(name) in apart}
        if clash:
            kept = tuple(q for q in c.questions if not {d for d, _ in q.gold | q.near} & clash and q.doc not in clash)
            c = replace(c, texts={n: t for n, t in c.texts.items() if n not in clash}, questions=kept)
        if unlabelled:
            c = replace(c, questions=c.questions + _unlabelled(unlabelled / c.name, c.texts))
        collections.append(c)
    return collections


def _unlabelled(folder: Path, texts: dict[str, Text]) -> tuple[Question, ...]:
    found = []
    for path in sorted(folder.glob("*.txt")):
        if path.name in texts:
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
                if line.strip():
                    ident = f"{UNLABELLED}-{path.stem}-{number}"
                    found.append(Question(ident, line.strip(), False, UNLABELLED, frozenset(), frozenset()))
    return tuple(found)
