"""Checks the question sets of training/data, and prints what is in them and what they give away.

    python training/check_questions.py [SET ...] [--no-bias]

A set is a folder with `questions.jsonl`, `LICENSE.txt` and `corpus/*.txt`; without names, all sets of training/data.
Prints three Markdown tables: questions of each kind with their word overlap; the share answerable by question word;
and how well the question alone, without any document, tells answerable from not. `--no-bias` leaves out the last one,
which needs scikit-learn. Errors go to stderr, one a line, and make the exit code 1.

A set whose corpus is cut from public sets (it has `corpus.sha256`) and is not cut yet is checked but for its quotes,
which stderr says.

Owns: what a question set must be, and its figures. Refuses to know: models, training, where a quote's sentence ends.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from types import NoneType
from typing import Any

DATA = Path(__file__).resolve().parent / "data"
TEMPTING, OFF_TOPIC = "hardneg", "offtopic"
"""The two kinds without an answer: near to the documents, with the sentence that tempts; and small talk."""
ANSWERED_KINDS = tuple("factoid paraphrase yesno list multi stance coref context meta keyword typo".split())
KINDS = (*ANSWERED_KINDS, TEMPTING, OFF_TOPIC)
FIELDS: Mapping[str, tuple[type, ...]] = {
    "id": (str,),
    "question": (str,),
    "answerable": (bool,),
    "kind": (str,),
    "doc": (str, NoneType),
    "gold": (list,),
    "must_contain": (list,),
}
OPTIONAL: Mapping[str, tuple[type, ...]] = {"pair": (int,), "near": (str,)}
FUNCTION_WORDS = frozenset(
    """a about after all also am an and any are as at be because been before being but by can could did do does doing
    done don dont for from get gets got had has have having he her his how i if in into is isn it its just let like ll
    m many may me might more most much must my no not now of off on one only or other our out over own re s said same
    say says she should so some still such t than that the their them then there these they thing this those to too
    under up us ve very was we were what whats when where which while who whom whose why will with would you your""".split()
)
QUESTION_WORDS = ("how many", "how", "what", "which", "who", "when", "where", "why", "yes/no", "other")
OPENS_YES_NO = frozenset(
    "am are can could did do does had has have is may might must shall should was were will would".split()
)
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Quote:
    """Text that stands in a document: `doc` is the file's name in the corpus."""

    doc: str
    text: str


@dataclass(frozen=True, slots=True)
class Question:
    """One line of `questions.jsonl`.

    gold: every place that answers, empty when nothing does. near: the tempting sentence in `doc`. must_contain: the
    words of the gold that answer. pair: the number, within the set, that it shares with its twin.
    """

    id: str
    text: str
    answerable: bool
    kind: str
    doc: str | None
    gold: tuple[Quote, ...]
    must_contain: tuple[str, ...]
    pair: int | None
    near: str | None


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The questions of a folder. texts: file name -> document; None while its corpus is not cut."""

    name: str
    questions: tuple[Question, ...]
    texts: Mapping[str, str] | None

    @property
    def on_topic(self) -> list[Question]:
        """All but the small talk."""
        return [question for question in self.questions if question.kind != OFF_TOPIC]

    @property
    def pairs(self) -> dict[int, list[Question]]:
        """The questions of each pair."""
        found: defaultdict[int, list[Question]] = defaultdict(list)
        for question in self.questions:
            if question.pair is not None:
                found[question.pair].append(question)
        return dict(found)


def read_set(folder: Path) -> tuple[QuestionSet, list[str]]:
    """The set in a folder, and what is wrong with its files; lines that are no questions are left out."""
    errors, questions = [], []
    if not (folder / "LICENSE.txt").is_file():
        errors.append(f"{folder.name}: no LICENSE.txt. Say what may be done with the documents and the questions.")
    for number, line in enumerate((folder / "questions.jsonl").read_bytes().decode().rstrip("\n").split("\n"), 1):
        try:
            questions.append(parse(line))
        except ValueError as error:
            errors.append(f"{folder.name}/questions.jsonl:{number}: {error}")
    texts = {file.name: file.read_bytes().decode() for file in sorted((folder / "corpus").glob("*.txt"))}
    if not texts and not (folder / "corpus.sha256").is_file():
        errors.append(f"{folder.name}: no documents in corpus/, and no corpus.sha256 to cut them by.")
    return QuestionSet(folder.name, tuple(questions), texts or None), errors


def parse(line: str) -> Question:
    """A question from its line. Raises `ValueError` for what is not JSON or has other fields than a question's."""
    row = json.loads(line)
    if not isinstance(row, dict):
        raise ValueError(f"a JSON object was expected, found {type(row).__name__}")
    for name, types in FIELDS.items():
        if name not in row:
            raise ValueError(f"no field {name!r}")
        _expect(name, row[name], types)
    for name in row.keys() - FIELDS.keys():
        if name not in OPTIONAL:
            raise ValueError(f"unknown field {name!r}")
        _expect(name, row[name], OPTIONAL[name])
    for gold in row["gold"]:
        if not isinstance(gold, dict) or gold.keys() != {"doc", "quote"}:
            raise ValueError(f'gold must be {{"doc", "quote"}}, found {gold!r}')
        for name, value in gold.items():
            _expect(f"gold's {name}", value, (str,))
    for words in row["must_contain"]:
        _expect("must_contain", words, (str,))
    gold = tuple(Quote(gold["doc"], gold["quote"]) for gold in row["gold"])
    first = (row["id"], row["question"], row["answerable"], row["kind"], row["doc"])
    return Question(*first, gold, tuple(row["must_contain"]), row.get("pair"), row.get("near"))


