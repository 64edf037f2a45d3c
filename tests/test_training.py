"""The training scripts: offsets, windows, samplers and checkpoints, each against an oracle."""

import json
import pickle
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import augment
import checkpoints
import distil
import sets
import train_encoder
from groups import Groups, Mix
from measures import auroc, ndcg10, wilson
from questions import Collection, Question, locate
from reading import Reading, measure
from scored import Scored, Task, read_shards
from texts import Text, collapse, split_sentences, window

PROSE = st.text(alphabet="aB. !?\n\t”9é•", max_size=300)


def text_of(body: str, name: str = "a.txt") -> Text:
    return Text(name, body, split_sentences(body))


@given(PROSE)
def test_sentences_cover_everything_but_whitespace(body: str) -> None:
    at = 0
    for s in split_sentences(body):
        assert s.start >= at
        assert not body[at : s.start].strip()
        assert s.text == collapse(body[s.start : s.end])
        assert s.text
        at = s.end
    assert not body[at:].strip()


def test_sentences_of_a_hard_wrapped_text() -> None:
    body = "Mr. Obama met the U.S. envoy\nin May. He left.\n\nNext paragraph!"
    found = split_sentences(body)
    assert [s.text for s in found] == ["Mr. Obama met the U.S. envoy in May.", "He left.", "Next paragraph!"]
    assert [s.paragraph for s in found] == [0, 0, 1]


@given(PROSE, st.integers(0, 40), st.integers(1, 60), st.booleans())
def test_a_window_holds_its_centre_and_keeps_to_its_budget(body: str, i: int, words: int, before: bool) -> None:
    text = text_of(body)
    if not text.sentences:
        return
    centre = i % len(text.sentences)
    first, last = window(text, centre, words, before)
    assert 0 <= first <= centre <= last < len(text.sentences)
    used = sum(len(s.text.split()) for s in text.sentences[first : last + 1])
    assert used <= words or first == last


def test_a_quote_is_found_across_a_line_break_in_the_right_sentences() -> None:
    text = text_of("One is here. Two is\nthere. Three.")
    assert locate(text, "Two is there.") == {1}
    assert locate(text, "here. Two is") == {0, 1}
    assert locate(text, "absent") == set()


@given(st.integers(0, 10_000))
def test_keywords_are_words_of_the_question_in_order(seed: int) -> None:
    question = "Which two fields does the incoming government want to concentrate on?"
    words = augment.keywords(question, random.Random(seed)).lower().split()
    assert words == ["two", "fields", "incoming", "government", "want", "concentrate"]


def test_speech_has_no_capitals_and_no_punctuation() -> None:
    said = augment.spoken("Who, in 1990, led Poland's Sejm?", random.Random(3), 0.0)
    assert said == "who in 1990 led poland's sejm"


def collection() -> Collection:
    body = " ".join(f"Sentence number {n} speaks of thing {n}." for n in range(30))
    text = text_of(body)
    gold = frozenset({("a.txt", 4)})
    questions = (
        Question("q1", "What is thing four?", True, "factoid", gold, frozenset(), None, "1"),
        Question("q2", "Who made thing four?", False, "hardneg", frozenset(), gold, None, "1"),
    )
    return Collection("set", "pairs", {"a.txt": text}, questions)


def test_batches_depend_on_the_step_alone_and_flag_exactly_the_gold_sentence() -> None:
    mined = {"set": {q: [("a.txt", i, 0.5) for i in range(20)] for q in ("q1", "q2")}}
    mix = Mix(asked=0, pairs=1, squad=0, other=0.0)
    one, two = (Groups([collection()], mined, 7, mix) for _ in range(2))
    for step in range(40):
        items = two.batch(step)
        assert items == one.batch(step)
        for item in items:
            for sentence, flag in zip(item.sentences, item.gold, strict=True):
                answers = item.group < 10_000
                assert flag == (answers and sentence == "Sentence number 4 speaks of thing 4.")
        joined = [i for i in items if i.twin >= 0]
        assert len(joined) == 2
        assert joined[0].sentences == joined[1].sentences
        assert any(joined[0].gold)
        assert not any(joined[1].gold)


