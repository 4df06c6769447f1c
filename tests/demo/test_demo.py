"""The demo's parts: services that act once, ledgers that tell, a timeline that reads."""

import http.client
import inspect
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from py_api_saga import Event, SagaException, SagaStatus, cli, testing
from py_api_saga.demo import acts, casualty, checkout, crash, ledgers, services, shop
from py_api_saga.demo.ledgers import Line
from py_api_saga.demo.timeline import Screen, Timeline, wants_colour

MUGS = {"order": "order-1", "item": "mug", "quantity": 2}
MONEY = {"order": "order-1", "cents": 2400, "card": "4242 4242 4242 4242"}
RIDE = {"order": "order-1", "shelf": "B4", "city": "Lisbon"}
UNDO = {"order": "order-1", "undoes": "key-1"}


@pytest.fixture(autouse=True)
def _services_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Services run by their path, where coverage does not see them: it need not load there."""
    for name in [name for name in os.environ if name.startswith("COVERAGE_PROCESS")]:
        monkeypatch.delenv(name)


class Served:
    """A service that runs in this process, on a real port, with a real ledger."""

    def __init__(self, name: str, path: Path) -> None:
        self.path = path
        self.ledger = services.Ledger(path)
        self.server = services.Server(services.SERVICES[name], self.ledger, 0.0)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()
        self.ledger.close()

    def ask(self, path: str, key: str | None, body: object) -> tuple[int, Any]:
        """Send a request; returns the status and the JSON of the answer."""
        text = body if isinstance(body, str) else json.dumps(body)
        headers = {} if key is None else {"Idempotency-Key": key}
        with closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
            connection.request("POST", path, text, headers)
            response = connection.getresponse()
            return response.status, json.load(response)

    def lines(self) -> list[Line]:
        """What the ledger says."""
        return ledgers.read(self.path)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Served]]:
    """Start a service by its name."""
    started: list[Served] = []

    def start(name: str) -> Served:
        started.append(Served(name, tmp_path / f"{name}.db"))
        return started[-1]

    yield start
    for served in started:
        served.close()


# The services


@pytest.mark.parametrize(
    ("name", "path", "body"),
    [("stock", "/reserve", MUGS), ("payment", "/charge", MONEY), ("courier", "/book", RIDE)],
)
def test_a_service_that_is_asked_twice_under_one_key_acts_once(
    serve: Callable[[str], Served], name: str, path: str, body: object
) -> None:
    """The second answer is the first one, word for word, and the ledger has one effect."""
    service = serve(name)

    first, second = service.ask(path, "key-1", body), service.ask(path, "key-1", body)

    assert first == second
    assert first[0] == 201
    assert len(service.lines()) == 1


def test_requests_under_two_keys_are_two_effects(serve: Callable[[str], Served]) -> None:
    """The key, not the content, says whether it is the same request."""
    stock = serve("stock")

    stock.ask("/reserve", "key-1", MUGS)
    stock.ask("/reserve", "key-2", MUGS)

    assert [line.effect for line in stock.lines()] == ["2 x mug reserved"] * 2


def test_an_undo_counts_once_even_under_another_key(serve: Callable[[str], Served]) -> None:
    """What is undone is named by the key of its action: there is nothing to undo a second time."""
    payment = serve("payment")
    payment.ask("/charge", "key-1", MONEY)

    answers = [payment.ask("/refund", key, UNDO) for key in ("undo-1", "undo-1", "undo-2")]

    assert answers == [(200, {"undone": True})] * 3
    assert payment.lines() == [Line("order-1", "24.00 charged", "refunded")]


def test_a_disputed_charge_is_refunded_to_a_person_only(serve: Callable[[str], Served]) -> None:
    """Somebody has called the bank, and says who."""
    payment = serve("payment")
    card = {"card": services.DISPUTED_CARD}
    payment.ask("/charge", "key-1", MONEY | card)

    assert payment.ask("/refund", "undo-1", UNDO | card) == (409, {"error": "disputed"})
    assert payment.ask("/refund", "undo-2", UNDO | card | {"by": "Ada"})[0] == 200
    assert payment.lines() == [Line("order-1", "24.00 charged", "refunded")]


def test_an_action_that_comes_after_its_undo_is_refused(serve: Callable[[str], Served]) -> None:
    """A charge that was slow on its way has no effect once it was called off."""
    payment = serve("payment")
    payment.ask("/refund", "undo-1", UNDO)

    answers = [payment.ask("/charge", "key-1", MONEY) for _ in range(2)]

    assert answers == [(409, {"error": "it was undone before it arrived"})] * 2
    assert payment.lines() == [Line("order-1", "", "came first")]


def test_a_declined_card_stays_declined_under_its_key(serve: Callable[[str], Served]) -> None:
    """A decision is an answer like another, so it is recorded; nothing is charged."""
    payment = serve("payment")

    declined = payment.ask("/charge", "key-1", {**MONEY, "card": services.DECLINED_CARD})
    again = payment.ask("/charge", "key-1", MONEY)

    assert declined == again == (402, {"error": "card declined"})
    assert payment.lines() == []


def test_a_service_that_was_unavailable_may_help_later(serve: Callable[[str], Served]) -> None:
    """503 decides nothing: the same key is free to succeed."""
    courier = serve("courier")

    busy = courier.ask("/book", "key-1", {**RIDE, "city": services.UNREACHABLE_CITY})
    later = courier.ask("/book", "key-1", RIDE)

    assert busy == (503, {"error": "no driver"})
    assert later == (201, {"parcel": "parcel-order-1"})


def test_a_lost_answer_is_given_again(serve: Callable[[str], Served]) -> None:
    """The card is charged although the line broke; asking again charges nothing more."""
    payment = serve("payment")
    body = {**MONEY, "card": services.LOST_ANSWER_CARD}

    with pytest.raises(http.client.RemoteDisconnected):
        payment.ask("/charge", "key-1", body)

    assert len(payment.lines()) == 1
    assert payment.ask("/charge", "key-1", body) == (201, {"receipt": "receipt-order-1"})
    assert len(payment.lines()) == 1


@pytest.mark.parametrize(
    ("path", "key", "body", "status"),
    [
        ("/reserve", None, MUGS, 400),
        ("/nothing", "key-1", MUGS, 404),
        ("/reserve", "key-1", "{", 400),
        ("/reserve", "key-1", [], 400),
        ("/reserve", "key-1", {}, 400),
        ("/release", "key-1", {}, 400),
    ],
)
def test_a_request_that_makes_no_sense_changes_nothing(
    serve: Callable[[str], Served], path: str, key: str | None, body: object, status: int
) -> None:
    """It is refused in words, and the service is there for the next one."""
    stock = serve("stock")

    answered, text = stock.ask(path, key, body)

    assert answered == status
    assert text["error"]
    assert stock.lines() == []
    assert stock.ask("/reserve", "key-1", MUGS)[0] == 201


def test_a_caller_that_gives_up_does_no_harm(
    serve: Callable[[str], Served], capfd: pytest.CaptureFixture[str]
) -> None:
    """The effect is recorded, and the service complains to nobody."""
    stock = serve("stock")
    stock.server.pace = 0.05
    body = json.dumps(MUGS)
    with socket.create_connection(("127.0.0.1", stock.server.server_port)) as caller:
        caller.sendall(
            f"POST /reserve HTTP/1.0\r\nIdempotency-Key: key-1\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        # Reset the connection instead of ending it in good order.
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    assert stock.ask("/reserve", "key-1", MUGS)[0] == 201
    assert len(stock.lines()) == 1
    assert capfd.readouterr() == ("", "")


def test_a_service_ends_with_whoever_started_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It serves as long as its standard input is open, whatever is written there."""
    reading, writing = os.pipe()
    os.write(writing, b"still here\n")
    os.close(writing)

    assert services.main(["stock", str(tmp_path / "stock.db"), "0"], reading) == 0

    os.close(reading)
    port = int(capsys.readouterr().out)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


