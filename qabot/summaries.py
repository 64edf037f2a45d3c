"""Build reports and the index's status -> lines and JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from qabot.build import BuildReport
from qabot.config import Settings
from qabot.library import Status
from qabot.phrases import counted
from qabot.render import printable
from qabot.snapshot import Manifest

LISTED = 20
"""How many paths of one kind are listed before the rest are only counted."""


def build_lines(report: BuildReport, settings: Settings) -> list[str]:
    """What a build did, in words and numbers."""
    lines = []
    for sign, name, paths in (
        ("+", "added", report.added),
        ("~", "changed", report.changed),
        ("-", "removed", report.removed),
    ):
        lines += _listed(f"{sign} {name}", paths)
    lines += _listed("> renamed", (f"{old} -> {new}" for old, new in report.renamed))
    lines += _listed("! unreadable, left out", (left.reason for left in report.unreadable))
    lines += _listed(
        "! left out",
        (f"{left.path} {left.reason}" for left in report.left_out if left.reason != "describes the documents"),
    )
    lines += _listed("! empty", report.empty)
    lines += _listed("! not UTF-8", (f"{path} (read as {encoding})" for path, encoding in report.decoded))
    lines += _listed("! in sources.toml, but not in the folder", report.unknown_sources)
    documents = len(report.added) + len(report.changed) + len(report.renamed) + len(report.unchanged)
    if not documents:
        lines.append(
            f"There are no .txt or .md files in {settings.documents}: put some there and run `qabot index` again."
        )
    changes = (
        f"{len(report.added)} added, {len(report.changed)} changed, {len(report.removed)} removed, "
        f"{len(report.renamed)} renamed, {len(report.unchanged)} unchanged"
    )
    lines.append(f"{counted(documents, 'document')} ({changes}), {counted(report.passages, 'passage')}.")
    if report.committed:
        lines.append(
            f"{counted(report.embedded, 'text')} embedded, {report.kept:,} kept. The index is in {settings.index}."
        )
    else:
        lines.append(f"Nothing has changed; the index in {settings.index} is up to date.")
    return lines


def status_lines(status: Status, settings: Settings, reader: str) -> list[str]:
    """What the index holds, what reads, and how the files differ from it."""
    manifest = status.manifest
    lines = [
        f"index      {settings.index} (snapshot {status.index}, {status.bytes / 1e6:.1f} MB)",
        f"documents  {manifest.documents:,} from {settings.documents}",
        f"passages   {manifest.passages:,}, {manifest.vectors:,} vectors of {manifest.dimension} dimensions, {_search(manifest)}",
        f"model      {manifest.recipe['model']} (fingerprint {manifest.recipe['encoder']})",
        f"reader     {printable(reader)}",
    ]
    if manifest.delta:
        delta = manifest.delta
        lines.append(
            f"changes    {counted(delta['documents'], 'document')} ({counted(delta['passages'], 'passage')}) added or replaced and "
            f"{delta['removed']:,} taken out since all was last written anew"
        )
    lines += _listed("", (f"{d.path}  {d.source.title}  ({counted(d.passages, 'passage')})" for d in status.documents))
    lines += _listed("~ changed since indexing", status.changed)
    lines += _listed("- gone since indexing", status.gone)
    lines += _listed("! can't be read", status.unreadable)
    lines += _listed("+ not indexed yet", status.new)
    if status.problem:
        lines.append(f"! New files can't be looked for. {printable(status.problem)}")
    lines.append("Up to date." if status.current else "Run `qabot index` to bring the index in step.")
    return lines


def status_json(status: Status, reader: str) -> dict[str, Any]:
    """The same as one object."""
    manifest = status.manifest
    return {
        "index": status.index,
        "bytes": status.bytes,
        "recipe": manifest.recipe,
        "reader": reader,
        "documents": [
            {
                "path": d.path,
                "title": d.source.title,
                "sha256": d.sha256,
                "encoding": d.encoding,
                "passages": d.passages,
            }
            for d in status.documents
        ],
        "passages": manifest.passages,
        "vectors": manifest.vectors,
        "dimension": manifest.dimension,
        "search": manifest.search,
        "delta": manifest.delta,
        "changed": list(status.changed),
        "gone": list(status.gone),
        "unreadable": list(status.unreadable),
        "new": list(status.new),
        "problem": status.problem,
        "current": status.current,
    }


def _search(manifest: Manifest) -> str:
    """How the nearest vectors are found, and how many of them."""
    found = manifest.search
    if found["type"] == "exact":
        return "exact search (faiss)"
    if found["type"] == "qdrant":
        return f"search by Qdrant ({found['url'] or 'without a server'}, collection {found['collection']})"
    measured = f"measured recall@10 {found['recall']:.3f}, {found['recall_between']:.3f} away from any text"
    return f"search in {found['probes']:,} of {found['lists']:,} lists (faiss; {measured})"


def _listed(label: str, items: Iterable[str]) -> list[str]:
    """`items` under a label, the first `LISTED` of them."""
    found = [printable(item) for item in items]
    lines = [f"{label}: {item}" if label else f"           {item}" for item in found[:LISTED]]
    if len(found) > LISTED:
        lines.append(f"{label or '          '} ... and {len(found) - LISTED:,} more")
    return lines
