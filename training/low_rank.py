"""The large reader as a small difference to public weights.

    python low_rank.py split --backbone MPNET --weights reader.pt --rank 48 --data DATA --out ../qabot/data/large
    python low_rank.py join --backbone MPNET --difference ../qabot/data/large --out joined.pt

`split` keeps, of every trained matrix of the backbone, the best approximation of (trained - public) with the given
rank (Eckart and Young 1936), its two factors in int8, and everything else that was trained as it is, in float16. It
reads windows of the training data and adds which channels of the products' inputs are so large that they must not be
rounded to int8 with the others. It writes `difference.safetensors` and `difference.json`, which `qabot.large` describes and reads, and prints
how much of the squared change is kept. `join` gives the whole reader for the scripts here.

Owns: making the difference. Refuses to know: training, ONNX.
"""

import argparse
import hashlib
import json
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from qabot.large import BASE_FILES, DIFFERENCE_FILE, FACTS_FILE, changed
from qabot.models import LARGE_READER
from qabot.mpnet import quantised
from reader import Packed, Packer, Reader, load_reader
from reading import READ_WORDS
from sets import training
from texts import window

_WINDOWS = 100
_FAR = 2.5
State = dict[str, torch.Tensor]
Difference = dict[str, NDArray[np.generic]]


def split(trained: State, public: State, rank: int) -> tuple[Difference, float]:
    """The difference as `qabot.large` describes it, and the share of the matrices' squared change that is kept.

    What did not change is left out; changes that only come from rounding to bfloat16 count as none.
    """
    found: Difference = {}
    kept = whole = 0.0
    for name, value in trained.items():
        new, old = value.float(), public[name].float()
        head = not name.startswith("backbone.")
        if not head and (torch.equal(new, old) or torch.equal(new, old.bfloat16().float())):
            continue
        if head or value.ndim < 2 or min(value.shape) <= rank:
            found[name] = new.numpy().astype(np.float16)
            continue
        change = new - old
        u, s, v = torch.linalg.svd(change, full_matrices=False)
        left, left_scale = quantised(u[:, :rank].numpy(), axis=0)
        right, right_scale = quantised(v[:rank].numpy(), axis=1)
        scale = (left_scale * s[:rank].numpy() * right_scale).astype(np.float32)
        found |= {f"{name}#left": left, f"{name}#right": right, f"{name}#scale": scale}
        missed = change - torch.from_numpy((left * scale) @ right.astype(np.float32))
        whole += float(change.pow(2).sum())
        kept += float(change.pow(2).sum() - missed.pow(2).sum())
    return found, kept / whole if whole else 1.0


def join(difference: Difference, public: State) -> State:
    """The whole reader, float32."""
    return {
        name: torch.from_numpy(changed(name, value.float().numpy(), difference)).reshape(value.shape)
        for name, value in public.items()
    }


def largest_inputs(model: Reader, rows: Iterable[Packed]) -> dict[str, NDArray[np.float32]]:
    """Product (as `qabot.mpnet.reader_model` calls it) -> the largest size of each channel of its input."""
    largest: dict[str, torch.Tensor] = {}

    def watch(module: torch.nn.Module, product: str) -> object:
        def seen(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            sizes = inputs[0].detach().abs().flatten(end_dim=-2).amax(0)
            largest[product] = torch.maximum(sizes, largest.get(product, sizes))

        return module.register_forward_pre_hook(seen)

    hooks = []
    for number, layer in enumerate(model.backbone.encoder.layer):
        hooks += [
            watch(layer.attention.attn.q, f"{number}.attention"),
            watch(layer.attention.attn.o, f"{number}.mixed"),
            watch(layer.intermediate.dense, f"{number}.inner"),
            watch(layer.output.dense, f"{number}.outer"),
        ]
    with torch.no_grad():
        for packed in rows:
            model(packed.ids, packed.mask, packed.parts, 1)
    for hook in hooks:
        hook.remove()  # type: ignore[attr-defined]
    return {product: sizes.numpy() for product, sizes in largest.items()}


def outliers(largest: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.int16]]:
    """Product -> the channels of its input that are far larger than the usual one; products without any left out."""
    found = {product: np.flatnonzero(sizes > _FAR * np.median(sizes)) for product, sizes in largest.items()}
    return {product: channels.astype(np.int16) for product, channels in found.items() if len(channels)}


