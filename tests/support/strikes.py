"""An interrupt, or an error, at one instruction after the other: where a signal can strike.

The interpreter looks for signals when a function of Python begins, when a call of C has ended and
when a loop jumps back. Here a trace function raises at one such instruction after the other, in the
thread that drives the saga: SystemExit, or a RuntimeError, as the handler of a time limit may.
"""

import dis
import linecache
import os
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import depot

import py_api_saga

HOME = Path(py_api_saga.__file__).parent


def files_of(*names: str) -> set[str]:
    """List the files of the library that are called so, and all in the folders that are."""
    found = {name: {str(path) for path in HOME.glob(f"{name}/**/*.py")} for name in names}
    for name in names:
        if (HOME / f"{name}.py").exists():
            found[name].add(str(HOME / f"{name}.py"))
        assert found[name], f"there is no {name} any more: what is struck instead?"
    return set().union(*found.values())


MACHINE = ("execution", "entries", "trouble", "outcome", "definition")
PLACES = files_of("executors", *MACHINE, "events", "log")
EVERY = int(os.environ.get("SAGA_STRIKES", "10"))
USERS: set[str] = set()  # files of tests, whose functions `do` and `undo` are a user's
Place = tuple[CodeType, int, int]  # code, instruction, and which time it is reached


class Struck(SystemExit):
    """What a signal handler raises, as that of a server which is to end."""


class StruckError(RuntimeError):
    """What another one raises, as that of a time limit."""


KINDS = {"interrupt": Struck, "error": StruckError}

# In these an `Exception` is not heard of: it counts as one of the user's code that they call, and
# what that raises is logged; or the loop of asyncio calls them back, and logs what they raise.
SILENT = ("observer(event)", "logger().log(")
CALLED_BACK = {
    "_AtOnce._end", "Batch.resolve", "Batch.look_after", "GroupCommit.wake_thread",
    "GroupCommit._look_after",
}  # fmt: skip


def is_within(frame: FrameType | None) -> bool:
    """Tell whether a function of the user's is being run, or one that the loop has called back."""
    while frame is not None:
        name, file = frame.f_code.co_name, frame.f_code.co_filename
        if file == depot.__file__ or (file in USERS and name in ("do", "undo")):
            return True
        if file in PLACES and frame.f_code.co_qualname in CALLED_BACK:
            return True
        frame = frame.f_back
    return False


def is_heard(tracer: "Tracer") -> bool:
    """Tell whether an error that has struck there is raised in the end."""
    if tracer.target is None or tracer.within:
        return False
    code, offset, _ = tracer.target
    number = [number for start, number in dis.findlinestarts(code) if start <= offset][-1] or 0
    line = linecache.getline(code.co_filename, number)
    return not any(words in line for words in SILENT)


@cache
def strikes(code: CodeType) -> dict[int, tuple[bool, int]]:
    """Tell of each instruction whether a signal can strike in it, or after which call before it.

    One that leaves a `try` is after none: the end of the call before it is still inside.
    """
    handlers = dis._parse_exception_table(code)  # type: ignore[attr-defined]  # noqa: SLF001

    def handler(offset: int) -> int:
        return next((e.target for e in handlers[::-1] if e.start <= offset < e.end), -1)

    found: dict[int, tuple[bool, int]] = {}
    call = -1
    for it in dis.get_instructions(code):
        begins = it.opname == "RESUME" and (it.arg or 0) & 3 < 2  # else it follows an await
        jumps = "JUMP_BACKWARD" in it.opname and "NO_INTERRUPT" not in it.opname
        inside = call >= 0 and handler(call) == handler(it.offset)
        found[it.offset] = begins or jumps, call if inside else -1
        call = it.offset if it.opname in ("CALL", "CALL_KW", "CALL_FUNCTION_EX") else -1
    return found


class Tracer:
    """Note where a signal can strike, and raise at one of these instructions."""

    def __init__(self, target: Place | None = None, kind: type[BaseException] = Struck) -> None:
        self.target, self.kind = target, kind
        self.reached: Counter[tuple[CodeType, int]] = Counter()
        self.struck = False
        self.within = False  # a function of the user's, which has called ours

    def __call__(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """Trace the functions of the executors; of them only the one to strike, if there is one."""
        code = frame.f_code
        if code.co_filename not in PLACES or (self.target and code is not self.target[0]):
            return None
        table, last = strikes(code), -2

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal last
            if event == "opcode":
                alone, call = table[frame.f_lasti]
                if alone or call == last:  # else that call has raised
                    self._reach(code, frame.f_lasti, frame)
                last = frame.f_lasti
            return trace

        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if table.get(frame.f_lasti, (False, -1))[0]:
            self._reach(code, frame.f_lasti, frame)
        return trace

    def _reach(self, code: CodeType, offset: int, frame: FrameType | None) -> None:
        self.reached[code, offset] += 1
        if not self.struck and (code, offset, self.reached[code, offset]) == self.target:
            self.struck = True
            self.within = is_within(frame)
            raise self.kind

    def during(self, act: Callable[..., object], *args: object) -> BaseException | None:
        """Call a function, traced, and give what it has raised."""
        before = sys.gettrace()
        sys.settrace(self)
        try:
            act(*args)
        except BaseException as error:  # noqa: BLE001 - it is what the tests are about
            return error
        finally:
            sys.settrace(before)
        return None

    def places(self) -> list[Place]:
        """List each place that was reached, the first and the last time."""
        times = {(*place, count) for place, count in self.reached.items()}
        found = {(*place, 1) for place in self.reached} | times
        return sorted(found, key=lambda place: (place[0].co_qualname, place[1:]))


def chosen(places: list[Place], kind: type[BaseException], every: int) -> list[Place]:
    """Choose one place in so many; each kind strikes where the other one does not."""
    if every == 1:
        return places
    return places[every * (kind is StruckError) :: 2 * every]


def line_of(code: CodeType, offset: int) -> str:
    """Say where an instruction stands."""
    line = [line for start, line in dis.findlinestarts(code) if start <= offset][-1]
    return f"{Path(code.co_filename).name}:{line}"
