"""Curves against scikit-learn and brute force; thresholds by definition; files that can't be trusted are refused."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from qabot.calibration import (
    Calibration,
    Curve,
    Data,
    Gated,
    Isotonic,
    Measured,
    Platt,
    fit_isotonic,
    fit_platt,
    load_calibration,
    read_calibration,
    signals,
)
from qabot.errors import ModelError, QuestionError
from qabot.evaluation.calibrate import best_threshold, calibrate, lines, observe, related_threshold
from qabot.large import OWN_FOLDER as LARGE_FOLDER
from qabot.large import read_facts
from qabot.models import LARGE_READER, own_encoder
from qabot.reader import NO_READER, OWN_READER, OnnxReader
from qabot.reader import OWN_FOLDER as READER_FOLDER
from qabot.retrieval import RETRIEVAL_VERSION
from qabot.types import Trace
from support import REPOSITORY

SHIPPED = REPOSITORY / "qabot" / "data" / "calibrations"
RECIPE = {"model": "m", "reader": "none"}
CURVE = Platt(("dense", "lead"), (3.0, -1.5), 0.25)
MADE = Calibration(
    CURVE,
    0.5,
    0.2,
    RECIPE,
    Data("ab" * 32, ("q.jsonl",), 100, 60, 10, 40),
    Measured(5, 0.05, 0.8, None, 0.7),
)


@given(st.integers(0, 2**32 - 1), st.integers(10, 60))
@settings(deadline=None, max_examples=30)
def test_platt_is_scikit_learns_sigmoid_calibration(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.normal(size=count)
    labels = random.random(count) < 1 / (1 + np.exp(-2 * scores))
    labels[:2] = True, False
    a, b = _sigmoid_calibration(scores, labels)
    curve = fit_platt(["dense"], scores[:, None], labels)
    for score in (-2.0, 0.0, 0.5):
        assert curve.probability({"dense": score}) == pytest.approx(1 / (1 + math.exp(a * score + b)), abs=2e-4)


def test_platt_over_several_signals_is_logistic_regression() -> None:
    random = np.random.default_rng(5)
    values = random.normal(size=(20_000, 3)) * [1, 10, 0.1] + [0, 100, 3]
    odds = (values - [0, 100, 3]) @ [1.5, -0.2, 4]
    labels = random.random(len(odds)) < 1 / (1 + np.exp(-odds))
    curve = fit_platt(["dense", "lexical", "lead"], values, labels)
    # So many labels that the softened targets no longer matter.
    oracle = LogisticRegression(C=np.inf, tol=1e-10, max_iter=2000).fit(values, labels)
    assert curve.weights == pytest.approx(oracle.coef_[0], rel=2e-3)
    assert curve.bias == pytest.approx(oracle.intercept_[0], rel=2e-3)


def test_platt_stays_finite_where_signals_separate_repeat_or_never_change() -> None:
    x = np.arange(10.0)
    values = np.column_stack([x, x, np.ones(10)])
    curve = fit_platt(["dense", "lexical", "lead"], values, x > 4)
    low, high = (curve.probability({"dense": v, "lexical": v, "lead": 1.0}) for v in (0.0, 9.0))
    assert np.isfinite([*curve.weights, curve.bias]).all()
    # Softened targets: (5 + 1) / (5 + 2) and 1 / 7 are what perfect separation is worth.
    assert 0 < low < 1 / 7
    assert 6 / 7 < high < 1
    assert curve.weights[2] == 0


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=30))
def test_isotonic_is_scikit_learns(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([float(x) for x, _ in pairs])
    labels = np.array([y for _, y in pairs])
    labels[:2] = True, False
    curve = fit_isotonic("dense", values, labels)
    oracle = IsotonicRegression(out_of_bounds="clip").fit(values, labels.astype(float))
    at = np.linspace(-1, 9, 41)
    assert [curve.probability({"dense": x}) for x in at] == pytest.approx(oracle.predict(at), abs=1e-9)


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_labels_of_one_kind_are_refused(labels: list[bool]) -> None:
    with pytest.raises(ValueError, match="both kinds are needed"):
        fit_isotonic("dense", np.array([0.0, 1.0]), np.array(labels))
    with pytest.raises(ValueError, match="not finite"):
        fit_platt(["dense"], np.array([[0.0], [np.nan]]), np.array([True, False]))


def test_signals_by_hand() -> None:
    found = signals(
        [0.5, 0.7, 0, 0, 0, 0.9], [0.1, 0, 0, 0, 0.3, 1.0], [1.0, 0.8, 0.6, 0.4, 0.2, 0.1], [None, 0.5, 0.9]
    )
    assert found == {
        "dense": 0.7,
        "lexical": 0.3,
        "lead": pytest.approx(1.0 - 0.5),
        "reader": pytest.approx(math.log(9)),
        "reader_margin": pytest.approx(math.log(9)),
        "reader_sum": pytest.approx(math.log(1 + 9)),
    }
    # What comes after the thirtieth candidate can't be seen in a trace, and changes nothing.
    few = signals([0.5] * 30, [0.1] * 30, [0.4] * 30, [0.5] * 30)
    assert signals([0.5] * 30 + [9], [0.1] * 30 + [9], [0.4] * 30 + [9], [0.5] * 30 + [0.9]) == few
    assert signals([0.5], [0.0], [0.4], [None]) == {"dense": 0.5, "lexical": 0.0, "lead": 0.4}
    alone = signals([0.5], [0.0], [0.4], [1.0])
    assert alone["reader"] == pytest.approx(math.log(1e6), rel=1e-5)
    assert alone["reader_margin"] == pytest.approx(2 * math.log(1e6), rel=1e-5)


def test_outcomes_follow_the_thresholds() -> None:
    steps = replace(MADE, curve=Isotonic(("dense",), (0.0, 1.0), (0.0, 1.0)))
    found = [steps.judge({"dense": p}) for p in (0.5, 0.49, 0.2, 0.19)]
    assert found == [(0.5, "answered"), (0.49, "related"), (0.2, "related"), (0.19, "nothing")]
    assert MADE.judge({"dense": 1.0, "lead": 2.0})[0] == pytest.approx(1 / (1 + math.exp(-0.25)))
    assert MADE.judge({"dense": -1000.0, "lead": 0.0})[0] == 0.0


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.5, 0.9]), st.booleans()), min_size=2, max_size=12))
def test_the_best_threshold_has_the_best_balance(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in pairs])
    wanted = np.array([label for _, label in pairs])
    wanted[:2] = True, False

    def balance(cut: float) -> float:
        accepted = [s for s, w in zip(scores, wanted, strict=True) if w and s >= cut]
        refused = [s for s, w in zip(scores, wanted, strict=True) if not w and s < cut]
        return float(len(accepted) / wanted.sum() + len(refused) / (~wanted).sum())

    chosen = best_threshold(scores, wanted)
    assert balance(chosen) == pytest.approx(max(balance(cut) for cut in (0.0, 0.15, 0.3, 0.7)))
    # Refusing any more than it does is worse: of equally good thresholds it is the highest.
    above = [cut for cut in (0.15, 0.3, 0.7) if cut < scores.max() and chosen <= scores[scores < cut].max(initial=-1)]
    assert all(balance(cut) < balance(chosen) - 1e-12 for cut in above)


def test_related_parts_off_topic_questions_where_that_leaves_room() -> None:
    scores = np.array([0.05] * 5 + [0.3] * 10 + [0.8] * 10)
    off_topic = np.array([True] * 5 + [False] * 20)
    assert related_threshold(scores, off_topic, answered=0.5) == pytest.approx((0.05 + 0.3) / 2)
    # Without off-topic questions, or without room below `answered`, 95 % of the others reach it.
    assert related_threshold(scores[5:], off_topic[5:], answered=0.5) == pytest.approx(0.3)
    assert related_threshold(scores, off_topic, answered=0.18) == pytest.approx(0.18)


def run(count: int = 60, seed: int = 3, *, reader: bool = False) -> Any:
    """What `calibrate` looks at of a run: questions that are easier to answer the nearer their best candidate."""
    random = np.random.default_rng(seed)
    results = []
    for number in range(count):
        kind = ("factoid", "factoid", "hardneg", "offtopic")[number % 4]
        dense = float(random.normal({"factoid": 0.6, "hardneg": 0.45, "offtopic": 0.1}[kind], 0.1))
        right = kind == "factoid" and bool(random.random() < 0.8)
        trace = (Trace("a.txt:0-1", "x", dense, 0.1, dense, 0.9 if right and reader else 0.2 if reader else None),)
        question = SimpleNamespace(answerable=kind == "factoid", off_topic=kind == "offtopic")
        results.append(
            SimpleNamespace(answer=SimpleNamespace(trace=trace), question=question, row=SimpleNamespace(right=right))
        )
    small_talk = SimpleNamespace(answer=SimpleNamespace(trace=()))
    return SimpleNamespace(results=(*results, small_talk), sha256="cd" * 32, files=("folder/q.jsonl",))


def test_calibrating_a_run_predicts_whether_the_documents_answer() -> None:
    made = calibrate([run(400)], RECIPE)
    assert made.data == Data("cd" * 32, ("q.jsonl",), 400, 200, 100, made.data.right)
    assert 140 < made.data.right < 180
    assert made.curve.signals == ("dense", "lexical", "lead")
    assert made.judge({"dense": 0.7, "lexical": 0.1, "lead": 0.7})[1] == "answered"
    assert made.judge({"dense": 0.05, "lexical": 0.1, "lead": 0.05})[1] == "nothing"
    assert made.measured.ece < 0.1
    assert made.measured.auroc_offtopic is not None
    assert made.measured.auroc_ontopic is not None
    assert made.measured.auroc_offtopic > 0.98 > made.measured.auroc_ontopic > 0.7
    assert calibrate([run(400)], RECIPE) == made
    assert "fitted on 400 questions (200 answerable, 100 off-topic)" in "\n".join(lines(made))


def test_figures_are_of_questions_that_the_curve_did_not_see() -> None:
    """Labels of pure chance: a curve judged on its own data seems to know something; on unseen data it can't."""
    unseen, in_sample = [], []
    for seed in range(10):
        random = np.random.default_rng(seed)
        chance = run(60, seed)
        labels = [bool(random.random() < 0.5) for _ in chance.results[:-1]]
        for result, label in zip(chance.results, labels, strict=False):
            result.row.right = result.question.answerable = label
            result.question.off_topic = False
        made = calibrate([chance], RECIPE, method="isotonic", related=0.0)
        own = [made.curve.probability({"dense": r.answer.trace[0].dense}) for r in chance.results[:-1]]
        in_sample.append(roc_auc_score(labels, own))
        unseen.append(made.measured.auroc or 0.0)
    assert np.mean(unseen) < 0.5
    assert np.mean(in_sample) > 0.54