def _expect(name: str, value: Any, types: tuple[type, ...]) -> None:
    if type(value) not in types:
        expected = " or ".join("null" if kind is NoneType else kind.__name__ for kind in types)
        raise ValueError(f"{name} must be {expected}, found {value!r}")
    if isinstance(value, str) and not value.strip():
        raise ValueError(f"{name} is empty")


def question_errors(question: Question, texts: Mapping[str, str] | None) -> Iterator[str]:
    """What is wrong with a question by itself; quotes are looked up where there are texts."""
    if question.kind not in KINDS:
        yield f"unknown kind {question.kind!r}"
    if question.answerable != bool(question.gold):
        yield f"answerable is {question.answerable}, with {len(question.gold)} gold quotes"
    if question.answerable == (question.kind in (TEMPTING, OFF_TOPIC)):
        yield f"answerable is {question.answerable}, but its kind is {question.kind!r}"
    if question.answerable != bool(question.must_contain):
        yield f"answerable is {question.answerable}, with {len(question.must_contain)} must_contain"
    if (question.doc is None) != (question.kind == OFF_TOPIC):
        yield f"doc is {question.doc!r}, but its kind is {question.kind!r}"
    if question.gold and question.doc not in {quote.doc for quote in question.gold}:
        yield f"doc {question.doc!r} is none of its gold's"
    if (question.near is not None) != (question.kind == TEMPTING):
        yield f"near goes with {TEMPTING!r} alone, its kind is {question.kind!r}"
    for words in question.must_contain:
        if not any(words in quote.text for quote in question.gold):
            yield f"must_contain stands in no gold quote: {words!r}"
    if texts is None:
        return
    for quote in question.gold:
        if quote.text not in texts.get(quote.doc, ""):
            yield f"gold is not in {quote.doc}: {quote.text!r}"
    if question.near is not None and question.near not in texts.get(question.doc or "", ""):
        yield f"near is not in {question.doc}: {question.near!r}"


def pair_errors(found: QuestionSet) -> Iterator[str]:
    """Pairs that are not an answerable question and a twin, about the same document, that nothing answers."""
    for number, pair in found.pairs.items():
        if sorted(question.answerable for question in pair) != [False, True]:
            told = ", ".join(f"{question.id} {'' if question.answerable else 'un'}answerable" for question in pair)
            yield f"{found.name}: pair {number} must be one answerable question and one not, found {told}"
        elif pair[0].doc != pair[1].doc:
            yield f"{found.name}: pair {number} is about {pair[0].doc} and {pair[1].doc}, one document was expected"


def repeat_errors(sets: Iterable[QuestionSet]) -> Iterator[str]:
    """Ids that are not `SET-NUMBER` or not unique over all sets, and questions asked twice but for case and marks."""
    ids: set[str] = set()
    asked: dict[str, str] = {}
    for found in sets:
        for question in found.questions:
            if not re.fullmatch(re.escape(found.name) + r"-\d{3}", question.id):
                yield f"{question.id}: an id like {found.name}-001 was expected"
            if question.id in ids:
                yield f"{question.id}: another question has the same id"
            ids.add(question.id)
            words = " ".join(_words(question.text)) or question.text
            if words in asked:
                yield f"{question.id}: repeats {asked[words]}: {question.text!r}"
            asked.setdefault(words, question.id)


def set_errors(sets: Sequence[QuestionSet]) -> Iterator[str]:
    """Everything that is wrong with the questions of the sets."""
    for found in sets:
        for question in found.questions:
            for error in question_errors(question, found.texts):
                yield f"{question.id}: {error}"
        yield from pair_errors(found)
    yield from repeat_errors(sets)


def overlap(question: str, quotes: Iterable[str]) -> float:
    """Share, 0 to 1, of the question's content words whose first six letters begin a word of the quotes."""
    asked = _content(question)
    there = set().union(*map(_content, quotes))
    return len(asked & there) / len(asked) if asked else 0.0


def question_word(question: str) -> str:
    """Which of `QUESTION_WORDS` it asks with; "how many" stands for "how much" too."""
    words = _words(question)
    if words and words[0] in OPENS_YES_NO:
        return "yes/no"
    if re.search(r"\bhow (?:many|much)\b", " ".join(words)):
        return "how many"
    alike = {"whats": "what", "whose": "who", "whom": "who", "whos": "who"}
    return next((word for word in (alike.get(w, w) for w in words) if word in QUESTION_WORDS[1:-2]), "other")


