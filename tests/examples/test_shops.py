"""Each example project, started by its command: an order is placed, another one is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .shops import EXAMPLES, ON_ENGINES, PATIENCE, SHOPS, WAITING, opened, page_of, until


@pytest.mark.parametrize("name", SHOPS)
def test_a_shop_serves_by_the_command_of_its_page(
    name: str, whole_database: str, tmp_path: Path
) -> None:
    """A real server with its worker: what is refused leaves nothing, and both have a page."""
    with opened(name, whole_database, tmp_path / "log") as shop:
        assert shop.check_out("1") == 201
        assert shop.check_out("1") == 201  # the same button once more
        assert shop.check_out("2", card="declined") == 409
        placed, refused, ledger = shop.page("1"), shop.page("2"), shop.ledger()

    assert (placed["status"], placed["says"]) == ("placed", "it is on its way")
    assert (refused["status"], refused["payment"]) == ("failed", None)
    assert [one["id"] for one in ledger["charges"].values()] == [placed["payment"]]
    assert len(ledger["reservations"]) == 1
    assert (tmp_path / "log").read_text() == ""


def test_a_shop_waits_for_its_bank_whatever_is_killed_meanwhile(tmp_path: Path) -> None:
    """The bank tells it by a signed request, which it sends until it is heard; a worker goes on."""
    with opened(WAITING, "", tmp_path / "log") as shop:
        assert shop.check_out("1") == 202
        assert shop.page("1")["says"] == "please confirm the payment"
        [payment] = shop.ledger()["payments"].values()

        killed = shop.kill()
        shop.confirm(payment["id"])
        until(lambda: shop.is_back(killed))
        until(lambda: page_of(shop, "1")["says"] == "it is on its way")

        assert shop.check_out("1") == 201
        ledger = shop.ledger()

    asked = [one.partition(" ")[0] for one in ledger["asked"]]
    assert asked == ["reservations", "payments", "parcels"]
    [parcel] = ledger["parcels"].values()
    assert parcel["payment"] == payment["id"]


@pytest.mark.parametrize("name", [*SHOPS, WAITING, ON_ENGINES])
def test_the_tests_of_a_shop_pass(name: str, whole_database: str) -> None:
    """As a user runs them."""
    command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-c", os.devnull]
    run = subprocess.run(
        [sys.executable, *command, "--rootdir", str(EXAMPLES), name],
        cwd=EXAMPLES,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("COV")},
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), os.environ.get("PYTHONPATH", "")]),
            "DATABASE_URL": whole_database,
            "SERVICES": "http://services.example",
            "SHOP_DATABASE": "sqlite://",
        },
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stdout
