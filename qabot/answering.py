"""From a question to an answer: what the command line and the bot call.

Owns: putting the parts together, the outcomes that need no search, and that every quote's file is compared
with what was indexed before the quote is shown. Thread-safe; everything here blocks.
"""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from qabot.calibration import Calibration
from qabot.config import Settings
from qabot.embedding import Encoder
from qabot.errors import IndexMismatch, UnknownReference
from qabot.index import Index, StoredDocument
from qabot.lexical import words
from qabot.library import Library, require_folder
from qabot.loading import Loading
from qabot.models import OWN_MODEL, Tell, encoder_for_index
from qabot.phrases import QUESTION_LIMIT
from qabot.quoting import Ranked, build_quotes
from qabot.reader import NO_READER
from qabot.refusal import calibration_recipe, choose_calibration, judge
from qabot.reranking import probability, rerank, shown_score, spread, stopped_early
from qabot.retrieval import Candidate, retrieve
from qabot.smalltalk import is_foreign, kind_of
from qabot.types import WITHHELD, Answer, Quote, Span, State, Trace

CANDIDATES = 50
"""How many candidates may become quotes, and are shown by `--explain`."""


class Answerer(Library):
    """Answers questions from the index that `settings` name.

    Opens the index at once. Raises, beside what `Library` raises, `IndexMismatch` (built with another model
    or language than the settings name) and `ModelError`. `tell` hears of anything slow. loading: the models, if they are on their
    way already.
    """

    def __init__(self, settings: Settings, tell: Tell = lambda sentence: None, loading: Loading | None = None) -> None:
        self._tell = tell
        self._loading = loading or Loading(settings, tell)
        self._encoders: dict[str, Encoder] = {}
        self._calibrations: dict[str, Calibration] = {}
        super().__init__(settings)

    @property
    def reader(self) -> str:
        """The name of the reader, `none` without one."""
        reader = self._loading.reader.result()
        return reader.name if reader else NO_READER

    def ask(
        self,
        question: str,
        *,
        quotes: int | None = None,
        scope: Sequence[str] = (),
        per_document: bool = False,
        explain: bool = False,
    ) -> Answer:
        """Answer a question.

        quotes: how many at most; the settings say if None. scope: documents or folders (paths, or parts of
        paths or titles) to search only. per_document: the best quote of each document. explain: fill
        `Answer.trace` with the candidates.

        The answer's `quotes` are the closest passages also when it isn't `answered`; there are none when the
        message is no question for the documents (`note` says what it is).
        """
        timings: dict[str, float] = {}
        count = quotes or self.settings.quotes
        index = self.index
        recipe = index.manifest.recipe
        answer = Answer(question, "nothing", 0.0, (), str(recipe["model"]), index.id, scope=tuple(scope))
        note = _note(question, index)
        if note:
            return replace(answer, note=note)
        documents = _in_scope(index.documents(), scope) if scope else None
        if documents == []:
            return replace(answer, note="out_of_scope")
        with _timed(timings, "retrieve"):
            encoder = self._encoders[str(recipe["encoder"])]
            # Half characters, left in an argument by bytes that are no text, can be told but not searched for.
            asked = question.encode(errors="replace").decode()
            candidates = retrieve(index, encoder, asked, documents)
        withheld: dict[str, State] = {}
        missing = self._missing(index, candidates)
        if missing:
            # What can't be quoted may not be judged either: the verdict would be shown with something else.
            closest = self._quotes(index, candidates[:CANDIDATES], count, per_document)
            places = [place.path for quote in closest for place in (quote.place, *quote.also)]
            states = dict(missing.values())
            withheld = {path: states[path] for path in places if path in states}
            candidates = [candidate for candidate in candidates if candidate.stored.document not in missing]
        reader = self._loading.reader.result()
        found_by_search = candidates
        if reader:
            with _timed(timings, "read"):
                candidates = rerank(index, reader, asked, candidates)
        calibration = self._calibrations[str(recipe["encoder"])]
        confidence, outcome = judge(calibration, candidates)
        if reader and per_document and stopped_early(reader, candidates):
            # One sure answer is not enough to find each document's best; but how much is shown decides nothing.
            with _timed(timings, "read"):
                candidates = rerank(index, reader, asked, found_by_search, thorough=True)
        peculiar = _peculiar(question, index, encoder, candidates)
        if peculiar == "gibberish" or (peculiar == "foreign" and recipe["model"] == OWN_MODEL):
            # Read by models that know English alone, and like nothing that a calibration was fitted on.
            outcome = "nothing"
        with _timed(timings, "quote"):
            found = self._quotes(index, spread(candidates[:CANDIDATES]), count, per_document)
        with _timed(timings, "verify"):
            shown, lost = self._verified(found)
            withheld |= lost
            if "gone" in withheld.values():
                require_folder(self.settings, index)
        if not shown:
            outcome = "nothing"
        elif outcome == "answered" and shown[0].text != found[0].text:
            # Its file went while the question was being answered: what was trusted to answer isn't shown.
            outcome = "related"
        return replace(
            answer,
            outcome=outcome,
            note=peculiar if outcome == "nothing" else None,
            confidence=confidence,
            quotes=shown,
            gone=tuple(path for path, state in withheld.items() if state == "gone"),
            unreadable=tuple(path for path, state in withheld.items() if state == "unreadable"),
            thresholds={"answered": calibration.answered, "related": calibration.related},
            timings_ms=timings,
            trace=_trace(index, candidates[:CANDIDATES]) if explain else (),
        )

    def check_scope(self, scope: Sequence[str]) -> None:
        """Raises `UnknownReference` for a name in `scope` that is empty or names no document, with the closest paths."""
        documents = self.index.documents() if scope else []
        for name in scope:
            if not _wanted(name):
                raise UnknownReference(
                    "--in is empty. Expected the path of a document or folder, or a part of a title."
                )
            if not _in_scope(documents, [name]):
                raise UnknownReference(
                    f"No document of the index is called {name!r}. {_closest(documents, name)}`qabot status` lists the "
                    "documents."
                )

    def _open(self) -> Index:
        index = super()._open()
        recipe = index.manifest.recipe
        if recipe["model"] != self.settings.model:
            raise IndexMismatch(
                f"The index in {self.settings.index} was built with the model {recipe['model']!r}; the configuration says "
                f"{self.settings.model!r}. Run `qabot index`, or set model = {str(recipe['model'])!r}."
            )
        if recipe["language"] != self.settings.language:
            raise IndexMismatch(
                f"The index in {self.settings.index} was built for the language {recipe['language']!r}; the configuration says "
                f"{self.settings.language!r}. Run `qabot index`, or set language = {str(recipe['language'])!r}."
            )
        fingerprint = str(recipe["encoder"])
        if fingerprint not in self._encoders:
            self._encoders[fingerprint] = encoder_for_index(
                recipe, threads=self.settings.threads, tell=self._tell, own=self._loading.encoder
            )
            self._calibrations[fingerprint] = choose_calibration(
                self.settings.calibration, calibration_recipe(fingerprint, self._loading.reader.result()), self._tell
            )
        return index

    def _missing(self, index: Index, candidates: Sequence[Candidate]) -> dict[int, tuple[str, State]]:
        """Id -> path and state of the candidates' documents whose files can't be compared: one `stat` for each document."""
        paths = index.paths(sorted({candidate.stored.document for candidate in candidates}))
        found = {number: (path, self.missing(path)) for number, path in paths.items()}
        return {number: (path, state) for number, (path, state) in found.items() if state}

    def _quotes(self, index: Index, candidates: Sequence[Candidate], count: int, per_document: bool) -> list[Quote]:
        ranking = [Ranked(candidate.stored, shown_score(candidate)) for candidate in candidates]
        return build_quotes(index, ranking, count, self.settings.quote_words, per_document=per_document)

    def _verified(self, found: Sequence[Quote]) -> tuple[tuple[Quote, ...], dict[str, State]]:
        """The quotes with their states, and path -> state of places that are withheld because their file is gone or unreadable."""
        states: dict[tuple[str, str], State] = {}
        shown = []
        for quote in found:
            places = [quote.place, *quote.also]
            for place in places:
                key = place.path, place.sha256
                if key not in states:
                    states[key] = self.state(*key)
            left = [place for place in places if states[place.path, place.sha256] not in WITHHELD]
            if not left:
                continue
            # A copy that is still as indexed is shown before one that has changed.
            left.sort(key=lambda place: states[place.path, place.sha256] != "current")
            shift = left[0].start - quote.place.start
            highlights = tuple(Span(span.start + shift, span.end + shift) for span in quote.highlights)
            state = states[left[0].path, left[0].sha256]
            shown.append(replace(quote, place=left[0], also=tuple(left[1:]), highlights=highlights, state=state))
        return tuple(shown), {path: state for (path, _), state in states.items() if state in WITHHELD}