# The shop


def test_an_open_shop_is_three_processes_and_a_closed_one_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each listens on a port of its own while the shop is open; then nothing of them is left."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    with shop.open_shop(0.0) as opened:
        addresses = [opened.shop.stock, opened.shop.payment, opened.shop.courier]
        for address in addresses:
            host, port = address.split(":")
            socket.create_connection((host, int(port))).close()
        assert len({os.getpid(), *opened.pids.values()}) == 4
        # Ctrl-C goes to a process group; an interrupted saga needs the services for its undo.
        assert os.getpgrp() not in map(os.getpgid, opened.pids.values())
        assert all(path.is_file() for path in opened.ledgers.values())

    for address in addresses:
        host, port = address.split(":")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)))
    assert list(tmp_path.iterdir()) == []


def test_a_shop_that_cannot_open_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo says which service did not start and ends with status 1."""
    broken = tmp_path / "broken.py"
    broken.write_text("")
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(services, "__file__", str(broken))
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    assert acts.run(0.0) == 1

    assert capsys.readouterr() == ("", "saga demo: the stock service did not start\n")
    assert list(folder.iterdir()) == []


def test_a_service_that_does_not_listen_is_killed() -> None:
    """Whoever does not end when its standard input ends is ended by force."""
    deaf = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], text=True)

    shop.end([deaf], patience=0.05)

    assert deaf.returncode == -signal.SIGKILL


# The ledgers


def test_a_table_has_a_line_for_each_entry_in_columns() -> None:
    """An effect and what undid it are side by side; what is absent is blank."""
    lines = [Line("order-1", "2 x mug reserved", ""), Line("order-22", "none", "released")]

    assert list(ledgers.table(lines)) == [
        "order      effect             undo",
        "order-1    2 x mug reserved",
        "order-22   none               released",
    ]
    assert list(ledgers.table([])) == ["order   effect   undo"]


DONE, UNDONE = Line("order-1", "done", ""), Line("order-2", "done", "undone")


@pytest.mark.parametrize(
    ("lines", "faults"),
    [
        ([DONE, UNDONE], []),
        ([DONE, Line("order-2", "", "came first")], []),
        ([DONE, Line("order-2", "done", "")], ["order-2 stands 1 times in stock instead of 0"]),
        ([DONE, DONE], ["order-1 stands 2 times in stock instead of 1"]),
        ([], ["order-1 stands 0 times in stock instead of 1"]),
        ([UNDONE, DONE._replace(undo="undone")], ["order-1 stands 0 times in stock instead of 1"]),
    ],
)
def test_ledgers_are_right_if_exactly_the_completed_orders_stand(
    lines: list[Line], faults: list[str]
) -> None:
    """A leftover, an effect too many and an effect too few are each named."""
    assert ledgers.faults({"stock": lines}, ["order-1"]) == faults


# The timeline


def test_the_timeline_says_what_each_event_means() -> None:
    """A line for whatever ended, with its seconds since the saga began; none for a beginning."""
    screen = io.StringIO()
    ticks = iter(range(100))
    timeline = Timeline(
        Screen(screen, colour=False), {"charge": "refund"}, clock=lambda: float(next(ticks))
    )
    error = OSError("no line")

    for event in (
        Event("saga started", "id"),
        Event("operation started", "id", operation="charge"),
        Event("attempt failed", "id", operation="charge", error=ConnectionResetError(), wait=0.1),
        Event("succeeded", "id", operation="charge"),
        Event("failed", "id", operation="charge", error=error),
        Event("in doubt", "id", operation="charge", error=error),
        Event("compensating", "id", operation="charge"),
        Event("compensated", "id", operation="charge"),
        Event("stuck", "id", operation="charge", error=KeyboardInterrupt()),
        Event("landed late", "id", operation="label"),
        Event("saga ended", "id", outcome=SagaStatus.COMPLETED),
        Event("saga ended", "id", outcome=SagaStatus.COMPENSATED),
        Event("saga ended", "id", outcome=SagaStatus.STUCK),
    ):
        timeline(event)

    assert screen.getvalue().splitlines() == [
        "   1.00 to 2.00 s   charge   the answer is lost; asking again in 0.1 s",
        "   1.00 to 3.00 s   charge   done",
        "   1.00 to 4.00 s   charge   failed: no line",
        "   1.00 to 5.00 s   charge   nobody knows whether it happened",
        "   6.00 to 7.00 s   refund   undid charge",
        "   6.00 to 8.00 s   refund   STUCK: KeyboardInterrupt",
        "   9.00 to 9.00 s   label    happened after all",
        "   0.00 to 10.00 s   saga     completed",
        "   0.00 to 11.00 s   saga     compensated: what was done is undone",
        "   0.00 to 12.00 s   saga     STUCK: a person must look",
    ]


def test_the_timeline_passes_over_what_it_does_not_know() -> None:
    """An event of a later version, or one without what it should hold, writes nothing."""
    screen = io.StringIO()
    timeline = Timeline(Screen(screen, colour=False), {})

    timeline(Event("saga ended", "id"))
    timeline(Event("dreaming", "id", operation="charge"))  # type: ignore[arg-type]

    assert screen.getvalue() == ""


def test_a_reader_that_left_does_not_stop_a_saga() -> None:
    """Nobody sees the timeline any more, and the saga is not told about it."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    timeline = Timeline(Screen(stream, colour=False), {})

    timeline(Event("saga ended", "id", outcome=SagaStatus.COMPLETED))

    with pytest.raises(BrokenPipeError):
        stream.close()


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (_Terminal(), {"TERM": "xterm"}, True),
        (_Terminal(), {"TERM": "xterm", "NO_COLOR": ""}, True),
        (_Terminal(), {"TERM": "xterm", "NO_COLOR": "1"}, False),
        (_Terminal(), {"TERM": "dumb"}, False),
        (io.StringIO(), {"TERM": "xterm"}, False),
    ],
)
def test_colour_is_for_terminals_whose_user_has_not_declined_it(
    stream: io.StringIO, environment: dict[str, str], *, coloured: bool
) -> None:
    """A pipe, a dumb terminal and NO_COLOR get plain text."""
    assert wants_colour(stream, environment) is coloured


