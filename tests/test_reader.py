"""Readers: what goes into the model, what comes back, and how candidates are ranked by it."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from qabot.errors import ModelError
from qabot.index import Index
from qabot.reader import NO_READER, Budget, OnnxReader, Reader, Weighing, Window, load_reader
from qabot.reranking import probability, reading_window, rerank, shown_score, spread
from qabot.retrieval import Candidate
from support import build_files

WORDS = {
    word: number
    for number, word in enumerate(("[PAD]", "[CLS]", "[SEP]", "[UNK]", "who", "came", "ann", "bob", "left"))
}
SENTENCES = 4


def summing_model() -> bytes:
    """sentences[b, s] = sum of the ids whose part is s + 1: an answer that one can compute by hand."""
    shape = ["batch", "length"]
    numbers = numpy_helper.from_array(np.arange(1, SENTENCES + 1).reshape(1, SENTENCES, 1), "numbers")
    axis = numpy_helper.from_array(np.array([1]), "axis")
    last = numpy_helper.from_array(np.array([2]), "last")
    nodes = [
        helper.make_node("Unsqueeze", ["parts", "axis"], ["wide_parts"]),
        helper.make_node("Unsqueeze", ["ids", "axis"], ["wide_ids"]),
        helper.make_node("Unsqueeze", ["mask", "axis"], ["wide_mask"]),
        helper.make_node("Equal", ["wide_parts", "numbers"], ["member"]),
        helper.make_node("Cast", ["member"], ["inside"], to=TensorProto.INT64),
        helper.make_node("Mul", ["inside", "wide_ids"], ["kept"]),
        helper.make_node("Mul", ["kept", "wide_mask"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "last"], ["sums"], keepdims=0),
        helper.make_node("Cast", ["sums"], ["sentences"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("ids", "mask", "parts")]
    output = helper.make_tensor_value_info("sentences", TensorProto.FLOAT, ["batch", SENTENCES])
    graph = helper.make_graph(nodes, "summing", inputs, [output], [numbers, axis, last])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(models.WordLevel(WORDS, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    model = summing_model()
    (tmp_path / "reader.onnx").write_bytes(model)
    about = {
        "name": "summing",
        "file": "reader.onnx",
        "sha256": hashlib.sha256(model).hexdigest(),
        "tokenizer": "tokenizer.json",
        "sentences": SENTENCES,
    }
    (tmp_path / "reader.json").write_text(json.dumps(about), encoding="utf-8")
    return tmp_path


def summed(sentence: str) -> float:
    return float(sum(WORDS.get(word, WORDS["[UNK]"]) for word in sentence.split()))


def test_each_sentence_gets_the_score_of_its_own_tokens(folder: Path) -> None:
    reader = OnnxReader(folder)
    assert (reader.name, len(reader.fingerprint)) == ("summing", 32)
    windows = [Window(("ann came", "bob left", "who"), 1), Window(("left",), 0), Window(("ann", "bob \n came"), 0)]
    assert reader.read("who left", windows) == [tuple(map(summed, window.sentences)) for window in windows]
    assert reader.read("who left", []) == []


def test_what_does_not_fit_is_not_read_and_the_kept_sentence_always_is(folder: Path) -> None:
    reader = OnnxReader(folder)
    many = Window(("ann", "bob", "came", "left", "who", "ann"), 4)
    assert reader.read("who", [many]) == [(None, None, *map(summed, ("came", "left", "who", "ann")))]
    long = Window(("ann " * 100, "bob " * 60, "left"), 1)
    assert reader.read("who", [long]) == [(None, summed("bob " * 60), None)]
    huge = reader.read("who", [Window(("ann " * 500,), 0)])[0][0]
    assert huge is not None
    assert huge < summed("ann " * 144)


def test_a_changed_model_is_refused(folder: Path) -> None:
    (folder / "reader.onnx").write_bytes(summing_model() + b" ")
    with pytest.raises(ModelError, match=r"has sha256 .*; reader\.json says"):
        OnnxReader(folder)


def test_a_folder_may_say_how_much_is_read(folder: Path) -> None:
    file = folder / "reader.json"
    about = json.loads(file.read_text(encoding="utf-8"))
    plain = OnnxReader(folder)
    assert plain.budget == Budget()
    file.write_text(json.dumps(about | {"budget": [40, 4, 12, 0.5]}), encoding="utf-8")
    found = OnnxReader(folder)
    assert found.budget == Budget(words=40, first=4, most=12, sure=0.5)
    assert found.fingerprint != plain.fingerprint
    assert OnnxReader(folder, beside={"budget": [30, 2, 3, 0]}).budget == Budget(30, 2, 3, 0)
    for wrong in ([40, 0, 12, 0.5], [40.0, 4, 12, 0.5], [40, 4, 12, 0.5, 1], "x"):
        file.write_text(json.dumps(about | {"budget": wrong}), encoding="utf-8")
        with pytest.raises(ModelError, match="holds no usable reader"):
            OnnxReader(folder)


@pytest.mark.parametrize("missing", ["reader.onnx", "tokenizer.json"])
def test_an_incomplete_folder_is_refused(folder: Path, missing: str) -> None:
    (folder / missing).unlink()
    with pytest.raises(ModelError, match='set reader = "none"'):
        load_reader(str(folder))


def test_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_reader(NO_READER) is None
    found = load_reader(str(folder))
    assert found is not None
    assert found.name == "summing"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match="The reader 'no/such-model' can't be loaded"):
        load_reader("no/such-model")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("qabot-raeder", "Did you mean qabot-reader?"),
        ("qabot-reader-big", "Did you mean qabot-reader"),
        ("None", "Did you mean none?"),
        ("nope", "nor a folder"),
        ("./models/nope", "nor a folder"),
        ("/models/nope", "nor a folder"),
        ("a/b/c", "nor a folder"),
    ],
)
def test_a_mistyped_name_is_told_before_anything_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, name: str, hint: str
) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)  # importing it would fail
    for fetch in (False, True):
        with pytest.raises(ModelError, match=re.escape(f"{name!r}")) as caught:
            load_reader(name, fetch=fetch)
        assert hint in str(caught.value)


def test_only_indexing_goes_to_the_network(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    class Hub:
        def __init__(self, name: str, *, device: str, local_files_only: bool = False) -> None:
            asked.append((name, local_files_only))
            raise OSError("not here\nat all")

    def download(name: str, file: str) -> None:
        asked.append((f"{name}/{file}", False))

    monkeypatch.setitem(sys.modules, "sentence_transformers", SimpleNamespace(CrossEncoder=Hub))
    monkeypatch.setitem(sys.modules, "huggingface_hub", SimpleNamespace(hf_hub_download=download))
    with pytest.raises(ModelError, match=r"no/such-model.*not here.*`qabot index` fetches it"):
        load_reader("no/such-model")
    assert asked == [("no/such-model", True)]
    del asked[:]
    with pytest.raises(ModelError, match=r"no/such-model.*not here"):
        load_reader("no/such-model", fetch=True)
    # One small file first: without a network, each file is tried for half a minute.
    assert asked == [("no/such-model", True), ("no/such-model/config.json", False), ("no/such-model", False)]


class Fixed:
    """Log odds by what a sentence contains; remembers the windows."""

    name = fingerprint = "fixed"
    weighing = Weighing()
    budget = Budget()

    def __init__(self, odds: dict[str, float]) -> None:
        self.odds = odds
        self.windows: list[Window] = []

    def read(self, question: str, windows: Sequence[Window]) -> list[tuple[float | None, ...]]:
        self.windows += windows
        found = [
            tuple(max((v for k, v in self.odds.items() if k in s), default=-9.0) for s in w.sentences) for w in windows
        ]
        return list(found)


TEXT = "\n\n".join(f"Topic {n} begins here. The answer {n} stands there. And {n} ends." for n in range(40))


def candidates_of(index: Index) -> list[Candidate]:
    passages = index.neighbours(0, 0, index.manifest.passages)
    return [Candidate(stored, 0.5, 0.0, 1.0 - stored.id / 1000) for stored in passages]


def test_reading_reorders_what_was_read_and_keeps_the_rest_behind(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": TEXT})
    reader: Reader = Fixed({"answer 7": 4.0})
    ranked = rerank(index, reader, "?", candidates_of(index))
    best = ranked[0]
    assert index.text(0, best.stored.passage.start, best.stored.passage.end) == "The answer 7 stands there."
    assert best.reader == 4.0
    assert probability(best) == pytest.approx(1 / (1 + np.exp(-4)))
    assert len(ranked) == index.manifest.passages
    assert {c.stored.id for c in ranked} == {c.stored.id for c in candidates_of(index)}
    read = [c.reader is not None for c in ranked]
    assert read == sorted(read, reverse=True)
    unread = [c for c in ranked if c.reader is None]
    assert unread == sorted(unread, key=lambda c: c.stored.id)
    assert all(0 < shown_score(a) < 1 for a in ranked)
    scores = [shown_score(c) for c in ranked if c.reader is not None]
    assert scores == sorted(scores, reverse=True)


def test_a_reader_says_what_the_retrieval_score_counts_beside_it(tmp_path: Path) -> None:
    assert Weighing(4.0, 0.8, 2.0)(1.5, 0.5) == 1.5 + 4 * 0.5
    assert Weighing(4.0, 0.8, 2.0)(1.5, 1.0) == pytest.approx(1.5 + 4 * 0.8 + 2 * 0.2)
    index = build_files(tmp_path, {"a.txt": TEXT})
    first, second = candidates_of(index)[0], candidates_of(index)[7]
    near, sure = replace(first, score=0.6), replace(second, score=0.2)
    said = {index.text(0, sure.stored.passage.start, sure.stored.passage.end): 3.0}
    for weight, best in ((2.0, sure), (40.0, near)):
        reader = Fixed(said)
        reader.weighing = Weighing(weight)
        assert rerank(index, reader, "?", [near, sure])[0].stored.id == best.stored.id


def test_no_more_is_read_once_a_sentence_is_sure_to_answer(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": TEXT})
    candidates = candidates_of(index)
    for where, count in ((0, 4), (3, 4), (4, 11), (7, 11), (20, 11)):
        reader = Fixed({f"answer {where} ": 2.0, f"answer {where - 1} ": 1.9})
        reader.budget = Budget(words=5, first=4, most=11, sure=2.0)
        ranked = rerank(index, reader, "?", candidates[1::3])
        assert len(reader.windows) == count, where
        assert [c.stored.id for c in ranked if c.reader is None] == [c.stored.id for c in candidates[1::3][count:]]
        assert all(sum(len(sentence.split()) for sentence in w.sentences) <= 5 for w in reader.windows)
        thorough = Fixed(reader.odds)
        thorough.budget = reader.budget
        rerank(index, thorough, "?", candidates[1::3], thorough=True)
        assert len(thorough.windows) == 11


def test_windows_are_whole_sentences_within_the_budget_and_read_once(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": TEXT, "b.txt": "word " * 300 + "."})
    for document in (0, 1):
        for stored in index.neighbours(document, 0, index.manifest.passages):
            around, keep = reading_window(index, stored, 80)
            assert around[keep] == stored
            ids = [other.id for other in around]
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            size = len(index.text(document, around[0].passage.start, around[-1].passage.end).split())
            assert len(around) == 1 or size <= 80
    reader = Fixed({})
    rerank(index, reader, "?", candidates_of(index))
    kept = [window.sentences[window.keep] for window in reader.windows]
    assert len(kept) == len(set(kept))


def test_documents_that_are_believed_to_answer_come_before_more_of_the_same(tmp_path: Path) -> None:
    index = build_files(tmp_path, {"a.txt": "One. Two. Three.", "b.txt": "Four.", "c.txt": "Five."})
    passages = index.neighbours(0, 0, 9) + index.neighbours(1, 0, 9) + index.neighbours(2, 0, 9)
    odds = (2.0, 1.0, 0.5, 0.1, -0.1)
    ranked = [Candidate(p, 0.5, 0.0, 0.5, o) for p, o in zip(passages, odds, strict=True)]
    assert [c.reader for c in spread(ranked)] == [2.0, 0.1, 1.0, 0.5, -0.1]
    unread = [Candidate(p, 0.5, 0.0, 0.5) for p in passages]
    assert spread(unread) == unread
    assert spread([]) == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_cross_encoder_reads_each_window_for_the_sentence_to_keep(tmp_path: Path) -> None:
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    from qabot.export import model_folder

    folder = str(tmp_path / "cross-encoder")
    CrossEncoder(model_folder("all-MiniLM-L6-v2"), device="cpu", num_labels=1).save_pretrained(folder)
    reader = load_reader(folder)
    assert reader is not None
    pairs = [("who came?", "Ann came. Bob left."), ("who came?", "Nobody.")]
    expected = CrossEncoder(folder, device="cpu").predict(pairs, activation_fn=Identity(), show_progress_bar=False)
    found = reader.read("who came?", [Window(("Ann came.", "Bob left."), 1), Window(("Nobody.",), 0)])
    assert found == [(None, pytest.approx(float(expected[0]))), (pytest.approx(float(expected[1])),)]
    assert reader.read("who came?", []) == []
    again = load_reader(folder)
    assert again is not None
    assert (again.name, again.fingerprint) == (folder, reader.fingerprint)
