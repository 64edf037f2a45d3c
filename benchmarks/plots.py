"""Plots of benchmarks/results/*.json, as SVG in docs/pictures, and the table in README.md.

    python -m benchmarks.plots

Bars with their numbers; a thin line shows the quartiles. No library is needed, so the files are small and the same
results give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from benchmarks.common import RESULTS
from benchmarks.compare import table

README = Path(__file__).parent.parent / "README.md"
MARK, END = "<!-- python -m benchmarks.plots writes from here -->", "<!-- to here -->"
PICTURES = README.parent / "docs" / "pictures"
WIDTH, ROW, TOP, BOTTOM = 720, 30, 46, 34
LETTER = 7.5
"""Width of a letter, generously."""
OURS, OTHERS, FAINT = "#2563eb", "#9ca3af", "#93c5fd"


@dataclass(frozen=True, slots=True)
class Bar:
    """A value with its label; low, high: the ends of its line. second: a longer, faint bar behind it."""

    label: str
    value: float
    shown: str
    low: float | None = None
    high: float | None = None
    second: float | None = None

    @property
    def reach(self) -> float:
        """The furthest that anything of it goes."""
        return max(self.value, self.high or 0, self.second or 0)


def chart(title: str, note: str, bars: Sequence[Bar]) -> str:
    """Horizontal bars that start at 0."""
    height = TOP + ROW * len(bars) + BOTTOM
    left = round(22 + LETTER * max(len(bar.label) for bar in bars))
    right = round(16 + LETTER * max(len(bar.shown) for bar in bars))
    scale = (WIDTH - left - right) / max(bar.reach for bar in bars)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#111827">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="26" font-size="16" font-weight="600">{escape(title)}</text>',
    ]
    for number, bar in enumerate(bars):
        y = TOP + ROW * number
        own = bar.label.startswith("qabot")
        middle = y + ROW / 2
        parts.append(f'<text x="{left - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(bar.label)}</text>')
        if bar.second is not None:
            faint = FAINT if own else "#d1d5db"
            parts.append(
                f'<rect x="{left}" y="{y + 5}" width="{bar.second * scale:.1f}" height="{ROW - 10}" fill="{faint}"/>'
            )
        colour = OURS if own else OTHERS
        parts.append(
            f'<rect x="{left}" y="{y + 5}" width="{bar.value * scale:.1f}" height="{ROW - 10}" fill="{colour}"/>'
        )
        if bar.low is not None and bar.high is not None:
            parts.append(
                f'<path d="M{left + bar.low * scale:.1f} {middle:.1f}H{left + bar.high * scale:.1f}" stroke="#111827"/>'
            )
        parts.append(f'<text x="{left + bar.reach * scale + 8:.1f}" y="{middle + 4:.1f}">{escape(bar.shown)}</text>')
    parts.append(f'<text x="12" y="{height - 12}" font-size="11" fill="#6b7280">{escape(note)}</text>')
    return "\n".join([*parts, "</svg>\n"])


def where(result: dict[str, Any]) -> str:
    about = result["machine"]
    busy = ", busy with something else" if about["busy"] else ""
    return f"{about['cpu']}, {about['cores']} cores, {about['date']}{busy}"


def cold(result: dict[str, Any]) -> str:
    bars = [
        Bar(row["name"], found["median"], f"{found['median']:.2f} s", found["q1"], found["q3"])
        for row in result["systems"]
        for found in [row["cold_s"]]
    ]
    note = f"Median of {result['rounds']}, line: quartiles. {where(result)}"
    return chart("A first question, from the start of the process to the printed answer", note, bars)


def quality(result: dict[str, Any]) -> str:
    bars = [
        Bar(row["name"], row["first"], f"{row['first']:.2f} / {row['first_three']:.2f}", second=row["first_three"])
        for row in result["systems"]
        if "first" in row
    ]
    note = f"{result['questions']} questions over seeds/; pale: in one of the first three texts."
    return chart("Questions whose answering sentence stands whole in the first text", note, bars)


def encode(result: dict[str, Any]) -> str:
    bars = [
        Bar(
            row["name"],
            found["median"],
            f"{found['median']:.0f}/s, nDCG {row['ndcg@10']:.3f}",
            found["q1"],
            found["q3"],
        )
        for row in result["methods"]
        for found in [row["passages_per_s"]]
    ]
    note = f"{result['texts']} passages of SciFact; nDCG@10 over {result['documents']} documents. {where(result)}"
    return chart("Passages embedded a second", note, bars)


def in_readme(text: str, result: dict[str, Any]) -> str:
    """README.md with the comparison's table between its two marks."""
    before, rest = text.split(MARK, 1)
    after = rest.split(END, 1)[1]
    note = f"{where(result)}; median of {result['rounds']}; {result['questions']} questions over `seeds/`."
    return f"{before}{MARK}\n" + "\n".join([*table(result["systems"]), "", note]) + f"\n{END}{after}"


PLOTS = {"cold": ("compare", cold), "quality": ("compare", quality), "encode": ("encode", encode)}


def main() -> None:
    for name, (source, draw) in PLOTS.items():
        file = RESULTS / f"{source}.json"
        if not file.is_file():
            print(f"{file.name} is missing, so {name}.svg is left as it is: run python -m benchmarks.{source} first.")
            continue
        result = json.loads(file.read_text(encoding="utf-8"))
        if name == "quality" and not result["questions"]:
            print("quality.svg is left as it is: compare ran without --questions.")
            continue
        (PICTURES / f"{name}.svg").write_text(draw(result), encoding="utf-8")
        print(f"docs/pictures/{name}.svg")
    compared = RESULTS / "compare.json"
    if compared.is_file():
        text = README.read_text(encoding="utf-8")
        README.write_text(in_readme(text, json.loads(compared.read_text(encoding="utf-8"))), encoding="utf-8")
        print("README.md")


if __name__ == "__main__":
    main()
