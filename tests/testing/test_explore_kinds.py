"""Each kind of fault, at each place: a saga that is wrong in just the way which that finds."""

import contextlib
import io
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import requests
import urllib3
from till import Shop, action_key, key, order

from py_api_saga import (
    NOT_HAPPENED,
    Retry,
    SagaAssembler,
    SagaException,
    current_operation,
    happened,
    result_of,
)
from py_api_saga.testing import explore
from py_api_saga.testing.asked import plan_of
from py_api_saga.testing.faults import ANSWERS, FAULTS, hint, kind_of, sentence
from py_api_saga.testing.telling import BrokenSagaError

AGAIN = Retry(ConnectionError, attempts=3)


class Case(NamedTuple):
    """What is wrong, and what finds it.

    Attributes:
        where: The point at which it goes wrong.
        run: Makes the saga.
        message: How what is found begins.
        options: Of `explore`.
        besides: Kinds that are not left out, besides this one.
    """

    where: str
    run: Callable[[Any], object]
    message: str
    options: Mapping[str, Any] = MappingProxyType({})
    besides: tuple[str, ...] = ()


def forgetful(shop: Shop, **options: Any) -> SagaAssembler:
    """Never releases."""
    return order(shop, release=lambda: None, **options)


def needy(shop: Shop, **options: Any) -> SagaAssembler:
    """Can't release what was not reserved."""

    def release() -> None:
        shop.stock.free += shop.stock.held.pop(action_key())

    return order(shop, release=release, **options)


def by_result(shop: Shop) -> SagaAssembler:
    """Releases what reserving has returned."""
    return order(shop, release=(shop.stock.release, result_of()))


def adding(shop: Shop, **options: Any) -> SagaAssembler:
    """Adds what was reserved to the stock whenever it is told to."""

    def release() -> None:
        shop.stock.held.clear()
        shop.stock.free = min(shop.stock.free + 2, 12)

    return order(shop, release=release, **options)


def once(shop: Shop, **options: Any) -> SagaAssembler:
    """Releases at the first attempt only."""

    def release() -> None:
        if current_operation().attempt == 1:
            shop.stock.release(action_key())

    return order(shop, release=release, **options)


def keyless(shop: Shop) -> SagaAssembler:
    """Charges anew each time."""
    return order(shop, charge=lambda: shop.bank.charge(str(len(shop.bank.charges)), 1200))


def numbered(shop: Shop) -> SagaAssembler:
    """Charges under a key for each attempt, and refunds the first."""

    def charge() -> None:
        shop.bank.charge(f"{key()}{current_operation().attempt}", 1200)

    def refund() -> None:
        shop.bank.refund(f"{action_key()}1")

    saga = order(shop, charge=charge, refund=refund, charging={"retry": AGAIN})
    return saga.operation(lambda: None, name="ship")


def catching(shop: Shop) -> SagaAssembler:
    """Takes a refusal for done."""

    def charge() -> None:
        with contextlib.suppress(Exception):
            shop.bank.charge(key(), 1200)

    return order(shop, charge=charge)


def undo_catching(shop: Shop) -> SagaAssembler:
    """Takes a refusal for undone."""

    def release() -> None:
        with contextlib.suppress(Exception):
            shop.stock.release(action_key())

    return order(shop, release=release)


def sure(shop: Shop) -> SagaAssembler:
    """Takes a lost answer for a refusal."""
    return order(shop, charging={"doubtful": ()})


def fee_first(shop: Shop) -> SagaAssembler:
    """Takes a fee at each attempt, and then the charge."""

    def charge() -> None:
        shop.bank.charge(f"fee {len(shop.bank.charges)}", 5)
        shop.bank.charge(key(), 1200)

    def refund() -> None:
        shop.bank.charges.clear()

    return order(shop, charge=charge, refund=refund)


