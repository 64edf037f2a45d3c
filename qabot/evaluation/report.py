"""A run -> a report: its JSON, its lines for a terminal, and the floors it is held to.

Owns: the form of the JSON (docs/evaluation.md), and which answers are listed as failures. Pure except `read_rows`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qabot.errors import QuestionError
from qabot.evaluation import metrics
from qabot.evaluation.compare import Difference, McNemar, differences, pair, paired_tests
from qabot.evaluation.judging import CANDIDATES, DEPTH, Row
from qabot.evaluation.metrics import BY_NAME, METRICS, OVERALL, Estimate
from qabot.evaluation.questions import Gold
from qabot.types import Quote

if TYPE_CHECKING:
    from qabot.evaluation.run import Result, Run

FORMAT = 1
SHOWN = 3
"""How many of the returned quotes a failure lists."""
OUTCOMES = ("answered", "related", "nothing")
PER_KIND = {
    "hit@1": "hit@1",
    "hit@3": "hit@3",
    f"candidate_recall@{CANDIDATES}": f"cand@{CANDIDATES}",
    "sentence_hit@1": "sent@1",
    "highlight_f1": "word_f1",
    "answered_share": "answered",
    "refusal_recall": "refused",
}
"""The figures that the terminal shows of each kind, and their short names; the JSON and the page have all."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An answer that is not as it should be, with what was returned instead. note: as in `Answer`."""

    row: Row
    reason: str
    where: str
    gold: tuple[Gold, ...]
    returned: tuple[Quote, ...]
    note: str | None


