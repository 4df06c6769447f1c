"""`explore`: in which order, how far, blind spots, grouping, several sagas, what is mended."""

import asyncio
import contextlib
import sys
import time
import types
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from till import Bank, Declined, Shop, action_key, key, order

from py_api_saga import Retry, SagaAssembler, SagaDefinitionError, SagaException, SagaStatus
from py_api_saga.testing import Explored, explore
from py_api_saga.testing.faults import AWAITED, FAULTS
from py_api_saga.testing.telling import BrokenSagaError, Finding

AGAIN = Retry(ConnectionError, attempts=3)


def findings(run: Any, **options: Any) -> list[Finding]:
    """Explore what must be broken, and give what is found."""
    with pytest.raises(BrokenSagaError) as raised:
        explore(run, **{"world": Shop, "state": Shop.ledgers, **options})
    return [*raised.value.findings]


def explored(run: Any, **options: Any) -> Explored:
    """Explore what must not be broken."""
    return explore(run, **{"world": Shop, "state": Shop.ledgers, **options})


# --- how far ----------------------------------------------------------------------------------


def test_one_fault_is_explored_in_full_and_more_within_the_limit() -> None:
    """The same schedules each time, counted; what was not run is told."""
    one = explored(order, blind=False)
    some = explored(order, faults=2, limit=100, blind=False)
    none = explored(order, faults=2, limit=0, blind=False)

    assert (one.left, none.schedules) == (0, one.schedules)
    assert some.schedules == one.schedules + 100
    assert (some.left > 0, none.left > some.left) == (True, True)
    assert f"{some.left:,} more not run" in str(some)


def test_three_faults_keep_no_more_than_they_run() -> None:
    """Those beyond the limit are counted, and no more."""
    found = explored(order, faults=3, limit=50, blind=False)

    assert found.left > 500
    assert found.schedules == explored(order, blind=False).schedules + 50


def test_a_time_limit_ends_it() -> None:
    """By hand only: what is found depends on the machine then."""
    found = explored(order, faults=3, seconds=0, blind=False)

    assert found.schedules == 0
    assert found.left == 1


def test_the_last_line_says_what_was_and_what_was_not() -> None:
    """How many, how fast, what was never possible, and who needs a person."""
    found = explored(order)
    text = str(found)

    assert text.startswith(f"{found.schedules} schedules in {found.seconds:.2f} s (")
    assert "; never possible: answers-503, answers-504, sent-again, flaky" not in text
    assert "late, late-effect, deadline, another first" in text
    assert text.endswith("; needs a person: reserve (3)")
    assert [*found.kinds] == [kind for kind in FAULTS if kind not in ("ghost", *AWAITED)]
    assert "lost" not in explored(order, without=["lost"]).kinds
    assert found.needs_a_person == {"reserve": 3}
    assert str(Explored(1, 0.0, {}, 0, {})) == "1 schedule in 0.00 s"


def test_both_ways_to_run_a_saga_are_explored() -> None:
    """One after the other."""
    both = explored(order, how=["orchestrator", "choreography"])
    one, other = explored(order), explored(order, how="choreography")

    assert both.schedules == one.schedules + other.schedules


# --- what is found ----------------------------------------------------------------------------


def test_one_cause_is_told_once_and_at_most_five_of_them() -> None:
    """By its smallest schedule; others are counted."""

    def run(shop: Shop) -> SagaAssembler:
        saga = SagaAssembler.saga(name="many")
        for i in range(6):
            saga.operation((shop.bank.charge, f"{i}", i), name=f"op{i}")
        return saga

    with pytest.raises(BrokenSagaError) as raised:
        explore(run, world=Shop, state=Shop.ledgers)

    found = raised.value.findings
    causes = {(one.operation, one.message) for one in found}
    assert len(causes) == len(found) > 5
    assert str(raised.value).count("replay=") == 5
    assert f"and {len(found) - 5} more findings" in str(raised.value)
    assert str(raised.value).endswith(str(raised.value.explored))


def test_a_check_may_say_what_is_wrong() -> None:
    """In the first line of what it raises; or it raises something else, which is told as well."""

    def check(shop: Shop, outcome: SagaStatus) -> None:
        assert (shop.stock.free == 10) is (outcome is SagaStatus.COMPENSATED), "stock!\nand more"

    def bare(shop: Shop, outcome: SagaStatus) -> None:
        if (shop.stock.free == 10) is not (outcome is SagaStatus.COMPENSATED):
            raise AssertionError

    def broken(shop: Shop, outcome: SagaStatus) -> None:
        if (shop.stock.free == 10) is not (outcome is SagaStatus.COMPENSATED):
            raise KeyError("stock")

    def forgetful(shop: Shop) -> SagaAssembler:
        return order(shop, release=lambda: None)

    said = [
        findings(forgetful, state=None, check=each, blind=False)[0].message
        for each in (check, bare, broken)
    ]
    assert said == [
        "compensated, but stock!",
        "compensated, but the check fails",
        "compensated, but the check raises KeyError: 'stock'",
    ]


