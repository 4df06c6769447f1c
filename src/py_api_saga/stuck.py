"""Why an operation is stuck: the reasons, and the words for each of them.

The machine finds which reason it is: `Execution.stuck_reasons`. This module alone says it in words,
for all who tell of it: the exception `SagaStuck`, by way of `report`; `saga_status`, by way of
`standing`; `saga why`, and whatever else shows a saga, by way of `story.why`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias

from py_api_saga.wording import as_text

StuckReason: TypeAlias = (
    'Literal["lacks a result", "compensation raised", "landed late", "key too old", '
    '"parked", "asked in vain", "not asked", "action raised"]'
)
# In words, and how these go on from what the action raised; "" where that does not matter.
_WORDS: Final[Mapping[StuckReason, tuple[str, str]]] = {
    "lacks a result": (
        "its compensation needs what the action returned, which nobody knows",
        ", and ",
    ),
    "compensation raised": ("its compensation raised", ""),
    "landed late": ("it was given up, and succeeded after all", ""),
    "key too old": (
        "the service may have forgotten its idempotency key, so it is not called again",
        ", and ",
    ),
    "parked": ('nobody knows whether it happened, and on_doubt="park" asks for a person', ", so "),
    "asked in vain": (
        "nobody knows whether it happened, and it is the pivot: on_doubt= could not tell either",
        ", so ",
    ),
    "not asked": (
        "nobody knows whether it happened, and it is the pivot: a function in on_doubt= can tell",
        ", so ",
    ),
    "action raised": ("nobody knows whether it happened", ""),  # unless something was raised
}


def stuck_words(
    why: StuckReason, error: BaseException | None, undo_error: BaseException | None
) -> str:
    """Say why an operation is stuck.

    Args:
        why: The reason.
        error: What its action raised last, if anything.
        undo_error: What its compensation raised last, if anything.
    """
    words, joint = _WORDS[why]
    if why == "compensation raised":
        return f"{words} {as_text(undo_error)}"
    if error is not None and (joint or why == "action raised"):
        raised = f"its action raised {as_text(error)}"
        return f"{raised}{joint}{words}" if joint else raised
    return words
