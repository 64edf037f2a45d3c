"""Paired tests against scipy and brute force; the report's JSON, terminal lines, floors and page."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest  # type: ignore[import-untyped]

from qabot.errors import QuestionError
from qabot.evaluation.compare import differences, mcnemar_p, pair, paired_tests
from qabot.evaluation.judging import Row, judge
from qabot.evaluation.metrics import METRICS
from qabot.evaluation.page import page
from qabot.evaluation.plots import HEIGHT, WIDTH, Series, chart
from qabot.evaluation.questions import Gold, Question
from qabot.evaluation.report import Report, lines, parse_floors, read_rows, report, unmet
from qabot.evaluation.run import Result, Run
from qabot.types import Answer, Outcome, Place, Quote, Source, Span

TEXT = "One <b>mill</b> & more. The mill burned."


def result(number: int, kind: str, start: int | None, outcome: Outcome, confidence: float) -> Result:
    """A question whose gold, if it has any, is `TEXT[24:40]`, and one quote of 16 characters from `start`."""
    answerable = kind not in ("hardneg", "offtopic")
    gold = (Gold("a.txt", TEXT[24:40], (Span(24, 40),)),) if answerable else ()
    question = Question(str(number), f"<q> {number}?", kind, answerable, f"q.jsonl:{number}", gold)
    quotes: tuple[Quote, ...] = ()
    if start is not None:
        place = Place("a.txt", "0" * 64, Source("A"), start, start + 16, 1, 1)
        quotes = (Quote(place, TEXT[start : start + 16], (Span(start + 2, start + 5),), confidence),)
    answer = Answer(question.question, outcome, confidence, quotes, "m", "i", timings_ms={"retrieve": float(number)})
    return Result(question, answer, judge(question, answer))


def a_run() -> Run:
    results = (
        result(1, "factoid", 24, "answered", 0.9),
        result(2, "factoid", 0, "answered", 0.8),
        result(3, "list", 24, "related", 0.4),
        result(4, "list", None, "nothing", 0.1),
        result(5, "hardneg", 0, "answered", 0.7),
        result(6, "hardneg", 0, "related", 0.3),
        result(7, "offtopic", None, "nothing", 0.0),
        result(8, "foreign", 0, "nothing", 0.2),
    )
    return Run(("q.jsonl",), "ab" * 32, "i", "m", "r", {"model": "m", "passages": 1}, 1, 2, 90, results)


@pytest.fixture(scope="module")
def found() -> Report:
    run = a_run()
    worse = [replace(row, rank=None, sentence_hit=False, confidence=0.5) if row.rank else row for row in run.rows]
    return report(run, worse, "the old one")


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar_p(first, second) == pytest.approx(expected)


def test_mcnemar_counts_what_only_one_run_has() -> None:
    def row(number: int, rank: int | None, outcome: Outcome) -> Row:
        return Row(str(number), "q", "factoid", number < 4, outcome, 0.5, rank=rank)

    first = [row(1, 1, "answered"), row(2, 2, "answered"), row(3, None, "nothing"), row(4, None, "answered")]
    second = [row(4, None, "nothing"), row(3, 1, "answered"), row(2, 1, "nothing"), row(1, 4, "answered")]
    tests = {test.name: (test.first_only, test.second_only) for test in paired_tests(pair(first, second))}
    assert tests == {"hit@1": (1, 2), "hit@3": (1, 1), "decision": (1, 2), "decision and quote": (1, 2)}


def test_differences_are_resampled_in_pairs() -> None:
    random = np.random.default_rng(1)
    first = [
        Row(str(n), "q", "factoid", True, "answered", 0.5, rank=1 if random.random() < 0.5 else 2) for n in range(200)
    ]
    second = [replace(row, rank=1) if n % 10 == 0 else row for n, row in enumerate(first)]
    change = {d.name: d for d in differences(pair(first, second))}["hit@1"]
    gained = np.array([float(b.rank == 1) - float(a.rank == 1) for a, b in zip(first, second, strict=True)])
    assert change.difference == pytest.approx(gained.mean())
    assert change.difference == pytest.approx(change.second - change.first)
    # Paired: the error of the mean difference, far smaller than that of either share (0.035).
    error = gained.std() / 200**0.5
    assert error < 0.02
    assert change.low == pytest.approx(gained.mean() - 1.96 * error, abs=0.006)
    assert change.high == pytest.approx(gained.mean() + 1.96 * error, abs=0.006)


def test_runs_over_other_questions_are_not_compared() -> None:
    rows = a_run().rows
    with pytest.raises(QuestionError, match="Only one of the two runs asked 1 of the questions, the first '8'"):
        pair(rows, rows[:-1])
    with pytest.raises(QuestionError, match="'1' is '<q> 1\\?' in one run and 'other' in the other"):
        pair(rows, [replace(rows[0], question="other"), *rows[1:]])


def test_failures_say_what_went_wrong(found: Report) -> None:
    assert {failure.row.id: failure.reason for failure in found.failures} == {
        "2": "no candidate answers",
        "3": "refused (related), though the first quote answers",
        "4": "no candidate answers",
        "5": "answered, though nothing answers it",
        "8": "no candidate answers",
    }
    run = a_run()
    later = replace(run.results[0], row=replace(run.results[0].row, rank=2))
    unquoted = replace(run.results[1], row=replace(run.results[1].row, candidate_rank=17))
    reasons = [failure.reason for failure in report(replace(run, results=(later, unquoted))).failures]
    assert reasons == ["quote 2 answers, not the first", "candidate 17 answers, no quote does"]


def test_outcomes_and_timings_are_counted(found: Report) -> None:
    assert found.outcomes == {
        "answerable": {"answered": 2, "related": 1, "nothing": 2},
        "on topic, no answer": {"answered": 1, "related": 1, "nothing": 0},
        "off topic": {"answered": 0, "related": 0, "nothing": 1},
    }
    assert found.timings_ms["retrieve"] == pytest.approx((4.5, 7.65))
    assert found.counts == {"overall": 7, "factoid": 2, "foreign": 1, "hardneg": 2, "list": 2, "offtopic": 1}
    assert found.figures["overall"]["hit@1"].value == 0.5
    assert found.figures["foreign"]["hit@1"].value == 0.0


def test_json_is_plain_and_can_be_compared_with_again(found: Report, tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    file.write_text(json.dumps(found.as_json(), allow_nan=False), encoding="utf-8")
    assert read_rows(file) == found.run.rows
    value = json.loads(file.read_text(encoding="utf-8"))
    assert set(value["figures"]["overall"]) == {metric.name for metric in METRICS}
    assert value["failures"][0]["returned"][0] == {
        "reference": "a.txt:0-16",
        "text": TEXT[:16],
        "highlights": [{"start": 2, "end": 5}],
        "score": 0.8,
    }
    assert value["comparison"]["tests"][0] == {"name": "hit@1", "first_only": 0, "second_only": 2, "p": 0.5}


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"format": 1, "rows": [{"id": "1"}]}', '{"format": 9, "rows": []}'])
def test_other_files_are_no_reports(tmp_path: Path, text: str) -> None:
    file = tmp_path / "r.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(QuestionError, match=r"r.json is (no report|a report of format 9)"):
        read_rows(file)


def test_terminal_lines_fit_and_show_the_figures(found: Report) -> None:
    text = "\n".join(lines(found))
    assert max(map(len, text.split("\n"))) <= 100
    assert "hit@1                   0.500   [0.000, 1.000]" in text
    assert "on topic, no answer              1         1         0" in text
    assert "against the old one" in text
    assert "hit@1                                   0      2  0.5000" in text
    alone = "\n".join(lines(report(a_run())))
    assert "McNemar" not in alone


def test_floors(found: Report) -> None:
    assert unmet(found, parse_floors(["hit@1=0.5", "factoid/hit@1=0.5", "ece=1"])) == []
    failed = unmet(found, parse_floors(["hit@1=0.51", "list/hit@1=0.9", "aurc=0.01"]))
    assert failed[:2] == ["hit@1 is 0.5000, below 0.51", "list/hit@1 is 0.5000, below 0.9"]
    assert failed[2].endswith("above 0.01")
    for text in ("hit@1", "hit@1=x", "hits=0.5", "=0.5"):
        with pytest.raises(QuestionError, match=r"--fail-under .* such as hit@1=0.55, with one of: hit@1,"):
            parse_floors([text])
    for name in ("nosuchkind/hit@1=0.5", "offtopic/hit@1=0.5"):
        with pytest.raises(QuestionError, match=r"these questions have no such figure. Kinds: overall, factoid"):
            unmet(found, parse_floors([name]))


class Tags(HTMLParser):
    """Checks that tags close in order, and collects attributes and text."""

    VOID = ("meta", "br", "line", "!doctype")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_is_whole_self_contained_and_escaped(found: Report) -> None:
    text = page(found)
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert tags.tags.count("svg") == 3
    assert not {"script", "link", "img", "iframe", "b"} & set(tags.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in tags.attributes}
    assert "url(" not in text
    assert "prefers-color-scheme: dark" in text
    shown = "".join(tags.texts)
    assert tags.tags.count("details") == len(found.failures)
    assert "<q> 5?" in shown
    assert TEXT[:16] in shown
    assert "<mark>e &lt;</mark>" in text
    assert "Against the old one" in shown


def test_a_page_without_answerable_questions_has_no_recall_plot() -> None:
    run = a_run()
    text = page(report(replace(run, results=run.results[4:7])))
    assert text.count("<svg") == 2


def test_plots_put_points_where_they_belong() -> None:
    text = chart(
        "T <1>", "x", "y", [0.0, 1.0], [Series("s", "a", line=[(0, 0), (1, 1)], dots=[(0.5, 0.5, 3, "d & e")])]
    )
    assert f'points="46.0,{HEIGHT - 42:.1f} {WIDTH - 12:.1f},12.0"' in text
    assert f'cx="{(46 + WIDTH - 12) / 2:.1f}" cy="{(12 + HEIGHT - 42) / 2:.1f}"' in text
    assert "<title>d &amp; e</title>" in text
    assert "T &lt;1&gt;" in text