def test_states_need_not_be_dicts() -> None:
    """And what is missing in one is told."""

    def run(shop: Shop) -> SagaAssembler:
        return order(shop, release=lambda: None)

    assert findings(run, state=lambda shop: shop.stock.free)[0].message == (
        "compensated, but the world is 8, expected 10"
    )
    assert findings(run, state=lambda shop: dict.fromkeys(shop.stock.held.values(), "held"))[
        0
    ].message == ("compensated, but 2 is 'held', expected missing")


def test_what_does_not_end_is_told() -> None:
    """With the point that it came to at last."""

    def run(shop: Shop) -> SagaAssembler:
        def refund() -> None:
            while action_key() in shop.bank.charges:
                shop.bank.refund("other")

        return order(shop, refund=refund).operation(int, name="ship")

    found = findings(run, services=["bank"], replay="ship:refuses")

    assert found[0].message == (
        "it does not end: it came to 1,000 points, at last undo charge/bank.refund#995"
    )


def test_whoever_never_gives_up_sees_a_service_heal() -> None:
    """Else nothing would come of it."""
    always = Retry(ConnectionError, attempts=None)

    found = explored(lambda shop: order(shop, charging={"retry": always}))

    assert found.kinds["down"] > 0


# --- blind spots ------------------------------------------------------------------------------


def test_a_state_that_sees_too_little_is_told() -> None:
    """With each undo left out in turn, somebody must notice."""
    [finding] = findings(order, state=lambda shop: {"free": shop.stock.free})

    assert finding.message == (
        "the check is blind: nobody notices if the undo of charge is left out"
    )
    assert "blind=('charge',)" in finding.hint
    assert "  undo charge              done" in finding.story


def test_a_check_that_cannot_fail_is_told() -> None:
    """Though all else is fine."""

    def check(shop: Shop, _: SagaStatus) -> None:
        assert shop.stock.free in (8, 10)

    [finding] = findings(order, state=None, check=check)
    assert finding.message.endswith("if the undo of reserve, charge is left out")


@pytest.mark.parametrize("blind", [["charge"], "charge", False])
def test_what_leaves_no_trace_can_be_exempted(blind: Any) -> None:
    """By name; or the check is not looked at."""
    explored(order, state=lambda shop: {"free": shop.stock.free}, blind=blind)


# --- runs of their own ------------------------------------------------------------------------


def test_several_sagas_one_after_another() -> None:
    """If the second is undone, all must be as after the first."""

    def run(shop: Shop) -> None:
        with contextlib.suppress(SagaException):
            order(shop).orchestrator_execute()
            order(shop).orchestrator_execute(saga_id="second")

    explored(run, without=["crash-before", "crash-after"])

    def forgetful(shop: Shop) -> None:
        with contextlib.suppress(SagaException):
            order(shop).orchestrator_execute()
            order(shop, release=lambda: None).orchestrator_execute()

    found = findings(forgetful, without=["crash-before", "crash-after"])
    assert found[0].message == "compensated, but free is 6, expected 8"
    assert found[0].replay == "charge#2:refuses"


def test_after_one_that_was_undone_nobody_knows_what_others_should_leave() -> None:
    """So only what comes before is held against the state, and `check` sees all."""
    seen: list[SagaStatus] = []

    def run(shop: Shop) -> None:
        for _ in range(2):
            with contextlib.suppress(SagaException):
                order(shop).orchestrator_execute()

    explored(run, check=lambda _, outcome: seen.append(outcome), blind=False)
    assert {*seen} == {SagaStatus.COMPLETED, SagaStatus.COMPENSATED}


def test_a_saga_within_an_operation_of_another() -> None:
    """Both are explored; the points of the inner one have names of their own."""

    def run(shop: Shop) -> SagaAssembler:
        def pay() -> None:
            SagaAssembler.saga(name="inner").operation(
                (shop.bank.charge, key(), 1200), (shop.bank.refund, key()), name="card"
            ).orchestrator_execute(saga_id="inner")

        return order(shop, charge=pay)

    found = explored(run, blind=False, without=["crash-before", "crash-after", "twice"])
    assert found.kinds["refuses"] > 9