def test_the_reader_is_used_where_there_is_one_and_signals_can_be_chosen() -> None:
    assert calibrate([run(reader=True)], RECIPE).curve.signals == (
        "dense",
        "lexical",
        "lead",
        "reader",
        "reader_margin",
        "reader_sum",
    )
    assert calibrate([run(reader=True)], RECIPE, method="isotonic").curve.signals == ("reader",)
    assert calibrate([run()], RECIPE, method="isotonic").curve.signals == ("dense",)
    assert calibrate([run()], RECIPE, use=["lead"], answered=0.6, related=0.1).curve.signals == ("lead",)
    with pytest.raises(QuestionError, match=r"no signal 'reader' here\. Signals: dense, lexical, lead"):
        calibrate([run()], RECIPE, use=["reader"])
    with pytest.raises(QuestionError, match="takes one signal"):
        calibrate([run()], RECIPE, use=["dense", "lead"], method="isotonic")


def test_several_runs_make_one_calibration() -> None:
    made = calibrate([run(40), run(60, 4)], RECIPE)
    assert (made.data.questions, made.data.files) == (100, ("q.jsonl", "q.jsonl"))
    assert made.data.sha256 != run().sha256


def test_too_little_to_learn_from_is_refused() -> None:
    with pytest.raises(QuestionError, match=r"20 questions had candidates, .* At least 30 are needed"):
        calibrate([run(20)], RECIPE)
    with pytest.raises(QuestionError, match="0 <= related <= answered <= 1"):
        calibrate([run()], RECIPE, answered=0.3, related=0.4)
    assert calibrate([run(60)], RECIPE, answered=0.7).answered == 0.7
    only = run(60)
    for result in only.results[:-1]:
        result.question.answerable = True
    with pytest.raises(QuestionError, match=r"60 of them have an answer.*6 that have none"):
        calibrate([only], RECIPE)