def returning_first(shop: Shop) -> SagaAssembler:
    """Undoes by two calls, of which the first must not be made twice."""

    def release() -> None:
        shop.stock.reserve(f"back {len(shop.stock.held)}", -2)
        shop.stock.reserve(f"back {len(shop.stock.held)}", 0)
        shop.stock.held = {}

    return order(shop, release=release)


def asking(shop: Shop) -> SagaAssembler:
    """Relies on its question: what has not happened can't be undone."""

    def ask() -> object:
        return happened() if key() in shop.stock.held else NOT_HAPPENED

    return needy(shop, reserving={"on_doubt": ask})


def counting(shop: Shop) -> SagaAssembler:
    """Can be asked once."""

    def ask() -> object:
        shop.asked = getattr(shop, "asked", 0) + 1  # type: ignore[attr-defined]
        return happened()

    return order(shop, charging={"on_doubt": ask})


def check_asked_once(shop: Shop, _: object) -> None:
    """A check of the world."""
    assert getattr(shop, "asked", 0) < 2, "it was asked twice"


def view(shop: Shop) -> None:
    """Does something after the saga."""
    with contextlib.suppress(SagaException):
        order(shop).orchestrator_execute()
        shop.bank.charges["fee"] = 1


def punctual(shop: Shop) -> None:
    """Has a deadline, and never releases."""
    with contextlib.suppress(SagaException):
        forgetful(shop).orchestrator_execute(deadline=60)


def refunding_once(shop: Shop) -> SagaAssembler:
    """Refunds a key once, though it may be charged after that."""

    def refund() -> None:
        if action_key() not in shop.bank.refunded:
            shop.bank.refunded.add(action_key())
            shop.bank.charges.pop(action_key(), None)

    def charge() -> None:
        shop.bank.charges[key()] = 1200

    return order(shop, charge=charge, refund=refund, charging={"timeout": 5})


def forgetting(shop: Shop) -> SagaAssembler:
    """Refunds without remembering the key."""

    def charge() -> None:
        shop.bank.charges[key()] = 1200

    def refund() -> None:
        shop.bank.charges.pop(action_key(), None)

    return order(shop, charge=charge, refund=refund, charging={"timeout": 5})


def dependent(shop: Shop) -> SagaAssembler:
    """Must be refunded before it is released."""

    def release() -> None:
        if shop.bank.charges:
            raise RuntimeError("not refunded")
        shop.stock.release(action_key())

    return order(shop, release=release).operation(lambda: None, name="ship", after="charge")


class Office(requests.adapters.BaseAdapter):
    """A world: a bank elsewhere, in the place of the network. Without a key it books each time."""

    def __init__(self) -> None:
        super().__init__()
        self.max_retries = urllib3.Retry(0)
        self.booked: dict[str, int] = {}

    def send(self, request: Any, *_: object, **__: object) -> requests.Response:
        """Book, and answer."""
        sign = 1 if request.method == "POST" else -1
        booking = request.headers.get("Idempotency-Key") or str(len(self.booked))
        self.booked[f"{booking}{sign}"] = sign * 1200
        response = requests.Response()
        response.status_code = 200
        response.raw = urllib3.HTTPResponse(io.BytesIO(b""), preload_content=False)
        response.request, response.url = request, request.url
        return response

    def close(self) -> None:
        """Nothing is open."""

    def balance(self) -> dict[str, int]:
        """What stands."""
        return {"balance": sum(self.booked.values())}


def by_http(
    office: Office, *, checks: bool = True, keeps_key: bool = True, retries: int = 0, **options: Any
) -> SagaAssembler:
    """A saga whose bank is elsewhere; it looks at the answers, and sends keys along, or not."""
    office.max_retries = urllib3.Retry(retries, allowed_methods=None)

    def send(method: str) -> None:
        with requests.Session() as session:
            session.mount("http://", office)
            headers = {"Idempotency-Key": action_key()} if keeps_key else {}
            answer = session.request(method, "http://bank/charges", headers=headers)
        if checks:
            answer.raise_for_status()

    return (
        SagaAssembler.saga(name="order")
        .operation((send, "POST"), (send, "DELETE"), name="charge", **options)
        .operation(lambda: None, name="ship")
    )