def test_whoever_catches_a_crash_finds_the_world_closed() -> None:
    """What comes after it is not done, by a process that has died."""

    def run(shop: Shop) -> None:
        with contextlib.suppress(BaseException):
            order(shop).orchestrator_execute(saga_id="one")
        with contextlib.suppress(SagaException):
            order(shop).orchestrator_execute(saga_id="two")

    explored(run, services=["bank"], blind=False)


def test_what_a_caller_is_told_is_in_the_story() -> None:
    """Also an interrupt, and that somebody calls once more."""

    def run(shop: Shop) -> None:
        order(shop, release=lambda: None).orchestrator_execute(saga_id="one")

    def story(replay: str) -> list[str]:
        [finding] = findings(run, replay=replay)
        return [*finding.story]

    assert "  the caller gets SagaException" in story("charge:refuses")
    assert "  the caller gets KeyboardInterrupt" in story("charge:cancelled")
    after = story("charge:crash-before, charge#2:refuses")
    assert "  another process goes on" in after
    assert "  its client calls once more" in after


# --- mending ----------------------------------------------------------------------------------


def test_a_park_that_was_asked_for_is_no_finding() -> None:
    """A person says once more, or nothing."""
    explored(lambda shop: order(shop, charging={"on_doubt": "park"}), blind=False)


def test_what_is_left_past_the_pivot_is_gone_on_with() -> None:
    """An interrupt leaves the saga there, for recovery."""
    keep = Retry(Exception, attempts=4)

    def run(shop: Shop) -> None:
        saga = order(shop, charging={"pivot": True, "retry": keep}, refund=None)
        with contextlib.suppress(SagaException):
            saga.operation(int, name="ship", retry=keep).orchestrator_execute()

    explored(run, without=["charge:cancelled"])
    explored(run, replay="reserve:crash-before, ship:cancelled")
    [finding] = findings(run, replay="charge:cancelled")
    assert finding.message.endswith("and it is the pivot: a function in on_doubt= can tell")


# --- services and worlds ----------------------------------------------------------------------


def test_a_world_may_be_a_dict_and_come_from_a_generator() -> None:
    """Its services are items then."""

    def world() -> Iterator[dict[str, Any]]:
        yield {"bank": Bank()}

    def run(made: dict[str, Any]) -> SagaAssembler:
        return (
            SagaAssembler.saga()
            .operation(
                lambda: made["bank"].charge(key(), 5),
                lambda: made["bank"].refund(action_key()),
                name="charge",
            )
            .operation(int, name="ship")
        )

    found = explore(
        run, world=world, state=lambda made: len(made["bank"].charges), services=["bank"]
    )
    assert found.kinds["lost"] > 3


class Odd:
    """A service of many kinds: called, indexed, counted, with attributes."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.limit = 5

    def __repr__(self) -> str:
        return "odd"

    def __contains__(self, what: str) -> bool:
        return what in self.done

    def __iter__(self) -> Iterator[str]:
        return iter(self.done)

    def __call__(self, what: str) -> None:
        self.done.append(what)

    def __getitem__(self, i: int) -> str:
        return self.done[i]

    def __len__(self) -> int:
        return len(self.done)

    async def drop(self) -> None:
        """Undo all."""
        self.done.clear()


class Oddly:
    """A world."""

    def __init__(self) -> None:
        self.odd = Odd()


def test_a_service_may_be_of_any_kind() -> None:
    """What is called may fail, functions that are awaited as well; all else is as it is."""

    def run(world: Oddly) -> SagaAssembler:
        def do() -> None:
            if not world.odd:
                world.odd("this")
            assert "this" in world.odd
            assert [*world.odd] == [world.odd[0]] == ["this"]
            assert (world.odd.limit, len(world.odd), repr(world.odd)) == (5, 1, "odd")
            world.odd.limit = 5

        async def undo() -> None:
            await world.odd.drop()

        return SagaAssembler.saga().operation(do, undo, name="do").operation(int, name="ship")

    found = explore(run, world=Oddly, state=lambda world: world.odd.done, services=["odd"])
    assert found.kinds["refuses"] > 3


@pytest.mark.parametrize("service", ["ours.clients", "ours.clients.bank"])
def test_services_may_lie_in_modules(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module, whose functions may fail, or something in one, which a world sets anew."""
    package, clients = types.ModuleType("ours"), types.ModuleType("ours.clients")
    package.__path__ = []
    exec("def pay(key):\n    bank.charge(key, 5)", vars(clients))  # noqa: S102 - a module
    for module in (package, clients):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    ours: Any = clients
    pay = ours.pay

    def world() -> Bank:
        ours.bank = Bank()
        made: Bank = ours.bank
        return made

    def run(_: Bank) -> SagaAssembler:
        return (
            SagaAssembler.saga()
            .operation(lambda: ours.pay(key()), lambda: ours.bank.refund(action_key()), name="pay")
            .operation(int, name="ship")
        )

    def quiet(_: Bank) -> SagaAssembler:
        def pays() -> None:
            with contextlib.suppress(Exception):
                ours.pay(key())

        return SagaAssembler.saga().operation(pays, name="pay", pivot=True)

    options: dict[str, Any] = {"world": world, "state": lambda bank: len(bank.charges)}
    assert explore(run, services=service, **options).kinds["lost"] > 3
    where = "clients.pay" if service == "ours.clients" else "bank.charge"
    found = findings(quiet, services=service, **options)
    assert f"pay/{where}:refuses" in [one.replay for one in found]
    assert ours.pay is pay


