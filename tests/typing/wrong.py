"""Wrong uses: both type checkers must complain about each line marked so, and about no other."""

from shop import Shop, asked, book, charge, eight, label, release, reserve, tidy
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from py_api_saga import (
    Results,
    Retry,
    SagaAssembler,
    SagaException,
    answer,
    current_operation,
    given,
    later,
    recover,
    result_of,
)
from py_api_saga.journal import MemoryJournal, PostgreSQLJournal
from py_api_saga.testing import (
    assert_compensated,
    assert_completed,
    assert_stuck,
    encoded_results,
    explore,
    fail_at,
    operation,
)

saga = SagaAssembler.saga
shop = Shop("corner")

# A wrong argument.
saga().operation((reserve, 1))  # error
saga().operation((reserve, "mug", "two"))  # error
saga().operation((reserve, "mug"), (release, 1))  # error
saga().operation((charge, "12"))  # error
saga().operation((charge, 12, "EUR", "and", 1))  # error
saga().operation((shop.sell, 1))  # error
saga().operation((shop, 1))  # error
saga().operation((Shop, 1))  # error
saga().operation((Shop.open, 1), (Shop.price, 1))  # error
saga().operation((book, 1))  # error
saga().operation((len, 1))  # error
saga().operation((label, "medium"))  # error
saga().operation((eight, 1, "b", 3, "d", 5, "f", 7, 8))  # error
saga().operation(tidy, (eight, 1, "b", 3, "d", 5, "f", 7, 8))  # error

# A missing argument.
saga().operation((reserve,))  # error
saga().operation(reserve)  # error
saga().operation((reserve, "mug"), (release,))  # error
saga().operation((reserve, "mug"), release)  # error
saga().operation((Shop.sell, shop))  # error
saga().operation((eight, 1, "b", 3, "d", 5, "f", 7))  # error

# An argument too many; a keyword-only one given by position.
saga().operation((tidy, 1))  # error
saga().operation((reserve, "mug", 2, 3))  # error
saga().operation((reserve, "mug"), (release, "mug", True))  # error
saga().operation((reserve, "mug", 2, 3, 4, 5, 6, 7, 8), tidy)  # error

# No call at all.
saga().operation()  # error
saga().operation(None)  # error
saga().operation(5)  # error
saga().operation("reserve")  # error
saga().operation(())  # error
saga().operation(("reserve", "mug"))  # error
saga().operation(tidy, "release")  # error
saga().operation(tidy, tidy, tidy)  # error

# Options.
saga().operation(tidy, timeuot=3)  # error
saga().operation(tidy, timeout="3")  # error
saga().operation(tidy, retry=3)  # error
saga().operation(tidy, retry=Retry())  # error
saga().operation(tidy, retry=Retry("OSError"))  # error
saga().operation(tidy, after=1)  # error
saga().operation(tidy, name=1)  # error
saga().operation(tidy, on_doubt="prak")  # error
saga("many")  # error
saga(name=1)  # error
saga(observers=[tidy])  # error

# A child saga takes a name and `after`, nothing else.
saga().operation(saga().operation(tidy), timeout=3)  # error
saga().operation(saga().operation(tidy), tidy)  # error
saga().operation(saga().operation(tidy), name="child", pivot=True)  # error
saga().operation(tidy, saga().operation(tidy))  # error

# Running and reading.
saga().operation(tidy).orchestrator_execute(deadline="5")  # error
saga().operation(tidy).orchestrator_execute(max_workers=4)  # error
saga().operation(tidy).choreography_execute(saga_id=5)  # error
saga().operation(tidy).operation(tidy).execute()  # error
result_of(5)  # error
given(5)  # error
given(name="order")  # error
saga().operation(tidy).given("mug")  # error
saga().operation(tidy).given().operation(tidy)  # error
saga().operation(tidy).given().orchestrator_execute(order=1)  # error
saga().operation(saga().operation(tidy).given(), tidy)  # error
number: int = current_operation().idempotency_key  # error

# Right calls between the wrong ones: nothing is reported here.
saga().operation((reserve, "mug"), (release, "mug"), on_doubt=asked)
saga().operation((reserve, given("sku")), (release, given("order")["sku"]))
saga().operation((reserve, result_of("x")), (release, result_of()["sku"]))

# Around a call.
saga(around=tidy)  # error
saga(around=[reserve])  # error
saga(around=[lambda operation: operation.attempt])  # error
saga(around="shop:session")  # error
recover(MemoryJournal(), around=[tidy])  # error


# An answer that comes later.
later()  # error
later(timeout="soon")  # error
later(timeout=3, until=4.0)  # error
later(timeout=3, result="kept")  # error
later(until="tomorrow")  # error
answer(MemoryJournal(), 7, result=1)  # error
answer(MemoryJournal(), "k", error="no")  # error
saga().operation(tidy).orchestrator_execute(wait="long")  # error


def in_a_transaction(journal: PostgreSQLJournal, session: Session, engine: Engine) -> None:
    """A transaction is to start in, and an engine has none."""
    saga().operation(tidy).orchestrator_execute(journal=journal.within(session))  # error
    saga(journal=journal.within(session))  # error
    recover(journal.within(session))  # error
    journal.within(engine)  # error
    journal.within("postgresql://")  # error


def in_a_test(error: SagaException, results: Results, journal: MemoryJournal) -> None:
    """A fault is at a name, and what has ended is an outcome or in a journal, by its id."""
    fail_at(tidy, OSError)  # error
    fail_at("charge", "no")  # error
    fail_at("charge", OSError, True)  # error
    fail_at("charge", OSError, times="2")  # error
    encoded_results(modules=1)  # error
    operation(direction="back")  # error
    assert_completed(journal)  # error
    assert_completed(results, "charge")  # error
    assert_completed(journal, "x", "charge")  # error
    assert_compensated("x", "charge")  # error
    assert_compensated(error, tidy)  # error
    assert_stuck(journal)  # error
    assert_stuck(SagaException, "charge")  # error
    explore(saga, state=vars)  # error
    explore(saga, world=5, state=vars)  # error
    explore(saga, world=dict, state=vars, faults="2")  # error
    explore(saga, world=dict, state=vars, how="both")  # error
    explore(saga, world=dict, check=5)  # error
    explore(saga(), world=dict, state=vars)  # error
