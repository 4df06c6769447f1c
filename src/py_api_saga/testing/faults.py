"""All that can go wrong in a saga that is explored: one table, and what is read from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

# Where something can go wrong.
Place: TypeAlias = Literal[
    "action", "undo", "question", "service", "service of undo", "answer", "answer of undo", "timer",
    "end", "order",
]  # fmt: skip
# What it takes, besides such a place, for a fault to make sense there.
Need: TypeAlias = Literal["", "retry", "timeout", "doubt", "deadline", "ghosts", "due", "no"]


class At(NamedTuple):
    """What a fault is at a place.

    Attributes:
        need: What the operation, or its run, must have.
        hint: What the fault calls for, with the name of the place as {site}.
        says: What happens there, where that is not what the fault says.
    """

    need: Need
    hint: str
    says: str = ""


class Fault(NamedTuple):
    """One way in which something can go wrong.

    Attributes:
        says: What happens, with the name of the place as {site}.
        at: Where it may happen.
        free: Where it costs nothing, once in each schedule; elsewhere it costs one fault.
    """

    says: str
    at: Mapping[Place, At]
    free: tuple[Place, ...] = ()


_TWICE = "undoing twice must be the same as undoing once"
_ONCE = "`{site}` may be called more than once under the same key: it must count once"

_NO = "the {site} is a refusal, and nothing is done"
_FASTER = "whoever answers may be faster than all else: what that needs must be there before"
_FIRST_COUNTS = "the first answer counts: nothing may come of another one"

FAULTS: Final[Mapping[str, Fault]] = {
    "refuses": Fault(
        "{site} refuses: it raises, and does nothing",
        {
            "action": At("", "all that was done before must be undone"),
            "service": At("", "what `{site}` refuses must not be taken for done, nor half of it"),
            "service of undo": At("", "what `{site}` refuses must not be taken for undone"),
            "answer": At(
                "",
                "it counts as not done, so that its undo is not called: nothing of it may be left, "
                "and all that was done before must be undone",
                _NO,
            ),
            "answer of undo": At(
                "", "a person sees to it, and says `retry`: it must be possible to begin anew", _NO
            ),
        },
        free=("action", "service", "answer"),
    ),
    "lost": Fault(
        "{site} is done, but its answer is lost",
        {
            "action": At(
                "doubt",
                "`{site}` may have happened although it raised: its undo is called, and must find "
                "it",
            ),
            "undo": At("", f"`{{site}}` has undone, but raised, and is called again: {_TWICE}"),
            "service": At(
                "", "`{site}` has happened although it raised: the undo is called, and must find it"
            ),
            "service of undo": At(
                "", "`{site}` has happened although it raised; it is called again"
            ),
            "answer": At(
                "due",
                "it has happened when its time is up: `on_doubt=` says so, or its undo must find "
                "it",
                "the {site} is lost, though it was done in time",
            ),
            "answer of undo": At(
                "due",
                f"it is undone when its time is up, and begun again: {_TWICE}",
                "the {site} is lost, though it was done in time",
            ),
        },
    ),
    "answers-503": Fault(
        "{site} answers 503, and does nothing",
        {
            "service": At("", "what `{site}` has not done must not be taken for done"),
            "service of undo": At("", "what `{site}` has not undone must not be taken for undone"),
        },
    ),
    "answers-504": Fault(
        "{site} is done, but a gateway answers 504",
        {
            "service": At("", "`{site}` has happened: the undo is called, and must find it"),
            "service of undo": At("", "`{site}` has happened, and is called again"),
        },
    ),
    "sent-again": Fault(
        "{site} is done, but its answer is lost, and the client sends it again",
        {
            "service": At("", _ONCE),
            "service of undo": At("", _TWICE),
        },
    ),
    "doubt": Fault(
        "the line breaks before {site} has done anything",
        {
            "action": At(
                "doubt",
                "`{site}` may not have happened at all: its undo is called, and must tolerate that",
            ),
        },
    ),
    "flaky": Fault(
        "{site} fails once, and does nothing",
        {
            "action": At("retry", "`{site}` is called again, under the same key"),
            "undo": At("", "`{site}` is called again, by its retry or by a person"),
            "question": At(
                "", "nobody knows what came of it, so it is undone, or left to a person"
            ),
        },
    ),
    "down": Fault(
        "{site} is out of order: it raises from now on, until somebody mends it",
        {
            "action": At(
                "retry", "what was done before must be undone, or wait until it is mended"
            ),
            "undo": At(
                "", "a person mends it, and says `retry`: it must be possible to go on then"
            ),
        },
    ),
    "twice": Fault(
        "the call of {site} arrives twice, under the same key",
        {"action": At("", _ONCE), "undo": At("", _TWICE)},
    ),
    "crash-before": Fault(
        "the process dies just before {site}",
        {
            "action": At(
                "",
                "`{site}` may not have happened at all: it, or its undo, is called after a crash",
            ),
            "undo": At("", "the rollback is taken up by another process"),
        },
    ),
    "crash-after": Fault(
        "the process dies just after {site}, before that is written down",
        {
            "action": At("", f"after a crash {_ONCE}"),
            "undo": At("", f"`{{site}}` is called again after a crash: {_TWICE}"),
            "question": At("", "the question is asked again"),
            "service": At("", "half of the operation is done, and it is called again, or undone"),
            "service of undo": At("", "half of it is undone, and it is called again"),
            "end": At(
                "",
                "what a run does besides its saga is not done by whoever goes on with that: make "
                "it an operation, or give the saga an id and call again",
                "the process dies just after the {site}, before the next line",
            ),
        },
    ),
    "late": Fault(
        "{site} takes too long: it is given up, and its answer comes later",
        {
            "action": At(
                "timeout", "`{site}` is given up and undone, and its answer comes after that"
            ),
        },
    ),
    "late-effect": Fault(
        "{site} takes too long: it is given up, and takes effect later",
        {
            "action": At("timeout", "`{site}` takes effect after it was given up and undone"),
            "answer": At(
                "due",
                "what was given up must not happen any more: its undo has to cancel what is "
                "pending, and `on_doubt=` may say NOT_HAPPENED only of what can't happen any more",
                "the {site} has not come in time, and in the end it is done, unseen",
            ),
        },
    ),
    "never": Fault(
        "the {site} never comes, and nothing is done",
        {
            "answer": At(
                "due", "what was begun has not happened when its time is up: its undo is called"
            ),
            "answer of undo": At(
                "due", "a person sees to it, and says `retry`: it must be possible to begin anew"
            ),
        },
    ),
    "answered-early": Fault(
        "the {site} comes before the call has returned",
        {
            "answer": At("", _FASTER),
            "answer of undo": At("", _FASTER),
        },
    ),
    "answered-late": Fault(
        "the {site} comes just when its time is up",
        {
            "answer": At(
                "due", "what was given up has happened: its undo is called, and must find it"
            ),
            "answer of undo": At("due", "it counts, however late it comes: it must be undone then"),
        },
    ),
    "answered-undone": Fault(
        "the {site} comes just when it was undone",
        {
            "answer": At(
                "due",
                "it has happened behind its undo, which is called once more, under another key",
            ),
        },
    ),
    "answered-ended": Fault(
        "the {site} comes when all is over",
        {
            "answer": At(
                "due",
                "it has happened when all was undone: its undo is called once more, under another "
                "key",
            ),
        },
    ),
    "answered-twice": Fault(
        "the {site} comes twice",
        {
            "answer": At("", "whoever answers may do so more than once: it must count once"),
            "answer of undo": At(
                "", "whoever answers may do so more than once: it must count once"
            ),
        },
    ),
    "contradicted": Fault(
        "the {site} comes, and later another one, which is a refusal",
        {
            "answer": At("no", _FIRST_COUNTS),
            "answer of undo": At("no", _FIRST_COUNTS),
        },
    ),
    "sooner": Fault(
        "the {site} comes before its time is up",
        {
            "timer": At(
                "", "an answer counts, however much time is left: what comes of it must be right"
            )
        },
    ),
    "ghost": Fault(
        "{site} takes too long, and its process dies; in the end it takes effect, unseen",
        {
            "action": At(
                "ghosts", "only a service that refuses a key which was undone helps against this"
            )
        },
    ),
    "deadline": Fault(
        "the deadline of the saga passes just before {site}",
        {"action": At("deadline", "what was done before, and `{site}`, must be undone")},
    ),
    "cancelled": Fault(
        "the caller is interrupted just after {site}, before its answer",
        {
            "action": At("", "`{site}` may have happened: its undo is called, and must find it"),
            "undo": At("", f"`{{site}}` is called again: {_TWICE}"),
        },
    ),
    "another first": Fault(
        "{site} is faster",
        {
            "order": At(
                "", "operations that run at once, and their undos, must not need one another"
            )
        },
    ),
}

ANSWERS: Final[frozenset[Place]] = frozenset({"answer", "answer of undo", "timer"})
# What can go wrong with answers alone.
AWAITED: Final = tuple([kind for kind, fault in FAULTS.items() if {*fault.at} <= ANSWERS])

FIRST: Final = "first "  # begins the kinds of an order, each of which says who is first


def is_order(kind: str) -> bool:
    """Tell whether nothing goes wrong, but another call is first."""
    return kind.startswith(FIRST)


def kind_of(kind: str) -> str:
    """Give the row of a kind: who is first is told by the kind of an order itself."""
    return "another first" if is_order(kind) else kind


def cost(kind: str, place: Place) -> int:
    """Give how many faults a kind counts for at a place."""
    return 0 if place in FAULTS[kind_of(kind)].free else 1


def sentence(kind: str, place: Place, label: str) -> str:
    """Say what happens at a point."""
    if is_order(kind):
        label = kind.removeprefix(FIRST)
    fault = FAULTS[kind_of(kind)]
    return (fault.at[place].says or fault.says).format(site=label)


def hint(kind: str, place: Place, label: str) -> str:
    """Say what a fault calls for."""
    return FAULTS[kind_of(kind)].at[place].hint.format(site=label)
