"""The scripts of the examples, run as a reader runs them; `tests/examples` runs the projects."""

import os
import re
import subprocess
import sys

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
