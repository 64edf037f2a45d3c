"""Training groups for the reader: one question and several windows, right and wrong.

Owns: which windows a question is trained with. Refuses to know: models, tokens, losses.
A sampler is a function of (seed, step): no position has to be saved.
"""

import random
from collections import Counter
from dataclasses import dataclass, replace

from augment import rewrite
from questions import Collection, Position, Question
from texts import window

Mined = dict[str, dict[str, list[tuple[str, int, float]]]]

_WORDS = ((26, 0.3), (55, 0.4), (85, 0.3))


_OPENINGS = (
    "how many",
    "how much",
    "how long",
    "how often",
    "how old",
    "how far",
    "how big",
    "what year",
    "which year",
    "when",
    "who",
    "where",
    "why",
    "how",
    "which",
    "what",
    "is",
    "are",
    "do",
    "does",
    "did",
    "can",
    "could",
    "will",
    "has",
)


def opening(question: str) -> str:
    """The question word that says what kind of answer is wanted; empty when there is none."""
    words = f" {' '.join(question.lower().split())} "
    return next((o for o in _OPENINGS if f" {o} " in words), "")


def balance(questions: list[Question]) -> dict[tuple[str, bool], float]:
    """Weights that make (opening, answerable) independent, between 0.5 and 2.

    Writers find "how many" easier to leave unanswered than "why"; without weights a reader learns
    to refuse by the question's first words alone.
    """
    counts = Counter((opening(q.text), q.answerable) for q in questions)
    overall = sum(n for (_, yes), n in counts.items() if yes) / max(1, len(questions))
    weights = {}
    for (word, yes), n in counts.items():
        share = n / (counts[word, True] + counts[word, False])
        weights[word, yes] = min(2.0, max(0.5, (overall if yes else 1 - overall) / share))
    return weights


@dataclass(frozen=True)
class Item:
    """A question with one window. `gold` has one flag a sentence; `twin` joins the two readings of
    one sentence: the same number, answered first, tempting second. `weight` evens out how often
    questions that begin alike can be answered."""

    question: str
    sentences: tuple[str, ...]
    keep: int
    gold: tuple[bool, ...]
    group: int
    twin: int = -1
    weight: float = 1.0


@dataclass(frozen=True)
class Mix:
    """Groups a step by kind of data, and windows a group."""

    asked: int = 3
    pairs: int = 3  # each brings its unanswerable twin
    squad: int = 1
    other: float = 0.4  # expected number: privacy policies
    negatives: int = 2
    top: int = 16
    rewrites: float = 0.8  # strength of `augment.rewrite`; 0 leaves questions as they are
    share: float = 1.0  # of the questions of each kind; the rest is left out


