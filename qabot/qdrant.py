"""The dense vectors of an index in Qdrant, a distributed vector store, instead of a file: `index_store = "qdrant"`.

Owns: everything that is said to Qdrant, and `qdrant_client`, which is loaded only where an index is kept there. A snapshot
has a collection of its own, named by its content; a point is a row, with the documents that have it. Refuses to know of
texts and words, which stay in the files of the snapshot, and when a collection is no longer needed (`build`).
"""

from __future__ import annotations

import atexit
import hashlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qabot.errors import IndexDamaged, StoreError
from qabot.vectors import ROW, Rows, VectorFile, Vectors, settled

API_KEY_VARIABLE = "QABOT_QDRANT_API_KEY"
EMBEDDED = "qdrant"
"""The folder, inside that of the index, of a store without a server."""
MADE = "qdrant-collections"
"""The file, beside the manifest, of the collections that were made for this index: a line has the URL and the name."""
BATCH_POINTS = 1000
GRAPH_FROM = 150_000
"""Vectors; below, the server compares all. From here on it searches its graph of bytes, and scores again by the vectors."""
GRAPH_WIDTH, SPARE = 256, 2.0
SECONDS = 60
"""How long a request may take."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where collections are kept. url: of a server; "" is a folder beside the index. name: how their names begin."""

    url: str
    name: str


class Qdrant:
    """The client of one place; safe to use from several threads. Everything it raises is a `StoreError`."""

    def __init__(self, folder: Path, url: str) -> None:
        self.where = url or str(folder.resolve() / EMBEDDED)
        try:
            import qdrant_client
            from qdrant_client.http.exceptions import ApiException
        except ImportError as error:
            raise StoreError(
                f'The index is kept in Qdrant, and its client is not installed ({error}). Run `pip install "qabot[qdrant]"`.'
            ) from error
        self.models: Any = qdrant_client.models
        self._failures: Any = (ApiException, ValueError, RuntimeError, OSError)
        self.remote = bool(url)
        # Without a server, it isn't made for threads.
        self._one = threading.RLock()
        key = os.environ.get(API_KEY_VARIABLE) or None
        options: dict[str, Any] = {"path": self.where, "force_disable_check_same_thread": True}
        if url:
            options = {"url": url, "api_key": key, "timeout": SECONDS, "check_compatibility": False}
        try:
            self._client: Any = qdrant_client.QdrantClient(**options)
        except self._failures as error:
            raise self._told(error) from error

    def call(self, method: str, *values: Any, **options: Any) -> Any:
        """What this method of the client gives."""
        try:
            with nullcontext() if self.remote else self._one:
                return getattr(self._client, method)(*values, **options)
        except self._failures as error:
            raise self._told(error) from error

    def _told(self, error: Exception) -> StoreError:
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        hint = (
            f"See whether the server runs and whether qdrant_url and {API_KEY_VARIABLE} are right"
            if self.remote
            else "Without a server, one process at a time may use it: end the other, or set qdrant_url"
        )
        return StoreError(f"Qdrant at {self.where} did not do what was asked ({said}). {hint}.")

    def names(self) -> set[str]:
        """Of all collections."""
        return {collection.name for collection in self.call("get_collections").collections}

    def put(
        self,
        name: str,
        vectors: VectorFile,
        documents: Callable[[int, int], Mapping[int, Sequence[int]]],
        advance: Callable[[int], None],
    ) -> None:
        """Upload all vectors to the collection `name`; what an upload that died left there is written over.

        documents: (first row, end) -> the documents that have each of these rows.
        """
        models = self.models
        if name not in self.names():
            graph = len(vectors) >= GRAPH_FROM
            small = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
            self.call(
                "create_collection",
                name,
                models.VectorParams(size=vectors.dimension, distance=models.Distance.DOT, on_disk=graph),
                quantization_config=models.ScalarQuantization(scalar=small) if graph else None,
            )
            if self.remote:
                self.call("create_payload_index", name, "documents", models.PayloadSchemaType.INTEGER)
        for block, rows in vectors.blocks():
            for first in range(block, block + len(rows), BATCH_POINTS):
                part = rows[first - block : first - block + BATCH_POINTS]
                having = documents(first, first + len(part))
                points = [
                    models.PointStruct(id=first + n, vector=row, payload={"documents": list(having.get(first + n, ()))})
                    for n, row in enumerate(part.tolist())
                ]
                self.call("upsert", name, points, wait=True)
                advance(len(points))
        found = self.call("count", name, exact=True).count
        if found != len(vectors):
            raise StoreError(
                f"Qdrant at {self.where} has {found:,} of the {len(vectors):,} vectors that were uploaded to {name}. "
                "Run `qabot index` again."
            )


