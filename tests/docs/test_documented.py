"""What explores the sagas of pages sees what is wrong with one, and that none is left out."""

import documented
import pages
import pytest
from documented import run_and_explore

from py_api_saga.testing.telling import BrokenSagaError

START = """
```python
from py_api_saga import SagaAssembler, result_of

booked = {}

def charge(order):
    booked[order] = 1200
    return order

def refund(order):
    booked.pop(order, None)

def checkout():
    return SagaAssembler.saga().operation((charge, "7"), (refund, "7"))

saga = checkout()
```

```python
"""
PAGE = "docs/made-up.md"


def explored(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Explore a page that ends with a piece of code."""
    monkeypatch.setitem(pages.PAGES, PAGE, f"{START}{code}\n```\n")
    run_and_explore(PAGE)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("saga.operation((charge, '8'), name='again')", "and has no undo"),
        ("saga.operation((charge, '8'), (refund, result_of()), name='again')", "again is stuck"),
    ],
)
def test_a_saga_that_is_wrong_fails_its_page(
    code: str, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether an undo was forgotten, or needs what may be lost."""
    explored(monkeypatch, "pass")

    with pytest.raises(BrokenSagaError, match=says):
        explored(monkeypatch, code)


def test_functions_that_keep_books_are_explored_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here an undo takes back what it does not find."""
    monkeypatch.setattr(documented, "BOOKS", {PAGE: {"booked": {}}})
    explored(monkeypatch, "pass")

    with pytest.raises(BrokenSagaError, match="KeyError"):
        explored(monkeypatch, "refund.__code__ = (lambda order: booked.pop(order)).__code__")


def test_a_saga_that_the_page_never_writes_down_fails_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would have explored it."""
    never = "def other():\n    return SagaAssembler.saga().operation((charge, '7'))"

    with pytest.raises(AssertionError, match="no saga was written down at"):
        explored(monkeypatch, never)


def test_what_is_listed_as_wrong_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no reason may outlive its case."""
    monkeypatch.setattr(documented, "WRONG", {PAGE: {"charge/refund, again": "to be seen"}})
    explored(monkeypatch, "checkout().operation((charge, '8'), name='again')")

    with pytest.raises(AssertionError, match="has no 'charge/refund, again' any more"):
        explored(monkeypatch, "pass")
    monkeypatch.setattr(documented, "WRONG", {PAGE: {"charge/refund": "it is right"}})
    with pytest.raises(AssertionError, match="charge/refund is not wrong"):
        explored(monkeypatch, "pass")
