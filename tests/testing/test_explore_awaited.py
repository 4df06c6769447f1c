"""`explore(answers=…)`: sagas whose calls return `later(...)`, and what is said of them."""

import time
from contextlib import suppress
from typing import Any

import pytest
import till

from py_api_saga import (
    SagaAssembler,
    SagaDefinitionError,
    SagaException,
    SagaPending,
    later,
)
from py_api_saga.journal import MemoryJournal
from py_api_saga.testing import encoded_results, explore
from py_api_saga.testing.faults import FAULTS
from py_api_saga.testing.telling import BrokenSagaError, Finding

DAY = 86_400.0
MODULES = [__name__]
shop = till.Shop()  # of the schedule that runs: a journal names functions, and these know of it


def world() -> till.Shop:
    """Give a new shop, to the functions of this module as well."""
    global shop  # noqa: PLW0603 - that is how it is done where a journal names the functions
    shop = till.Shop()
    return shop


def reserve() -> str:
    """Action."""
    return shop.stock.reserve(till.key(), 2)


def release() -> None:
    """Undo."""
    shop.stock.release(till.action_key())


def ask() -> Any:
    """Action that asks somebody, who has a day."""
    return later(timeout=DAY)


def begin_release() -> Any:
    """Undo that asks somebody."""
    return later(timeout=DAY)


def released(_: till.Shop) -> None:
    """Have somebody release it."""
    shop.stock.release(till.action_key())


def yes(_: till.Shop) -> str:
    """Have somebody say so."""
    return "yes"


async def yes_slowly(_: till.Shop) -> str:
    """Have somebody say so, in a loop."""
    return "yes"


def approved(_: till.Shop) -> SagaAssembler:
    """Reserve, ask, and reserve more."""
    return (
        SagaAssembler.saga(name="approved")
        .operation(reserve, release)
        .operation(ask, name="approval")
        .operation(reserve, release, name="more")
    )


def findings(run: Any, **options: Any) -> list[Finding]:
    """Explore, and give what is found."""
    try:
        explore(run, **{"world": world, "state": till.Shop.ledgers, **options})
    except BrokenSagaError as broken:
        return [*broken.findings]
    return []


def refused(run: Any = approved, **options: Any) -> str:
    """Explore what makes no sense, and give what is said."""
    with pytest.raises(SagaDefinitionError) as raised:
        findings(run, **options)
    return str(raised.value)


# --- Who answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("modules", [None, MODULES])
def test_what_waits_and_is_not_answered_is_refused(modules: Any) -> None:
    """By the name of the operation, and with what is to be written."""
    assert refused(modules=modules) == (
        "explore: answers: 'approval' has returned later(...), and nobody answers it: expected "
        "answers={'approval': function}, which is given the world, does there what was begun, and "
        "gives its result, or an exception that denies it"
    )


@pytest.mark.parametrize("modules", [None, MODULES])
def test_an_undo_that_waits_and_is_not_answered_is_refused(modules: Any) -> None:
    """Though no calm run comes to it."""

    def undone_later(_: till.Shop) -> SagaAssembler:
        saga = SagaAssembler.saga(name="undone").operation(reserve, begin_release)
        return saga.operation(reserve, release, name="more")

    said = refused(undone_later, modules=modules)
    assert "'undo reserve' has returned later(...), and nobody answers it" in said


def test_one_that_is_refused_is_refused_whatever_the_run_catches() -> None:
    """It is the test that is wrong, and not the saga."""

    def view(_: till.Shop) -> None:
        try:
            approved(_).orchestrator_execute()
        except BaseException:  # noqa: BLE001 - as some do
            return

    assert "'approval' has returned later(...)" in refused(view)


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ([yes], "explore: answers: expected functions of the world by operation, got list"),
        ({5: yes}, "explore: answers: expected names of operations, got 5"),
        ({"approval": "yes"}, "explore: answers: 'approval': expected a function of the world, or"),
        ({"approval": ()}, "explore: answers: 'approval': expected a function of the world, or"),
        ({"approval": (yes, yes, yes)}, "explore: answers: 'approval': expected a function"),
        ({"approval": (yes, "no")}, "explore: answers: 'approval': expected a function"),
        (
            {"approval": yes, "aproval": yes},
            "expected the name of an operation (reserve, approval, more), got 'aproval'",
        ),
    ],
)
def test_answers_that_make_no_sense_are_refused(answers: Any, message: str) -> None:
    """In words that say what was expected, and what came."""
    assert message in refused(answers=answers)


@pytest.mark.parametrize("modules", [None, MODULES])
def test_an_answer_may_be_given_by_a_coroutine_function(modules: Any) -> None:
    """In the loop of the exploration, at whatever moment it comes."""
    answers = {"approval": yes_slowly}

    assert findings(approved, answers=answers, modules=modules, blind=False) == []