OFFICE: dict[str, Any] = {"world": Office, "state": Office.balance}
FREE_IS_8 = "compensated, but free is 8, expected 10"
FREE_IS_12 = "compensated, but free is 12, expected 10"
TWO_CHARGES = "completed, but charged is [1200, 1200], expected [1200]"
CHARGED = "compensated, but charged is [1200], expected []"
NEEDS_RESULT = "reserve is stuck, so a person must look: its compensation needs what the action"
KEY_ERROR = "reserve is stuck, so a person must look: its compensation raised KeyError"
RETURNING = ["undo reserve/stock.reserve:refuses", "undo reserve:lost", "undo reserve:crash-after"]
SERVICES = {"services": ["bank", "stock"]}
HINTED = {  # (kind, place) -> what finds it
    ("refuses", "action"): Case("charge", forgetful, FREE_IS_8),
    ("refuses", "service"): Case(
        "charge/bank.charge", catching, "completed, but charged is [], expected [1200]", SERVICES
    ),
    ("refuses", "service of undo"): Case(
        "undo reserve/stock.release", undo_catching, FREE_IS_8, SERVICES
    ),
    ("lost", "action"): Case("reserve", by_result, NEEDS_RESULT),
    ("lost", "undo"): Case("undo reserve", adding, FREE_IS_12, besides=("refuses",)),
    ("lost", "service"): Case("charge/bank.charge", sure, CHARGED, SERVICES),
    ("lost", "service of undo"): Case(
        "undo reserve/stock.reserve", returning_first, "compensated, but free is 12",
        SERVICES | {"without": RETURNING}, ("refuses",),
    ),
    ("answers-503", "service"): Case(
        "charge/POST bank", lambda office: by_http(office, checks=False),
        "completed, but balance is 0, expected 1200", OFFICE,
    ),
    ("answers-503", "service of undo"): Case(
        "undo charge/DELETE bank", lambda office: by_http(office, checks=False),
        "compensated, but balance is 1200, expected 0", OFFICE, ("refuses",),
    ),
    ("answers-504", "service"): Case(
        "charge/POST bank", lambda office: by_http(office, doubtful=()),
        "compensated, but balance is 1200, expected 0", OFFICE,
    ),
    ("answers-504", "service of undo"): Case(
        "undo charge/DELETE bank", lambda office: by_http(office, keeps_key=False),
        "compensated, but balance is -1200, expected 0", OFFICE, ("refuses",),
    ),
    ("sent-again", "service"): Case(
        "charge/POST bank", lambda office: by_http(office, keeps_key=False, retries=1),
        "completed, but balance is 2400, expected 1200", OFFICE,
    ),
    ("sent-again", "service of undo"): Case(
        "undo charge/DELETE bank", lambda office: by_http(office, keeps_key=False, retries=1),
        "compensated, but balance is -1200, expected 0", OFFICE, ("refuses",),
    ),
    ("doubt", "action"): Case("reserve", needy, KEY_ERROR),
    ("flaky", "action"): Case("charge", numbered, CHARGED, besides=("refuses",)),
    ("flaky", "undo"): Case("undo reserve", once, FREE_IS_8, besides=("refuses",)),
    ("flaky", "question"): Case(
        "question of reserve", asking, KEY_ERROR, {"faults": 2}, ("doubt",)
    ),
    ("down", "action"): Case(
        "charge", lambda shop: forgetful(shop, charging={"retry": AGAIN}), FREE_IS_8
    ),
    ("down", "undo"): Case("undo reserve", once, FREE_IS_8, besides=("refuses",)),
    ("twice", "action"): Case("charge", keyless, TWO_CHARGES),
    ("twice", "undo"): Case("undo reserve", adding, FREE_IS_12, besides=("refuses",)),
    ("crash-before", "action"): Case("reserve", needy, KEY_ERROR, {"on_crash": "compensate"}),
    ("crash-before", "undo"): Case("undo reserve", once, FREE_IS_8, besides=("refuses",)),
    ("crash-after", "action"): Case("charge", keyless, TWO_CHARGES),
    ("crash-after", "undo"): Case("undo reserve", adding, FREE_IS_12, besides=("refuses",)),
    ("crash-after", "question"): Case(
        "question of charge", counting, "compensated, but it was asked twice",
        {"check": check_asked_once, "state": None, "faults": 2}, ("lost",),
    ),
    ("crash-after", "service"): Case(
        "charge/bank.charge", fee_first, "completed, but charged is [5, 5, 1200]",
        SERVICES | {"without": ["charge:crash-after"]},
    ),
    ("crash-after", "service of undo"): Case(
        "undo reserve/stock.reserve", returning_first, "compensated, but free is 12",
        SERVICES | {"without": RETURNING}, ("refuses",),
    ),
    ("crash-after", "end"): Case(
        "end of order", view, "completed, but charged is [1200], expected [1, 1200]",
        {"without": ["charge:crash-after", "reserve:crash-after"]},
    ),
    ("late", "action"): Case(
        "reserve", lambda shop: adding(shop, reserving={"timeout": 5}), FREE_IS_12
    ),
    ("late-effect", "action"): Case("charge", refunding_once, CHARGED),
    ("ghost", "action"): Case("charge", forgetting, CHARGED, {"ghosts": True}),
    ("deadline", "action"): Case("reserve", punctual, FREE_IS_8),
    ("cancelled", "action"): Case("reserve", by_result, NEEDS_RESULT),
    ("cancelled", "undo"): Case("undo reserve", adding, FREE_IS_12, besides=("refuses",)),
    ("another first", "order"): Case(
        "order", dependent, "reserve is stuck, so a person must look: its compensation raised Runt",
        {"how": "choreography"}, ("refuses",),
    ),
}  # fmt: skip


