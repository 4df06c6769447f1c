"""The examples, run as a reader runs them: as scripts, through test clients, and under a crowd."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from paths import ROOT
from world import unmeasured

EXAMPLES = ROOT / "examples"
PATHS = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(ROOT / "src"), str(EXAMPLES)]
ENVIRONMENT = {
    **unmeasured(),
    "PYTHONPATH": os.pathsep.join(path for path in PATHS if path),
    "PYTHONUNBUFFERED": "1",
}
PATIENCE = 120  # seconds after which something hangs, on the slowest machine

CROWD = 200
FRAMEWORKS = {
    "django": [str(EXAMPLES / "django_view.py"), "runserver", "127.0.0.1:0", "--noreload"],
}
each_framework = pytest.mark.parametrize("framework", FRAMEWORKS)


def output_of(*command: str, stdin: str = "", logged: str = "", **more: str) -> str:
    """Run Python with warnings as errors, which must succeed and log what `logged` matches."""
    run = subprocess.run(
        [sys.executable, "-W", "error", *command],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**ENVIRONMENT, **more},
        cwd=EXAMPLES,  # not where a stranger may keep files of the same names
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert re.fullmatch(logged, run.stderr), run.stderr
    return run.stdout


# --- The scripts ---


def test_the_checkout_shows_an_order_placed_three_undone_and_one_stuck() -> None:
    """Only the order that was placed, and the refund that failed, leave anything behind."""
    logged = (
        r"saga checkout \(order-4\): operation charge: stuck \(ConnectionRefusedError\)\n"
        r"saga checkout \(order-5\): operation book_courier: in doubt \(TimeoutError\)\n"
    )
    output = output_of(str(EXAMPLES / "checkout.py"), logged=logged)

    assert "order-1 is placed: 1200 cents from visa, parcel 1 from" in output
    assert "order-2 was undone:" in output
    assert "the card was declined" in output
    assert "order-3 was undone:" in output
    assert "order-4 is STUCK" in output
    assert "the bank does not answer" in output
    assert "order-5 was undone:" in output
    assert "compensated: book_courier, charge, reserve" in output
    assert output.splitlines()[-3:] == [
        "stock:   {'mug': 2} reserved: {'order-1': ('mug', 1)}",
        "bank:    {'order-1': 1200, 'order-4': 1200}",
        "parcels: {'order-1': 'parcel 1 from shelf 3 to 12 Elm Street'}",
    ]


def test_the_journey_is_booked_by_dependency_and_cancelled_when_the_hotel_is_full() -> None:
    """What waits for the hotel is never started, what was booked is cancelled."""
    output = output_of(str(EXAMPLES / "travel.py"))

    assert "Ada goes to Lisbon" in output
    assert "  book_car: C1 Ada at 18:40" in output
    assert "Bob stays at home: no room in Atlantis" in output
    assert "  book_hotel: failed" in output
    assert "  file_visa_form: pending" in output
    assert output.splitlines()[-4:] == [
        "flights: F1 Ada to Lisbon",
        "hotels: H1 Ada in Lisbon",
        "cars: C1 Ada at 18:40",
        "offices: V1 form of Ada",
    ]


def test_a_machine_finishes_what_another_was_charging_when_it_died(whole_database: str) -> None:
    """The charge is asked for twice under one key, and is in the ledger once."""
    doubt = r"saga checkout \(order-7\): operation charge: in doubt\n"
    output = output_of("-m", "two_machines", logged=doubt, DATABASE_URL=whole_database)

    lines = output.splitlines()
    assert lines.count("service: charge order-7, 1200 cents") == 2
    assert lines.index("machine one: kill -9, and its disk is gone") < lines.index(
        "service: charge order-7, 1200 cents: done before, under this key"
    )
    assert lines[-5:] == [
        "machine two went on with order-7: completed",
        "the ledger of the service:",
        *(f"    {call}" for call in ("reserve: order-7", "charge: order-7, 1200 cents")),
        "    ship: order-7",
    ]


def test_asyncio_customers_are_served_together_and_the_unlucky_ones_leave_nothing() -> None:
    """A busy bank is asked again; a silent courier and a cancelled task are rolled back."""
    doubts = r"(saga checkout \(\w+\): operation book_courier: in doubt \(\w+\)\n){2}"
    output = output_of(str(EXAMPLES / "async_checkout.py"), logged=doubts)

    assert "Ada: Ada's parcel from M7 to Elm Street" in output
    assert "Bob: undone, because of TimeoutError" in output
    assert "Dan: hung up" in output
    assert output.splitlines()[-3:] == [
        "reserved: mug for Ada, mug for Cleo",
        "paid:     1200 cents from Ada, 1200 cents from Cleo",
        "parcels:  Ada's parcel from M7 to Elm Street, Cleo's parcel from M7 to Oak Lane",
    ]


# --- The web applications ---


class Reply(NamedTuple):
    """An answer of a view."""

    status: int
    body: dict[str, Any]


def order(user: str, **changes: object) -> dict[str, object]:
    """Return what a customer sends; without changes, it will be placed."""
    wish: dict[str, object] = {
        "user": user,
        "article": "mug",
        "pieces": 1,
        "card": "visa",
        "address": "Elm Street",
    }
    return wish | changes


ASK_WITH_THE_TEST_CLIENT = {
    "django": """