def test_an_answer_in_a_loop_is_awaited_there() -> None:
    """Where the operations are coroutine functions it may come while these run."""

    def slowly(_: till.Shop) -> SagaAssembler:
        async def act() -> str:
            return reserve()

        async def begin() -> Any:
            return later(timeout=DAY)

        saga = SagaAssembler.saga().operation(act, release, name="reserve")
        return saga.operation(begin, name="approval")

    explored = explore(
        slowly, world=world, state=till.Shop.ledgers, answers={"approval": yes_slowly}
    )
    assert explored.kinds["answered-early"] > 0


def test_a_denial_in_the_calm_run_is_a_saga_that_fails() -> None:
    """With the reason that the function gave, raised or returned."""

    def no(_: till.Shop) -> str:
        raise till.Declined("too dear")

    assert "the saga is compensated (Declined('too dear'))" in refused(answers={"approval": no})
    assert "the saga is compensated (Declined('too dear'))" in refused(
        answers={"approval": lambda _: till.Declined("too dear")}
    )


def test_a_refusal_is_what_errors_say() -> None:
    """Unless the test has a function for it, which gives an exception."""
    seen: list[type] = []

    def view(_: till.Shop) -> None:
        try:
            approved(_).orchestrator_execute(saga_id="order-1")
        except SagaPending:
            pass
        except SagaException as error:
            seen.append(type(error.operation_error))

    replay = "answer of approval:refuses"
    for answerer in (yes, (yes, lambda _: TimeoutError()), (yes, yes)):
        explore(
            view, world=world, state=till.Shop.ledgers, errors={"approval": till.Declined},
            answers={"approval": answerer}, replay=replay,
        )  # fmt: skip
    assert seen == [till.Declined, TimeoutError, till.Declined]


@pytest.mark.parametrize("modules", [None, MODULES])
def test_another_answer_changes_nothing(modules: Any) -> None:
    """The first one counts, and the story says that the second contradicts it."""

    def check(_: till.Shop, __: object) -> None:
        raise AssertionError("it ended")

    for kind, letter in (("contradicted", "denied: Declined"), ("answered-twice", "answered")):
        (found,) = findings(
            approved,
            answers={"approval": (yes_differently, refuse)},
            modules=modules,
            state=None,
            check=check,
            replay=f"answer of approval:{kind}",
        )
        assert found.message == "completed, but it ended"
        *_, second, contradicted, end = found.story
        assert second.split() == ["answer", "of", "approval", *letter.split()]
        assert contradicted == "  that contradicts the first answer, and changes nothing"
        assert end == "  saga: completed"


def yes_differently(the_shop: till.Shop) -> str:
    """Have somebody say so, in other words each time."""
    the_shop.bank.charges[f"yes {len(the_shop.bank.charges)}"] = 0
    return [*the_shop.bank.charges][-1]


def refuse(_: till.Shop) -> Exception:
    """Have somebody say no."""
    return till.Declined("no")


# --- Times, and crashes ---------------------------------------------------------------------------


def twelve_timers(_: till.Shop) -> SagaAssembler:
    """Wait for twelve months, one after the other."""
    saga = SagaAssembler.saga(name="year").operation(reserve, release)
    for month in range(12):
        saga.operation(wait_a_month, name=f"month {month}")
    return saga


def wait_a_month() -> Any:
    """Action."""
    return later(until=time.time() + 30 * DAY)


@pytest.mark.parametrize("modules", [None, MODULES])
def test_times_pass_one_after_the_other(modules: Any) -> None:
    """A saga that waits for a year takes no time, and nobody has to answer."""

    def check(_: till.Shop, __: object) -> None:
        assert time.time() - began[-1] > 12 * 30 * DAY

    def started(_: till.Shop) -> SagaAssembler:
        began.append(time.time())
        return twelve_timers(_)

    began: list[float] = []
    options: Any = {"world": world, "state": None, "check": check, "modules": modules}
    explore(started, **options, replay="")


@pytest.mark.parametrize("modules", [None, MODULES])
def test_what_only_waits_is_not_undone_by_a_crash(modules: Any) -> None:
    """Nothing was lost: another process goes on with it when the answer is there."""
    answers = {"approval": yes}

    assert findings(approved, answers=answers, modules=modules, on_crash="compensate") == []
    (found,) = findings(
        approved, answers=answers, modules=modules, on_crash="compensate", state=None,
        check=must_fail, replay="",
    )  # fmt: skip
    assert found.story[-1] == "  saga: completed"


@pytest.mark.parametrize("modules", [None, MODULES])
def test_a_deadline_passes_while_it_waits(modules: Any) -> None:
    """Then all is undone, however much time the answer would have had."""

    def view(_: till.Shop) -> None:
        try:
            approved(_).orchestrator_execute(deadline=60)
        except (SagaPending, SagaException):
            return

    def check(_: till.Shop, outcome: Any) -> None:
        raise AssertionError(outcome.value)

    (found,) = findings(
        view, answers={"approval": yes}, modules=modules, state=None, check=check,
        replay="answer of approval:never",
    )  # fmt: skip
    assert found.message == "compensated, but compensated"
    assert "  1 min pass" in found.story


