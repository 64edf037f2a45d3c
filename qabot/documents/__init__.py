"""Files on disk -> `Document` records.

Owns: which files of a folder are documents, how their bytes become canonical text, and what is known of
their source. Refuses to know of passages, models or the index.
"""

from qabot.documents.folder import Folder, LeftOut, Listing, all_missing, file_digest
from qabot.documents.text import SUFFIXES, decode, is_markdown, read_document

__all__ = [
    "SUFFIXES",
    "Folder",
    "LeftOut",
    "Listing",
    "all_missing",
    "decode",
    "file_digest",
    "is_markdown",
    "read_document",
]
