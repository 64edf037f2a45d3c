"""A report -> one HTML file that needs no other, no script and no network, in light and dark. Pure.

Owns: how the report looks in a browser. Every text of a document or a question is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from qabot.evaluation.compare import Difference
from qabot.evaluation.judging import CANDIDATES
from qabot.evaluation.metrics import METRICS, OVERALL, Estimate
from qabot.evaluation.plots import Series, chart
from qabot.evaluation.report import OUTCOMES, Comparison, Failure, Report
from qabot.types import Quote

FIFTHS = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1f24; --muted: #57606a; --line: #d5dae0; --a: #0b57d0;
  --b: #b3261e; --mark: #fff1b8; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171a; --fg: #e6e8ea; --muted: #9aa4ad; --line: #343a41;
  --a: #8ab4f8; --b: #f28b82; --mark: #5c4b00; } }
body { background: var(--bg); color: var(--fg); font: 15px/1.5 system-ui, sans-serif; max-width: 68rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
p.note, .legend, small { color: var(--muted); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child, .text { text-align: left; } td.text { color: var(--muted); }
.plots { display: flex; flex-wrap: wrap; gap: 1rem; } figure { margin: 0; flex: 1 1 300px; max-width: 420px; }
figcaption { font-weight: 600; } .legend { margin: 0; font-size: .85rem; } .legend span { margin-right: 1rem; }
.legend .a { color: var(--a); } .legend .b { color: var(--b); }
svg text { fill: var(--muted); font-size: 11px; } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg polyline { fill: none; stroke-width: 2; }
svg polyline.a { stroke: var(--a); } svg circle.a { fill: var(--a); }
svg polyline.b { stroke: var(--b); } svg circle.b { fill: var(--b); }
svg polyline.faint { stroke: var(--muted); stroke-width: 1; stroke-dasharray: 4 4; }
details { border-bottom: 1px solid var(--line); padding: .35rem 0; } summary { cursor: pointer; }
blockquote { margin: .4rem 0 .4rem 1rem; padding-left: .8rem; border-left: 3px solid var(--line); white-space: pre-wrap;
  overflow-wrap: anywhere; }
blockquote.gold { border-color: var(--a); } mark { background: var(--mark); color: inherit; }
"""


def page(found: Report) -> str:
    """The whole file."""
    run = found.run
    facts = (
        f"{len(run.results):,} questions of {', '.join(run.files)} (sha256 {run.sha256[:12]}) · index {run.index}: "
        f"{run.documents:,} documents, {run.passages:,} passages · model {run.model}, reader {run.reader} · "
        f"up to {run.quote_words} words a quote"
    )
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>qabot evaluation</title><style>{STYLE}</style></head><body>",
        f'<h1>Evaluation</h1><p class="note">{escape(facts)}</p>',
        f"<h2>Figures over {found.counts[OVERALL]:,} questions</h2>",
        _table(("figure", "value", "95 % interval", "meaning"), _figures(found)),
        f'<h2>Plots</h2><div class="plots">{"".join(_plots(found))}</div>',
        "<h2>Outcomes</h2>",
        _table(("truth", *OUTCOMES), ([name, *map(str, row.values())] for name, row in found.outcomes.items())),
        "<h2>By kind of question</h2>",
        _kinds(found),
        _comparison(found.comparison) if found.comparison else "",
        "<h2>Time a question, milliseconds</h2>",
        _table(
            ("stage", "median", "95th percentile"),
            ([stage, f"{median:.1f}", f"{high:.1f}"] for stage, (median, high) in found.timings_ms.items()),
        ),
        f"<h2>{len(found.failures):,} failures</h2>",
        *(_failure(failure) for failure in found.failures),
        "</body></html>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _figures(found: Report) -> Iterable[list[str]]:
    for metric in METRICS:
        estimate = found.figures[OVERALL][metric.name]
        if estimate.value is not None:
            yield [metric.name, f"{estimate.value:.3f}", _interval(estimate), metric.meaning]


def _interval(estimate: Estimate | Difference, form: str = ".3f") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{estimate.low:{form}} to {estimate.high:{form}}"


