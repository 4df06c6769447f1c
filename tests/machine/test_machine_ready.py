"""What is ready: which calls may begin, in which order."""

from dialogue import Op, chain, graph, one

from py_api_saga.entries import ACTION, RETRY, STARTED, SUCCEEDED, Setback


def test_what_is_ready_comes_in_declaration_order() -> None:
    """Forward as declared, waiting retries last; in a rollback the reverse."""
    d = graph(*[Op()] * 4, Op((0, 1, 2, 3)))
    assert d.ready() == "a b c d"
    d.retry("a")
    d.retry("c")
    assert d.ready() == "b d a c"
    d.do("d", "c", "b", "a")
    d.fail("e")
    assert d.ready() == "-d -c -b -a"
    d.retry("d")
    d.retry("b")
    assert d.ready() == "-c -a -d -b"


def test_a_part_of_what_is_ready_is_its_beginning() -> None:
    """`ready(limit)` gives as many as asked for, from the front, waiting retries included."""
    d = graph(*[Op()] * 5)
    d.retry("a")
    d.retry("b")
    everything = d.x.ready()

    assert [d.x.ready(limit) for limit in range(7)] == [everything[:limit] for limit in range(7)]


def test_a_call_stays_ready_until_its_intent_is_told() -> None:
    """Asking changes nothing, and neither does the end of another call."""
    d = graph(*[Op()] * 3)
    d.start("b")
    before = d.x.ready()

    assert d.x.ready() == before
    d.end(SUCCEEDED, "b")
    assert d.x.ready() == before
    d.start("a")
    assert d.ready() == "c"


def test_what_is_ready_first_is_started_in_one_step() -> None:
    """`start` tells the first intent and gives it; it never starts what has to wait."""
    d = graph(Op(), Op())
    assert d.x.start() == (STARTED, 0, ACTION, 1, 1, None)
    d.end(RETRY, "a", Setback(ValueError("a"), 0.0))
    assert d.x.start() == (STARTED, 1, ACTION, 1, 1, None)
    assert d.x.start() is None
    assert [entry[:2] for entry in d.x.entries] == [(STARTED, 0), (RETRY, 0), (STARTED, 1)]
    d.look()


def test_what_is_built_on_others_waits_for_all_of_them() -> None:
    """An action starts when all it comes after have succeeded; the rest goes on meanwhile."""
    d = graph(Op(), Op(), Op((0, 1)), Op((0,)))
    d.start("a", "b")
    assert d.ready() == ""
    d.end(SUCCEEDED, "a")
    assert d.ready() == "d"
    d.end(SUCCEEDED, "b")
    assert d.ready() == "c d"


def test_a_chain_is_in_order_whatever_it_declares() -> None:
    """Without edges a chain runs one by one, and a graph all at once."""
    assert chain(Op(), Op(), Op()).ready() == "a"
    assert graph(Op(), Op(), Op()).ready() == "a b c"


def test_an_undo_waits_for_all_that_was_built_on_it() -> None:
    """Reverse order along the edges, and no more order than that."""
    d = graph(Op(), Op((0,)), Op((0,)), Op((1, 2)), Op())
    d.do("a", "b", "c", "d")
    d.fail("e")
    assert d.ready() == "-d"
    d.do("d")
    assert d.ready() == "-c -b"
    d.do("b")
    assert d.ready() == "-c"
    d.do("c")
    assert d.ready() == "-a"


def test_what_owes_nothing_holds_nobody_up() -> None:
    """Operations without a compensation, stuck or failed ones are passed over in a rollback."""
    d = graph(Op(), Op((0,)), Op((1,), undo=False), Op((2,)), Op((3,)))
    d.do("a", "b", "c", "d")
    d.fail("e")
    assert d.ready() == "-d"
    d.fail("d")
    assert d.stand() == "succeeded succeeded skipped stuck failed"
    assert d.ready() == "-b"


def test_no_undo_while_an_action_is_in_flight() -> None:
    """Running actions are awaited first, and nothing more starts meanwhile."""
    d = graph(Op(), Op(), Op(), Op((0,)))
    d.do("a")
    d.start("b")
    d.fail("c")
    assert d.ready() == ""
    d.end(SUCCEEDED, "b")
    assert d.ready() == "-b -a"


def test_between_attempts_an_operation_is_running_but_not_in_flight() -> None:
    """It waits; `at_rest` and `is_flying` say so."""
    d = one()
    intent = d.start("a")
    assert d.x.is_flying(intent)
    d.end(RETRY, "a", Setback(ValueError("a"), 2.5))

    assert d.stand() == "running"
    assert d.x.flying == {}
    assert not d.x.is_flying(intent)
    assert not d.x.at_rest
    assert d.x.ready() == [(STARTED, 0, ACTION, 2, 1, 2.5)]


def test_who_waits_for_a_retry_has_failed_when_a_rollback_starts() -> None:
    """FAILED without a doubt; in doubt, if an attempt ended in doubt."""
    d = graph(Op(), Op(), Op())
    d.retry("a")
    d.doubt("b", wait=1.0)
    assert d.ready() == "c a b"
    d.fail("c")
    assert d.stand() == "failed in_doubt failed"
    assert d.ready() == "-b"


def test_after_a_crash_a_retry_is_due_at_once() -> None:
    """Whatever its wait was, and though the policy may have no attempt left."""
    d = graph(Op(), Op())
    d.retry("a", wait=60.0)
    d.crash()

    assert d.x.ready()[-1] == (STARTED, 0, ACTION, 2, 1, 0.0)
