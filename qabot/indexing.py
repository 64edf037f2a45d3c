"""Bringing the index that the settings name in step with the documents: `qabot index`, and the bot's re-index."""

from __future__ import annotations

from contextlib import suppress

from qabot.build import BuildReport, Progress, build_index, no_progress
from qabot.config import Settings
from qabot.documents import Folder, file_digest, is_markdown
from qabot.errors import DocumentError, DocumentsMissing, IndexDamaged, IndexMismatch, IndexMissing, StoreError
from qabot.index import Index
from qabot.library import place_of, require_folder
from qabot.models import LARGE_READER, Tell, encoder_for_name
from qabot.reader import READERS, chosen_reader, load_reader
from qabot.sentences import segment

SAMPLES, SAMPLED_DOCUMENTS, SAMPLED_CHARACTERS = 64, 16, 20_000
"""How many texts, of how many documents, and how much of each, an export is compared with its model on."""


def reindex(
    settings: Settings,
    *,
    skip_unreadable: bool = False,
    rebuild: bool = False,
    replace: bool = False,
    progress: Progress = no_progress,
    tell: Tell = lambda sentence: None,
) -> BuildReport:
    """Build with the model and the folders of `settings`, and make the reader if that takes long; `tell` hears of
    anything slow.

    replace: go on though not one document of the index is in the folder any more.
    Raises what `build_index` raises, `ModelError` when the model can't be had, and `DocumentsMissing`.
    """
    folder = Folder(settings.documents)
    if not replace:
        _refuse_another_folder(folder, settings)
    if chosen_reader(settings.reader) == LARGE_READER:
        from qabot.large import large_reader

        # The index doesn't need it, but the first question shall not wait for it.
        large_reader(tell)
    elif settings.reader not in READERS:
        # Nor shall it go to the network.
        load_reader(settings.reader, settings.threads, tell, fetch=True)
    encoder = encoder_for_name(
        settings.model, threads=settings.threads, tell=tell, samples=lambda: sample_texts(folder, settings.language)
    )
    return build_index(
        folder,
        settings.index,
        encoder,
        language=settings.language,
        skip_unreadable=skip_unreadable,
        rebuild=rebuild,
        progress=progress,
        place=place_of(settings),
    )


def _refuse_another_folder(folder: Folder, settings: Settings) -> None:
    """Raises `DocumentsMissing` when all that the index holds would go: the folder is mistyped, or isn't mounted.

    Documents that are there under other names have been moved.
    """
    try:
        index = Index(settings.index)
    except (IndexMissing, IndexMismatch, IndexDamaged, StoreError):
        return  # for the build to report
    try:
        require_folder(settings, index)
    except DocumentsMissing:
        for path in folder.listing().paths:
            with suppress(DocumentError):  # for the build to report
                digest = file_digest(folder.root / path)
                if digest and index.find_digest(digest):
                    return
        raise


def sample_texts(folder: Folder, language: str) -> list[str]:
    """Up to `SAMPLES` sentences from documents all over the folder. What can't be read is for the build to report."""
    texts = []
    paths = folder.listing().paths
    for path in paths[:: -(-len(paths) // SAMPLED_DOCUMENTS) or 1]:
        try:
            text = folder.read(path).text[:SAMPLED_CHARACTERS]
        except DocumentError:
            continue
        sentences = segment(text, markdown=is_markdown(path), language=language).sentences
        step = -(-len(sentences) * SAMPLED_DOCUMENTS // SAMPLES) or 1
        texts += [text[sentence.start : sentence.end] for sentence in sentences[::step]]
    return texts[:SAMPLES]
