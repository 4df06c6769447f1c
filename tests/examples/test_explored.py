"""The sagas of the examples and of the demo, with everything going wrong in them once.

Those of the shops are explored in the shops' own tests, with their databases.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stdout
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import pytest

from py_api_saga.demo import checkout as demo
from py_api_saga.demo.services import SERVICES, Answer, Ledger, Refusal
from py_api_saga.testing import explore

from .shops import EXAMPLES, ON_ENGINES, SHOPS, WAITING

# What explores each example. A new one is to have a line here.
EXPLORED = {
    "async_checkout.py": "test_customers_who_check_out_at_once",
    "checkout.py": "test_an_order",
    "travel.py": "test_a_journey",
    "two_machines": "test_an_order_of_two_machines",
    **dict.fromkeys(
        (*SHOPS, WAITING, ON_ENGINES), "test_the_tests_of_a_shop_pass, in its test_shop.py"
    ),
}


def loaded(name: str) -> ModuleType:
    """Load the script of an example."""
    spec = spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_with_a_saga_is_explored() -> None:
    """And what is said to be explored is there."""
    texts = {path: path.read_text(encoding="utf-8") for path in EXAMPLES.rglob("*.py")}
    sagas = {path.relative_to(EXAMPLES).parts[0] for path, t in texts.items() if ".operation(" in t}

    assert sagas == set(EXPLORED)
    for name in (*SHOPS, WAITING, ON_ENGINES):
        assert "explore(" in texts[EXAMPLES / name / "test_shop.py"]


def test_an_order() -> None:
    """As `checkout` places it, with whatever it does after its saga."""
    example: Any = loaded("checkout")

    def world() -> Any:
        example.stock, example.payments = example.Stock(mug=3), example.Payments()
        example.couriers = example.Couriers()
        return example

    def ledgers(shop: Any) -> Mapping[str, object]:
        return {
            "free": dict(shop.stock.free),
            "reserved": dict(shop.stock.reservations),
            "paid": dict(shop.payments.paid),
            "parcels": sorted(shop.couriers.parcels),
        }

    def order(_: Any) -> None:
        with redirect_stdout(io.StringIO()):
            example.checkout("order-1", card="visa", address="12 Elm Street")

    explore(order, world=world, state=ledgers, services=("stock", "payments", "couriers"))


def test_a_journey() -> None:
    """As `travel` books it: what can be is booked at once."""
    example: Any = loaded("travel")
    agencies = ("flights", "hotels", "cars", "offices")

    def world() -> Any:
        for name in agencies:
            setattr(example, name, example.Agency(name[0].upper()))
        return example

    def bookings(agencies_of: Any) -> Mapping[str, object]:
        return {name: sorted(getattr(agencies_of, name).bookings.values()) for name in agencies}

    def journey(_: Any) -> None:
        with redirect_stdout(io.StringIO()):
            example.travel("Ada", "Lisbon")

    explore(journey, world=world, state=bookings, services=agencies)


def test_customers_who_check_out_at_once() -> None:
    """Each by a saga of coroutine functions, of which one has a limit."""
    example: Any = loaded("async_checkout")
    ledgers = ("stock", "payments", "parcels")

    def world() -> Any:
        for name in ledgers:
            setattr(example, name, example.Ledger())
        return example

    def entries(shop: Any) -> Mapping[str, object]:
        return {name: sorted(getattr(shop, name).entries.values()) for name in ledgers}

    explore(lambda _: example.checkout_of("Ada", "Elm Street", 30.0), world=world, state=entries)


def test_an_order_of_two_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose requests are answered by the service of the example, in this process."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setenv("SERVICE", "http://service.example")
    from two_machines import service, shop  # noqa: PLC0415 - on the path by now

    def urlopen(request: Request, timeout: float) -> Any:  # noqa: ARG001 - there is no waiting
        headers = {name.lower(): value for name, value in request.header_items()}
        assert isinstance(request.data, bytes)
        said = service.answer(
            request.selector.strip("/"),
            json.loads(request.data),
            headers["idempotency-key"],
            headers.get("saga-undoes"),
        )
        if not said:
            raise HTTPError(request.full_url, 410, "it was undone", None, None)  # type: ignore[arg-type]
        return closing(io.BytesIO(json.dumps(said).encode()))

    monkeypatch.setattr(service, "SLOW", 0.0)
    monkeypatch.setattr(shop, "urlopen", urlopen)

    def world() -> Any:
        service.done.clear()
        service.undone.clear()
        return service

    with redirect_stdout(io.StringIO()):
        explore(
            lambda _: shop.checkout("order-7"),
            world=world,
            state=lambda service: sorted(service.done.values()),
        )


class Line:
    """Stands for the connection to one of the demo's services, which answers at once."""

    ledgers: Mapping[str, Ledger]

    def __init__(self, address: str, timeout: float) -> None:
        del timeout
        self._name, self._answer = address, Answer(0, {})

    def request(self, method: str, path: str, body: str, headers: Mapping[str, str]) -> None:
        assert method == "POST"
        ledger, service = self.ledgers[self._name], SERVICES[self._name]
        try:
            key = headers["Idempotency-Key"]
            self._answer = ledger.answer(service, path.strip("/"), key, json.loads(body))
        except Refusal as refusal:
            self._answer = Answer(refusal.status, {"error": refusal.reason})

    def getresponse(self) -> Any:
        response: Any = io.BytesIO(json.dumps(self._answer.body).encode())
        return Response(response.getvalue(), self._answer.status)

    def close(self) -> None: ...


class Response(io.BytesIO):
    """An answer, with its status."""

    def __init__(self, body: bytes, status: int) -> None:
        super().__init__(body)
        self.status = status


def test_the_checkout_of_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the demo's own services, whose ledgers are in memory."""
    monkeypatch.setattr(demo, "HTTPConnection", Line)

    @contextmanager
    def world() -> Iterator[Mapping[str, Ledger]]:
        ledgers = {name: Ledger(Path(":memory:")) for name in SERVICES}
        Line.ledgers = ledgers
        try:
            yield ledgers
        finally:
            for ledger in ledgers.values():
                ledger.close()

    def standing(ledgers: Mapping[str, Ledger]) -> Mapping[str, object]:
        rows = "SELECT kind, action_key, what FROM entry"
        entries = {name: [*one._database.execute(rows)] for name, one in ledgers.items()}  # noqa: SLF001 - the demo reads its file
        return {
            name: sorted(
                what
                for kind, key, what in of_one
                if kind == "effect" and ("undo", key) not in {(row[0], row[1]) for row in of_one}
            )
            for name, of_one in entries.items()
        }

    shop = demo.Shop(**{name: name for name in SERVICES})
    order = demo.Order("order-1", "mug", 2, 1200, "4000 0000 0000 0002"[::-1], "Lisbon")
    explore(
        lambda _: demo.checkout(shop, order, lambda _: None),
        world=world,
        state=standing,
        how=("orchestrator", "choreography"),
    )