def test_a_gated_curve_is_the_product_of_two_fitted_apart() -> None:
    found = run(400, reader=True)
    made = calibrate([found], RECIPE, method="gated", use=["reader", "lead"])
    seen = observe(found)
    gate = np.array([[one.found["dense"]] for one in seen])
    values = np.array([[one.found["reader"], one.found["lead"]] for one in seen])
    off_topic = np.array([one.off_topic for one in seen])
    answerable = np.array([one.answerable for one in seen])
    first = fit_platt(["dense"], gate, ~off_topic)
    second = fit_platt(["reader", "lead"], values[~off_topic], answerable[~off_topic])
    assert made.curve == Gated(first, second)
    assert made.curve.signals == ("dense", "reader", "lead")
    for one in seen[:20]:
        both = first.probability(one.found) * second.probability(one.found)
        assert made.curve.probability(one.found) == pytest.approx(both)


def test_a_gated_curve_needs_off_topic_and_on_topic_refusals() -> None:
    only = run(60)
    for result in only.results[:-1]:
        result.question.off_topic = False
    with pytest.raises(QuestionError, match=r"0 questions are off-topic and 30 on-topic .* needs 5 of either"):
        calibrate([only], RECIPE, method="gated")


@pytest.mark.parametrize("share", [0.6, 0.9])
def test_the_threshold_answers_the_share_that_is_asked_for(share: float) -> None:
    found = run(400)
    made = calibrate([found], RECIPE, share=share, related=0.0)
    chance = [made.curve.probability(one.found) for one in observe(found) if one.answerable]
    assert np.mean([p >= made.answered for p in chance]) == pytest.approx(share, abs=0.03)


