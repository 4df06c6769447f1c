"""Whether a call that raised an error may have happened: the walk through all that is known of it.

An error is seldom alone. It may be a group, it was raised from another one or while another one was
handled, and libraries wrap what they were told by those below them. Each of these is a *link*, and
is judged by itself (`error_details`). The links below one are looked at in any case, but for those
of a saga, which knows what it did.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

from py_api_saga.current import current
from py_api_saga.error_details import (
    ALONE,
    EXCUSED,
    SAGA,
    TIMED,
    args_of,
    cause_of,
    context_of,
    details,
    is_bare,
    is_of,
    is_suppressed,
    members_of,
    outcome_of,
    read,
    traceback_of,
)
from py_api_saga.exceptions import SagaError
from py_api_saga.known_errors import STREAM, UNSENT, WRAPPER

# Of a link: whether it is in doubt, how those below it stand, and what else is to be seen.

Outside: TypeAlias = Callable[[BaseException], bool] | None
Said: TypeAlias = tuple[bool, str, Sequence[BaseException]]

__all__ = ["leaves_doubt"]  # what a journal may name

MOST_LINKS = 100  # one below the other: where so many are, nobody knows what they hide
MOST_SEEN = 100_000  # in all
_OVER = "over"  # what is below a link is not looked at
_OUR_FRAMES = "py_api_saga.executors."


def leaves_doubt(error: BaseException) -> bool:
    """Tell whether an action that raised an error may have happened all the same.

    It decides where `doubtful=` does not say otherwise. Call it in a function of yours that
    `doubtful=` is given and that decides a bit differently, or in an action. In both, what the
    caller of the saga was handling when the action began does not count.

    Args:
        error: What was raised. What it was raised from, or in the handling of, counts as well, and
            so does each member of a group.

    Returns:
        Whether nothing proves that it did not happen, of an error that leaves this open.
    """
    said = outcome_of(error)
    return in_doubt(error, _of_callers()) if said is None else said


def outside_of(error: BaseException | None) -> Outside:
    """Tell links of what a caller is handling, whose contexts it was handling too."""
    outside = set[int]()
    while error is not None and id(error) not in outside:
        outside.add(id(error))
        error = context_of(error)
    return (lambda link: id(link) in outside) if outside else None


def _of_callers() -> Outside:
    """Tell links of what the callers of the attempt that runs here are handling.

    Whoever handles an error has caught it in a frame of theirs, which is the first it has passed.
    To note at the beginning of each attempt what is being handled would cost each of them.
    """
    frame = None if current.get() is None else sys._getframe(2)  # noqa: SLF001
    while frame is not None and not str(frame.f_globals.get("__name__")).startswith(_OUR_FRAMES):
        frame = frame.f_back
    callers = set[int]()
    while frame is not None and (frame := frame.f_back) is not None:
        callers.add(id(frame))

    def is_outside(link: BaseException) -> bool:
        traceback = traceback_of(link)
        return traceback is not None and id(traceback.tb_frame) in callers

    return is_outside if callers else None


# --- the walk --------------------------------------------------------------------------------


def _walk(
    error: BaseException,
    outside: Outside,
    judge: Callable[[BaseException, str, list[BaseException]], Said],
) -> bool:
    """Look at an error and the links below it until one is in doubt, or there are too many.

    Args:
        error: What the call raised.
        outside: Tells of a link whether it is none of the call's, but of its caller's.
        judge: Is given a link, how it stands to the one above it, and the links that it holds.
    """
    todo = [(error, 0, ALONE)]
    seen: dict[tuple[int, str], BaseException] = {}  # kept, so that their ids stay their own
    while todo:
        link, depth, stands = todo.pop()
        if (id(link), stands) in seen:
            continue
        if depth > MOST_LINKS or len(seen) > MOST_SEEN:
            return True
        seen[id(link), stands] = link
        held = _held_by(link)
        doubt, below, more = judge(link, stands, held)
        if doubt:
            return True
        todo += [(other, depth + 1, ALONE) for other in more]
        if below is _OVER:
            continue
        for other in (*held, *_beside(link)):
            if outside is None or not outside(other):
                todo.append((other, depth + 1, below))
        todo += [(member, depth, ALONE) for member in _members_of(link)]
    return False


def _held_by(link: BaseException) -> list[BaseException]:
    """Give what an error was made of, as libraries and `raise … from` put it there."""
    held = [cause_of(link)]
    if not is_bare(link):
        held += [read(link, name) for name in ("reason", "original_error", "orig")]
    for arg in args_of(link)[:4]:
        kind = type(arg)
        if kind is not str and kind is not int:
            held.append(arg if issubclass(kind, BaseException) else read(arg, "reason"))
    return [thing for thing in held if thing is not None and is_of(thing, BaseException)]


def _beside(link: BaseException) -> Sequence[BaseException]:
    """Give what was being handled when an error was raised, unless it was raised `from` another."""
    context = None if is_suppressed(link) else context_of(link)
    return () if context is None else (context,)


def _members_of(link: BaseException) -> Sequence[BaseException]:
    return members_of(link) if is_of(link, BaseExceptionGroup) else ()


def among(
    error: BaseException, outside: Outside, is_meant: Callable[[BaseException], bool]
) -> bool:
    """Tell whether an error is, or hides, one that is meant."""

    def judge(link: BaseException, _: str, __: object) -> Said:
        return is_meant(link), _OVER if is_of(link, SagaError) else ALONE, ()

    return _walk(error, outside, judge)


def in_doubt(error: BaseException, outside: Outside) -> bool:
    """Tell whether an error is, or hides, one that leaves open whether its call has happened."""
    wrappers: list[BaseException] = []
    inside: dict[int, list[BaseException]] = {}
    known: set[int] = set()

    def judge(link: BaseException, stands: str, held: list[BaseException]) -> Said:
        kind, doubt, more = details(link, stands)
        if doubt is None:
            wrappers.append(link)
        elif kind is not None:
            known.add(id(link))
        # What a library has wrapped it holds; redis-py lets it be raised beside.
        beside = () if kind is WRAPPER else _beside(link)
        inside[id(link)] = [*held, *beside, *_members_of(link)]
        if kind is SAGA:
            return bool(doubt), _OVER, more
        if kind is UNSENT or (kind is STREAM and stands is EXCUSED):
            below = EXCUSED
        else:
            below = TIMED if type(link) is TimeoutError else ALONE
        return bool(doubt), below, more

    return _walk(error, outside, judge) or not all(
        _knows(wrapper, inside, known) for wrapper in wrappers
    )


def _knows(wrapper: BaseException, inside: dict[int, list[BaseException]], known: set[int]) -> bool:
    """Tell whether something known is inside of what a library wraps its errors in."""
    todo: list[BaseException] = [*inside[id(wrapper)]]
    seen = {id(wrapper)}
    while todo:
        link = id(todo.pop())
        if link in known:
            return True
        if link not in seen:
            seen.add(link)
            todo += inside.get(link, ())
    return False


# --- groups ----------------------------------------------------------------------------------


def each_is(error: BaseException, is_meant: Callable[[BaseException], bool]) -> bool:
    """Tell whether an error is meant or, of a group, each of its members is, at any depth."""
    todo = [error]
    while todo:
        link = todo.pop()
        if not is_meant(link):
            members = _members_of(link)
            if not members:
                return False
            todo += members
    return True
