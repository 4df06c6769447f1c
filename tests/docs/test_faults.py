"""The table of what can go wrong, in the reference: that of the code."""

import re

from pages import PAGES

from py_api_saga.testing.faults import FAULTS

PAGE = PAGES["docs/reference/testing.md"]


def test_the_reference_has_each_kind_of_fault_in_order() -> None:
    """And no other."""
    table = PAGE.partition("## What can go wrong")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE) == list(FAULTS)
