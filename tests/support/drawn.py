"""Sagas that Hypothesis draws."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dialogue import Op, define
from hypothesis import strategies as st

if TYPE_CHECKING:
    from py_api_saga.definition import Definition


@st.composite
def definitions(draw: st.DrawFn) -> Definition:
    """Draw a saga of up to six operations, with or without a pivot."""
    count = draw(st.integers(1, 6))
    pivot = draw(st.sampled_from([-1, -1, *range(count)]))
    plan = []
    for i in range(count):
        after = draw(st.sets(st.integers(0, i - 1), max_size=3)) if i else set()
        if pivot >= 0:  # all others come before or after it
            after = set(range(i)) if i == pivot else after | {pivot} if i > pivot else after
        undo = draw(st.sampled_from(["plain", "plain", "needs result", "none"]))
        doubt: Any = draw(st.sampled_from(["proceed", "proceed", "park", "ask"]))
        plan.append(
            Op(tuple(sorted(after)), undo != "none", undo == "needs result", doubt, i == pivot)
        )
    on_crash: Any = draw(st.sampled_from(["resume", "resume", "compensate"]))
    return define(*plan, chain=draw(st.sampled_from([False, False, True])), on_crash=on_crash)