from django_view import application
from django.test import Client
client = Client(headers={"host": "localhost"})
def ask(method, path, body=None):
    reply = client.generic(method, path, json.dumps(body), "application/json")
    return reply.status_code, reply.json()
""",
}


def replies_of_the_test_client(
    framework: str, orders: list[dict[str, object]]
) -> tuple[list[Reply], dict[str, Any]]:
    """Place the orders through the framework's own test client; return replies and ledgers.

    In a process of its own, since Django can be configured only once.
    """
    script = (
        "import json, logging, sys\nlogging.disable()"
        + ASK_WITH_THE_TEST_CLIENT[framework]
        + "replies = [ask('POST', '/checkout', order) for order in json.load(sys.stdin)]\n"
        + "print(json.dumps([replies, ask('GET', '/ledgers')[1]]))"
    )
    replies, ledgers = json.loads(output_of("-c", script, stdin=json.dumps(orders)))
    return [Reply(*reply) for reply in replies], ledgers


@each_framework
def test_a_view_answers_for_every_end_of_a_saga(framework: str) -> None:
    """Placed 201, refused 409, a service down 502, stuck 500; what was undone leaves nothing."""
    replies, ledgers = replies_of_the_test_client(
        framework,
        [
            order("ada"),
            order("bob", article="moon"),
            order("cleo", card="declined"),
            order("dan", address="nowhere"),
            order("eve", address="nowhere", card="no-refund"),
            {"user": "fred"},
        ],
    )

    assert [reply.status for reply in replies] == [201, 409, 409, 502, 500, 400]
    placed, sold_out, declined, no_courier, stuck, _ = (reply.body for reply in replies)
    assert placed["receipt"]["user"] == "ada"
    assert (sold_out["failed"], sold_out["error"]) == ("reserve", "we have no 'moon'")
    assert (declined["failed"], declined["error"]) == ("charge", "the card was declined")
    assert no_courier["failed"] == "book_courier"
    assert stuck["stuck"] == ["charge"]
    assert owners(ledgers) == {"stock": ["ada"], "payments": ["ada", "eve"], "parcels": ["ada"]}


def owners(ledgers: dict[str, Any]) -> dict[str, list[str]]:
    """Return whose entries each service holds, sorted."""
    return {name: sorted(entry["user"] for entry in held) for name, held in ledgers.items()}


# --- A real server process, and a crowd before it ---


class Shop:
    """A client of the server on `port`; each request takes a connection of its own."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, method: str, path: str, body: object = None) -> Reply:
        """Send one request and read the JSON that comes back."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        try:
            headers = {"Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body), headers)
            response = connection.getresponse()
            return Reply(response.status, json.load(response))
        finally:
            connection.close()

    def all_at_once(self, orders: list[dict[str, object]]) -> list[Reply]:
        """Place all orders at the same moment, each from a thread of its own."""
        together = threading.Barrier(len(orders), timeout=PATIENCE)

        def place(wish: dict[str, object]) -> Reply:
            together.wait()
            return self.ask("POST", "/checkout", wish)

        with ThreadPoolExecutor(max_workers=len(orders)) as crowd:
            return list(crowd.map(place, orders))


@contextmanager
def serving(command: list[str], log: Path) -> Iterator[Shop]:
    """Start a server process, wait for the address that it prints, and end it afterwards."""
    with log.open("w") as complaints:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            cwd=EXAMPLES,
            env={**ENVIRONMENT, "TMPDIR": str(log.parent)},  # of a database that nobody removes
        )
    assert process.stdout is not None
    impatient = threading.Timer(PATIENCE, process.kill)
    impatient.start()
    try:
        found = (re.search(r"http://127\.0\.0\.1:(\d+)/", line) for line in process.stdout)
        address = next(filter(None, found), None)
        impatient.cancel()
        assert address is not None, log.read_text()
        yield Shop(int(address[1]))
    finally:
        impatient.cancel()
        process.kill()
        process.wait(PATIENCE)
        process.stdout.close()


def a_crowd() -> list[dict[str, object]]:
    """Return the orders of 200 users: of every four, one is refused and one finds no courier."""
    fates: list[dict[str, object]] = [{}, {"card": "declined"}, {}, {"address": "nowhere"}]
    return [
        order(f"user-{number:03}", pieces=1 + number % 5, **fates[number % 4])
        for number in range(CROWD)
    ]


def assert_everyone_got_their_own(orders: list[dict[str, object]], replies: list[Reply]) -> None:
    """Each reply has the status of its order, and nobody else's results in it."""
    for wish, (status, body) in zip(orders, replies, strict=True):
        if wish["card"] == "declined":
            assert (status, body["failed"]) == (409, "charge")
        elif wish["address"] == "nowhere":
            assert (status, body["failed"]) == (502, "book_courier")
        else:
            assert status == HTTPStatus.CREATED
            assert set(re.findall(r"user-\d+", json.dumps(body))) == {wish["user"]}
            assert body["reservation"]["pieces"] == wish["pieces"]
            assert body["parcel"]["reservation"] == body["reservation"]["id"]
    assert len({body["saga"] for _, body in replies}) == len(orders)


