"""Errors that say what to do.

EdgewrightError
├── TransientError   try again later: the world may change by itself
└── StalledError     not again until the spec, the data or a secret changes: a person must act
"""

from edgewright_api.reasons import Reason


class EdgewrightError(Exception):
    """Base of every error this project raises on purpose; raise one of its two children.

    ``reason`` becomes the condition's reason, a metric's label and the heading in docs/errors.md.
    ``remedy`` says what the reader can do about it.
    """

    def __init__(self, reason: Reason, what: str, *, remedy: str) -> None:
        if type(self) is EdgewrightError:
            raise TypeError("raise TransientError or StalledError: the class says who acts")
        super().__init__(f"{what}. {remedy}")
        self.reason = reason
        self.what = what
        self.remedy = remedy


class TransientError(EdgewrightError):
    """The world may heal by itself; the same attempt is worth repeating with a backoff."""


class StalledError(EdgewrightError):
    """Nothing changes until a person changes something."""
