"""Processes, pools and files: a limit of time that passes, a worker that dies, an exit code."""

from __future__ import annotations

import asyncio
import multiprocessing
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

from .drivers import Case, Scenario
from .workers import act_and_die, act_and_hang_up, act_and_stay, ready

LIMIT = 0.5  # seconds until one gives up who waits for what does not come
SPAWN = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold


def _shell(then: str, **options: Any) -> Callable[[ExitStack, Path], Callable[[], Any]]:
    """Make a scenario of a program that takes effect unless it says no."""

    def scenario(_: ExitStack, place: Path) -> Callable[[], Any]:
        command = ["/bin/sh", "-c", then, "sh", str(place / "effect")]
        return lambda: subprocess.run(command, check=True, **options)

    return scenario


def _no_program(_: ExitStack, place: Path) -> Callable[[], Any]:
    return lambda: subprocess.run([str(place / "no such program")], check=True)


def _awaited_program(_: ExitStack, place: Path) -> Callable[[], Any]:
    async def charge() -> None:
        program = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", 'touch "$1"; exec sleep 60', "sh", str(place / "effect")
        )
        try:
            await asyncio.wait_for(program.wait(), LIMIT)
        finally:
            program.kill()
            await program.wait()

    return charge


def _executor(stack: ExitStack) -> ProcessPoolExecutor:
    pool = stack.enter_context(ProcessPoolExecutor(1, mp_context=SPAWN))
    pool.submit(ready).result()
    return pool


def _worker_dies(stack: ExitStack, place: Path) -> Callable[[], Any]:
    pool = _executor(stack)
    return lambda: pool.submit(act_and_die, place / "effect").result()


def _worker_stays(stack: ExitStack, place: Path) -> Callable[[], Any]:
    pool = _executor(stack)
    (process,) = pool._processes.values()  # noqa: SLF001 - there is no other way to end it
    stack.callback(process.kill)
    return lambda: pool.submit(act_and_stay, place / "effect").result(LIMIT)


def _pool_stays(stack: ExitStack, place: Path) -> Callable[[], Any]:
    pool = SPAWN.Pool(1)
    stack.callback(pool.join)
    stack.callback(pool.terminate)
    pool.apply(ready)
    return lambda: pool.apply_async(act_and_stay, (place / "effect",)).get(LIMIT)


def _pipe_ends(stack: ExitStack, place: Path) -> Callable[[], Any]:
    ours, theirs = SPAWN.Pipe()
    worker = SPAWN.Process(target=act_and_hang_up, args=(place / "effect", theirs))
    stack.callback(worker.join)

    def charge() -> Any:
        worker.start()
        theirs.close()
        with closing(ours):
            return ours.recv()

    return charge


def _file_is_locked(stack: ExitStack, place: Path) -> Callable[[], Any]:
    path = place / "shop.db"
    other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    other.execute("CREATE TABLE charge (cents)")
    other.execute("BEGIN IMMEDIATE")

    def charge() -> None:
        with closing(sqlite3.connect(path, timeout=0.01)) as connection, connection:
            connection.execute("INSERT INTO charge VALUES (1200)")

    return charge


def _file_is_read(stack: ExitStack, place: Path) -> Callable[[], Any]:
    """The COMMIT itself is refused, since somebody reads."""
    path = place / "shop.db"
    other = stack.enter_context(closing(sqlite3.connect(path, isolation_level=None)))
    other.execute("CREATE TABLE charge (cents)")
    other.execute("BEGIN")
    other.execute("SELECT * FROM charge").fetchall()

    def charge() -> None:
        with closing(sqlite3.connect(path, timeout=0.01)) as connection, connection:
            connection.execute("INSERT INTO charge VALUES (1200)")

    return charge


ACT = 'touch "$1"; '
SCENARIOS: dict[str, Callable[[ExitStack, Path], Callable[[], Any]]] = {
    "subprocess: time is up": _shell(f"{ACT} exec sleep 60", timeout=LIMIT),
    "subprocess: killed": _shell(f"{ACT} kill -9 $$"),
    "asyncio: wait_for a program": _awaited_program,
    "ProcessPoolExecutor: the worker dies": _worker_dies,
    "ProcessPoolExecutor: time is up": _worker_stays,
    "multiprocessing.Pool: time is up": _pool_stays,
    "multiprocessing.Pipe: the worker ends": _pipe_ends,
}
REFUSED: dict[str, Callable[[ExitStack, Path], Callable[[], Any]]] = {
    "subprocess: exit code": _shell("exit 3"),
    "subprocess: no such program": _no_program,
    "sqlite3: locked": _file_is_locked,
    "sqlite3: locked at the COMMIT": _file_is_read,
}


def cells(_: ExitStack, __: Path) -> Iterator[tuple[str, Scenario]]:
    """Give each."""
    for scenarios, refused in ((SCENARIOS, False), (REFUSED, True)):
        for name, scenario in scenarios.items():
            yield name, partial(_case, scenario, refused)


def _case(
    scenario: Callable[[ExitStack, Path], Callable[[], Any]],
    refused: bool,  # noqa: FBT001 - inside
    stack: ExitStack,
    place: Path,
) -> Case:
    return Case(scenario(stack, place), lambda: int((place / "effect").exists()), refused)