def assert_nothing_is_left_of_the_undone(replies: list[Reply], ledgers: dict[str, Any]) -> None:
    """Every service holds exactly the entries that were replied to those whose order is placed."""
    placed = [body for status, body in replies if status == HTTPStatus.CREATED]
    assert len(placed) == CROWD / 2
    for service, part in {
        "stock": "reservation",
        "payments": "payment",
        "parcels": "parcel",
    }.items():
        promised = sorted((body[part] for body in placed), key=by_id)
        assert sorted(ledgers[service], key=by_id) == promised


def by_id(entry: dict[str, Any]) -> str:
    """Return what to sort entries by."""
    return str(entry["id"])


@each_framework
def test_two_hundred_users_at_once_get_their_own_results(framework: str, tmp_path: Path) -> None:
    """In a server with a thread for each request, every saga sees only its own results."""
    orders = a_crowd()

    with serving(FRAMEWORKS[framework], tmp_path / "log") as shop:
        replies = shop.all_at_once(orders)
        ledgers = shop.ask("GET", "/ledgers").body

    assert_everyone_got_their_own(orders, replies)
    assert_nothing_is_left_of_the_undone(replies, ledgers)


ALL_MEET_BEFORE_THE_CHARGE = """
import importlib, sys, threading
shop = importlib.import_module(sys.argv[1])
everybody = threading.Barrier(200, timeout=30)
really_charge = shop.charge

def charge(user, card, article, pieces):
    everybody.wait()
    return really_charge(user, card, article, pieces)

def write_receipt(user):
    return {"user": user, "lines": list(write_receipt.saga_results)}

shop.charge, shop.write_receipt = charge, write_receipt
shop.main(sys.argv[2:])
"""


@each_framework
def test_sagas_that_share_a_function_cannot_see_each_other(framework: str, tmp_path: Path) -> None:
    """`function.saga_results` is a saga's own, although 200 of them are open at one moment.

    No saga goes on to the charge before all have reserved, so a view on shared results would show.
    """
    orders = a_crowd()
    module, *arguments = FRAMEWORKS[framework]
    command = ["-c", ALL_MEET_BEFORE_THE_CHARGE, Path(module).stem, *arguments]

    with serving(command, tmp_path / "log") as shop:
        replies = shop.all_at_once(orders)
        ledgers = shop.ask("GET", "/ledgers").body

    assert_everyone_got_their_own(orders, replies)
    assert_nothing_is_left_of_the_undone(replies, ledgers)
    for status, body in replies:
        if status == HTTPStatus.CREATED:
            own = [body["reservation"], body["payment"], body["parcel"]]
            assert body["receipt"]["lines"] == own
