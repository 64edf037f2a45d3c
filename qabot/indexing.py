"""Bringing the index that the settings name in step with the documents: `qabot index`, and the bot's re-index."""

from __future__ import annotations

from qabot.build import BuildReport, Progress, build_index, no_progress
from qabot.config import Settings
from qabot.documents import Folder
from qabot.large import LARGE_READER, large_reader
from qabot.models import Tell, encoder_for_name


def reindex(
    settings: Settings,
    *,
    skip_unreadable: bool = False,
    rebuild: bool = False,
    progress: Progress = no_progress,
    tell: Tell = lambda sentence: None,
) -> BuildReport:
    """Build with the model and the folders of `settings`, and make the reader if that takes long; `tell` hears of
    anything slow.

    Raises what `build_index` raises, and `ModelError` when the model can't be had.
    """
    folder = Folder(settings.documents)
    if settings.reader == LARGE_READER:
        # The index doesn't need it, but the first question shall not wait for it.
        large_reader(tell)
    encoder = encoder_for_name(settings.model, threads=settings.threads, tell=tell)
    return build_index(
        folder,
        settings.index,
        encoder,
        language=settings.language,
        skip_unreadable=skip_unreadable,
        rebuild=rebuild,
        progress=progress,
    )
