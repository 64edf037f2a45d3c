"""What the benchmarks compute from what they measured."""

from __future__ import annotations

import itertools
import math
import resource
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.common import percentile, spread, timed
from benchmarks.compare import summary, table, theirs, whole
from benchmarks.encode import ndcg
from benchmarks.peers import OVERLAP, WORDS, cut
from benchmarks.plots import END, MARK, Bar, chart, in_readme
from support import REPOSITORY


def test_spread_and_percentile_are_those_of_the_sorted_values() -> None:
    found = spread([5.0, 1.0, 4.0, 2.0, 3.0])
    assert found == {"n": 5, "median": 3.0, "q1": 2.0, "q3": 4.0, "min": 1.0, "max": 5.0}
    assert spread([7.0])["q1"] == 7.0
    values = [float(number) for number in range(100)]
    for share in (0.5, 0.95, 0.99):
        assert sum(value < percentile(values, share) for value in values) == pytest.approx(share * 100)
    assert percentile(values, 1.0) == 99


def test_a_process_is_timed_with_its_memory_and_its_failure_is_told() -> None:
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 + 100
    done = timed([sys.executable, "-c", f"import time; x = b'x' * ({size} << 20); time.sleep(0.3); print('done')"])
    assert done.output == "done\n"
    assert done.seconds >= 0.3
    assert done.memory_mb == pytest.approx(size, abs=30)
    with pytest.raises(RuntimeError, match=r"ended with 3: .*why"):
        timed([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    timed([sys.executable, "-c", "import sys; sys.exit(1)"], allowed=(0, 1))


def test_a_gold_quote_counts_whole_and_white_space_does_not() -> None:
    texts = ["Ann came.\n  Bob left early.", "Nobody came."]
    assert whole(["came. Bob left"], texts[:1])
    assert whole(["missing", "Nobody came."], texts)
    assert not whole(["Nobody came."], texts[:1])
    assert not whole(["Bob left late."], texts)


def test_texts_of_the_peers_hold_every_run_of_words_up_to_the_overlap() -> None:
    words = [f"w{number}" for number in range(537)]
    pieces = cut([" ".join(words), "short", ""])
    assert all(len(piece.split()) <= WORDS for piece in pieces)
    for first in range(len(words) - OVERLAP + 1):
        run = f" {' '.join(words[first : first + OVERLAP])} "
        assert any(run in f" {piece} " for piece in pieces)
    assert "short" in pieces


def test_ndcg_is_that_of_the_best_order_over_all_orders() -> None:
    gold = {0: 2, 2: 1}
    gains = {
        order: sum(gold.get(number, 0) / math.log2(rank + 2) for rank, number in enumerate(order))
        for order in itertools.permutations(range(4))
    }
    for order, gained in gains.items():
        scores = np.zeros(4, np.float32)
        scores[list(order)] = [4, 3, 2, 1]
        assert ndcg(scores, gold) == pytest.approx(gained / max(gains.values()))


def test_bars_are_as_long_as_their_values() -> None:
    text = chart("A <title>", "note & note", [Bar("qabot", 1.0, "1 s", 0.5, 1.5, second=2.0), Bar("other", 4.0, "4 s")])
    root = ElementTree.fromstring(text)
    bars = [float(rect.attrib["width"]) for rect in root.iter("{http://www.w3.org/2000/svg}rect")][1:]
    faint, own, other = bars
    assert faint == pytest.approx(2 * own, abs=0.2)
    assert other == pytest.approx(4 * own, abs=0.4)
    assert "A <title>" in "".join(root.itertext())


def measured(seconds: float) -> dict[str, Any]:
    from benchmarks.common import Finished

    system = theirs("plain", "python", Path("documents"), Path("work"))
    system.builds = system.colds = [Finished(seconds, 100.0, "")]
    system.warms, system.warm_memory, system.texts = [1.0], [100.0], [["Ann came."], ["Bob left.", "Ann came."]]
    return summary(system, None, [["Ann came"], ["Ann came"]])


def test_the_table_has_ratios_of_the_first_and_the_readme_keeps_the_rest() -> None:
    rows = [measured(2.0), measured(5.0)]
    assert (rows[0]["first"], rows[0]["first_three"]) == (0.5, 1.0)
    lines = table(rows)
    assert "| 1.0 x |" in lines[2]
    assert "| 2.5 x |" in lines[3]
    machine = {"cpu": "C", "cores": 2, "date": "2026-01-01", "busy": False}
    result = {"systems": rows, "machine": machine, "rounds": 3, "questions": 2}
    once = in_readme(f"before\n{MARK}\nstale\n{END}\nafter\n", result)
    assert once == in_readme(once, result)
    assert once.startswith("before\n")
    assert once.endswith(f"{END}\nafter\n")
    assert "stale" not in once
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme.count(MARK) == readme.count(END) == 1
