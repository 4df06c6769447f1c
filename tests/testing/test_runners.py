"""`explore` is a plain function: whatever runs a test runs it, and shows what it has found."""

from __future__ import annotations

import doctest
import pickle
import unittest
from io import StringIO
from typing import Any

import django_project
import pytest
from kiosk import Kiosk, forgetful, right

from py_api_saga.testing import explore
from py_api_saga.testing.telling import BrokenSagaError

LOST = "compensated, but effects is ['book'], expected []"

PAGE = """
>>> from kiosk import Kiosk, forgetful, right
>>> from py_api_saga.testing import explore

>>> explored = explore(right, world=Kiosk, state=Kiosk.state)
>>> explored.left
0

>>> explore(forgetful, world=Kiosk, state=Kiosk.state)
Traceback (most recent call last):
...
BrokenSagaError: what it says is in more lines than one
"""


class Checkout:
    """Two tests, for whichever test case."""

    def test_right(self) -> None:
        """It ends well."""
        explore(right, world=Kiosk, state=Kiosk.state)

    def test_forgetful(self) -> None:
        """It is a failure, and not an error."""
        explore(forgetful, world=Kiosk, state=Kiosk.state)


def _suite(kind: Any) -> unittest.TestSuite:
    """Make the two tests of this kind of test case."""
    made = type("Case", (Checkout, kind), {"__module__": __name__, "__test__": False})
    return unittest.defaultTestLoader.loadTestsFromTestCase(made)


def _see(result: unittest.TestResult) -> None:
    """See that one has failed, and how it is shown."""
    assert (result.testsRun, result.errors) == (2, [])
    [(test, shown)] = result.failures
    assert test.id().endswith("test_forgetful")
    assert LOST in shown
    assert 'replay="book:lost"' in shown


def test_unittest_runs_it() -> None:
    """A finding is a failure there."""
    result = unittest.TestResult()

    _suite(unittest.TestCase).run(result)

    _see(result)


def test_djangos_runner_runs_it() -> None:
    """In the same way."""
    django_project.set_up()
    from django.test import SimpleTestCase  # noqa: PLC0415 - once there are settings
    from django.test.runner import DiscoverRunner  # noqa: PLC0415

    class Quiet(DiscoverRunner):  # type: ignore[misc]  # Django has no type hints
        def get_test_runner_kwargs(self) -> Any:
            return {**super().get_test_runner_kwargs(), "stream": StringIO()}

    _see(Quiet(verbosity=0).run_suite(_suite(SimpleTestCase)))


def test_doctest_runs_it() -> None:
    """On a page of the docs, say."""
    test = doctest.DocTestParser().get_doctest(PAGE, {}, "page", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.IGNORE_EXCEPTION_DETAIL)

    assert runner.run(test) == doctest.TestResults(failed=0, attempted=5)


def test_a_finding_passes_from_one_process_to_another() -> None:
    """Where tests are run in several, as Django does it: with all that it says."""
    with pytest.raises(BrokenSagaError) as caught:
        explore(forgetful, world=Kiosk, state=Kiosk.state)

    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - of this test

    assert str(error) == str(caught.value)
    assert (error.findings, error.explored) == (caught.value.findings, caught.value.explored)
