"""`kill -9` at each point of each side: around each commit of whoever runs, answers, recovers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from crash.harness import Process, passed

from .ground import Ground


class Strike(NamedTuple):
    """Who is killed, in what.

    Attributes:
        kind: Of the saga.
        who: "driver", "answerer" or "recoverer".
        keys: Of the calls that are answered before that, and then, without their saga.
        late: Whether the saga is recovered before the answer: the answer comes after its time.
    """

    kind: str
    who: str
    keys: tuple[str, ...] = ("charge:action",)
    before: tuple[str, ...] = ()
    late: bool = False

    def __str__(self) -> str:
        """Say it in words."""
        return f"{self.kind}, {self.who}{', late' if self.late else ''}"


CHARGE = "charge:action"
STRIKES = (
    # Whoever runs the saga; the bank sends again what it was not rid of.
    *(
        Strike(kind, "driver")
        for kind in ("chain", "refused", "undo", "nap", "asyncio", "graph", "asyncio-graph")
    ),
    Strike("early", "driver"),
    Strike("graph-early", "driver"),
    Strike("graph-one-refused", "driver"),
    # Whoever answers, and never sends it again.
    Strike("chain", "answerer"),
    Strike("refused", "answerer"),
    Strike("brief", "answerer", late=True),
    Strike("brief-refused", "answerer", late=True),
    Strike("brief-asked", "answerer", late=True),
    Strike("undo", "answerer", ("charge:compensation",), (CHARGE,)),
    Strike("asyncio", "answerer"),
    Strike("graph", "answerer", ("charge2:action",), (CHARGE,)),
    Strike("graph", "answerer"),
    Strike("graph-one-refused", "answerer", ("charge2:action",)),
    # Whoever goes on with it: there is an answer that nobody has taken, or its time has come.
    Strike("chain", "recoverer"),
    Strike("refused", "recoverer"),
    Strike("graph", "recoverer", (CHARGE, "charge2:action")),
    Strike("nap", "recoverer", ()),
    Strike("brief", "recoverer", ()),
    Strike("brief-asked", "recoverer", ()),
    Strike("brief", "recoverer", late=True),
    Strike("graph-brief", "recoverer", (CHARGE,)),
)


class Sweep:
    """Strikes at each point, every time another saga; then all is to come to its end."""

    def __init__(self, ground: Ground, strike: Strike, step: int = 1) -> None:
        """Strike at every so many points."""
        self._ground, self._strike, self._kills = ground, strike, ground.kills
        self._counted, self._place = ground.yard.place(), ground.yard.place()
        self._points = _points(ground, strike, self._counted)
        # Who answers what is called again has to be there as long as anybody calls.
        self._others = []
        if "early" in strike.kind or ("graph" in strike.kind and strike.who == "driver"):
            self._others = [_answerer(ground, strike, self._place)]
        for at in range(1, self._points + 3, step):
            job, options = _prepared(ground, strike, self._place, f"{strike.kind}.{at}")
            ground.strike(job, self._place, at, **options)
        self._kills = ground.kills - self._kills

    def close(self) -> str:
        """Let all come to its end, when those who are dead drive nothing; say what came of it."""
        self._ground.close(self._counted)
        is_lost = self._strike.who == "answerer"
        found = self._ground.close(self._place, *self._others, lost=is_lost)
        return (
            f"{self._strike}: {self._kills} kills at {self._points} points, {dict(found.ends)}, "
            f"{found.repeated} of {found.calls} calls again"
        )


def _answerer(ground: Ground, strike: Strike, place: Path) -> Process:
    # One that went on with a call that waits for its answer would wait for itself.
    go_on = "early" not in strike.kind
    return ground.yard.start("answer_for_ever", place, me=2, seed=1, go_on=go_on)


def _prepared(
    ground: Ground, strike: Strike, place: Path, saga_id: str
) -> tuple[str, dict[str, Any]]:
    """Bring a saga to where it is to be struck; give the job that is, and what it is told."""
    yard = ground.yard
    if strike.who == "driver":
        return "run_waiting", {"sagas": [saga_id]}
    yard.do("run_waiting", place, sagas=[saga_id])
    if strike.before:
        yard.do("answer_keys", place, keys=[f"{saga_id}:{key}" for key in strike.before])
    keys = [f"{saga_id}:{key}" for key in strike.keys]
    if strike.late:
        yard.do("recover_now", place, pause=0.05)
    if strike.who == "answerer":
        return "answer_keys", {"keys": keys}
    yard.do("answer_keys", place, keys=keys, go_on=False)
    return "recover_now", {"pause": 0.0 if keys else 0.05}


def _points(ground: Ground, strike: Strike, place: Path) -> int:
    """Count the points that a process passes if nobody strikes it."""
    others = [_answerer(ground, strike, place)] if "early" in strike.kind else []
    job, options = _prepared(ground, strike, place, f"{strike.kind}.0")
    process = ground.yard.start(job, place, **options)
    if process.wait() != "0":
        ground.found.wrong.append(f"{strike}: it fails without being struck")
        return 0
    number = len(passed(place))
    for other in others:
        other.kill()
    return number
