"""How far an attempt has come through what is around its call."""

from __future__ import annotations

from types import FunctionType, TracebackType
from typing import Final

from py_api_saga.current import CurrentOperation
from py_api_saga.error_details import traceback_of

ENTERING: Final = "entering"  # what is around the call, which has not been made
HELD: Final = "held"  # at the last moment before the call, by the gate of its run
CALLING: Final = "calling"
LEAVING: Final = "leaving"  # what is around the call, which has succeeded

AT_THE_DOOR = (TypeError, RecursionError, MemoryError)  # of a call that did not come about


class Passage:
    """How far one attempt has come.

    Attributes:
        moment: ENTERING, HELD, CALLING or LEAVING.
        operation: What the functions that are around the call are given.
        problem: What is being raised, or None.
        left: What has raised that as it was left, by name, or nothing.
        theirs: The user's function that is being called, or None between two of them.
        struck: What is raised came from outside, between two lines of ours or beside such a
            function.
    """

    __slots__ = ("left", "moment", "operation", "problem", "struck", "theirs")

    def __init__(self, operation: CurrentOperation) -> None:
        """Begin to enter."""
        self.moment = ENTERING
        self.operation = operation
        self.problem: BaseException | None = None
        self.left = ""
        self.theirs: object = None
        self.struck = True  # until what is raised is noted

    def note(self, error: BaseException, module: dict[str, object]) -> None:
        """Note what is being raised in a module of ours, where its traceback begins."""
        self.problem = error
        self.struck = is_strike(error, self.theirs, module)


def is_strike(error: BaseException, theirs: object, module: dict[str, object]) -> bool:
    """Tell whether an error came from outside, by the frame that follows the last one of ours.

    Args:
        error: Where its traceback begins with a frame of ours.
        theirs: The function of the user's that was being called, or None.
        module: The globals of the module whose frames are ours.
    """
    frames = traceback_of(error)
    if frames is None or frames.tb_frame.f_globals is not module:
        return False
    while frames.tb_next is not None and frames.tb_next.tb_frame.f_globals is module:
        frames = frames.tb_next
    return is_beside(error, frames, theirs)


def is_beside(error: BaseException, frames: TracebackType, theirs: object) -> bool:
    """Tell whether an error came from outside, beside the call of a function from this frame.

    Then the next frame is that of other code than the function's: of a signal handler. What is
    raised inside of the function always counts as its own.
    """
    if theirs is not None and type(theirs) is not FunctionType:  # a compiled one has odd frames
        return False
    if frames.tb_next is None:  # raised in our line: into this thread, or since it can't be called
        return not issubclass(type(error), AT_THE_DOOR)
    return theirs is None or frames.tb_next.tb_frame.f_code is not theirs.__code__