def test_painted_text_is_the_text_between_two_codes() -> None:
    """With colour the codes are there, and without it the text is left alone."""
    assert Screen(io.StringIO(), colour=True).paint("done", "green") == "\x1b[32mdone\x1b[0m"
    assert Screen(io.StringIO(), colour=False).paint("done", "green") == "done"


# The checkout

ORDER = checkout.Order("order-1", "mug", 2, 2400, "4242 4242 4242 4242", "Lisbon")


def test_an_undo_names_its_action_and_may_come_first(serve: Callable[[str], Served]) -> None:
    """A booking that nobody knows anything of is cancelled, and refused when it arrives."""
    courier = serve("courier")
    shops = checkout.Shop("nowhere", "nowhere", courier.address)

    with testing.operation(idempotency_key="undo-1", action_key="key-1"):
        checkout.cancel(shops, ORDER)
    with testing.operation(idempotency_key="key-1"), pytest.raises(checkout.Refused, match="409"):
        checkout.book(shops, ORDER, "B4")

    assert courier.lines() == [Line("order-1", "", "came first")]


def test_nothing_is_sent_before_it_is_paid(serve: Callable[[str], Served]) -> None:
    """All at once, the courier waits for a slow payment service that then says no."""
    stock, payment, courier = serve("stock"), serve("payment"), serve("courier")
    payment.server.pace = 0.1
    shops = checkout.Shop(stock.address, payment.address, courier.address)
    order = replace(ORDER, card=services.DECLINED_CARD)

    with pytest.raises(SagaException) as caught:
        checkout.checkout(shops, order, lambda _: None).choreography_execute()

    assert caught.value.operation_name == "charge"
    assert courier.lines() == payment.lines() == []
    assert stock.lines() == [Line("order-1", "2 x mug reserved", "released")]


