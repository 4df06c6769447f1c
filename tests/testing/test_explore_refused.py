"""What `explore` refuses in words, and the test functions that can't be explored."""

import asyncio
import random
import uuid
from typing import Any

import pytest
from till import Declined, Shop, key, order

from py_api_saga import SagaAssembler, SagaDefinitionError, SagaException
from py_api_saga.testing import explore

RIGHT: dict[str, Any] = {"run": order, "world": Shop, "state": Shop.ledgers}


def refused(**options: Any) -> str:
    """Explore something that makes no sense, and give what is said."""
    options = RIGHT | options
    with pytest.raises(SagaDefinitionError) as raised:
        explore(options.pop("run"), **options)
    return str(raised.value)


class Odd(Exception):
    """Can't be made of one text."""

    def __init__(self, *, code: int) -> None:
        super().__init__(code)


def never() -> None:
    """Is not to be called."""
    raise AssertionError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"state": None},
            "explore: expected state= or check=, which say what is right, got neithe",
        ),
        ({"run": SagaAssembler.saga()}, "explore: run: expected a function, got SagaAssembler"),
        ({"world": Shop()}, "explore: world: expected a function, got Shop"),
        ({"state": "ledgers"}, "explore: state: expected a function or None, got 'ledgers'"),
        ({"check": 5}, "explore: check: expected a function or None, got 5"),
        ({"faults": 0}, "explore: faults: expected a whole number from 1 to 3, got 0"),
        ({"faults": 4}, "explore: faults: expected a whole number from 1 to 3, got 4"),
        ({"faults": True}, "explore: faults: expected a whole number from 1 to 3, got True"),
        ({"limit": -1}, "explore: limit: expected a whole number, not negative, got -1"),
        ({"seconds": "5"}, "explore: seconds: expected seconds"),
        ({"how": "parallel"}, 'explore: how: expected "orchestrator", "choreography", or both'),
        ({"how": ()}, 'choreography", or both, got none of them'),
        ({"how": 5}, "explore: how: expected"),
        ({"ghosts": 1}, "explore: ghosts: expected True or False, got 1"),
        ({"on_crash": "forward"}, 'explore: on_crash: expected "resume", "compensate" or None'),
        ({"replay": 5}, "explore: replay: expected points and faults"),
        (
            {"replay": "charge"},
            'explore: replay: expected points and faults, as "charge:lost", g',
        ),
        (
            {"replay": ", "},
            "explore: replay: expected points and faults, as \"charge:lost\", got ', '",
        ),
        ({"replay": "charge:gone"}, "explore: replay: expected a kind of fault (refuses, lost,"),
        ({"replay": "charge:lost, charge:twice"}, "explore: replay: 'charge' is named twice"),
        ({"replay": "pay:lost"}, "explore: replay: expected a point of this run (reserve, charge)"),
        (
            {"replay": "charge:lost, undo charge#2:lost"},
            "explore: replay: expected a point of this run (reserve, charge, undo charge, undo res",
        ),
        (
            {"replay": "charge:late"},
            "explore: replay: 'charge': expected what can go wrong there (refuses, lost, doubt,",
        ),
        ({"errors": [Declined]}, "explore: errors: expected exception types by service or oper"),
        ({"errors": {5: Declined}}, "explore: errors: expected names of services or operations"),
        ({"errors": {"charge": "no"}}, "explore: errors: 'charge': expected an exception type, or"),
        ({"errors": {"charge": int}}, "explore: errors: 'charge': expected an exception type, or"),
        ({"errors": {"charge": Odd}}, "explore: errors: 'charge': expected an exception type that"),
        ({"errors": {"charge": dict}}, "explore: errors: 'charge': expected an exception type, or"),
        ({"errors": {"charge": lambda: 5}}, "explore: errors: 'charge': expected an exception, go"),
        ({"errors": {"bank": Declined}}, "explore: errors: 'bank': expected the name of a service"),
        (
            {"services": ["till"]},
            "explore: services: 'till': expected an attribute of the world (",
        ),
        (
            {"services": ["no.such"]},
            "explore: services: 'no.such': expected an attribute of the w",
        ),
        ({"services": ["os.nothing"]}, "explore: services: 'os.nothing': expected an attribute of"),
        ({"services": [Shop]}, "explore: services: expected names of services, got type"),
        ({"services": 5}, "explore: services: expected names of services, got 5"),
        ({"without": ["slow"]}, "explore: without: 'slow': expected a kind of fault (refuses,"),
        (
            {"without": ["pay:lost"]},
            "explore: without: expected the name of an operation (reserve",
        ),
        ({"blind": ["pay"]}, "explore: blind: expected the name of an operation (reserve, charge)"),
        ({"blind": 5}, "explore: blind: expected True, False or names of operations, got 5"),
        ({"modules": 5}, "explore: modules: expected names of modules, got 5"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    """In words that say what was expected, and what came."""
    assert message in refused(**options)


def test_what_is_refused_by_itself_has_run_nothing() -> None:
    """What can be seen without a run is seen before the first."""
    assert "neither" in refused(run=never, world=never, state=None)
    assert "faults" in refused(run=never, world=never, faults=9)


def test_a_world_that_is_not_made_anew_is_refused() -> None:
    """The second schedule would begin with what the first has left."""
    shop = Shop()

    assert refused(world=lambda: shop) == (
        "explore: world: expected a new one for each schedule, but it stands as the run before has "
        "left it: free is 8, expected 10"
    )


def test_a_state_that_never_equals_itself_is_refused() -> None:
    """Each schedule would be a finding."""

    def state(_: Shop) -> dict[str, object]:
        return {"shop": object()}

    assert refused(state=state).startswith(
        "explore: state: expected what equals itself when it is looked at again, got two looks at "
        "one world that differ: shop is <object"
    )


def test_a_state_that_cannot_be_compared_is_refused() -> None:
    """As an array, whose comparison is another one."""

    class Array:
        def __eq__(self, _: object) -> Any:
            raise ValueError("ambiguous")

        __hash__ = None  # type: ignore[assignment]

    assert refused(state=lambda _: Array()).startswith(
        "explore: state: expected what can be compared, such as a dict of numbers and texts; "
        "comparing raised ValueError('ambiguous')"
    )


def test_a_run_that_runs_no_saga_is_refused() -> None:
    """One that returns something else, or nothing."""
    message = (
        "explore: run: expected a function that returns a saga or runs one in this thread, but it "
        "ran none; of one that it only starts, for a worker, return the saga itself"
    )

    assert refused(run=lambda _: None) == message
    assert refused(run=lambda shop: order(shop).name) == message


def declined() -> None:
    """An action."""
    raise Declined("no")


def test_a_saga_that_fails_calmly_is_refused() -> None:
    """With what has happened."""
    assert refused(run=lambda shop: order(shop, charge=declined)) == (
        "explore: run: it fails although nothing goes wrong: "
        "the saga is compensated (Declined('no'))"
        "\n  reserve                  done"
        "\n  charge                   failed: Declined"
        "\n  undo reserve             done"
    )


def test_a_saga_that_is_stuck_calmly_is_refused() -> None:
    """As one that fails."""

    def run(shop: Shop) -> SagaAssembler:
        return order(shop, charge=declined, release=declined)

    assert "the saga is stuck (Declined('no'))" in refused(run=run)


def test_a_saga_that_does_not_end_calmly_is_refused() -> None:
    """By the point that it came to at last, and not by all of a thousand."""

    def down() -> None:
        raise ConnectionError

    def calling(_: Shop) -> SagaAssembler:
        return SagaAssembler.saga(retry_attempts=10_000).operation(down, name="call")

    def looping(shop: Shop) -> None:
        while True:
            order(shop).orchestrator_execute()

    ends = "explore: run: it fails although nothing goes wrong: it does not end: it came to 1,000 p"
    for run, last in ((calling, "call#1000"), (looping, "reserve#334")):
        assert (said := refused(run=run)).startswith(ends)
        assert said.endswith(f"points, at last {last}")


def test_a_run_that_raises_is_refused() -> None:
    """Before its saga, or after it."""

    def before(_: Shop) -> None:
        raise Declined("early")

    def after(shop: Shop) -> None:
        order(shop).orchestrator_execute()
        raise Declined("late")

    assert refused(run=before) == (
        "explore: run: it fails although nothing goes wrong: Declined('early')"
    )
    assert refused(run=after).startswith(
        "explore: run: it fails although nothing goes wrong: Declined('late')"
    )


def test_explore_within_explore_is_refused() -> None:
    """There is one time, and one schedule."""

    def run(_: Shop) -> None:
        explore(order, world=Shop, state=Shop.ledgers)

    assert "it was called within another explore()" in refused(run=run)


def test_coroutine_functions_in_a_loop_that_runs_are_refused() -> None:
    """It says how to do it; a saga of plain functions can be explored there."""

    async def action() -> None:
        """Do nothing."""

    async def view(shop: Shop) -> None:
        await order(shop).aorchestrator_execute()

    async def main() -> list[str]:
        explore(order, world=Shop, state=Shop.ledgers)
        return [
            refused(run=lambda shop: order(shop).operation(action)),
            refused(run=view),
        ]

    for said in asyncio.run(main()):
        assert "call it in a thread, by `await asyncio.to_thread(explore, …)`" in said


def test_in_a_thread_of_a_loop_coroutine_functions_are_explored() -> None:
    """As it says."""

    async def view(shop: Shop) -> None:
        try:
            await order(shop).aorchestrator_execute()
        except SagaException:
            return

    async def main() -> None:
        await asyncio.to_thread(explore, view, world=Shop, state=Shop.ledgers)

    asyncio.run(main())


def undetermined(**options: Any) -> str:
    """Explore what goes another way each time, and give what is said."""
    options = RIGHT | options
    with pytest.raises(AssertionError) as raised:
        explore(options.pop("run"), **options)
    return str(raised.value)


def test_two_calm_runs_that_leave_different_states_are_told() -> None:
    """By what differs."""

    def run(shop: Shop) -> SagaAssembler:
        return order(shop, charge=lambda: shop.bank.charge(key(), uuid.uuid4().int))

    assert undetermined(run=run).startswith(
        "not deterministic: two calm runs leave different states: charged is ["
    )


def test_two_calm_runs_that_go_another_way_are_told() -> None:
    """By the point."""
    turns: list[str] = []

    def run(shop: Shop) -> SagaAssembler:
        turns.append("one")
        saga = order(shop)
        return saga.operation(int, name="ship") if len(turns) % 2 else saga

    assert undetermined(run=run).startswith(
        "not deterministic: one calm run comes to ship, another to its end"
    )


def test_a_schedule_that_goes_another_way_is_told() -> None:
    """Whether it does not come to its point, or tells another story."""
    turns: list[str] = []

    def leaving(shop: Shop) -> SagaAssembler:
        turns.append("one")
        saga = order(shop)
        return saga if len(turns) > 3 else saga.operation(int, name="ship")

    assert undetermined(run=leaving).startswith(
        "not deterministic: one run came to 'ship', another one, the same so far, did not"
    )

    def once(shop: Shop) -> SagaAssembler:
        turns.append("one")
        return order(shop, release=lambda: None) if len(turns) == 15 else order(shop)

    turns.clear()
    assert undetermined(run=once).startswith("not deterministic: the same schedule says '")


def test_what_random_gives_is_the_same_in_each_run() -> None:
    """A fake that draws from it does not disturb."""

    def run(shop: Shop) -> SagaAssembler:
        cents = random.randrange(10**9)  # noqa: S311 - a fake
        return order(shop, charge=lambda: shop.bank.charge(key(), cents))

    explore(run, world=Shop, state=Shop.ledgers)