def question_only_auc(sets: Iterable[QuestionSet]) -> float:
    """AUC of telling answerable from tempting questions by the question's words alone; 0.5 is blind.

    Logistic regression on a bag of words, cross-validated over `FOLDS`; a pair is never divided between folds, where
    its shared words would point to the wrong answer.
    """
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    asked = [(f"{found.name} {q.pair or q.id}", q) for found in sets for q in found.on_topic]
    labels = [question.answerable for _, question in asked]
    scores = cross_val_predict(
        make_pipeline(CountVectorizer(token_pattern=r"\w+", binary=True), LogisticRegression(max_iter=1000)),
        [question.text for _, question in asked],
        labels,
        groups=[group for group, _ in asked],
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0),
        method="decision_function",
    )
    return float(roc_auc_score(labels, scores))


def kinds_table(sets: Sequence[QuestionSet]) -> list[str]:
    """Counts of each set and kind, and the mean overlap of questions with their gold and of tempting ones with near."""
    head = ("documents", "questions", "answerable", "pairs", *KINDS, "overlap gold", "near")

    def cells(group: Sequence[QuestionSet]) -> list[str]:
        questions = [question for found in group for question in found.questions]
        kinds = Counter(question.kind for question in questions)
        documents = {(found.name, question.doc) for found in group for question in found.on_topic}
        gold = [overlap(q.text, (g.text for g in q.gold)) for q in questions if q.gold]
        near = [overlap(q.text, (q.near,)) for q in questions if q.near]
        counts = [len(documents), len(questions), sum(q.answerable for q in questions)]
        counts += [sum(len(found.pairs) for found in group), *(kinds[kind] for kind in KINDS)]
        return [*map(str, counts), *(f"{mean(shares):.2f}" if shares else "-" for shares in (gold, near))]

    return _table(head, sets, cells)


def words_table(sets: Sequence[QuestionSet]) -> list[str]:
    """Share answerable, small talk aside, of the questions that ask with each word, and how many those are."""

    def cells(group: Sequence[QuestionSet]) -> list[str]:
        answerable: defaultdict[str, list[bool]] = defaultdict(list)
        for question in (question for found in group for question in found.on_topic):
            answerable[question_word(question.text)].append(question.answerable)
            answerable["all"].append(question.answerable)
        counted = (answerable[word] for word in ("all", *QUESTION_WORDS))
        return [f"{mean(those):.2f} ({len(those)})" if those else "-" for those in counted]

    return _table(("all", *QUESTION_WORDS), sets, cells)


def auc_table(sets: Sequence[QuestionSet]) -> list[str]:
    """AUC of the question alone."""
    return _table(("AUC, question alone",), sets, lambda group: [f"{question_only_auc(group):.2f}"])


def _table(
    head: Sequence[str], sets: Sequence[QuestionSet], cells: Callable[[Sequence[QuestionSet]], list[str]]
) -> list[str]:
    rows = [["set", *head], ["---", *("---:" for _ in head)]]
    rows += [[found.name, *cells([found])] for found in sets]
    rows.append(["**all**", *cells(sets)])
    return [f"| {' | '.join(row)} |" for row in rows]


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold())


def _content(text: str) -> set[str]:
    return {word[:6] for word in _words(text) if word not in FUNCTION_WORDS}


def main(arguments: Sequence[str] | None = None) -> int:
    """Checks the named sets, or all; 1 when something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sets", type=Path, nargs="*", metavar="SET", help="folder of a set (default: all)")
    parser.add_argument("--no-bias", action="store_true", help="without the table that needs scikit-learn")
    args = parser.parse_args(arguments)
    folders = args.sets or sorted(file.parent for file in DATA.glob("*/questions.jsonl"))
    if missing := [str(folder) for folder in folders if not (folder / "questions.jsonl").is_file()]:
        _tell(f"No questions.jsonl in {', '.join(missing)}.")
        return 1
    read = [read_set(folder) for folder in folders]
    sets = [found for found, _ in read]
    errors = [error for _, those in read for error in those] + list(set_errors(sets))
    if not errors:
        tables = [kinds_table, words_table] if args.no_bias else [kinds_table, words_table, auc_table]
        print("\n\n".join("\n".join(table(sets)) for table in tables))
    if uncut := [found.name for found in sets if found.texts is None]:
        _tell(f"Quotes not looked up, the corpus is not cut: {', '.join(uncut)}. See data/cut_corpora.py.")
    for error in errors:
        _tell(error)
    _tell(f"{len(sets)} sets, {sum(len(found.questions) for found in sets):,} questions, {len(errors)} errors")
    return 1 if errors else 0


def _tell(line: str) -> None:
    print(line, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