@pytest.mark.parametrize("modules", [None, MODULES])
def test_a_client_calls_again_for_the_results(modules: Any) -> None:
    """What a view does after its saga is done once that has ended."""

    def view(_: till.Shop) -> None:
        try:
            results = approved(_).orchestrator_execute(saga_id="order-1")
        except SagaException:
            return
        shop.bank.charges["fee"] = len(results)

    assert findings(view, answers={"approval": yes}, modules=modules) == []
    (found,) = findings(
        view, answers={"approval": yes}, modules=modules, state=None, check=must_fail, replay=""
    )
    assert [line for line in found.story if "caller" in line or "client" in line] == [
        "  the caller gets SagaPending",
        "  its client calls once more",
    ]


def must_fail(_: till.Shop, __: object) -> None:
    """Check that always fails, so that a story is told."""
    raise AssertionError


def ask_for_a_minute() -> Any:
    """Action that asks somebody, who has a minute."""
    return later(timeout=60)


def take_two_minutes() -> None:
    """Action."""
    time.sleep(120)


def both_asked(_: till.Shop) -> SagaAssembler:
    """Ask two at once, while something else takes longer than they have."""
    saga = SagaAssembler.saga(name="both").operation(reserve, release)
    for name, action in (
        ("slow", take_two_minutes),
        ("a", ask_for_a_minute),
        ("b", ask_for_a_minute),
    ):
        saga.operation(action, name=name, after="reserve")
    return saga


@pytest.mark.parametrize(
    ("replay", "end"),
    [
        ("", "completed"),
        ("order#4:first answer of b", "completed"),
        ("answer of a:never, answer of b:never", "compensated"),
        ("order:first a", "compensated"),
    ],
)
def test_two_may_be_asked_at_once(replay: str, end: str) -> None:
    """Which of them answers first is a fault like others; what is due meanwhile is told in time."""
    found = [
        findings(
            both_asked,
            answers={"a": yes, "b": yes},
            how="choreography",
            state=None,
            check=must_fail,
            modules=modules,
            replay=replay,
        )
        for modules in (None, MODULES)
    ]

    assert found[0] == found[1]
    assert found[0][0].story[-1] == f"  saga: {end}"


def pivoted(_: till.Shop) -> None:
    """Ask where nothing is given up for a deadline."""
    saga = SagaAssembler.saga(name="pivoted")
    saga.operation(ask_for_ever, name="pivot", pivot=True).operation(ask_for_ever, name="behind")
    with suppress(SagaPending, SagaException):
        saga.orchestrator_execute(deadline=60)


def ask_for_ever() -> Any:
    """Action that asks somebody, who has all the time."""
    return later(timeout=None)


@pytest.mark.parametrize("modules", [None, MODULES])
def test_a_deadline_is_no_time_limit_of_the_pivot_nor_of_what_is_behind(modules: Any) -> None:
    """They are waited for, whatever it says, so their answers are never too late."""
    explored = explore(
        pivoted, world=world, state=till.Shop.ledgers, answers={"pivot": yes, "behind": yes},
        modules=modules, blind=False,
        without=[kind for kind in FAULTS if kind not in ("never", "answered-late", "twice")],
    )  # fmt: skip
    assert explored.kinds == {"twice": 2, "never": 0, "answered-late": 0}


def two(_: till.Shop) -> None:
    """Run two sagas, of which the first waits while the second runs."""
    for saga_id in ("first", "second"):
        with suppress(SagaPending, SagaException):
            approved(_).orchestrator_execute(saga_id=saga_id)


@pytest.mark.parametrize("modules", [None, MODULES])
def test_several_sagas_may_wait(modules: Any) -> None:
    """How the world stood between their ends nobody can say, so nothing is asked of that."""
    wanted = ("crash-after", "answered-late")
    explored = explore(
        two, world=world, state=till.Shop.ledgers, answers={"approval": yes}, modules=modules,
        without=[kind for kind in FAULTS if kind not in wanted], blind=False,
    )  # fmt: skip
    assert explored.kinds == {"crash-after": 6, "answered-late": 2}


def test_a_result_of_a_time_goes_through_the_encoding() -> None:
    """As any result, where the test asks for that."""

    def odd(_: till.Shop) -> SagaAssembler:
        return SagaAssembler.saga().operation(
            lambda: later(until=time.time() + 1, result=object()), name="wait"
        )

    with (
        pytest.raises(AssertionError, match="a journal can't keep the result of wait"),
        encoded_results(),
    ):
        explore(odd, world=world, state=till.Shop.ledgers, replay="")


def test_an_answer_that_no_journal_can_keep_is_told_at_once() -> None:
    """In the calm run."""
    said = refused(answers={"approval": lambda _: object()}, modules=MODULES)

    assert "answer: result: it cannot be kept" in said


def test_a_journal_of_the_application_is_not_written_without_modules() -> None:
    """A saga that has one waits in memory all the same."""
    journal = MemoryJournal(MODULES)

    def run(_: till.Shop) -> None:
        with suppress(SagaPending, SagaException):
            approved(_).orchestrator_execute(journal=journal, saga_id="order-1")

    explore(run, world=world, state=till.Shop.ledgers, answers={"approval": yes})
    assert journal.select() == []