# The acts


def interrupt(*_: object) -> Any:
    """Stand for something in whose middle somebody presses Ctrl-C."""
    raise KeyboardInterrupt


def test_the_demo_proves_that_nothing_is_left_over(capsys: pytest.CaptureFixture[str]) -> None:
    """All eight orders end as they should, the last line sums them up, and the status is 0."""
    assert cli.main(["demo", "--pace", "0"]) == 0

    out = capsys.readouterr().out
    assert "WRONG" not in out
    assert "order-7: COMPLETED" in out
    assert "order-8: COMPENSATED" in out
    assert out.splitlines()[-1] == (
        "8 orders: 4 kept (1 after kill -9), 4 undone (1 by hand). Nothing is left over."
    )


def test_the_demo_shows_its_saga_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything runs: the eight lines as they are in the code, which are the saga."""
    monkeypatch.setattr(acts, "_play", interrupt)

    assert acts.run(0.0) == 130

    title, _, blank, *shown, _, _, _, _ = capsys.readouterr().out.splitlines()
    assert title == "saga demo: three services, one saga, 8 orders"
    assert blank == ""
    assert [line.strip() for line in shown] == [
        'SagaAssembler.saga(name="checkout", retry=again, observers=[observer])',
        ".operation((reserve, shop, order), (release, shop, order))",
        ".operation((charge, shop, order), (refund, shop, order))",
        ".operation(",
        '(book, shop, order, result_of("reserve")["shelf"]),',
        "(cancel, shop, order),",
        'after=["charge"],',
        ")",
        "# py_api_saga/demo/checkout.py",
    ]
    assert max(map(len, shown)) <= 80


def test_without_sources_the_demo_says_where_its_saga_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A frozen program has none."""

    def getsource(_: object) -> str:
        raise OSError("could not get source code")

    monkeypatch.setattr(inspect, "getsource", getsource)
    monkeypatch.setattr(acts, "_play", interrupt)

    assert acts.run(0.0) == 130

    assert capsys.readouterr().out.splitlines()[3:5] == ["   # py_api_saga/demo/checkout.py", ""]


