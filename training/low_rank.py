"""The large reader as a small difference to public weights.

    python low_rank.py split --backbone MPNET --weights reader.pt --rank 32 --out difference.safetensors
    python low_rank.py join --backbone MPNET --difference difference.safetensors --out reader.pt

`split` keeps, of every trained matrix of the backbone, the best approximation of (trained - public)
with the given rank (Eckart and Young 1936), and everything else that was trained as it is; all in
float16. `join` adds it to the public weights. `split` prints how much of the squared change is kept.

Owns: the difference file. Refuses to know: training, ONNX.
"""

import argparse
import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from reader import Reader


def split(
    trained: dict[str, torch.Tensor], public: dict[str, torch.Tensor], rank: int
) -> tuple[dict[str, torch.Tensor], float]:
    """The difference as `name#left` (rows, rank), `name#right` (rank, columns) or `name` itself, and
    the share of the matrices' squared change that is kept. What did not change is left out; changes
    that only come from rounding to bfloat16 count as none."""
    found: dict[str, torch.Tensor] = {}
    kept = changed = 0.0
    for name, value in trained.items():
        new, old = value.float(), public[name].float()
        if torch.equal(new, old) or torch.equal(new, old.bfloat16().float()):
            continue
        if name.startswith("backbone") and value.ndim == 2 and min(value.shape) > rank:
            u, s, v = torch.linalg.svd(new - old, full_matrices=False)
            root = s[:rank].sqrt()
            found[f"{name}#left"] = (u[:, :rank] * root).half().contiguous()
            found[f"{name}#right"] = (root[:, None] * v[:rank]).half().contiguous()
            kept += float(s[:rank].pow(2).sum())
            changed += float(s.pow(2).sum())
        else:
            found[name] = value.half().contiguous()
    return found, kept / changed if changed else 1.0


def join(difference: dict[str, torch.Tensor], public: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Public weights with the difference added, float32. KeyError when a name is not a weight."""
    whole = {name: value.float() for name, value in public.items()}
    for name, value in difference.items():
        weight, _, side = name.partition("#")
        if side == "left":
            whole[weight] = whole[weight] + value.float() @ difference[f"{weight}#right"].float()
        elif not side:
            whole[weight] = value.float().reshape(whole[weight].shape)
    return whole


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=["split", "join"])
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--difference", type=Path)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    public = Reader(args.backbone).state_dict()
    if args.command == "join":
        torch.save(join(load_file(args.difference), public), args.out)
        return
    state = torch.load(args.weights, map_location="cpu", weights_only=False)
    found, share = split(state.get("model", state), public, args.rank)
    save_file(found, args.out)
    print(
        json.dumps(
            {
                "rank": args.rank,
                "tensors": len(found),
                "share of the change kept": round(share, 4),
                "bytes": args.out.stat().st_size,
                "sha256": hashlib.sha256(args.out.read_bytes()).hexdigest(),
            }
        )
    )


if __name__ == "__main__":
    main()