def test_refusals_are_what_services_raise() -> None:
    """By the name of the service, or of the operation."""
    seen: list[str] = []

    class NoMoney(Exception):
        """The bank's own."""

    def run(shop: Shop) -> SagaAssembler:
        def charge() -> str:
            try:
                return shop.bank.charge(key(), 1200)
            except NoMoney as error:
                seen.append(str(error))
                raise

        return order(shop, charge=charge)

    errors = {"bank": NoMoney, "reserve": lambda: Declined("sold out")}
    explored(run, services=["bank"], errors=errors)
    assert {*seen} == {"injected"}

    [finding] = findings(
        lambda shop: order(shop, release=lambda: None),
        errors={"reserve": Declined, "charge": lambda: NoMoney("a cent")},
        replay="charge:refuses",
    )
    assert "  charge                   failed: NoMoney" in finding.story


def test_what_is_left_out_is_not_injected() -> None:
    """Everywhere, or at one point."""
    nothing_lost = explored(order, without=["lost"])
    one_lost = explored(order, without="charge:lost", blind=False)

    assert "lost" not in nothing_lost.kinds
    assert one_lost.kinds["lost"] == explored(order, blind=False).kinds["lost"] - 1


def test_errors_are_those_that_a_retry_is_for() -> None:
    """So that what is flaky is called again: a type, one of several, or what a function says."""

    class Busy(Exception):
        """The service's own."""

        def __init__(self, text: str, _: int) -> None:
            super().__init__(text)

    for on in (KeyError, (Busy, TimeoutError), lambda error: isinstance(error, OSError), Busy):
        retry: Any = Retry(on, attempts=2)
        found = explored(lambda shop: order(shop, charging={"retry": retry}))  # noqa: B023
        assert found.kinds["flaky"] > 0


# --- the rarer ways ---------------------------------------------------------------------------


def test_a_proxy_is_of_no_effect_afterwards() -> None:
    """What has kept one goes on to call the service."""
    kept: list[Any] = []

    def run(shop: Shop) -> SagaAssembler:
        kept.append(shop.bank)
        return order(shop)

    explored(run, services=["bank"], blind=False)

    kept[0].charge("anew", 5)
    assert kept[0].charges["anew"] == 5


def test_a_coroutine_function_may_return_the_saga() -> None:
    """It is run in the same loop."""

    async def run(shop: Shop) -> SagaAssembler:
        return order(shop)

    assert explored(run, how="choreography").kinds["another first"] > 0


def test_what_never_was_right_is_told() -> None:
    """A check that fails though nothing goes wrong."""

    def check(_: Shop, __: object) -> None:
        raise AssertionError("never")

    [finding] = findings(order, check=check, replay="")
    assert (finding.when, finding.message) == (["nothing goes wrong"], "completed, but never")


def test_states_may_differ_in_their_order_alone() -> None:
    """Then both are shown; a state that can't be copied is taken as it is."""

    class Uncopied(OrderedDict[str, int]):
        def __deepcopy__(self, _: object) -> Any:
            raise TypeError("not to be copied")

    def state(shop: Shop) -> Uncopied:
        pairs = [("free", 1), ("held", 2)]
        return Uncopied(pairs if shop.stock.free == 10 else pairs[::-1])

    found = findings(lambda shop: order(shop, release=lambda: None), state=state)
    assert found[0].message.startswith("compensated, but the world is Uncopied(")


def test_a_saga_that_was_known_and_is_not_over_is_gone_on_with() -> None:
    """One that an operation runs under an id, and that its crash has left."""

    def run(shop: Shop) -> SagaAssembler:
        def pay() -> None:
            SagaAssembler.saga(name="inner").operation(
                (shop.bank.charge, "card", 1200), (shop.bank.refund, "card"), name="card"
            ).orchestrator_execute(saga_id="inner")

        return order(shop, charge=pay, refund=lambda: shop.bank.refund("card"))

    explored(run, replay="card:crash-before")
    explored(run, replay="card:crash-after")