def explored(case: Case, kind: str) -> Any:
    """Explore a wrong saga, with one kind of fault and those that have to come before it."""
    allowed = {kind, *case.besides}
    without = [other for other in FAULTS if other not in allowed]
    options = {"world": Shop, "state": Shop.ledgers, **case.options}
    options["without"] = [*options.get("without", ()), *without]
    return explore(case.run, blind=False, **options)


@pytest.mark.parametrize(("kind", "place"), HINTED)
def test_each_kind_finds_at_each_place_what_only_it_finds(kind: str, place: Any) -> None:
    """The schedule goes wrong there, in this way, and the table's hint is for that place."""
    case = HINTED[kind, place]

    with pytest.raises(BrokenSagaError) as raised:
        explored(case, kind)

    finding = next(one for one in raised.value.findings if one.message.startswith(case.message))
    plan = plan_of(finding.replay)
    where, found = [*plan.items()][-1]
    met = {(point.partition("#")[0], kind_of(of)): (point, of) for point, of in plan.items()}
    point, of = met[case.where, kind]
    assert sentence(of, place, point) in finding.when
    if (point, of) == (where, found):
        assert finding.hint == hint(of, place, point)


def test_these_are_all_places_of_all_kinds() -> None:
    """Whoever adds a row to the table adds what it finds; of answers in `tests/explored`."""
    rows = {(kind, place) for kind, fault in FAULTS.items() for place in fault.at}
    assert set(HINTED) == {(kind, place) for kind, place in rows if place not in ANSWERS}


@pytest.mark.parametrize("kind", FAULTS)
def test_a_kind_that_is_left_out_finds_nothing(kind: str) -> None:
    """So each row of the table is needed for what it finds."""
    for (of, _), case in HINTED.items():
        if of == kind:
            explored(case._replace(besides=case.besides), "order")