def train(steps: int, path: Path, stop: int | None = None) -> list[float]:
    """Some steps on noise, saved at `stop`; the weights."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scheduler = checkpoints.schedule(optimizer, steps, 2, 4)
    average = checkpoints.Average(model, 0.5)
    for step in range(checkpoints.load(path, model, optimizer, scheduler, average), steps):
        if step == stop:
            checkpoints.save(path, step, model, optimizer, scheduler, average)
            break
        loss = model(torch.randn(4, 3)).pow(2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        average.update(model)
    with average.applied(model):
        return [*model.weight.flatten().tolist(), *model.bias.tolist()]


def test_a_run_that_stopped_ends_with_the_same_weights(tmp_path: Path) -> None:
    whole = train(10, tmp_path / "none.ckpt")
    train(10, tmp_path / "some.ckpt", stop=6)
    assert train(10, tmp_path / "some.ckpt") == whole


def test_measures_against_values_worked_out_by_hand() -> None:
    assert auroc([2.0, 3.0], [1.0, 2.0]) == 0.875
    assert ndcg10(["x", "a"], {"a"}) == pytest.approx(1 / 1.584962500721156)
    low, high = wilson(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


def test_a_question_without_candidates_is_a_miss_and_never_an_error() -> None:
    text = text_of("It opens at nine. It closes at noon.")
    none: frozenset[tuple[str, int]] = frozenset()
    kinds = {
        "1": (True, "factoid"),
        "2": (True, "foreign"),
        "3": (False, "offtopic"),
        "4": (False, "hardneg"),
        "5": (True, "factoid"),
    }
    asked = [
        Question(name, "when?", yes, kind, frozenset({("a.txt", 0)}) if yes else none, none)
        for name, (yes, kind) in kinds.items()
    ]
    c = Collection("set", "asked", {"a.txt": text}, tuple(asked))
    read = Reading(("a.txt", 0, 1), (2.0, -2.0), 1.0)
    figures = measure(c, asked, {q.id: [read] if q.id == "5" else [] for q in asked}, {q.id: [] for q in asked})
    assert [str(figures[name])[:4] for name in ("hit@1", "hit@3", "sentence@1", "gold among candidates")] == [
        "0.50"
    ] * 4
    assert figures["foreign hit@1 (n=1)"] == "0.00"
    # Of the pairs of an answerable and an off-topic question, one is won and one undecided.
    assert str(figures["AUROC offtopic by sentence (n=1)"])[:5] == "0.750"
    assert str(figures["AUROC offtopic by passage (n=1)"])[:5] == "0.750"


def test_unlabelled_questions_join_the_set_of_their_document(tmp_path: Path) -> None:
    corpus = tmp_path / "data" / "asked" / "one" / "corpus"
    corpus.mkdir(parents=True)
    (corpus / "a.txt").write_text("It opens at nine.", encoding="utf-8")
    row = {"id": "1", "question": "when?", "answerable": True, "kind": "factoid", "doc": "a.txt"}
    row |= {"gold": [{"doc": "a.txt", "quote": "It opens at nine."}], "must_contain": []}
    (corpus.parent / "questions.jsonl").write_text(json.dumps(row), encoding="utf-8")
    further = tmp_path / "unlabelled" / "one"
    further.mkdir(parents=True)
    (further / "a.txt").write_text("is it open on sunday?\n\nwho opens it?\n", encoding="utf-8")
    (further / "gone.txt").write_text("of a document that is not there\n", encoding="utf-8")
    plain = sets.training(tmp_path / "data")[0].questions
    found = sets.training(tmp_path / "data", unlabelled=tmp_path / "unlabelled")[0].questions
    assert found[: len(plain)] == plain
    assert [q.text for q in found[len(plain) :]] == ["is it open on sunday?", "who opens it?"]
    assert {q.kind for q in found[len(plain) :]} == {sets.UNLABELLED}


def test_a_student_hears_no_labels_where_there_are_none() -> None:
    window = Scored(("a", "b"), 0, (False, False), (2.0, -1.0), 0.5)
    logits, passages = torch.tensor([[0.3, -0.2]]), torch.tensor([0.1])
    target = torch.zeros(1, 2)

    def loss(labelled: float, hard: float) -> float:
        labels = torch.tensor([labelled])
        return float(distil.loss_of([[window]], logits, passages, target, [0], labels, hard))

    assert loss(0.0, 5.0) == loss(1.0, 0.0)
    assert loss(1.0, 5.0) > loss(1.0, 0.0)


def test_an_encoder_learns_the_teachers_order(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each text's vector is its own, so that the loss can be computed by hand.
    vectors = {"q": [1.0, 0.0], "near": [1.0, 0.0], "far": [0.0, 1.0]}
    monkeypatch.setattr(train_encoder, "encode", lambda model, texts: torch.tensor([vectors[text] for text in texts]))
    monkeypatch.setattr(train_encoder, "rewrite", lambda text, rng: text)

    def loss(near: float | None, far: float) -> float:
        window = Scored(("near", "far"), 0, (True, False), (near, far), 0.0)
        return float(train_encoder.taught(torch.nn.Identity(), [Task("q", (window,))], random.Random(1)))

    assert loss(20.0, 0.0) == pytest.approx(0.0, abs=1e-6)  # cosines 1 and 0, times 20
    assert loss(0.0, 20.0) > 10
    assert loss(None, 3.0) == 0.0  # one sentence that was read: nothing to order


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    tasks = [Task(str(number), (), number == 1) for number in range(3)]
    for name, part in (("b", tasks[1:]), ("a", tasks[:1])):
        (tmp_path / f"{name}.pickle").write_bytes(pickle.dumps(part))
    assert read_shards(tmp_path) == tasks
