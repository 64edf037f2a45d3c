"""Every error that qabot raises on purpose.

Owns: one class for each thing a person can do something about. The message is the whole story: what was
found, what was expected, what to do next, with the path and the numbers. Knows nothing of how it is shown;
only the front ends (the command line, the bot) catch `QabotError`.
"""


class QabotError(Exception):
    """Anything that qabot reports in one plain message instead of a traceback."""


class ConfigError(QabotError):
    """A setting is unknown, has the wrong type, or lies outside its range."""


class DocumentError(QabotError):
    """A document, or the folder of documents, can't be read as text."""


class DocumentsMissing(QabotError):
    """Not one document of the index is in the documents folder: it is another folder, or it isn't there."""


class ModelError(QabotError):
    """A model can't be had, isn't the file it should be, or doesn't do what it should."""


class IndexMissing(QabotError):
    """There is no index where one was expected."""


class IndexDamaged(QabotError):
    """The index folder holds something other than what its manifest says."""


class IndexMismatch(QabotError):
    """The index was built with another recipe than the configuration asks for."""


class StoreError(QabotError):
    """The vector store that an index is kept in can't be had, or fails."""


class IndexBusy(QabotError):
    """Another process is building into the same index folder, or replacing it again and again."""


class UnknownReference(QabotError):
    """A reference names no passage of this index."""


class QuestionError(QabotError):
    """A question, a batch line or a question file is not of the documented form."""