def packed(feeds: dict[str, NDArray[np.int64]]) -> Packed:
    """The ONNX model's inputs as torch's."""
    return Packed(*(torch.from_numpy(feeds[name]) for name in ("ids", "mask", "parts")))


def windows(data: Path, packer: Packer, count: int) -> list[Packed]:
    """Training questions of the asked kind, each with a window: around its answer, or anywhere in the collection."""
    rng = random.Random(5)
    pool = [(c, q) for c in training(data) if c.source == "asked" for q in c.questions]
    rows = []
    for c, q in rng.sample(pool, min(count, len(pool))):
        anywhere = rng.choice(sorted(c.texts)), 0
        name, centre = rng.choice([*sorted(q.gold | q.near), anywhere])
        if (name, centre) == anywhere:
            centre = rng.randrange(len(c.texts[name].sentences))
        first, last = window(c.texts[name], centre, READ_WORDS)
        sentences = [s.text for s in c.texts[name].sentences[first : last + 1]]
        ids, parts, _, _ = packer.pack_one(q.text, sentences, centre - first)
        rows.append(packer.batch([(ids, parts)]))
    return rows


def write(
    folder: Path,
    difference: Difference,
    base: dict[str, str],
    rank: int,
    share: float,
    weighing: tuple[float, ...] = (),
    budget: tuple[float, ...] = (),
) -> None:
    """The two files that `qabot.large` reads. base: file of the public model -> sha256. weighing, budget: see `qabot.reader`."""
    folder.mkdir(parents=True, exist_ok=True)
    # safetensors writes the memory as it lies, whatever its order.
    save_file({name: np.ascontiguousarray(value) for name, value in difference.items()}, folder / DIFFERENCE_FILE)
    digest = hashlib.sha256((folder / DIFFERENCE_FILE).read_bytes()).hexdigest()
    facts = {"name": LARGE_READER, "sha256": digest, "base": base, "rank": rank, "share": round(share, 4)}
    facts["weighing"], facts["budget"] = list(weighing), list(budget)
    (folder / FACTS_FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def read(folder: Path) -> tuple[Difference, dict[str, object]]:
    """What `write` wrote."""
    return load_file(folder / DIFFERENCE_FILE), json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["split", "join"])
    parser.add_argument("--backbone", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="the trained reader, to split")
    parser.add_argument("--data", type=Path, help="training data, to split")
    parser.add_argument("--difference", type=Path, help="folder of the difference, to join")
    parser.add_argument("--rank", type=int, default=48)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weighing", type=float, nargs=3, default=(5.0, 0.8, 3.0), help="see qabot.reader.Weighing")
    parser.add_argument("--budget", type=json.loads, nargs=4, default=(40, 5, 11, 0.0), help="see qabot.reader.Budget")
    args = parser.parse_args()
    torch.set_num_threads(1)
    public = Reader(str(args.backbone)).state_dict()
    if args.command == "join":
        torch.save(join(read(args.difference)[0], public), args.out)
        return
    model = load_reader(str(args.backbone), args.weights).float()
    difference, share = split(model.state_dict(), public, args.rank)
    # Chosen by the reader as it will be: with the difference's rank.
    model.load_state_dict(join(difference, public))
    largest = largest_inputs(model, windows(args.data, Packer(str(args.backbone)), _WINDOWS))
    difference |= {f"apart.{name}": channels for name, channels in outliers(largest).items()}
    base = {name: hashlib.sha256((args.backbone / name).read_bytes()).hexdigest() for name in BASE_FILES}
    write(args.out, difference, base, args.rank, share, tuple(args.weighing), tuple(args.budget))
    size = (args.out / DIFFERENCE_FILE).stat().st_size
    print(json.dumps({"rank": args.rank, "share of the change kept": round(share, 4), "bytes": size}))


if __name__ == "__main__":
    main()
