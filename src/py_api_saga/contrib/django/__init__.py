"""Sagas at home in a Django project: `from py_api_saga.contrib.django import saga`.

An app: `"py_api_saga.contrib.django"` in `INSTALLED_APPS`. Nothing here reads the settings, or
needs the apps to be ready, before it is used.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py_api_saga.contrib.django.atomic import SagaInAtomicBlock
    from py_api_saga.contrib.django.configured import get_journal
    from py_api_saga.contrib.django.recovering import aanswer, answer, arecover, recover
    from py_api_saga.contrib.django.sagas import DjangoSaga, saga

__all__ = [
    "DjangoSaga",
    "SagaInAtomicBlock",
    "aanswer",
    "answer",
    "arecover",
    "get_journal",
    "recover",
    "saga",
]

_LATE = {  # name -> its module
    "DjangoSaga": "sagas",
    "SagaInAtomicBlock": "atomic",
    "aanswer": "recovering",
    "answer": "recovering",
    "arecover": "recovering",
    "get_journal": "configured",
    "recover": "recovering",
    "saga": "sagas",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> object:
    """Import one when it is asked for: Django imports this package while no app is ready."""
    if name not in _LATE:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from importlib import import_module  # noqa: PLC0415 - few programs ask

    return getattr(import_module(f"{__name__}.{_LATE[name]}"), name)
