"""What an error of a call means: another attempt, doubt, or the end.

Whether there is another attempt is asked of `retry`, whether the error leaves doubt of `evidence`.
Pure: it reads no clock, draws nothing and asks no function of the user's. Whoever has made the call
brings that: `attempt` for the executors, a worker elsewhere for an engine.
"""

from __future__ import annotations

from py_api_saga.entries import ACTION, ASK, Entry, failed, in_doubt, retry, unknown
from py_api_saga.exceptions import LaterError
from py_api_saga.operation import Policy


def meaning(
    policy: Policy,
    intent: Entry,
    error: Exception,
    elapsed: float,
    chance: float,
    handled: BaseException | None,
    noted: bool,  # noqa: FBT001 - as the others
) -> Entry:
    """Say what an error means.

    Args:
        policy: Of the operation, with what the functions of the user's say of this error in their
            place: `Policy.with_answers`.
        intent: The call.
        error: What it raised.
        elapsed: Seconds since its first attempt began.
        chance: A random number in [0, 1), for the jitter.
        handled: What the caller of the saga was handling when it began, which is none of the
            call's, or None.
        noted: Whether something was sent for sure that was not refused: a `sending()` of this
            attempt has noted it, or the attempt was cut off.
    """
    _, _, kind, number, _, _ = intent
    if kind == ASK:
        return unknown(intent, error)
    rule = policy.retry if kind == ACTION else policy.compensation_retry
    wait = None
    # What has begun something for which nobody can wait would only begin it once more.
    if rule is not None and not isinstance(error, LaterError):
        wait = rule.after(error, number, elapsed, chance)
    if kind == ACTION and (noted or policy.doubtful.includes(error, handled)):
        return in_doubt(intent, error, wait)
    return failed(intent, error) if wait is None else retry(intent, error, wait)
