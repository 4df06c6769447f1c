"""The words for what is stuck: a reason that is new must not be forgotten."""

import typing

from py_api_saga import stuck


def test_every_reason_to_be_stuck_has_its_words() -> None:
    """And each of them is a sentence of its own, with an error and without."""
    reasons = typing.get_args(eval(str(stuck.StuckReason), vars(typing)))  # noqa: S307 - our own text
    error, undo_error = OSError("down"), OSError("no bank")

    said = {stuck.stuck_words(why, error, undo_error) for why in reasons}
    unknown = {stuck.stuck_words(why, None, undo_error) for why in reasons}

    assert len(said) == len(unknown) == len(reasons) == 8
    assert not any(words.endswith((" ", ".", ",")) for words in said | unknown)