def _note(question: str, index: Index) -> str | None:
    """Why a message needs no search, or None when it is a question."""
    if not any(character.isalnum() for character in question):
        return "gibberish" if question.strip() else "empty"
    if len(question) > QUESTION_LIMIT:
        return "too_long"
    return kind_of(question) or (None if index.manifest.passages else "no_documents")


def _peculiar(question: str, index: Index, encoder: Encoder, candidates: Sequence[Candidate]) -> str | None:
    """What is peculiar about a question: its language, or that none of its words is known, misspelt or not."""
    if is_foreign(question, str(index.manifest.recipe["language"])):
        return "foreign"
    known = any(index.lexical.knows(word) or encoder.knows(word) for word in words(question))
    return None if known or any(candidate.lexical for candidate in candidates) else "gibberish"


def _in_scope(documents: Sequence[StoredDocument], scope: Sequence[str]) -> list[int]:
    """Ids of the documents that a path or folder names, or else a part of a path or title."""
    found: set[int] = set()
    for name in scope:
        wanted = _wanted(name)
        if not wanted:
            continue
        exact = [d.id for d in documents if d.path.casefold() == wanted or d.path.casefold().startswith(f"{wanted}/")]
        part = [d.id for d in documents if wanted in d.path.casefold() or wanted in d.source.title.casefold()]
        found.update(exact or part)
    return sorted(found)


def _wanted(name: str) -> str:
    return name.strip().strip("/").casefold()


def _closest(documents: Sequence[StoredDocument], name: str) -> str:
    """A question that names the documents whose paths, file names or titles are most like `name`."""
    called = {
        known.casefold(): d.path for d in documents for known in (d.path, d.path.rsplit("/", 1)[-1], d.source.title)
    }
    near = [called[known] for known in difflib.get_close_matches(_wanted(name), called, 3)]
    return f"Did you mean {', '.join(dict.fromkeys(near))}? " if near else ""


def _trace(index: Index, candidates: Sequence[Candidate]) -> tuple[Trace, ...]:
    paths = index.paths(sorted({candidate.stored.document for candidate in candidates}))
    result = []
    for candidate in candidates:
        passage, document = candidate.stored.passage, candidate.stored.document
        text = index.text(document, passage.start, passage.end)
        reference = f"{paths[document]}:{passage.start}-{passage.end}"
        result.append(
            Trace(reference, text, candidate.dense, candidate.lexical, candidate.score, probability(candidate))
        )
    return tuple(result)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + (time.perf_counter() - begun) * 1000
