"""qabot answers questions with verbatim quotes from a folder of documents."""

__version__ = "0.1.0"
