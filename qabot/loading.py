"""Models that load in a thread of their own, beside whatever else a program has to import and to open.

Owns: when models are loaded. Refuses to know of an index: only what the settings alone decide begins early.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

from qabot.config import Settings
from qabot.embedding import OnnxEncoder
from qabot.models import OWN_MODEL, Tell, own_encoder, silent
from qabot.reader import Reader, load_reader


class Loading:
    """The models of `settings`, on their way.

    reader: its result is the reader, or None for `none`; raises `ModelError` when it can't be had.
    encoder: the encoder, where it is qabot's own; None for any other, which an index names by its fingerprint.
    `tell` hears of anything slow.
    """

    def __init__(self, settings: Settings, tell: Tell = silent) -> None:
        pool = ThreadPoolExecutor(1, thread_name_prefix="loading")
        self.encoder: Future[OnnxEncoder] | None = None
        if settings.model == OWN_MODEL:
            self.encoder = pool.submit(own_encoder, settings.threads)
        self.reader: Future[Reader | None] = pool.submit(load_reader, settings.reader, settings.threads, tell)
        pool.shutdown(wait=False)