def _kinds(found: Report) -> str:
    names = [m.name for m in METRICS if any(figures[m.name].value is not None for figures in found.figures.values())]
    rows = []
    for kind, figures in found.figures.items():
        values = [figures[name].value for name in names]
        rows.append([kind, str(found.counts[kind]), *("" if value is None else f"{value:.3f}" for value in values)])
    return _table(("kind", "questions", *names), rows)


def _plots(found: Report) -> Iterable[str]:
    curves = found.curves
    risks = [Series("", "a", line=curves.risk_coverage)]
    yield chart("Risk and coverage", "share of questions answered", "share of those wrong", FIFTHS, risks)
    most = max((count for _, _, count in curves.reliability), default=1)
    dots = [
        (said, right, 3 + 6 * (count / most) ** 0.5, f"{count} questions: {said:.2f} said, {right:.2f} right")
        for said, right, count in curves.reliability
    ]
    line = [(said, right) for said, right, _ in curves.reliability]
    ideal = Series("as it should be", "faint", line=[(0, 0), (1, 1)])
    reliable = [ideal, Series("measured", "a", line=line, dots=dots)]
    yield chart("Reliability", "confidence", "share answerable", FIFTHS, reliable)
    if curves.quotes:
        hits = [Series("quotes", "a", line=curves.quotes), Series("candidates", "b", line=curves.candidates)]
        ticks = [1.0, *range(5, CANDIDATES + 1, 5)]
        yield chart("Recall at k", "k", "share of the answerable", ticks, hits)


def _comparison(comparison: Comparison) -> str:
    changes = (
        [d.name, f"{d.first:.3f}", f"{d.second:.3f}", f"{d.difference:+.3f}", _interval(d, "+.3f")]
        for d in comparison.differences
    )
    tests = ([t.name, str(t.first_only), str(t.second_only), f"{t.p:.4f}"] for t in comparison.tests)
    return (
        f"<h2>Against {escape(comparison.label)}</h2>"
        + _table(("figure", "before", "now", "change", "95 % interval"), changes)
        + "<p></p>"
        + _table(("McNemar, exact", "lost", "won", "p"), tests)
    )


def _failure(failure: Failure) -> str:
    row = failure.row
    gold = "".join(
        f'<blockquote class="gold">{escape(one.text or "the whole document")}<br>'
        f"<small>{escape(one.doc)}</small></blockquote>"
        for one in failure.gold
    )
    returned = "".join(_quote(quote) for quote in failure.returned)
    returned = returned or f"<p>Nothing ({escape(failure.note or 'no quote')}).</p>"
    known = f"{row.id} · {row.kind} · {failure.where} · {row.outcome}, confidence {row.confidence:.3f}"
    return (
        f"<details><summary>{escape(row.question)} <small>{escape(failure.reason)}</small></summary>"
        f"<p><small>{escape(known)}</small></p>"
        + (f"<p>Should have been:</p>{gold}" if gold else "<p>Nothing answers it.</p>")
        + f"<p>Returned:</p>{returned}</details>"
    )


def _quote(quote: Quote) -> str:
    parts, done = [], 0
    for span in sorted(quote.highlights, key=lambda span: span.start):
        start, end = max(done, span.start - quote.place.start), span.end - quote.place.start
        parts += [escape(quote.text[done:start]), f"<mark>{escape(quote.text[start:end])}</mark>"]
        done = max(done, end)
    parts.append(escape(quote.text[done:]))
    small = f"<br><small>{escape(quote.place.reference)} · score {quote.score:.3f}</small>"
    return f"<blockquote>{''.join(parts)}{small}</blockquote>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    form = [' class="text"' if title == "meaning" else "" for title in head]
    titles = "".join(f"<th{style}>{escape(title)}</th>" for style, title in zip(form, head, strict=True))
    cells = ("".join(f"<td{style}>{escape(v)}</td>" for style, v in zip(form, row, strict=True)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f'<div class="wide"><table><tr>{titles}</tr>{body}</table></div>'