@dataclass(frozen=True, slots=True)
class Curves:
    """The points of the plots, over the questions of `overall`.

    risk_coverage: (share answered, share of those wrong). reliability: (mean confidence, share answerable, count).
    quotes, candidates: (k, share of the answerable with a hit in the first k).
    """

    risk_coverage: list[tuple[float, float]]
    reliability: list[tuple[float, float, int]]
    quotes: list[tuple[int, float]]
    candidates: list[tuple[int, float]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Paired tests over the questions of `overall`; the first run is the one compared with."""

    label: str
    tests: list[McNemar]
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that is shown of a run.

    figures: group -> figure -> estimate. counts: group -> questions. outcomes: kind of truth -> outcome -> questions.
    timings_ms: stage -> (median, 95th percentile).
    """

    run: Run
    figures: dict[str, dict[str, Estimate]]
    counts: dict[str, int]
    outcomes: dict[str, dict[str, int]]
    curves: Curves
    timings_ms: dict[str, tuple[float, float]]
    failures: tuple[Failure, ...]
    comparison: Comparison | None = None

    def as_json(self) -> dict[str, Any]:
        """The documented JSON."""
        run = {field.name: getattr(self.run, field.name) for field in fields(self.run) if field.name != "results"}
        return {
            "format": FORMAT,
            "run": run,
            "counts": self.counts,
            "figures": {group: {name: asdict(e) for name, e in named.items()} for group, named in self.figures.items()},
            "outcomes": self.outcomes,
            "curves": asdict(self.curves),
            "timings_ms": {name: {"median": m, "p95": p} for name, (m, p) in self.timings_ms.items()},
            "comparison": asdict(self.comparison) if self.comparison else None,
            "failures": [_failure_json(failure) for failure in self.failures],
            "rows": [asdict(row) for row in self.run.rows],
        }


def report(run: Run, compared: Sequence[Row] | None = None, compared_label: str = "the other run") -> Report:
    """Everything about a run; `compared` are the rows of another one over the same questions.

    Raises `QuestionError` when the two runs asked different questions.
    """
    rows = run.rows
    grouped = metrics.groups(rows)
    overall = metrics.table(grouped[OVERALL])
    comparison = None
    if compared is not None:
        chosen = {row.id for row in grouped[OVERALL]}
        pairs = [(one, other) for one, other in pair(compared, rows) if one.id in chosen]
        comparison = Comparison(compared_label, paired_tests(pairs), differences(pairs))
    return Report(
        run=run,
        figures={group: metrics.measure(members) for group, members in grouped.items()},
        counts={group: len(members) for group, members in grouped.items()},
        outcomes=_outcomes(run),
        curves=Curves(
            metrics.risk_coverage(overall.confidence, overall.right),
            metrics.reliability(overall.confidence, overall.answerable),
            metrics.hit_curve(overall.rank, DEPTH),
            metrics.hit_curve(overall.candidate_rank, CANDIDATES),
        ),
        timings_ms=_timings(run),
        failures=tuple(failure for result in run.results if (failure := _failure(result))),
        comparison=comparison,
    )


def lines(found: Report) -> list[str]:
    """The report for a terminal, at most 100 columns wide."""
    run = found.run
    head = [
        f"{len(run.results):,} questions of {', '.join(run.files)}",
        f"index {run.index}: {run.documents:,} documents, {run.passages:,} passages",
        f"model {run.model}, reader {run.reader}",
        "",
        *_figure_lines(found),
        "",
        f"{'outcome':<24}" + "".join(f"{outcome:>10}" for outcome in OUTCOMES),
    ]
    head += [
        f"{truth:<24}" + "".join(f"{count[outcome]:>10,}" for outcome in OUTCOMES)
        for truth, count in found.outcomes.items()
    ]
    return [*head, "", *_kind_lines(found), *_comparison_lines(found.comparison)]


def parse_floors(texts: Sequence[str]) -> dict[str, float]:
    """`metric=value` or `kind/metric=value` -> what the figure must reach; raises `QuestionError`."""
    floors = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        try:
            floors[name] = float(value)
        except ValueError:
            name = ""
        if name.rpartition("/")[2] not in BY_NAME:
            raise QuestionError(
                f"--fail-under {text!r}: metric=value or kind/metric=value was expected, such as hit@1=0.55, "
                f"with one of: {', '.join(BY_NAME)}."
            )
    return floors


def unmet(found: Report, floors: dict[str, float]) -> list[str]:
    """A line for each figure below its floor; for figures of which lower is better, above it.

    Raises `QuestionError` for a kind that the questions don't have and a figure that isn't defined for them: a check
    that can't fail must not pass.
    """
    failed = []
    for name, floor in floors.items():
        kind, _, metric = name.rpartition("/")
        figures = found.figures.get(kind or OVERALL)
        value = figures[metric].value if figures else None
        if value is None:
            raise QuestionError(
                f"--fail-under {name}: these questions have no such figure. Kinds: {', '.join(found.figures)}."
            )
        lower = BY_NAME[metric].lower
        if value > floor if lower else value < floor:
            failed.append(f"{name} is {value:.4f}, {'above' if lower else 'below'} {floor:g}")
    return failed


def read_rows(file: Path) -> list[Row]:
    """The rows of a report that was written as JSON; raises `QuestionError` when the file is none."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        if value["format"] != FORMAT:
            raise QuestionError(
                f"{file} is a report of format {value['format']!r}; {FORMAT} was expected. "
                "Make it again with `qabot eval --json`."
            )
        return [Row(**row) for row in value["rows"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise QuestionError(
            f"{file} is no report of `qabot eval --json` ({error}). Name one, or a configuration (.toml)."
        ) from error


def _figure_lines(found: Report) -> list[str]:
    table = [f"{f'overall ({found.counts[OVERALL]:,})':<22}{'value':>7}   {'95 % interval':<16}"]
    for metric in METRICS:
        e = found.figures[OVERALL][metric.name]
        if e.value is not None and e.low is not None and e.high is not None:
            table.append(f"{metric.name:<22}{e.value:>7.3f}   [{e.low:.3f}, {e.high:.3f}]  {metric.meaning}")
    return table


def _kind_lines(found: Report) -> list[str]:
    table = [f"{'kind':<16}{'n':>6}" + "".join(f"{name:>9}" for name in PER_KIND.values())]
    for kind, figures in found.figures.items():
        values = [figures[name].value for name in PER_KIND]
        cells = "".join(f"{'-' if value is None else f'{value:.3f}':>9}" for value in values)
        table.append(f"{kind[:15]:<16}{found.counts[kind]:>6,}{cells}")
    return table


def _comparison_lines(comparison: Comparison | None) -> list[str]:
    if comparison is None:
        return []
    table = ["", f"{f'against {comparison.label}':<34}{'before':>7}{'now':>7}{'change':>8}   95 % interval"]
    for d in comparison.differences:
        span = "" if d.low is None or d.high is None else f"[{d.low:+.3f}, {d.high:+.3f}]"
        table.append(f"{d.name:<34}{d.first:>7.3f}{d.second:>7.3f}{d.difference:>+8.3f}   {span}")
    table += ["", f"{'McNemar, exact':<34}{'lost':>7}{'won':>7}{'p':>8}"]
    table += [f"{test.name:<34}{test.first_only:>7,}{test.second_only:>7,}{test.p:>8.4f}" for test in comparison.tests]
    return table


def _outcomes(run: Run) -> dict[str, dict[str, int]]:
    found = {name: dict.fromkeys(OUTCOMES, 0) for name in ("answerable", "on topic, no answer", "off topic")}
    for result in run.results:
        question = result.question
        truth = "answerable" if question.answerable else "off topic" if question.off_topic else "on topic, no answer"
        found[truth][result.answer.outcome] += 1
    return found


def _timings(run: Run) -> dict[str, tuple[float, float]]:
    spent: dict[str, list[float]] = {}
    for result in run.results:
        for stage, value in result.answer.timings_ms.items():
            spent.setdefault(stage, []).append(value)
    return {stage: (float(np.median(values)), float(np.percentile(values, 95))) for stage, values in spent.items()}


def _failure(result: Result) -> Failure | None:
    row, question, answer = result.row, result.question, result.answer
    if not row.answerable:
        reason = "answered, though nothing answers it" if row.outcome == "answered" else ""
    elif row.rank == 1:
        reason = "" if row.outcome == "answered" else f"refused ({row.outcome}), though the first quote answers"
    elif row.rank:
        reason = f"quote {row.rank} answers, not the first"
    elif row.candidate_rank:
        reason = f"candidate {row.candidate_rank} answers, no quote does"
    else:
        reason = "no candidate answers"
    if not reason:
        return None
    return Failure(row, reason, question.where, question.gold, answer.quotes[:SHOWN], answer.note)


def _failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "id": failure.row.id,
        "question": failure.row.question,
        "kind": failure.row.kind,
        "reason": failure.reason,
        "where": failure.where,
        "outcome": failure.row.outcome,
        "confidence": failure.row.confidence,
        "note": failure.note,
        "gold": [{"doc": gold.doc, "quote": gold.text} for gold in failure.gold],
        "returned": [
            {
                "reference": quote.place.reference,
                "text": quote.text,
                "highlights": [asdict(span) for span in quote.highlights],
                "score": quote.score,
            }
            for quote in failure.returned
        ],
    }
