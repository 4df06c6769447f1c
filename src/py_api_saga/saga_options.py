"""What a saga takes by keyword, for type checkers and for whoever asks at run time."""

from collections.abc import Sequence
from typing import Literal, TypedDict

from py_api_saga.current import Around
from py_api_saga.journal.protocol import Journal
from py_api_saga.observer import Observer
from py_api_saga.retry import Retry


class SagaOptions(TypedDict, total=False):
    """What the constructor of a saga takes by keyword; it says what each one means."""

    name: str | None
    retry: Retry | None
    compensation_retry: Retry | None
    observers: Sequence[Observer]
    around: Sequence[Around]
    journal: Journal | None
    on_crash: Literal["resume", "compensate"] | None
    max_doubt_age: float | None
