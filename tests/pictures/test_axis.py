"""The axis: each moment has its place, in order, whatever is cut out."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as some

from py_api_saga.entries import ACTION
from py_api_saga.pictures.axis import Axis
from py_api_saga.story.attempts import Attempt, History, Moment

LENGTHS = some.floats(0, 1e7, allow_nan=False)


def told(*spans: tuple[float, float], marks: tuple[float, ...] = (), end: float = 0) -> History:
    """Tell of attempts from one time to another, and of moments."""
    attempts = [Attempt(0, ACTION, 1, 1, start, stop, "succeeded") for start, stop in spans]
    moments = [Moment(at, "person", "ada decided") for at in marks]
    return History(attempts, moments, 0.0, max([end, *marks, *(s[1] for s in spans)]), False)


def test_time_is_to_scale_where_something_happens() -> None:
    """From the left edge to the right one."""
    axis = Axis(told((0, 1), (1, 3), (3, 4)))

    assert [axis.x(at) for at in (0, 1, 2, 4)] == [0, 25, 50, 100]
    assert axis.cuts == []


def test_time_in_which_nothing_happens_is_cut_out() -> None:
    """It has the same room however long it was, and says how long that was."""
    axis = Axis(told((0, 1), (1001, 1002)))

    (cut,) = axis.cuts
    assert (cut.x, cut.width, cut.seconds) == (47.5, 5, 1000)
    assert axis.x(500) == 50
    assert [axis.x(at) for at in (0, 1, 1001, 1002)] == [0, 47.5, 52.5, 100]


def test_what_is_nearly_at_once_is_not_cut_apart() -> None:
    """A gap that is no longer than two calls tells something."""
    assert Axis(told((0, 1), (2.9, 3.9))).cuts == []
    assert len(Axis(told((0, 1), (3.1, 4.1))).cuts) == 1


def test_many_gaps_leave_room_for_what_happens() -> None:
    """They share what one alone would not take."""
    axis = Axis(told(*((n * 100.0, n * 100.0 + 1) for n in range(200))))

    assert len(axis.cuts) == 199
    assert sum(cut.width for cut in axis.cuts) == pytest.approx(40)
    assert axis.x(19901) == pytest.approx(100)


def test_moments_alone_have_places_too() -> None:
    """Where nothing takes any time, all that there is lies between them."""
    axis = Axis(told(marks=(10.0, 30.0)))

    assert [axis.x(at) for at in (0, 10, 30)] == [0, 50, 100]
    assert [*axis.ticks()] == [(0, 0), (50, 10), (100, 30)]


def test_what_nobody_knows_the_end_of_is_drawn_as_long_as_is_usual() -> None:
    """But not beyond the moment when somebody else took over."""
    lost = Attempt(0, ACTION, 1, 1, 3.0, 100.0, "lost")
    history = told((0, 1), (1, 3), (100, 101))
    history.attempts.append(lost)
    axis = Axis(history)

    assert axis.usual == 1
    assert axis.until(3.0, 100.0) == 4.0
    assert axis.until(3.0, 3.5) == 3.5
    assert axis.until(3.0, None) == 4.0
    assert [cut.seconds for cut in axis.cuts] == [96]


def test_ticks_are_round_and_apart() -> None:
    """So that their words have room."""
    axis = Axis(told((0.0, 0.123), (0.2, 0.734), (90.0, 90.7)))

    ticks = [*axis.ticks()]

    assert [round(seconds, 3) for _, seconds in ticks] == [0, 0.5, 90, 90.5]
    places = [x for x, _ in ticks]
    assert all(later - sooner >= 9 for sooner, later in pairwise(places))


@given(
    some.lists(some.tuples(LENGTHS, LENGTHS, some.booleans()), max_size=12),
    some.lists(LENGTHS, max_size=4),
)
def test_places_are_in_order_and_on_the_page(
    spans: list[tuple[float, float, bool]], marks: list[float]
) -> None:
    """Whatever happened when: nothing later lies before what is sooner."""
    history = told(*((at, at + length) for at, length, _ in spans), marks=tuple(marks))
    for one, (_, _, is_lost) in zip(history.attempts, spans, strict=True):
        one.how = "lost" if is_lost else one.how
    axis = Axis(history)

    times = sorted(
        [history.begin, history.end, *marks]
        + [at for one in history.attempts for at in (one.start, one.end or 0, one.start + 0.5)]
    )
    places = [axis.x(at) for at in times]

    assert places == sorted(places)
    assert places[0] >= -1e-6
    assert places[-1] <= 100 + 1e-6
    assert all(0 <= x <= 100 + 1e-6 for x, _ in axis.ticks())
    assert all(cut.width > 0 for cut in axis.cuts)