@pytest.mark.parametrize("curve", [MADE.curve, Isotonic(("reader",), (-1.0, 2.5), (0.0, 0.75)), Gated(CURVE, CURVE)])
def test_files_keep_everything(tmp_path: Path, curve: Curve) -> None:
    file = tmp_path / "c.json"
    made = replace(MADE, curve=curve)
    file.write_text(made.as_json(), encoding="utf-8")
    assert load_calibration(file, RECIPE) == made


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"model": "other", "reader": "none"}, "fitted for model = 'm', but 'other' is in use"),
        ({"model": "m", "reader": "r 1"}, "fitted for reader = 'none', but 'r 1' is in use"),
        ({"model": "m"}, "fitted for reader = 'none', but None is in use"),
        ({**RECIPE, "encoder": "f"}, "fitted for encoder = None, but 'f' is in use"),
    ],
)
def test_a_calibration_of_something_else_is_refused(tmp_path: Path, recipe: dict[str, str], says: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(MADE.as_json(), encoding="utf-8")
    with pytest.raises(ModelError, match=says) as caught:
        load_calibration(file, recipe)
    assert str(file) in str(caught.value)


def changed(**values: Any) -> str:
    content = json.loads(MADE.as_json())
    return json.dumps({**content, **values})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (changed(thresholds={"answered": 0.4, "related": 0.2}), "its sha256 differs"),
        (changed(format=2), "has format 2; 1 was expected"),
        ("{", "is no calibration"),
        ("[]", "is no calibration"),
        ("{}", "is no calibration"),
        (replace(MADE, answered=0.1).as_json(), "thresholds related 0.2 and answered 0.1"),
        (replace(MADE, curve=Platt(("luck",), (1.0,), 0.0)).as_json(), "unknown signals: luck"),
    ],
)
def test_a_file_that_is_not_as_written_is_refused(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "c.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=says):
        read_calibration(file)
    with pytest.raises(ModelError, match="nothing is there"):
        read_calibration(tmp_path / "missing.json")


def test_every_change_of_a_file_is_noticed(tmp_path: Path) -> None:
    """Each number of the file, changed alone, is refused."""
    file = tmp_path / "c.json"
    text = MADE.as_json()
    digits = [at for at, character in enumerate(text) if character.isdigit()]
    for at in itertools.islice(digits, 0, None, 3):
        other = text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]
        if json.loads(other) == json.loads(text):
            continue
        file.write_text(other, encoding="utf-8")
        with pytest.raises(ModelError):
            read_calibration(file)


def test_a_calibration_that_is_not_there_is_told_without_the_systems_words(tmp_path: Path) -> None:
    for path, found in ((tmp_path / "none.json", "nothing"), (tmp_path, "a folder")):
        with pytest.raises(ModelError, match=f"The calibration is .*, but {found} is there") as caught:
            read_calibration(path)
        assert "Errno" not in str(caught.value)


def test_what_comes_with_qabot_belongs_to_its_models() -> None:
    readers = {
        NO_READER: NO_READER,
        OWN_READER: OnnxReader(READER_FOLDER).fingerprint,
        LARGE_READER: read_facts(LARGE_FOLDER).fingerprint,
    }
    encoder = own_encoder().facts.fingerprint
    found = {path.stem: read_calibration(path).recipe for path in SHIPPED.glob("*.json")}
    assert found == {
        name: {"encoder": encoder, "reader": reader, "retrieval": str(RETRIEVAL_VERSION)}
        for name, reader in readers.items()
    }


def test_a_calibration_of_another_reader_says_that_the_reader_may_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(MADE.as_json(), encoding="utf-8")
    with pytest.raises(ModelError, match='reader = "auto" is the larger reader where that is installed'):
        load_calibration(tmp_path / "c.json", RECIPE | {"reader": "other"})
    with pytest.raises(ModelError) as caught:
        load_calibration(tmp_path / "c.json", RECIPE | {"model": "other"})
    assert "auto" not in str(caught.value)
