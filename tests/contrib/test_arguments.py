"""What belongs to a request, a transaction or a thread is refused where a saga is built."""

from __future__ import annotations

from functools import partial
from typing import Any

import django_project
import flask
import pytest
import requests
import sqlalchemy as sa
import sqlalchemy.ext.asyncio as sa_async
from sqlalchemy import orm
from starlette.requests import Request

from py_api_saga import SagaDefinitionError, given, result_of
from py_api_saga.contrib.arguments import FrameworkSaga

django_project.set_up()

from django.contrib.contenttypes.models import ContentType  # noqa: E402 - once the project is set up
from django.test import RequestFactory  # noqa: E402


class Table(orm.DeclarativeBase):
    """What is mapped."""


class Order(Table):
    """An order, as SQLAlchemy has it."""

    __tablename__ = "orders"
    shop: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    number: orm.Mapped[int] = orm.mapped_column(primary_key=True)


ENGINE = sa.create_engine("sqlite://")
LATER = "pass none: whatever opens one for each call is given to the saga, as around="
REQUEST = "pass the fields of the request that the operation needs, such as the user's id"
KINDS = {
    "a model of Django's": (lambda: ContentType(pk=7), "pass its .id, and get it again"),
    "a query": (ContentType.objects.all, "pass the primary keys as a list"),
    "a request of Django's": (lambda: RequestFactory().get("/"), REQUEST),
    "a request of Flask's": (lambda: flask.Request({"REQUEST_METHOD": "GET"}), REQUEST),
    "a request of Starlette's": (lambda: Request({"type": "http"}), REQUEST),
    "a session": (lambda: orm.Session(ENGINE), LATER),
    "a registry": (lambda: orm.scoped_session(orm.sessionmaker(ENGINE)), LATER),
    "a session to await": (sa_async.AsyncSession, LATER),
    "a row of SQLAlchemy's": (lambda: Order(shop=1, number=7), "pass its .shop and .number"),
}


def do(*_: Any, **__: Any) -> None:
    """Do nothing: nothing here is run."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_saga_is_not_built_with_it(kind: str) -> None:
    """The message says where, and what to pass instead; nothing was added."""
    make, words = KINDS[kind]
    thing: Any = make()
    saga = FrameworkSaga().operation(do, do)
    ways: list[tuple[tuple[Any, ...], dict[str, Any], str]] = [
        (((do, 7, thing),), {}, "operation 2: the action: argument 2: "),
        ((do, (do, [1, {"order": thing}])), {}, "operation 2: the compensation: argument 1: "),
        ((do,), {"compensation": (do, thing)}, "operation 2: the compensation: argument 1: "),
        ((partial(do, order=thing),), {}, "operation 2: the action: order: "),
        (((partial(do, thing), 7),), {}, "operation 2: the action: argument 1: "),
    ]
    for args, options, where in ways:
        with pytest.raises(SagaDefinitionError) as refused:
            saga.operation(*args, **options)
        said = str(refused.value)
        assert said.startswith(where)
        assert f"got a {type(thing).__module__}.{type(thing).__qualname__}: {words}" in said
    assert "do-2" not in repr(saga)

    written = FrameworkSaga().operation((do, given("order")))
    with pytest.raises(SagaDefinitionError, match=r"^given\(\): order: expected what an operation"):
        written.given(order=thing)


def test_all_else_is_fine() -> None:
    """Also a client that threads share, and what is not known yet."""
    saga = FrameworkSaga.saga(name="checkout")
    saga.operation((do, requests.Session(), [[[[[7]]]]], {"a": {7}}), (do, result_of()))
    listed: Any = [do, object()]
    saga.operation(listed, name="b").operation(do, compensation=do)
    saga.operation(FrameworkSaga().operation((do, given("x"))).given(x=result_of("b")))

    untyped: Any = saga
    with pytest.raises(SagaDefinitionError, match="can not be empty"):
        untyped.operation()
    with pytest.raises(SagaDefinitionError, match="Please add function"):
        untyped.operation(())
    assert len(saga.orchestrator_execute()) == 4