class Collection:
    """The collection that the manifest's `search` names, open for reading.

    Raises `StoreError` when Qdrant can't be had, `IndexDamaged` when it has no such collection, or another.
    """

    def __init__(self, folder: Path, search: Mapping[str, Any], count: int, dimension: int) -> None:
        self._store, self.name = qdrant(folder, search["url"]), str(search["collection"])
        self._count, self._dimension, self._sha256 = count, dimension, str(search["sha256"])
        if self.name not in self._store.names():
            raise IndexDamaged(
                f"Qdrant at {self._store.where} has no collection {self.name}, which the manifest in {folder} names. "
                "Run `qabot index --rebuild`, or set qdrant_url to where it is."
            )
        size = self._store.call("get_collection", self.name).config.params.vectors.size
        points = self._store.call("count", self.name, exact=True).count
        if (points, size) != (count, dimension):
            raise IndexDamaged(
                f"The collection {self.name} in Qdrant at {self._store.where} has {points:,} vectors of {size} dimensions; "
                f"the manifest says {count:,} of {dimension}. Run `qabot index --rebuild`."
            )

    def __len__(self) -> int:
        return self._count

    def search(self, question: Vectors, k: int, documents: Sequence[int] | None) -> tuple[Rows, Vectors]:
        """The `k` best rows and their scores, best first, equal ones by row; only those of `documents`, if given."""
        models, chosen = self._store.models, None
        if documents is not None:
            match = models.MatchAny(any=list(documents))
            chosen = models.Filter(must=[models.FieldCondition(key="documents", match=match)])
        how = None
        if self._store.remote:
            # Without a server, all vectors are compared anyway.
            graph = self._count >= GRAPH_FROM
            spare = models.QuantizationSearchParams(rescore=True, oversampling=SPARE) if graph else None
            how = models.SearchParams(exact=not graph, hnsw_ef=GRAPH_WIDTH if graph else None, quantization=spare)

        def nearest(wanted: int) -> tuple[Rows, Vectors]:
            options = {"query_filter": chosen, "search_params": how, "limit": wanted, "with_payload": False}
            found = self._store.call("query_points", self.name, question.tolist(), **options).points
            return np.array([p.id for p in found], np.int64), np.array([p.score for p in found], np.float32)

        return settled(nearest, 0 if documents is not None and not len(documents) else self._count, k)

    def take(self, rows: Rows) -> Vectors:
        """(len(rows), dimension): these rows."""
        taken = np.empty((len(rows), self._dimension), np.float32)
        for first in range(0, len(rows), BATCH_POINTS):
            part = rows[first : first + BATCH_POINTS].tolist()
            points = self._store.call("retrieve", self.name, sorted(set(part)), with_payload=False, with_vectors=True)
            found = {point.id: point.vector for point in points}
            if not found.keys() >= set(part):
                raise IndexDamaged(f"The collection {self.name} lacks rows. Run `qabot index --rebuild`.")
            taken[first : first + len(part)] = [found[row] for row in part]
        return taken

    def check(self) -> Iterator[str]:
        """What differs from the manifest, by reading every vector."""
        digest = hashlib.sha256()
        for first in range(0, self._count, BATCH_POINTS):
            digest.update(self.take(np.arange(first, min(first + BATCH_POINTS, self._count))).astype(ROW).tobytes())
        if digest.hexdigest() != self._sha256:
            yield f"the collection {self.name} has sha256 {digest.hexdigest()}; the manifest says {self._sha256}"


def upload(
    folder: Path,
    place: Place,
    text: str,
    vectors: VectorFile,
    documents: Callable[[int, int], Mapping[int, Sequence[int]]],
    advance: Callable[[int], None],
) -> dict[str, Any]:
    """Put the vectors of a snapshot into a collection; gives the manifest's `search`. text: digest of its text part."""
    digest = hashlib.sha256()
    for _, rows in vectors.blocks():
        digest.update(rows.astype(ROW).tobytes())
    sha256 = digest.hexdigest()
    name = f"{place.name}-{hashlib.sha256((text + sha256).encode()).hexdigest()[:16]}"
    store, made = qdrant(folder, place.url), _made(folder)
    if name not in store.names():
        # Before it is there: an upload may die.
        _write_made(folder, made | {(place.url, name)})
    store.put(name, vectors, documents, advance)
    return {"type": "qdrant", "url": place.url, "collection": name, "sha256": sha256}


def remove_made(folder: Path, url: str, keep: Sequence[object]) -> None:
    """Remove the collections that were made for the index in `folder`, but for those to `keep`.

    No others: another index may be kept under the same name.
    """
    store, made = qdrant(folder, url), _made(folder)
    old = {name for where, name in made if where == url and name not in keep}
    for name in sorted(old & store.names()):
        store.call("delete_collection", name)
    _write_made(folder, made - {(url, name) for name in old})


def _made(folder: Path) -> set[tuple[str, str]]:
    try:
        lines = (folder / MADE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return set()
    return {(url, name) for url, _, name in (line.rpartition(" ") for line in lines)}


def _write_made(folder: Path, made: set[tuple[str, str]]) -> None:
    temporary = folder / f"{MADE}.new"
    temporary.write_text("".join(f"{url} {name}\n" for url, name in sorted(made)), encoding="utf-8")
    os.replace(temporary, folder / MADE)


_clients: dict[str, Qdrant] = {}
_opening = threading.Lock()


def qdrant(folder: Path, url: str) -> Qdrant:
    """The one client of this process for a place; without a server there can't be two."""
    key = url or str(folder.resolve())
    with _opening:
        if key not in _clients:
            _clients[key] = Qdrant(folder, url)
        return _clients[key]


@atexit.register
def close_all() -> None:
    """Close every client; without a server, another process may then use the store."""
    with _opening:
        for store in _clients.values():
            store.call("close")
        _clients.clear()
