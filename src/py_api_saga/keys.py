"""The idempotency key of a call: `order-7:charge:action`, which outlives attempts and crashes."""

from __future__ import annotations

from collections.abc import Iterator

from py_api_saga.exceptions import SagaDefinitionError, refused

MAX_KEY = 255  # characters


def key_of(run_id: str, name: str, kind: str, generation: int) -> str:
    """Give the key of an operation's action or compensation, in the run that has this id."""
    end = f":{kind}" if generation == 1 else f":{kind}:{generation}"
    key = f"{run_id}:{name}{end}"
    if len(key) > MAX_KEY:  # child sagas of child sagas
        import hashlib  # noqa: PLC0415 - rare, and 1 ms to import

        key = f"{run_id}:{hashlib.sha256(name.encode()).hexdigest()[:32]}{end}"
    return key


def read_key(text: object, where: str) -> tuple[str, list[str]]:
    """Read a key as it comes back: in quotes, as a header has it, or with what names a request.

    Returns:
        The id of its saga, and what the key may be, the likeliest first: an operation's name may
        hold a semicolon, and what names a request comes behind one.

    Raises:
        SagaDefinitionError: It is none.
    """
    if not isinstance(text, str):
        raise refused(where, _EXPECTED, text)
    key = text.strip()
    if len(key) > 1 and key[0] == key[-1] == '"':
        key = key[1:-1]
    run_id, _, rest = key.partition(":")
    if not (rest and _is_id(run_id)):
        message = f"{where}: expected {_EXPECTED}, got a text of {len(text)} characters without one"
        raise SagaDefinitionError(message)
    return run_id, [key, *_without_request(key)]


_EXPECTED = "an idempotency key, such as current_operation().idempotency_key"


def _is_id(text: str) -> bool:
    """Tell whether a saga may have this id, as far as what a database is asked for goes."""
    return text.isascii() and text.replace("_", "").replace(".", "").replace("-", "").isalnum()


def _without_request(key: str) -> Iterator[str]:
    """Cut off what may name a request, from the end."""
    while ";" in key:
        key = key.rpartition(";")[0]
        yield key
