"""The tables that say things: a status, an entry or a reason that is new must not be forgotten."""

import typing

from py_api_saga import entries, report
from py_api_saga.cli import deciding
from py_api_saga.status import SagaStatus
from py_api_saga.story import remedies, timeline


def test_every_entry_has_its_words() -> None:
    """Whatever the machine can be told, `saga show` says it."""
    assert timeline._SAY.keys() == set(entries.WORDS)  # noqa: SLF001 - it is what is asked


def test_every_status_of_a_saga_leads_somewhere() -> None:
    """Whatever a decision leads to, the command says it, before and after."""
    assert remedies._LEADS.keys() == set(SagaStatus)  # noqa: SLF001 - as above
    assert deciding._NEXT.keys() == set(SagaStatus)  # noqa: SLF001


def test_every_reason_to_be_stuck_has_its_words() -> None:
    """And each of them is a sentence of its own, with an error and without."""
    reasons = typing.get_args(eval(str(report.Why), vars(typing)))  # noqa: S307 - our own text
    error, undo_error = OSError("down"), OSError("no bank")

    said = {report.why_stuck(why, error, undo_error) for why in reasons}
    unknown = {report.why_stuck(why, None, undo_error) for why in reasons}

    assert len(said) == len(unknown) == len(reasons) == 8
    assert not any(words.endswith((" ", ".", ",")) for words in said | unknown)
