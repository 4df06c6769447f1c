"""The lease of a process, under a clock that stands still unless it is set forward."""

import threading
from collections.abc import Callable

import pytest
from world import PATIENCE

from py_api_saga import clock
from py_api_saga.journal.postgresql.lease import Heartbeat, Lease


class Boottime:
    """The clock of a machine."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time."""
        return self.now


@pytest.fixture
def boottime(monkeypatch: pytest.MonkeyPatch) -> Boottime:
    """Take over the clock that leases are counted by."""
    taken = Boottime()
    monkeypatch.setattr(clock, "boottime", taken)
    return taken


@pytest.fixture
def lease(boottime: Boottime) -> Lease:
    """A lease of 100 s that was asked for at this moment."""
    lease = Lease(100.0)
    assert lease.is_late()
    lease.begin(boottime.now)
    return lease


def test_a_lease_ends_early_by_our_clock(lease: Lease, boottime: Boottime) -> None:
    """Clocks of two machines may go 5 % apart: whoever counts the longer one must not be ours."""
    boottime.now += 94.9
    assert not lease.is_late()
    boottime.now += 0.2
    assert lease.is_late()


def test_a_lease_is_counted_from_before_it_was_asked_for(lease: Lease, boottime: Boottime) -> None:
    """The database may have granted it at the very beginning of a slow round trip."""
    sent = boottime.now
    boottime.now += 60
    assert lease.renewed(sent, was_alive=True)
    boottime.now = sent + 95.1
    assert lease.is_late()


def test_an_answer_after_the_old_lease_leaves_the_process_late(
    lease: Lease, boottime: Boottime
) -> None:
    """A COMMIT that hung: until it was there, others saw no lease, and may have taken all."""
    boottime.now += 50
    sent = boottime.now
    boottime.now += 50  # the old one ended 5 s ago, and the new one would last 45 more
    assert not lease.renewed(sent, was_alive=True)
    assert lease.is_late()
    assert not lease.renewed(boottime.now, was_alive=True)  # one more says nothing of the claims
    assert lease.is_late()
    lease.begin(boottime.now)  # all were compared
    assert not lease.is_late()


def test_a_row_that_had_expired_leaves_the_process_late(lease: Lease, boottime: Boottime) -> None:
    """By the clock of the database it was over, whatever ours says."""
    assert not lease.renewed(boottime.now, was_alive=False)
    assert lease.is_late()


def test_an_answer_that_is_overtaken_shortens_nothing(lease: Lease, boottime: Boottime) -> None:
    """The heartbeat and a commit may both be on their way."""
    first = boottime.now
    boottime.now += 10
    assert lease.renewed(boottime.now, was_alive=True)
    assert lease.renewed(first, was_alive=True)
    boottime.now += 94
    assert not lease.is_late()


def test_a_third_of_a_lease_is_not_renewed(lease: Lease, boottime: Boottime) -> None:
    """Then each commit does, until one has."""
    boottime.now += 33
    assert not lease.is_due()
    boottime.now += 1
    assert lease.is_due()
    lease.renewed(boottime.now, was_alive=True)
    assert not lease.is_due()


def test_what_is_ended_is_late(lease: Lease) -> None:
    """A connection to another server, say, which may know less."""
    lease.end()
    assert lease.is_late()


class Tenant:
    """Someone who drives sagas."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.idle = False
        self.problem: Exception | None = None
        self.hung_up = threading.Event()
        self.renewed = threading.Event()

    def renew(self) -> None:
        self.told.append("renew")
        self.renewed.set()
        if self.problem is not None:
            raise self.problem

    def hang_up(self) -> None:
        self.told.append("hang up")
        self.hung_up.set()

    def is_idle(self) -> bool:
        return self.idle


def beating(lease: Lease, tenant: Tenant, is_ours: Callable[[], bool] = lambda: True) -> Heartbeat:
    """Start a heartbeat."""
    heartbeat = Heartbeat(lease, tenant, is_ours)
    heartbeat.start()
    heartbeat.start()  # there is one already
    return heartbeat


def test_the_heart_beats_while_a_lease_is_due(boottime: Boottime) -> None:
    """And ends by itself when nothing is driven; what a commit has renewed it leaves alone."""
    lease, tenant = Lease(0.03), Tenant()
    heartbeat = beating(lease, tenant)
    assert tenant.renewed.wait(PATIENCE)
    lease.begin(boottime.now)
    tenant.idle = True
    assert tenant.hung_up.wait(PATIENCE)
    assert heartbeat.beats >= 1


def test_two_who_begin_at_once_start_one_heart(boottime: Boottime) -> None:
    """Each sees that there is none; the second looks again when it is its turn."""
    tenant = Tenant()
    heartbeat = Heartbeat(Lease(100), tenant, lambda: True)
    others = set(threading.enumerate())
    real = heartbeat._lock  # noqa: SLF001

    class Late:
        """A lock that somebody else had just before."""

        def __enter__(self) -> None:
            heartbeat._lock = real  # noqa: SLF001
            heartbeat.start()
            real.acquire()

        def __exit__(self, *_: object) -> None:
            real.release()

    heartbeat._lock = Late()  # type: ignore[assignment]  # noqa: SLF001
    heartbeat.start()
    started = set(threading.enumerate()) - others
    heartbeat.stop()
    for thread in started:
        thread.join(PATIENCE)

    assert len(started) == 1
    assert tenant.told == ["hang up"]
    assert boottime.now == 1000


def test_a_beat_that_fails_is_tried_again_on_another_connection(boottime: Boottime) -> None:
    """Whoever writes meets the same, and says so."""
    lease, tenant = Lease(0.03), Tenant()
    tenant.problem = OSError("away")
    heartbeat = beating(lease, tenant)
    while heartbeat.beats < 3:
        assert tenant.hung_up.wait(PATIENCE)
        tenant.hung_up.clear()
    heartbeat.stop()
    assert boottime.now == 1000


def test_a_heart_goes_on_if_something_was_begun_just_now(boottime: Boottime) -> None:
    """Whoever began it has found the thread, and started none."""
    lease, tenant = Lease(0.03), Tenant()
    answers = [True] * 2 + [False] * 1000  # the last time it is asked with the lock held

    tenant.is_idle = lambda: answers.pop(0)  # type: ignore[method-assign]
    heartbeat = beating(lease, tenant)
    assert tenant.renewed.wait(PATIENCE)
    heartbeat.stop()
    assert boottime.now == 1000


def test_the_child_of_a_fork_hangs_up_nothing(boottime: Boottime) -> None:
    """What it has inherited is the connection of its parent."""
    tenant, others = Tenant(), set(threading.enumerate())
    heartbeat = beating(Lease(0.03), tenant, lambda: False)
    for thread in set(threading.enumerate()) - others:
        thread.join(PATIENCE)
    assert tenant.told == []
    assert heartbeat.beats == 0
    assert boottime.now == 1000


def test_without_a_thread_commits_renew_it(
    boottime: Boottime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be no more threads, or the interpreter is ending."""

    def refuse(_: threading.Thread) -> None:
        message = "can't start new thread"
        raise RuntimeError(message)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    heartbeat = beating(Lease(0.03), Tenant())
    heartbeat.stop()
    assert heartbeat.beats == 0
    assert boottime.now == 1000