def test_an_endless_call_that_nobody_notices() -> None:
    """Its end is caught by the test's own function, in vain."""

    def run(shop: Shop) -> None:
        def release() -> None:
            while True:
                shop.bank.refund("other")

        with contextlib.suppress(BaseException):
            order(shop, release=release).orchestrator_execute()

    [finding] = findings(run, services=["bank"], replay="charge:refuses")
    assert finding.message.startswith("it does not end: it came to 1,000 points, at last undo res")


@pytest.mark.parametrize("kind", ["late", "ghost"])
def test_coroutine_functions_are_cut_off_when_their_time_is_up(kind: str) -> None:
    """And never land; but what they have sent may take effect, even in the end."""

    def run(shop: Shop) -> SagaAssembler:
        async def charge() -> str:
            return shop.bank.charge(key(), 1200)

        async def refund() -> None:
            shop.bank.refund(action_key())

        return order(shop, charge=charge, refund=refund, charging={"timeout": 5})

    found = explored(run, ghosts=True)
    assert found.kinds[kind] > 0
    assert found.kinds["late-effect"] == 0
    explored(run, ghosts=True, replay=f"charge:{kind}")


def test_what_goes_on_in_the_loop_ends_with_its_process() -> None:
    """And with its schedule; what the world has begun goes on until that is taken away."""
    ended: list[str] = []

    async def tick(what: str) -> None:
        try:
            await asyncio.sleep(10**6)
        except asyncio.CancelledError:
            ended.append(what)
            raise RuntimeError from None  # which nobody hears of

    @contextlib.asynccontextmanager
    async def world() -> AsyncIterator[Shop]:
        task = asyncio.create_task(tick("world"))
        await asyncio.sleep(0)
        yield Shop()
        assert not task.done()
        task.cancel()
        await asyncio.wait([task])

    def run(shop: Shop) -> SagaAssembler:
        async def charge() -> None:
            shop.tasks = asyncio.create_task(tick("run"))  # type: ignore[attr-defined]
            await asyncio.sleep(1)
            shop.bank.charge(key(), 1200)

        return order(shop, charge=charge)

    found = explored(run, world=world, services=["bank"], blind=False, replay="charge:crash-after")
    assert found.schedules == 1
    assert ended[-3:] == ["run", "run", "world"]


def test_a_call_that_sleeps_for_too_long_is_given_up() -> None:
    """In virtual time, as in the real one: it fails calmly."""

    def run(shop: Shop) -> SagaAssembler:
        def charge() -> None:
            time.sleep(60 if shop.stock.free == 6 else 1)
            shop.bank.charge(key(), 1200)

        return order(shop, charge=charge, charging={"timeout": 5})

    def twice(shop: Shop) -> None:
        with contextlib.suppress(SagaException):
            run(shop).orchestrator_execute()
            order(shop).orchestrator_execute()

    explored(run)
    with pytest.raises(SagaDefinitionError, match=r"is compensated \(TimeoutError"):
        explored(lambda shop: run(shop) if shop.stock.reserve("other", 2) else None)
    explored(twice, replay="charge:crash-after")


def test_answers_that_come_late_may_come_at_any_time() -> None:
    """Before or after other calls: which, is a point as well."""

    def run(shop: Shop) -> SagaAssembler:
        return (
            order(shop, reserving={"timeout": 5})
            .operation(int, name="ship")
            .operation(int, name="bill")
        )

    replay = "reserve:late, order#3:first answer of reserve"
    assert explored(run, how="choreography", replay=replay).schedules == 1


def test_a_retry_that_no_known_error_pleases() -> None:
    """Its function is asked, and what it raises is taken for no."""

    def on(error: Exception) -> bool:
        raise error

    retry = Retry(on, attempts=3)
    found = explored(lambda shop: order(shop, charging={"retry": retry}))

    assert found.kinds["flaky"] > 0


def test_what_is_around_calls_is_around_them_here_too() -> None:
    """Also in the process that goes on."""
    entered: list[str] = []

    @contextlib.contextmanager
    def around(operation: Any) -> Iterator[None]:
        entered.append(operation.operation)
        yield

    def run(shop: Shop) -> SagaAssembler:
        saga = order(shop)
        saga.around = (around,)
        return saga

    explored(run)
    entered.clear()
    explored(run, replay="charge:crash-after")
    assert entered[-3:] == ["reserve", "charge", "charge"]
