"""What the files looked like when they were read, so that those that still look so need not be read again.

Owns: the file `seen` in the index folder, and when it is believed. It is no part of a snapshot: it carries times, it may
be deleted at any moment, and without it every file is read and compared. It belongs to one snapshot, which it names.

A file is believed to be unchanged when its size, its times of modification and of change, its inode, and what
`sources.toml` says of it are the same. The time of change is set by the system at every write and can't be set back, so a
file that was rewritten with its old date is read. A file that changed less than two seconds before it was looked at is
not believed: it may have been written once more in the same tick of the clock.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import qabot

SEEN = "seen"
SEEN_FROM = 2_000
"""Documents; fewer are read in less than a second."""
TICK_NS = 2_000_000_000


def stamps_of(root: Path, paths: Sequence[str], facts: Mapping[str, object]) -> dict[str, str]:
    """Path -> what its file looks like now; none for files that were changed just now or can't be looked at.

    facts: what `sources.toml` says of paths.
    """
    limit = time.time_ns() - TICK_NS
    stamps = {}
    for path in paths:
        try:
            found = os.stat(f"{root}/{path}")  # noqa: PTH116 - Path is ten times slower
        except OSError:
            continue
        if max(found.st_mtime_ns, found.st_ctime_ns) < limit:
            stamp = f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns} {found.st_ino}"
            stamps[path] = f"{stamp} {json.dumps(facts[path], sort_keys=True)}" if path in facts else stamp
    return stamps


def read_seen(target: Path, snapshot: str) -> dict[str, str]:
    """Path -> what its file looked like when `snapshot` was built from it; empty when that isn't known."""
    try:
        value = json.loads((target / SEEN).read_text(encoding="utf-8"))
        if value["snapshot"] == snapshot and value["version"] == qabot.__version__:
            return {str(path): str(stamp) for path, stamp in value["stamps"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return {}


def write_seen(target: Path, snapshot: str, stamps: dict[str, str]) -> None:
    """Remember `stamps`, taken before the files were read for `snapshot`."""
    value = {"version": qabot.__version__, "snapshot": snapshot, "stamps": stamps}
    temporary = target / f"{SEEN}.new"
    temporary.write_text(json.dumps(value), encoding="utf-8")
    os.replace(temporary, target / SEEN)
