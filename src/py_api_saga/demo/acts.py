"""`saga demo`: a checkout against three real services, eight times, and the proof of it."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from py_api_saga import SagaAssembler, SagaException
from py_api_saga.demo import crash, ledgers
from py_api_saga.demo.checkout import Order, Shop, checkout
from py_api_saga.demo.services import DECLINED_CARD, LOST_ANSWER_CARD, UNREACHABLE_CITY
from py_api_saga.demo.shop import ShopError, open_shop
from py_api_saga.demo.timeline import UNDO, Screen, Timeline, wants_colour

if TYPE_CHECKING:
    import argparse

_WIDTH = 77  # of a line of text: 80 columns, of which 3 are its indentation
_CARD, _CITY = "4242 4242 4242 4242", "Lisbon"

_in_order: Callable[[SagaAssembler], Any] = SagaAssembler.orchestrator_execute
_at_once: Callable[[SagaAssembler], Any] = SagaAssembler.choreography_execute


@dataclass(frozen=True)
class Act:
    """One checkout: what is special about it, and whether it should succeed."""

    headline: str
    story: str
    succeeds: bool
    card: str = _CARD
    city: str = _CITY
    run: Callable[[SagaAssembler], Any] = _in_order

    def order(self, number: int) -> Order:
        """Give the order that this act checks out."""
        return Order(f"order-{number}", "mug", 2, 2400, self.card, self.city)


ACTS = (
    Act(
        "All is well",
        "Reserve two mugs, charge the card, book a courier: one after the other.",
        succeeds=True,
    ),
    Act(
        "The card is declined",
        "The payment service says no. The mugs must not stay reserved.",
        succeeds=False,
        card=DECLINED_CARD,
    ),
    Act(
        "No courier, and the card is charged already",
        "The courier is asked twice, in vain. All is undone, the last thing first.",
        succeeds=False,
        city=UNREACHABLE_CITY,
    ),
    Act(
        "An answer is lost",
        "The card is charged, but the line breaks. Asking again under the same idempotency key "
        "brings the same answer, and charges nothing more.",
        succeeds=True,
        card=LOST_ANSWER_CARD,
    ),
    Act(
        "All at once",
        "By dependency: stock and payment at the same time, the courier after both.",
        succeeds=True,
        run=_at_once,
    ),
    Act(
        "All at once, and no courier",
        "What was done side by side is undone side by side.",
        succeeds=False,
        city=UNREACHABLE_CITY,
        run=_at_once,
    ),
)


def main(arguments: argparse.Namespace) -> int:
    """Play the demo, at the pace that was asked for."""
    return run(arguments.pace)


def run(pace: float) -> int:
    """Play all acts and show the ledgers.

    Args:
        pace: Seconds that a service takes for each answer.

    Returns:
        The exit status: 0 if the ledgers are as they should be, else 1; 130 after Ctrl-C.
    """
    # The timeline tells what the log would.
    logging.getLogger("py_api_saga").addHandler(logging.NullHandler())
    screen = Screen(sys.stdout, colour=wants_colour(sys.stdout, os.environ))
    try:
        with ending_on_signals(), open_shop(pace) as shop:
            title = screen.paint("saga demo", "bold")
            screen.line(f"{title}: three services, one saga, {len(ACTS) + 2} orders", indent=0)
            _show_saga(screen)
            screen.line()
            for name, pid in shop.pids.items():
                screen.line(f"{name:<7}   http://{getattr(shop.shop, name)}   process {pid}")
            completed = [
                _play(screen, number, act, shop.shop) for number, act in enumerate(ACTS, 1)
            ]
            killed, stuck = crash.orders(len(ACTS) + 1)
            journal = shop.folder / "sagas.db"
            _headline(screen, len(ACTS) + 1, *crash.KILLED)
            was_finished = crash.play_killed(screen, killed, shop.shop, journal, pace)
            _headline(screen, len(ACTS) + 2, *crash.STUCK)
            was_mended = crash.play_stuck(screen, stuck, shop.shop, journal)
            read = {name: ledgers.read(path) for name, path in shop.ledgers.items()}
            wrong = _prove(screen, read, killed.id, stuck.id)
            wrong += 2 - was_finished - was_mended
            _sum_up(screen, completed, wrong, was_finished=was_finished, was_mended=was_mended)
            return 1 if wrong else 0
    except ShopError as error:
        sys.stderr.write(f"saga demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nsaga demo: interrupted; services ended, ledgers removed\n")
        return 130


def _headline(screen: Screen, number: int, headline: str, story: str) -> None:
    screen.line()
    screen.line(screen.paint(f"{number}. {headline}", "bold"), indent=0)
    for line in textwrap.wrap(story, _WIDTH):
        screen.line(line)
    screen.line()


def _show_saga(screen: Screen) -> None:
    """Show the lines of the checkout that are the saga: what is run here is what is written there.

    Without sources, as in a frozen program, only where they are is said.
    """
    screen.line("This is the saga, each call beside the call that undoes it:", indent=0)
    screen.line()
    try:
        source = textwrap.dedent(inspect.getsource(checkout))
    except OSError:
        source = ""
    body = source.partition("return (\n")[2].partition("\n    )\n")[0]
    for line in textwrap.dedent(body).splitlines():
        screen.line(line)
    screen.line(screen.paint("# py_api_saga/demo/checkout.py", "dim"))


def _play(screen: Screen, number: int, act: Act, shop: Shop) -> bool:
    """Check one order out, and tell whether it was completed."""
    _headline(screen, number, act.headline, act.story)
    try:
        results = act.run(checkout(shop, act.order(number), Timeline(screen, UNDO)))
    except SagaException as error:
        for line in f"raised {type(error).__name__}: {error}".splitlines():
            screen.line(line)
        return False
    receipt, parcel = results["charge"]["receipt"], results["book"]["parcel"]
    screen.line(f"returned {receipt}, {parcel}")
    return True


def _sum_up(
    screen: Screen, completed: Sequence[bool], wrong: int, *, was_finished: bool, was_mended: bool
) -> None:
    """Say in one line what became of all orders."""
    kept = sum(completed) + was_finished
    undone = completed.count(False) + was_mended
    says = f"{len(completed) + 2} orders: {kept} kept ({int(was_finished)} after kill -9), "
    says += f"{undone} undone ({int(was_mended)} by hand). "
    if wrong:
        says += screen.paint(f"WRONG: {wrong}.", "red")
    else:
        says += screen.paint("Nothing is left over.", "green")
    screen.line()
    screen.line(says, indent=0)


def _prove(
    screen: Screen, read: Mapping[str, Sequence[ledgers.Line]], finished: str, mended: str
) -> int:
    """Show the ledgers, and say what is wrong in them; give how much that is."""
    screen.line()
    screen.line(screen.paint("What the services' own ledgers say", "bold"), indent=0)
    for service, lines in read.items():
        screen.line()
        screen.line(service)
        header, *rows = ledgers.table(lines)
        screen.line(screen.paint(header, "dim"), indent=5)
        for row in rows:
            screen.line(row, indent=5)
    screen.line()
    numbered = list(enumerate(ACTS, 1))
    kept = [act.order(number).id for number, act in numbered if act.succeeds] + [finished]
    undone = [act.order(number).id for number, act in numbered if not act.succeeds] + [mended]
    faults = ledgers.faults(read, kept)
    for fault in faults:
        screen.line(f"{screen.paint('WRONG', 'red')}: {fault}")
    if not faults:
        screen.line(f"Kept, exactly once in every ledger: {', '.join(kept)}.")
        screen.line(f"Undone, wherever anything was done: {', '.join(undone)}.")
    return len(faults)


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Leave by an exception on SIGTERM and SIGHUP, as on Ctrl-C, so that all is cleaned up."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        signal.signal(number, signal.SIG_IGN)  # once is enough: cleaning up is not to be disturbed
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {
        number: signal.signal(number, leave)
        for number in numbers
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup: stays ignored
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
