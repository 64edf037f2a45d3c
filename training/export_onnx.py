"""Writes a reader as ONNX, int8 and float32, and shows what quantisation costs.

    python export_onnx.py --backbone MODEL --weights reader.pt --out FOLDER [--layers 4]

Inputs, all int64 (batch, length): `ids`, `mask`, `parts` (0 nothing, -1 question, 1.. sentence).
Outputs: `sentences` (batch, 8) logits, -1e4 where there is no such sentence, and `passage` (batch,).
Weights are quantised to int8 per channel, activations at run time, matrix products only. The file
name of the int8 model and its sha256 stand in `reader.json` beside it.
"""

import argparse
import hashlib
import json
import re
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from reader import Packer, Reader, load_reader

SENTENCES = 8


class Exported(nn.Module):  # type: ignore[misc]
    """The reader with a fixed number of sentence logits."""

    def __init__(self, reader: Reader) -> None:
        super().__init__()
        self.reader = reader

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, parts: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(batch, 8) sentence logits and (batch,) passage logits."""
        logits, passages = self.reader(ids, mask, parts, SENTENCES)
        return logits, passages


class OnnxReads:
    """The exported reader as `reading.Reads`."""

    def __init__(self, path: Path, packer: Packer, threads: int = 2, batch: int = 16) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        self.packer, self.batch = packer, batch

    def __call__(self, asked: list[tuple[str, list[str], int]]) -> list[tuple[list[float | None], float]]:
        """Logits and passage logit of every window, in order."""
        packed = [self.packer.pack_one(*row) for row in asked]
        order = sorted(range(len(packed)), key=lambda i: len(packed[i][0]))
        results: list[tuple[list[float | None], float]] = [([], 0.0)] * len(packed)
        for at in range(0, len(order), self.batch):
            part = order[at : at + self.batch]
            rows = self.packer.batch([packed[i][:2] for i in part])
            logits, passage = self.session.run(
                None, {"ids": rows.ids.numpy(), "mask": rows.mask.numpy(), "parts": rows.parts.numpy()}
            )
            for k, i in enumerate(part):
                _, _, first, last = packed[i]
                inside = logits[k, : last - first + 1].tolist()
                cut = len(asked[i][1]) - first - len(inside)
                results[i] = ([None] * first + inside + [None] * cut, float(passage[k]))
        return results


def export(model: Reader, packer: Packer, path: Path) -> None:
    """float32 ONNX with free batch and length."""
    ids, parts, _, _ = packer.pack_one("who asked", ["One sentence.", "Another one, longer."], 0)
    rows = packer.batch([(ids, parts)] * 2)
    axes = {name: {0: "batch", 1: "length"} for name in ("ids", "mask", "parts")}
    torch.onnx.export(
        Exported(model).eval(),
        (rows.ids, rows.mask, rows.parts),
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=["ids", "mask", "parts"],
        output_names=["sentences", "passage"],
        dynamic_axes=axes | {"sentences": {0: "batch"}, "passage": {0: "batch"}},
    )


def quantise(source: Path, target: Path, keep: str | None = None) -> None:
    """int8 matrix products and embeddings; products whose name matches `keep` stay float32.

    mpnet's second feed-forward products need that: some of their inputs are 30 times larger than all
    others, and one scale for the whole tensor then leaves the others a few steps.
    """
    graph = onnx.load(str(source), load_external_data=False).graph
    kept = [n.name for n in graph.node if keep and n.op_type == "MatMul" and re.search(keep, n.name)]
    quantize_dynamic(
        str(source),
        str(target),
        per_channel=True,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["MatMul", "Gemm", "Gather"],
        nodes_to_exclude=kept,
    )


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--layers", type=int)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--name", default="reader")
    parser.add_argument("--keep", help="pattern of products that stay float32: layer.*/output/dense for mpnet")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(2)
    model = load_reader(args.backbone, args.weights, args.layers).float()
    packer = Packer(args.backbone)
    plain, small = args.out / f"{args.name}.fp32.onnx", args.out / f"{args.name}.int8.onnx"
    export(model, packer, plain)
    quantise(plain, small, args.keep)
    onnx.checker.check_model(str(small))

    text = "The committee meets four times a year, and its minutes are open to every member. "
    sentences = [text.strip()] * 3
    asked = [("how often does the committee meet and who may read what it wrote down", sentences, 1)] * 30
    expected_ids, expected_parts, _, _ = packer.pack_one(*asked[0])
    rows = packer.batch([(expected_ids, expected_parts)] * 2)
    with torch.no_grad():
        torch_logits, torch_passage = model(rows.ids, rows.mask, rows.parts, SENTENCES)
    figures: dict[str, object] = {"tokens a pair": len(expected_ids)}
    for path in (plain, small):
        reads = OnnxReads(path, packer)
        feeds = {"ids": rows.ids.numpy(), "mask": rows.mask.numpy(), "parts": rows.parts.numpy()}
        logits, passage = reads.session.run(None, feeds)
        real = torch_logits.numpy() > -1e3
        gap = max(
            float(np.abs(logits - torch_logits.numpy())[real].max()),
            float(np.abs(passage - torch_passage.numpy()).max()),
        )
        times = []
        for _ in range(12):
            began = time.perf_counter()
            reads(asked)
            times.append((time.perf_counter() - began) * 1000)
        figures[path.name] = {
            "bytes": path.stat().st_size,
            "largest logit difference to torch on one pair": round(gap, 4),
            "ms for 30 pairs, median": round(float(np.median(times[2:])), 1),
            "ms for 30 pairs, best": round(min(times), 1),
        }
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    about = {"file": small.name, "sha256": digest, "sentences": SENTENCES, "figures": figures}
    (args.out / f"{args.name}.json").write_text(json.dumps(about, indent=1))
    print(json.dumps(about, indent=1))


if __name__ == "__main__":
    main()
