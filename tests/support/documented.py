"""The sagas of a page, noted while it runs, and explored.

What the functions of a page do is mostly left out there. So each saga is explored once with an
effect under its key in the place of each action, and in that of each undo what takes back that
effect: there it is the sentence that is explored, in which an undo may be forgotten, or need a
result that was lost. Where the functions of a page do keep books, it is explored with these too.
"""

# ruff: noqa: SLF001 - a saga shows nobody its operations, and a sentence not where it stands

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pages import places_of_operations, run_page

import py_api_saga
from py_api_saga import NOT_HAPPENED, Saga, SagaAssembler, current_operation, happened
from py_api_saga.calls import Call
from py_api_saga.operation import Answer, Operation
from py_api_saga.placeholder import Given, Placeholder, placeholders
from py_api_saga.testing import explore

PACKAGE = str(Path(py_api_saga.__file__).parent)

# Operations without an undo that leave nothing which one would have to take back, by page, and why.
HARMLESS: Mapping[str, Mapping[str, str]] = {
    "docs/explanation/isolation.md": {"fail": "it refuses"},
    "docs/howto/around.md": {
        "charge": "it refuses, and its row is rolled back",
        "ship": "it prints",
    },
    "docs/howto/cookbook.md": {"no_courier": "it refuses"},
    "docs/howto/cooling-off.md": {"cooling_off": "it only waits"},
    "docs/howto/django-admin.md": {"ship": "it refuses"},
    "docs/howto/django.md": {"place_order": "fail_order writes over it"},
    "docs/howto/flask.md": {"place_order": "fail_order writes over it"},
    "docs/howto/journal.md": {"<lambda>": "it is refused before it is called"},
    "docs/howto/migrate.md": {
        "press_ctrl_c": "it is interrupted before it does anything",
        "reserve": "a function of the predecessor's page, which gives a text",
        "pack": "another",
    },
    "docs/howto/once.md": {"book_courier": "it refuses"},
    "docs/reference/pictures.md": {"root": "it calculates"},
    "docs/howto/testing.md": {
        "a": "it tells its thread",
        "b": "it tells its thread",
        "charge": "it prints",
    },
}

# What never goes wrong, by page, and why.
NEVER: Mapping[str, Mapping[str, str]] = {
    "docs/howto/cookbook.md": {"send_receipt:refuses": "nobody refuses to send a receipt"},
}

# Sagas that are on a page since they are wrong, each as `written` says, and why.
WRONG: Mapping[str, Mapping[str, str]] = {
    "docs/howto/doubt.md": {
        "charge/refund_receipt": "a refund by a result that was lost: the page says so",
        "charge/refund, hand_over, send_invoice": "shows who is stuck behind a pivot",
    },
    "docs/howto/migrate.md": {"charge, book_courier": "what the predecessor allowed"},
    "docs/tutorial.md": {"reserve": "the page says that it is WRONG, and why"},
}

# Pages of which another test sees what they print.
SHOWN_ELSEWHERE = {"docs/tutorial.md": "tests/docs/test_tutorial.py"}

# What a page writes down only in a process that is killed, or only with what fails.
WRITTEN_DOWN: Mapping[str, str] = {
    "docs/howto/asyncio.md": "checkout('Elm Street')",
    "docs/howto/doubt.md": "__import__('pay').payment()",
    "docs/howto/repair.md": "checkout('Elm Street')",
    "docs/tutorial.md": "checkout('order-1', 'Elm Street'), __import__('order').checkout('9')",
}

# Pages whose functions keep books: these, by the names that they have there, as they begin.
BOOKS: Mapping[str, Mapping[str, Any]] = {
    "docs/howto/asyncio.md": {"entries": {}},
    "docs/howto/dependencies.md": {"booked": set()},
    "docs/howto/doubt.md": {"bank.booked": {}},
    "docs/howto/journal.md": {"operations.reserved": {}, "operations.paid": {}},
    "docs/howto/repair.md": {
        "operations.reserved": {},
        "operations.paid": {},
        "operations.booked": {},
    },
    "docs/howto/task-queues.md": {
        "operations.reserved": {},
        "operations.paid": {},
        "operations.booked": {},
    },
    "docs/tutorial.md": {
        "stock": {"mug": 3},
        "reservations": {},
        "payments": {},
        "parcels": {},
        "booked": {},
    },
}

