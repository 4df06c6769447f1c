"""A person: what may be decided about what is stuck, and what follows from it."""

import pytest
from dialogue import Dialogue, Op, again, chain, graph, one, resolved

from py_api_saga import Status
from py_api_saga.entries import ABORT, ACTION, COMPENSATION, FAILED, STARTED, SUCCEEDED


def stuck(*, forward: bool = True, undo: bool = True) -> Dialogue:
    """Begin a saga of two in which b is stuck."""
    if forward:
        d = chain(Op(), Op(on_doubt="park", undo=undo))
        d.do("a")
        d.start("b")
        d.crash()
    else:
        d = chain(Op(), Op(undo=undo), Op())
        d.do("a", "b")
        d.fail("c")
        d.fail("b")
        d.do("a")
    assert d.saga == "stuck"
    return d


@pytest.mark.parametrize(
    ("forward", "legal"),
    [
        (True, {Status.SUCCEEDED, Status.FAILED}),
        (False, {Status.SUCCEEDED, Status.FAILED, Status.COMPENSATED, Status.SKIPPED}),
    ],
)
def test_what_a_person_may_say(forward: bool, legal: set[Status]) -> None:  # noqa: FBT001
    """It happened, or it did not; in a rollback also that it is undone, or may stand."""
    for status in Status:
        d = stuck(forward=forward)
        if status in legal:
            d.resolve("b", status, "said")
            assert Status.STUCK not in d.x.status
        else:
            d.refuse(resolved(1, status))


def test_a_person_says_that_it_happened() -> None:
    """With its result; the saga goes on from there, or undoes it."""
    d = stuck()
    d.resolve("b", Status.SUCCEEDED, "said")
    assert d.saga == "completed"
    assert d.x.results == ["a done", "said"]

    e = stuck(forward=False)
    e.resolve("b", Status.SUCCEEDED, "said")
    assert e.x.ready() == [(STARTED, 1, COMPENSATION, 2, 1, None)]
    e.do("b")
    assert e.saga == "compensated"


def test_a_person_says_that_it_failed() -> None:
    """Before the pivot that rolls the saga back; after it, it is refused."""
    d = stuck()
    d.resolve("b", Status.FAILED)
    assert d.ready() == "-a"

    e = chain(Op(pivot=True), Op())
    e.do("a")
    e.fail("b")
    e.refuse(resolved(1, Status.FAILED))


def test_a_person_compensates() -> None:
    """`compensate` is an abort: what is stuck is undone as well, first."""
    d = stuck()
    d.abort()
    assert d.saga == "compensating"
    assert d.ready() == "-b"
    d.do("b", "a")
    assert d.saga == "compensated"


def test_a_person_cannot_compensate_once_the_pivot_has_passed() -> None:
    """Nor while it may have happened: it must be resolved first."""
    d = chain(Op(pivot=True), Op())
    d.do("a")
    d.fail("b")
    d.refuse((ABORT, -1, "", 0, 0, None))

    e = chain(Op(), Op(pivot=True))
    e.do("a")
    e.doubt("b")
    e.refuse((ABORT, -1, "", 0, 0, None))
    e.resolve("b", Status.FAILED)
    assert e.ready() == "-a"


def test_an_abort_of_a_stuck_saga_before_its_pivot_is_taken() -> None:
    """Nothing decided has happened yet."""
    d = chain(Op(on_doubt="park"), Op(pivot=True))
    d.start("a")
    d.crash()
    d.abort()
    assert d.ready() == "-a"


def test_a_person_says_again() -> None:
    """The direction stays, the attempts count on, and a new key only if asked for."""
    d = stuck()
    d.again("b")
    assert d.x.ready() == [(STARTED, 1, ACTION, 2, 1, None)]
    d.refuse(again(1))
    d.do("b")
    assert d.saga == "completed"

    e = stuck(forward=False)
    e.again("b", new_key=True)
    assert e.x.ready() == [(STARTED, 1, COMPENSATION, 2, 2, None)]
    e.start("b")
    assert e.saga == "compensating"
    e.end(SUCCEEDED, "b")
    assert e.saga == "compensated"


def test_a_person_may_say_again_twice() -> None:
    """Each time that it is stuck."""
    d = graph(Op(pivot=True), Op((0,)), Op((0,)))
    d.do("a")
    d.fail("b")
    d.fail("c")
    d.again("b")
    d.again("c")
    d.fail("b")
    d.fail("c")
    d.again("c")
    d.again("b")
    assert d.ready() == "b c"


def test_again_is_refused_while_a_straggler_lives() -> None:
    """Or it would run twice at once."""
    d = one(pivot=True)
    late = d.doubt("a", alive=True)
    d.refuse(again(0))
    d.land(late, FAILED, ValueError("late"))
    d.again("a")
    assert d.ready() == "a"


def test_again_is_refused_while_a_rollback_waits_for_running_calls() -> None:
    """It would start an action after the abort."""
    d = graph(Op(on_doubt="park"), Op())
    d.start("a")
    d.crash()
    d.start("b")
    d.abort()
    d.refuse(again(0))
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"
    d.refuse(again(0))


def test_a_person_may_resolve_while_a_rollback_waits_for_running_calls() -> None:
    """What happened is undone with the rest."""
    d = graph(Op(on_doubt="park"), Op())
    d.start("a")
    d.crash()
    d.start("b")
    d.abort()
    d.resolve("a", Status.SUCCEEDED, "said")
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"


def test_a_stuck_pivot_may_be_called_again_after_an_abort() -> None:
    """The abort waits for it, and decides if it fails."""
    d = chain(Op(), Op(pivot=True))
    d.do("a")
    d.start("b")
    d.abort()
    d.lose("b")
    assert d.stand() == "succeeded stuck"
    d.again("b")
    assert d.ready() == "b"
    d.do("b")
    assert d.saga == "completed"


@pytest.mark.parametrize("status", [Status.FAILED, Status.COMPENSATED, Status.SKIPPED])
def test_what_a_person_settles_in_a_rollback_frees_what_it_was_built_on(status: Status) -> None:
    """It was listed to be undone; now what came before it is."""
    d = stuck()
    d.abort()
    assert d.ready() == "-b"
    d.resolve("b", status)

    assert d.ready() == "-a"


def test_what_a_person_resolves_is_no_longer_ready() -> None:
    """It was to be called "again", and then better known."""
    d = stuck()
    d.again("b")
    d.resolve("b", Status.SUCCEEDED)
    assert d.ready() == ""
    assert d.saga == "completed"


def test_only_what_is_stuck_is_a_persons_business() -> None:
    """What runs, waits or has ended is not."""
    d = graph(Op(), Op(), Op())
    d.do("a")
    d.start("b")
    for i in range(3):
        d.refuse(again(i))
        for status in Status:
            d.refuse(resolved(i, status))


def test_what_is_called_again_cannot_be_resolved_meanwhile() -> None:
    """The call in flight will say."""
    d = stuck(forward=False)
    d.again("b")
    d.start("b")
    d.refuse(resolved(1, Status.COMPENSATED))