def test_the_demo_fails_if_something_is_left_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A refund that refunds nothing is found in the ledger, however well the saga speaks of it."""
    monkeypatch.setattr(checkout, "refund", lambda *_: None)
    monkeypatch.setattr(acts, "ACTS", acts.ACTS[2:3])
    monkeypatch.setattr(crash, "play_killed", lambda *_: True)
    monkeypatch.setattr(crash, "play_stuck", lambda *_: True)

    assert acts.run(0.0) == 1

    out = capsys.readouterr().out
    assert "compensated: what was done is undone" in out
    assert "WRONG: order-1 stands 1 times in payment instead of 0" in out
    assert out.splitlines()[-1] == (
        # the order that recovery was to finish was never made, and stands in no ledger
        "3 orders: 1 kept (1 after kill -9), 2 undone (1 by hand). WRONG: 4."
    )


def test_the_demo_fails_if_a_command_says_something_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the second act shows is checked, not only shown."""
    monkeypatch.setattr(acts, "ACTS", ())
    monkeypatch.setattr(crash, "play_killed", lambda *_: True)
    monkeypatch.setattr(crash, "_NEEDS_ATTENTION", 0)

    assert acts.run(0.0) == 1

    assert capsys.readouterr().out.splitlines()[-1].startswith("2 orders: 1 kept")


def test_a_casualty_that_nobody_kills_finishes_its_order(
    serve: Callable[[str], Served], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says when each call begins."""
    stock, payment, courier = map(serve, ("stock", "payment", "courier"))
    shops = checkout.Shop(stock.address, payment.address, courier.address)
    arguments = [json.dumps(asdict(ORDER)), json.dumps(asdict(shops)), "plain"]

    assert casualty.main([str(tmp_path / "sagas.db"), *arguments]) == 0

    out = capsys.readouterr().out.splitlines()
    assert [line for line in out if line.startswith(casualty.BEGINS)] == [
        "begins reserve",
        "begins charge",
        "begins book",
    ]
    assert courier.lines()


def test_an_act_that_never_came_to_its_kill_shows_all_that_was_said(
    serve: Callable[[str], Served], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A casualty that ends by itself ends the act, and recovery finds nothing to do."""
    stock, payment, courier = map(serve, ("stock", "payment", "courier"))
    shops = checkout.Shop(stock.address, payment.address, courier.address)
    monkeypatch.setattr(casualty, "BEGINS", "never said")
    out = io.StringIO()

    screen = Screen(out, colour=False)
    assert crash.play_killed(screen, ORDER, shops, tmp_path / "sagas.db", 0.0)

    assert "begins charge" in out.getvalue()
    assert "kill -9" not in out.getvalue()
    assert courier.lines()


@pytest.mark.usefixtures("hears_hangups")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_demo_by_an_exception(number: int) -> None:
    """Once; a second one does not disturb the cleaning up. Afterwards all is as before."""
    before = signal.getsignal(number)

    with acts.ending_on_signals():
        with pytest.raises(SystemExit) as left:
            signal.raise_signal(number)
        signal.raise_signal(number)

    assert left.value.code == 128 + number
    assert signal.getsignal(number) == before


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    """`nohup saga demo` outlives its terminal."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with acts.ending_on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_ends_the_demo_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The status is 130, as a shell expects after Ctrl-C, and a sentence says what was done."""
    monkeypatch.setattr(acts, "checkout", interrupt)

    assert acts.run(0.0) == 130

    assert "services ended, ledgers removed" in capsys.readouterr().err