# Of these pages: sagas whose functions are such that only the sentence is explored, and why.
FAILING: Mapping[str, Mapping[str, str]] = {
    "docs/howto/asyncio.md": {
        "reserve/undo, charge_slowly/undo": "it is always given up",
    },
    "docs/howto/dependencies.md": {
        "flight/cancel, hotel/cancel, car/cancel": "it is sold out",
        "flight/cancel, hotel/cancel_for": "it is refused, and cancels nothing",
    },
    "docs/howto/doubt.md": {
        "charge/refund, hand_over, send_invoice": "the mail server is down",
        "charge_noted/refund_noted": "its answer is never understood",
        "charge_through_gateway/refund": "its answer is always lost",
        "charge_slowly/refund_slow": "it is always given up",
        "book_courier/cancel_courier": "its answer is always lost",
        "charge?/refund": "kills its process",
    },
    "docs/tutorial.md": {
        "reserve/release, charge/refund": "kills its process",
        "reserve/release, charge/refund, book_courier_unheard/cancel_courier": (
            "its answer is always lost"
        ),
        "reserve/release, charge/refund_in_vain, book_courier/cancel_courier": (
            "it is stuck, which is shown"
        ),
        "charge_async/refund_async, book_courier/cancel_courier": "there is no courier",
    },
}

# Of these pages: what sagas are given.
ARGUMENTS: Mapping[str, Any] = {"order": "order-0", "cents": 1200}


HOW: Sequence[Literal["orchestrator", "choreography"]] = ("orchestrator", "choreography")


class Sentence(NamedTuple):
    """A saga that was written down while a page ran.

    Attributes:
        saga: The saga, with all its operations.
        file: The page, or the file that the page wrote.
        lines: Those of `file` at which operations were added, from 1.
    """

    saga: Saga
    file: str
    lines: list[int]

    @property
    def written(self) -> str:
        """Give its operations, each with the function of its undo: `charge/refund, ship`.

        One that can be asked what came of it has a question mark.
        """
        names = self.saga._names.all()
        return ", ".join(
            name
            + "?" * (one.policy.ask is not None)
            + ("" if one.compensation is None else f"/{one.compensation[0].__name__}")
            for name, one in zip(names, self.saga._operations, strict=True)
        )

    @property
    def shape(self) -> tuple[object, ...]:
        """Give what makes another saga of it, for whoever explores it."""
        shapes = [
            (one.after, [*one.action[3]], one.policy.pivot, one.policy.park, one.policy.ask is None)
            for one in self.saga._operations
        ]
        return self.written, repr(shapes)


@contextmanager
def noted() -> Iterator[list[Sentence]]:
    """Note each saga to which operations are added in a `with` block, by whatever code."""
    sentences: dict[int, Sentence] = {}
    add: Any = Saga.operation

    def operation(self: Saga, *calls: Any, **options: Any) -> Saga:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
            frame = frame.f_back
        file = Path(frame.f_code.co_filename)
        name = file.name if file.is_absolute() else file.as_posix()
        sentence = sentences.setdefault(id(self), Sentence(self, name, []))
        sentence.lines.append(frame.f_lineno)
        added: Saga = add(self, *calls, **options)
        return added

    patched: Any = Saga
    patched.operation = operation
    found: list[Sentence] = []
    try:
        yield found
    finally:
        patched.operation = add
        found += sentences.values()


# --- exploring ---------------------------------------------------------------------------------


def run_and_explore(page: str, *, alone: bool = False) -> None:
    """Run a page as `run_page` does, and explore each saga that it writes down.

    Raises:
        AssertionError: It prints something else than it shows, a saga is wrong, or is not written
            down when the page runs, or a reason in the tables above has no case.
    """
    with noted() as sentences:
        ran = run_page(page, alone=alone)
        if page in WRITTEN_DOWN:
            eval(WRITTEN_DOWN[page], ran.namespace)  # noqa: S307 - our own: see there
    for shown, printed in ran.outputs if page not in SHOWN_ELSEWHERE else ():
        assert printed == shown, f"{page} shows:\n{shown}\nand this came:\n{printed}"
    came = {(one.file, line) for one in sentences for line in one.lines}
    missed = {*places_of_operations(page, alone=alone)} - came
    assert not missed, f"{page}: no saga was written down at {sorted(missed)}"
    wrong, failing = WRONG.get(page, {}), FAILING.get(page, {})
    harmless, seen = HARMLESS.get(page, {}), set[str]()
    for sentence in {one.shape: one for one in sentences}.values():
        seen |= {sentence.written, *sentence.saga._names.all()}
        try:
            _explore_sentence(sentence, [*harmless], NEVER.get(page, ()))
        except AssertionError as error:
            if sentence.written not in wrong:
                error.add_note(f"{page}: {sentence.written}")
                raise
        else:
            assert sentence.written not in wrong, f"{page}: {sentence.written} is not wrong"
        if page in BOOKS and sentence.written not in {*wrong, *failing}:
            _explore_on_page(page, sentence, ran.namespace)
    never = [what.partition(":")[0] for what in NEVER.get(page, ())]
    for listed in (*wrong, *failing, *harmless, *never):
        assert listed in seen, f"{page} has no {listed!r} any more"