class Groups:
    """Batches of items from all collections."""

    def __init__(self, collections: list[Collection], mined: Mined, seed: int, mix: Mix) -> None:
        self.mined, self.seed, self.mix = mined, seed, mix
        self.collections = collections

        def pool(source: str) -> list[tuple[Collection, Question]]:
            return [(c, q) for c in collections if c.source == source for q in c.questions]

        twinned = {
            (c.name, q.twin): q
            for c in collections
            if c.source == "pairs"
            for q in c.questions
            if q.twin and not q.answerable
        }
        self.twins = twinned
        answered = {
            (c.name, q.twin) for c in collections if c.source == "pairs" for q in c.questions if q.twin and q.answerable
        }
        # A twin comes along with its answerable question.
        lone = [(c, q) for c, q in pool("pairs") if q.answerable or (c.name, q.twin) not in answered]
        self.pools = {
            "asked": pool("asked"),
            "pairs": lone,
            "squad": pool("squad"),
            "other": pool("policyqa"),
        }
        if mix.share < 1:
            for source, pool_ in self.pools.items():
                kept = random.Random(f"{seed}-{source}").sample(pool_, max(1, round(mix.share * len(pool_))))
                self.pools[source] = kept
        self.weights = balance(
            [q for c in collections if c.source in ("asked", "pairs") for q in c.questions if q.kind != "offtopic"]
        )
        self._orders: dict[str, tuple[int, list[int]]] = {}

    def draw(self, source: str, n: int, step: int) -> list[tuple[Collection, Question]]:
        """Goes through a source in a shuffled order, pass after pass."""
        pool = self.pools[source]
        found = []
        for k in range(step * n, step * n + n):
            epoch, at = divmod(k, max(1, len(pool)))
            if not pool:
                break
            order = self._order(source, epoch, len(pool))
            found.append(pool[order[at]])
        return found

    def _order(self, source: str, epoch: int, size: int) -> list[int]:
        if self._orders.get(source, (-1, []))[0] != epoch:
            order = list(range(size))
            random.Random(f"{self.seed}-{source}-{epoch}").shuffle(order)
            self._orders[source] = (epoch, order)
        return self._orders[source][1]

    def batch(self, step: int) -> list[Item]:
        """The items of one step, about 26."""
        rng = random.Random(f"{self.seed}-{step}")
        mix = self.mix
        chosen = self.draw("asked", mix.asked, step) + self.draw("pairs", mix.pairs, step)
        chosen += self.draw("squad", mix.squad, step)
        if rng.random() < mix.other and self.pools["other"]:
            chosen.append(rng.choice(self.pools["other"]))
        items: list[Item] = []
        for c, q in chosen:
            twin = self.twins.get((c.name, q.twin)) if q.twin and q.answerable else None
            items += self.group(c, q, twin, len(items), rng)
        return items

    def group(self, c: Collection, q: Question, twin: Question | None, number: int, rng: random.Random) -> list[Item]:
        """The answering (or tempting) window, mined negatives, and sometimes a twin's windows."""
        asked = rewrite(q.text, rng, self.mix.rewrites)
        items = []
        anchors = sorted(q.gold) or sorted(q.near)
        if anchors:
            at = rng.choice(anchors)
            name, first, last, centre = self.around(c, at, rng)
            items.append(self.item(c, q, asked, name, first, last, centre, number))
            if twin is not None:
                # Same window for the twin, so that the question alone makes the difference.
                other = rewrite(twin.text, rng, self.mix.rewrites)
                items[0] = _with_twin(items[0], number)
                items.append(_with_twin(self.item(c, twin, other, name, first, last, centre, number + 10_000), number))
                for place in self.negatives(c, twin, 1, rng):
                    items.append(self.placed(c, twin, other, place, number + 10_000, rng))
            if q.gold and len(items[0].sentences) > 2 and rng.random() < 0.15:
                items.append(_without_gold(items[0]))
        count = self.mix.negatives + (0 if anchors else 1)
        for place in self.negatives(c, q, count, rng):
            items.append(self.placed(c, q, asked, place, number, rng))
        if rng.random() < 0.1:
            other_c = rng.choice(self.collections)
            text = other_c.texts[rng.choice(sorted(other_c.texts))]
            i = rng.randrange(len(text.sentences))
            if other_c.name != c.name:
                items.append(self.placed(other_c, q, asked, (text.name, i), number, rng))
        return items

    def words(self, rng: random.Random) -> int:
        """A width for a window."""
        return rng.choices([w for w, _ in _WORDS], [p for _, p in _WORDS])[0]

    def around(self, c: Collection, at: Position, rng: random.Random) -> tuple[str, int, int, int]:
        """A window that holds `at`, not always in its middle."""
        name, i = at
        text = c.texts[name]
        words = self.words(rng)
        if rng.random() < 0.45:
            centre = min(max(i + rng.choice((-2, -1, 1, 2)), 0), len(text.sentences) - 1)
            first, last = window(text, centre, words, rng.random() < 0.5)
            if first <= i <= last:
                return name, first, last, i
        first, last = window(text, i, words, rng.random() < 0.5)
        return name, first, last, i

    def negatives(self, c: Collection, q: Question, count: int, rng: random.Random) -> list[Position]:
        """Places from the retriever's first `top` that don't answer; random ones when too few."""
        mined = [(n, i) for n, i, _ in self.mined.get(c.name, {}).get(q.id, [])][: self.mix.top]
        places = [p for p in mined if p not in q.gold]
        if len(places) < count:
            names = [q.doc] if q.doc else sorted(c.texts)
            for _ in range(count):
                name = rng.choice(names)
                places.append((name, rng.randrange(len(c.texts[name].sentences))))
            places = [p for p in places if p not in q.gold]
        return rng.sample(places, min(count, len(places)))

    def placed(self, c: Collection, q: Question, asked: str, at: Position, number: int, rng: random.Random) -> Item:
        """A question with the window around a place."""
        first, last = window(c.texts[at[0]], at[1], self.words(rng), rng.random() < 0.5)
        return self.item(c, q, asked, at[0], first, last, at[1], number)

    def item(
        self,
        c: Collection,
        q: Question,
        asked: str,
        name: str,
        first: int,
        last: int,
        centre: int,
        number: int,
    ) -> Item:
        """A question with a window, its gold sentences flagged."""
        sentences = tuple(s.text for s in c.texts[name].sentences[first : last + 1])
        gold = tuple((name, i) in q.gold for i in range(first, last + 1))
        weight = 1.0
        if c.source in ("asked", "pairs") and q.kind != "offtopic":
            weight = self.weights.get((opening(q.text), q.answerable), 1.0)
        return Item(asked, sentences, centre - first, gold, number, weight=weight)


def _with_twin(item: Item, number: int) -> Item:
    return replace(item, twin=number)


def _without_gold(item: Item) -> Item:
    left = tuple(s for s, g in zip(item.sentences, item.gold, strict=True) if not g)
    if not left:
        return item
    return replace(item, sentences=left, keep=min(item.keep, len(left) - 1), gold=(False,) * len(left), twin=-1)