def _explore_sentence(sentence: Sentence, harmless: Sequence[str], never: Iterable[str]) -> None:
    """Explore a saga as it is written."""
    names = {*sentence.saga._names.all()}
    explore(
        lambda books: on_books(sentence.saga, books, harmless),
        world=Books,
        state=lambda books: sorted(books.stands),
        how=HOW if any(one.after for one in sentence.saga._operations) else HOW[:1],
        without=[what for what in never if what.partition(":")[0] in names],
        blind=False,
    )


def _explore_on_page(page: str, sentence: Sentence, namespace: Mapping[str, Any]) -> None:
    """Explore a saga with the functions and the books of its page."""
    books = {name: _named(name, namespace) for name in BOOKS[page]}

    def world() -> Mapping[str, Any]:
        for name, book in books.items():
            book.clear()
            book.update(BOOKS[page][name])
        return books

    wanted = [p for one in sentence.saga._operations for p in _placeholders_of(one)]
    names = {p.__saga_operation__ for p in wanted if type(p) is Given}
    arguments = {name: ARGUMENTS[name] for name in names}
    saga = sentence.saga.given(**arguments) if names else sentence.saga
    try:
        explore(
            lambda _: saga,
            world=world,
            state=deepcopy,
        )
    except AssertionError as error:
        error.add_note(f"{page}: {sentence.written}")
        raise


def _named(name: str, namespace: Mapping[str, Any]) -> Any:
    """Give a thing of a page, or of a file that it wrote."""
    first, _, rest = name.partition(".")
    thing = namespace[first] if first in namespace else sys.modules[first]
    return getattr(thing, rest) if rest else thing


def _placeholders_of(operation: Operation) -> Iterator[Placeholder]:
    for call in (operation.action, operation.compensation):
        if call is not None:
            for arg in (*call[1], *call[2].values()):
                yield from placeholders(arg)


class Anything(dict[Any, Any]):
    """A result of which every part is there."""

    def __missing__(self, _: object) -> Anything:
        return self

    def __getattr__(self, _: str) -> Anything:
        return self


class Books:
    """The world of a schedule: which operations have an effect that stands."""

    def __init__(self) -> None:
        self.stands: set[str] = set()

    def make(self, *_: object) -> Anything:
        """Make the effect of an action, once for each key."""
        self.stands.add(_action())
        return Anything()

    def take_back(self, *_: object) -> None:
        """Take back what the action has made, if it has."""
        self.stands.discard(_action())

    def tell(self, *_: object) -> Answer:
        """Tell whether the action has happened."""
        return happened(Anything()) if _action() in self.stands else NOT_HAPPENED


def _action() -> str:
    """Name the operation that is running, or being undone."""
    return current_operation().action_key.partition(":")[2]


def _nothing(*_: object) -> Anything:
    """Do as an action that has no effect."""
    return Anything()


def on_books(saga: Saga, books: Books, harmless: Sequence[str] = ()) -> Saga:
    """Make a saga of the same sentence, whose effects are in the books.

    Args:
        saga: A saga.
        books: Where effects are noted.
        harmless: The names of operations that have none, if they have no undo.
    """
    twin = SagaAssembler.saga()  # whatever class the saga is of
    vars(twin).update(vars(copy(saga)))
    twin.journal, twin.observers, twin.around = None, (), ()
    twin._has_holes, twin._async = False, ""
    twin._operations = [
        _on_books(one, books, is_harmless=name in harmless and one.compensation is None)
        for one, name in zip(saga._operations, saga._names.all(), strict=True)
    ]
    return twin


def _on_books(operation: Operation, books: Books, *, is_harmless: bool) -> Operation:
    policy, undo = operation.policy, operation.compensation
    if policy.ask is not None:
        policy = policy.asking(_instead(policy.ask, books.tell))
    return Operation.of(
        operation.label,
        _instead(operation.action, _nothing if is_harmless else books.make),
        None if undo is None else _instead(undo, books.take_back),
        operation.after,
        policy,
        operation.scope,
    )


def _instead(call: Call, function: Callable[..., object]) -> Call:
    """Let another function wait for the same results; what a run is given is left out."""
    _, args, keywords, needs, _ = call
    waited = [p for arg in (*args, *keywords.values()) for p in placeholders(arg)]
    return function, tuple(p for p in waited if type(p) is Placeholder), {}, tuple(needs), False
