"""`saga dashboard`: what its pages show, to whom, and what becomes of whatever is wrong."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import depot
import pytest
from boards import Looker, Page, hrefs, serving
from commands import Process, Say, alter, append, deaf, meanwhile, run
from depot import do, fail, undo
from recorded import begin, bodies, order, stuck
from servers.proxy import proxy
from servers.shared import Database
from world import PATIENCE, until

from py_api_saga import Retry, SagaAssembler, SagaStatus, clock, repair
from py_api_saga.cli import main
from py_api_saga.cli.commands import Project
from py_api_saga.cli.dashboard import server as server_module
from py_api_saga.cli.dashboard.server import Server
from py_api_saga.journal import PostgreSQLJournal, SQLiteJournal
from py_api_saga.journal.changes import Append
from py_api_saga.journal.holder import Holder
from py_api_saga.journal.sqlite.view import SQLiteView
from py_api_saga.pictures import board as board_module
from py_api_saga.pictures import overview
from py_api_saga.pictures.board import Board

EVIL = "<script>alert(1)</script>"


def looked(journal: Any, address: str = "", **options: Any) -> Page:
    """Look at one page."""
    with serving(journal, **options) as looker:
        return looker.get(address)


# --- what is shown --------------------------------------------------------------------------------


def test_what_needs_a_person_comes_first_with_what_to_type(journal: SQLiteJournal) -> None:
    """With the cause, since when, and the command of `saga why`; the tab says how many."""
    run(order(), journal, "fine")
    stuck(journal, "bad")

    page = looked(journal, command="saga --journal shop.db")

    assert (page.status, page.title) == (200, "(1) sagas")
    assert page.says.startswith("Sagas Needs a person: 1 stuck bad ■ STUCK depot · for 0s")
    assert "b its compensation raised OSError('no bank')" in page.says
    assert [one.text for one in page.all("code")] == ["saga --journal shop.db retry bad"]
    counts = [(link.get("href"), "".join(link.itertext())) for link in page.all("nav")[0]]
    assert counts[:2] == [("./", "2 all"), ("./?status=stuck", "1 ■ STUCK")]


def test_if_nothing_needs_a_person_that_is_said(journal: SQLiteJournal) -> None:
    """And the title has no number."""
    run(order(), journal, "fine")

    page = looked(journal)

    assert page.title == "sagas"
    assert "✓ Nothing needs a person." in page.says


def test_the_same_trouble_is_shown_once(journal: SQLiteJournal) -> None:
    """With links to all that have it; others stay apart."""
    for number in range(3):
        stuck(journal, f"bad-{number}")
    depot.behaviour["undo b"] = fail(ValueError("other"))
    depot.behaviour["c"] = fail(ValueError("no courier"))
    run(order(), journal, "other")

    page = looked(journal)

    assert [one.text for one in page.all("code")] == ["saga retry other", "saga retry bad-2"]
    assert "the same: bad-1 · bad-0 · all with OSError" in page.says
    (href,) = hrefs(page, "all with OSError")
    listed = looked(journal, href.removeprefix("./"))
    assert [one[0].text for one in listed.all("td", class_="of-id")] == ["bad-2", "bad-1", "bad-0"]


def test_what_was_left_lying_is_shown_with_what_it_waits_for(journal: SQLiteJournal) -> None:
    """Since when, how often recovery has tried it, and the command that goes on with it."""
    order().start(journal=journal, saga_id="left")
    order().start(journal=journal, saga_id="lacks")
    append(journal, '[["note",{"who":"w","did":"left","waits_for":"shop.v2:pay"}]]', None, "lacks")
    alter(journal, "UPDATE saga SET changed = changed - 600000, tries = 4")
    alter(journal, "UPDATE entry SET at = at - 600000")

    page = looked(journal)

    assert page.title == "(2) sagas"
    assert "Needs a person: 2 left lying, 2 tried in vain" in page.says
    assert "recovery has tried it 4 times, waits for shop.v2:pay" in page.says
    assert "It waits for shop.v2:pay, which the last one that looked lacked." in page.says
    assert "left lying for 10m" in page.says
    assert "saga takeover left --modules depot" in [one.text for one in page.all("code")]


def test_why_recovery_gave_up_is_shown(journal: SQLiteJournal) -> None:
    """Of what was parked no operation need be stuck."""
    order().start(journal=journal, saga_id="odd")
    append(journal, '[["parked",{"reason":"shop.gone is not there"}]]', SagaStatus.STUCK, "odd")

    assert "shop.gone is not there" in looked(journal).says


def test_what_only_tries_again_is_not_taken_for_what_runs(journal: SQLiteJournal) -> None:
    """A living process is at it, so it needs nobody yet; but it is shown, with the error."""
    again = Retry(ValueError, attempts=9)
    made = SagaAssembler.saga(name="flaky").operation((do, "a"), name="pay", retry=again)
    made.start(journal=journal, saga_id="like")
    claim = begin(journal, "tries", bodies(journal, "like")[0])
    for row in ('["started",0,"action",1,1]', '["retry",0,"action",1,1,[["V","not yet"],9.0]]'):
        journal.write(change := Append(claim, f"[{row}]", None))
        change.check()

    page = looked(journal)

    assert "Tries again: 1 saga tries ▶ RUNNING x · open for 0s" in page.says
    assert "pay V('not yet'), 1 attempt so far" in page.says
    assert page.title == "sagas"


def test_the_list_is_filtered_and_turned_by_its_address(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest first; filters stay as the pages are turned, and in each other's links."""
    monkeypatch.setattr(overview, "PAGE", 2)
    for number in range(5):
        run(order(), journal, f"x-{number}")
    run(order(), journal, "y")
    with serving(journal) as looker:

        def ids(page: Page) -> list[str]:
            return [one[0].text for one in page.all("td", class_="of-id")]

        first = looker.get("?id=x-&status=completed")
        assert ids(first) == ["x-4", "x-3"]
        older = first.links()["older"]
        assert older == "./?status=completed&id=x-&below=4"
        second = looker.get(older.removeprefix("./"))
        assert ids(second) == ["x-2", "x-1"]
        assert second.links()["newest"] == "./?status=completed&id=x-"
        third = looker.get(second.links()["older"].removeprefix("./"))
        assert ids(third) == ["x-0"]
        assert "older" not in third.links()
        assert next(one.get("href") for one in third.all("nav")[0]) == "./?id=x-"
        assert ids(looker.get("?name=nothing")) == []
        assert "There is no such saga." in looker.get("?name=nothing").says
        assert [one.get("value") for one in first.all("input", name="status")] == ["completed"]


def test_one_saga_has_a_page_of_its_own(journal: SQLiteJournal) -> None:
    """With its values only if they are asked for."""
    stuck(journal, "bad")

    page, whole = looked(journal, "saga?saga=bad"), looked(journal, "saga?saga=bad", whole=True)

    assert (page.status, page.title) == (200, "bad · stuck")
    assert "Moment by moment" in page.says
    assert "secret" not in page.html
    assert "secret" in whole.html


def test_nothing_on_record_is_markup(journal: SQLiteJournal) -> None:
    """Neither a name nor an error, on no page; and what turns a line around is spelled out."""
    depot.behaviour["undo a"] = fail(ValueError(f"{EVIL}\u202e"))
    depot.behaviour["b"] = fail(ValueError(EVIL))
    made = SagaAssembler.saga(name=EVIL)
    made.operation((do, "a"), (undo, "a"), name=EVIL).operation((do, "b"), name="b")
    run(made, journal, "evil")

    with serving(journal) as looker:
        for address in ("", "saga?saga=evil", f"?name={EVIL}", "?status=stuck"):
            page = looker.get(address)
            assert len(page.all("script")) == 1
            assert "alert(1)" in page.says
            assert "\u202e" not in page.html


def test_the_same_is_there_as_data(journal: SQLiteJournal, say: Say) -> None:
    """What `--json` prints."""
    stuck(journal, "bad")
    run(order(), journal, "fine")

    with serving(journal) as looker:
        for address, words in (
            ("api/list", ["list"]),
            ("api/list?status=stuck", ["list", "--status", "stuck"]),
            ("api/show?saga=bad", ["show", "bad"]),
            ("api/why?saga=bad", ["why", "bad"]),
            ("api/check", ["check"]),
        ):
            page = looker.get(address)
            assert page.headers["Content-Type"] == "application/json; charset=utf-8"
            shown = json.loads(page.html)
            assert shown.pop("below", None) is None
            assert shown == json.loads(say(*words, "--json")[1]), address


# --- who may look ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8790", 200),
        ("LOCALHOST", 200),
        ("[::1]:80", 200),
        ("[::1]", 200),
        ("sagas.example.org", 200),
        ("evil.example.org:8790", 403),
        ("127.0.0.1.evil.org", 403),
        ("", 403),
        ("sagas.example.org:x", 403),
    ],
)
def test_only_by_a_known_name(journal: SQLiteJournal, host: str, status: int) -> None:
    """A page elsewhere whose name means 127.0.0.1 calls by that name, and is given nothing."""
    with serving(journal, names=("sagas.example.org",)) as looker:
        assert looker.get("", Host=host).status == status


def test_every_answer_guards_itself(journal: SQLiteJournal) -> None:
    """Nobody keeps it, frames it, guesses what it is, or is told where it was."""
    with serving(journal) as looker:
        for address in ("", "nowhere", "?status=x", "saga?saga=x", "api/list", "\0"):
            said = looker.get(address.replace("\0", "%00")).headers
            assert said["Cache-Control"] == "no-store"
            assert said["X-Content-Type-Options"] == "nosniff"
            assert said["X-Frame-Options"] == "DENY"
            assert said["Referrer-Policy"] == "no-referrer"
        policy = looker.get().headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script-src 'sha256-" in policy
        assert "unsafe-eval" not in policy
        assert "script-src 'unsafe-inline'" not in policy


def test_without_act_it_is_only_looked_at(journal: SQLiteJournal) -> None:
    """Nothing is posted, nothing is asked, and no other method is known."""
    with serving(journal) as looker:
        refused = looker.post({"verb": "retry"})
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")
        assert looker.get("decide?verb=retry&saga=x").status == 404
        assert looker.get("", "DELETE").status == 501
        head = looker.get("", "HEAD")
        assert (head.status, head.html) == (200, "")
        assert int(head.headers["Content-Length"]) > 1000


# --- whatever is wrong ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "status", "says"),
    [
        ("nowhere", 404, "There is no such page"),
        ("saga?saga=unknown", 404, "there is no saga 'unknown'"),
        ("saga", 404, "there is no saga ''"),
        ("api/show?saga=unknown", 404, "there is no saga 'unknown'"),
        ("?status=broken", 400, "status: expected one of running"),
        ("?below=-1", 400, "below: expected the number of a saga"),
        ("?below=" + "9" * 30, 400, "below"),
        ("?below=²", 400, "expected 20 fields"),
        ("?name=%ff%fe", 400, "expected 20 fields in UTF-8 at most"),
        ("?name=a%00b", 400, "expected texts of 256 characters"),
        ("?name=" + "x" * 300, 400, "expected texts of 256 characters"),
        ("?" + "&".join(f"f{n}=1" for n in range(3000)), 400, "expected 4,096 characters"),
        ("?" + "&".join("a=" for n in range(1000)), 400, "expected 20 fields"),
        ("?saga=%", 200, "Sagas"),
        ("?utm_source=mail", 200, "Sagas"),
    ],
)
def test_an_address_that_makes_no_sense_is_answered_in_words(
    journal: SQLiteJournal, address: str, status: int, says: str
) -> None:
    """And what nobody here knows is left out."""
    page = looked(journal, address.replace("²", "%b2"))

    assert page.status == status
    assert says in page.says


def test_an_id_and_a_name_as_long_as_they_may_be(journal: SQLiteJournal) -> None:
    """128 and 64 characters, of all that may be in them."""
    saga_id = ("Az09_.-" * 19)[:128]
    made = SagaAssembler.saga(name="é\"<&'% " * 9).operation((do, "a"), name="a" * 64)
    run(made, journal, saga_id)

    with serving(journal) as looker:
        (row,) = looker.get().all("td", class_="of-id")
        page = looker.get(row[0].get("href"))

    assert page.status == 200
    assert page.says.startswith(saga_id)


def test_a_saga_that_cannot_be_read_does_not_keep_others_back(journal: SQLiteJournal) -> None:
    """It is shown with its fault."""
    stuck(journal, "bad")
    stuck(journal, "torn")
    alter(journal, "UPDATE entry SET body = '[1' WHERE saga = 2 AND n = 2")

    with serving(journal) as looker:
        page = looker.get()
        assert "the journal's entries cannot be read: row 2 is damaged" in page.says
        assert "saga retry bad" in page.html
        one = looker.get("saga?saga=torn")
        assert one.status == 200
        assert "the journal's entries cannot be read" in one.says


def test_a_saga_that_was_purged_meanwhile_is_said_to_be(journal: SQLiteJournal) -> None:
    """Its summary is all that there is."""
    run(order(), journal, "old")
    (seen,) = journal.select()
    repair.purge(journal, seen)

    assert "purged" in looked(journal, "saga?saga=old").says


def test_what_is_sealed_stays_so_without_its_codec(
    journal: SQLiteJournal, sealed: SQLiteJournal
) -> None:
    """With another one the page says so, and shows the types."""
    run(order(), sealed, "shut")
    del journal

    assert (
        "(sealed)"
        in looked(sealed, "saga?saga=shut", reader=SQLiteJournal(sealed.path).reader).says
    )
    wrong = SQLiteJournal(sealed.path, codec=deaf)
    page = looked(sealed, "saga?saga=shut", reader=wrong.reader, whole=True)
    assert page.status == 200
    assert "a sealed value cannot be opened" in page.says
    assert "secret" in looked(sealed, "saga?saga=shut", whole=True).says


def test_a_clock_that_was_set_back_makes_no_page_odd(journal: SQLiteJournal) -> None:
    """What seems to begin tomorrow began just now."""
    stuck(journal, "bad")
    alter(journal, "UPDATE saga SET created = created + 90000000, changed = changed + 90000000")

    with serving(journal) as looker:
        assert "depot · for 0s" in looker.get().says
        assert looker.get("saga?saga=bad").status == 200


@pytest.mark.parametrize("at", [9 * 10**18, -9 * 10**18])
def test_a_time_that_is_no_date_hides_nothing(
    journal: SQLiteJournal, say: Say, at: int, tmp_path: Path
) -> None:
    """As of a damaged row: all else is shown, by the command too."""
    run(order(), journal, "fine")
    stuck(journal, "bad")
    alter(journal, "UPDATE saga SET created = ?, changed = ? WHERE saga_id = 'fine'", at, at)
    alter(journal, "UPDATE entry SET at = ? WHERE saga = 2 AND n = 2", at)

    with serving(journal) as looker:
        for address in ("", "saga?saga=fine", "saga?saga=bad", "api/list", "api/check", "metrics"):
            page = looker.get(address)
            assert page.status == 200, (address, page.html)
        assert "b its compensation raised OSError('no bank')" in looker.get().says
    for words in (["list"], ["show", "fine"], ["show", "bad"], ["why", "bad"], ["stats"]):
        assert say(*words)[0] in {0, 4}, words
    assert say("report", "--html", str(tmp_path / "report.html"))[0] in {0, 4}


def test_who_keeps_all_others_out_is_said(journal: SQLiteJournal, monkeypatch: Any) -> None:
    """A process that hangs in the gate of a file."""
    monkeypatch.setattr(SQLiteView, "who_hangs", lambda _: Holder(4711, None, ""))

    assert "process 4711 is writing to the journal, and nobody else can" in looked(journal).says


def test_which_processes_live_may_be_unknown(journal: SQLiteJournal) -> None:
    """Where the file is gone that tells it: the page says so, and offers what makes it anew."""
    begin(journal, "driven", '[["defined",{}]]')
    Path(f"{journal.path}-owners").unlink()

    page = looked(journal)

    assert "1 that a process may drive or not: nobody can tell" in page.says


def test_a_journal_that_goes_and_comes_is_said_to(journal: SQLiteJournal, tmp_path: Path) -> None:
    """The file is moved away, another put in its place, and put back, while it is looked at."""
    run(order(), journal, "fine")
    journal.close()
    path = Path(journal.path)
    with serving(journal) as looker:
        assert looker.get().status == 200
        kept = {file: file.read_bytes() for file in tmp_path.glob("sagas.db*")}
        for file in kept:
            file.unlink()
        gone = looker.get()
        assert (gone.status, gone.title) == (503, "The journal cannot be read")
        assert "no journal" in gone.says or "there is no" in gone.says
        path.write_text("this is none of ours" * 100)
        assert looker.get().status == 503
        for file, content in kept.items():
            file.write_bytes(content)
        assert looker.get("saga?saga=fine").status == 200


def test_a_database_that_goes_and_comes_is_said_to(database: Database) -> None:
    """And the next page finds it again, on another connection."""
    with proxy(int(database.url.rpartition(":")[2].partition("/")[0])) as network:
        address = f"@127.0.0.1:{network.port}/"
        url = database.url[: database.url.rindex("@")] + address + database.url.rpartition("/")[2]
        journal = PostgreSQLJournal(url, schema=database.schema, modules=["depot"], patience=1)
        with closing(journal):
            journal.create_schema()
            run(order(), journal, "fine")
            with serving(journal) as looker:
                assert looker.get("saga?saga=fine").status == 200
                network.lose("question", 3)
                gone = looker.get("saga?saga=fine")
                assert (gone.status, gone.title) == (503, "The journal cannot be read")
                assert database.url not in gone.html
                until(lambda: looker.get("saga?saga=fine").status == 200)


def test_pages_share_a_connection_and_a_new_one_takes_its_place(database: Database) -> None:
    """Nothing is open on it between them; and whoever looks does not see that it was ended."""
    url = f"{database.url}?application_name=pages_{database.schema}"
    ours = f"FROM pg_stat_activity WHERE application_name = 'pages_{database.schema}'"
    journal = PostgreSQLJournal(url, schema=database.schema, modules=["depot"])
    with closing(journal), serving(journal) as looker:
        journal.create_schema()
        run(order(), journal, "fine")
        journal.close()
        until(lambda: not database.ask(f"SELECT pid {ours}"))
        assert looker.get().status == 200
        kept = database.ask(f"SELECT pid {ours}")
        assert len(kept) == 1
        assert looker.get("saga?saga=fine").status == 200
        assert database.ask(f"SELECT pid {ours}") == kept
        until(lambda: database.ask(f"SELECT state {ours}") == [("idle",)])

        database.ask("SELECT pg_terminate_backend(%s, 5000)", kept[0][0])
        assert looker.get("saga?saga=fine").status == 200
        assert database.ask(f"SELECT pid {ours}") not in ([], kept)
    until(lambda: not database.ask(f"SELECT pid {ours}"))


def test_a_look_at_no_tables_says_so_and_sees_them_once_they_are_there(database: Database) -> None:
    """Though the connection is kept."""
    journal = PostgreSQLJournal(database.url, schema=database.schema)
    with closing(journal), serving(journal) as looker:
        assert "there is no journal" in looker.get().says
        journal.create_schema()
        assert "Nothing needs a person" in looker.get().says


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/9.9\r\n\r\n", b"Invalid HTTP"),
        (b"nonsense\r\n\r\n", b"Bad request"),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", b"404"),
        (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", b"403"),
        (b"GET / HTTP/1.1\r\n\r\n", b"403"),
    ],
)
def test_a_request_that_makes_no_sense_is_answered_in_words(
    journal: SQLiteJournal, sent: bytes, status: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """However long it is; nobody sees a traceback, and the next one is answered."""
    with serving(journal) as looker:
        assert status in _raw(looker.port, sent)[:20]
        assert looker.get().status == 200
    assert capsys.readouterr() == ("", "")


def _raw(port: int, sent: bytes) -> bytes:
    """Send bytes, and give all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(sent)
        got = b""
        while True:
            try:
                more = connection.recv(65536)
            except ConnectionResetError:  # what it has not read was thrown away
                more = b""
            if not more:
                return got
            got += more


def test_a_request_that_never_ends_is_given_up(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if a byte comes now and then."""
    monkeypatch.setattr(server_module, "PATIENCE", 0.2)
    with serving(journal) as looker:
        assert _raw(looker.port, b"GET / HT") == b""
        with socket.create_connection(("127.0.0.1", looker.port), timeout=PATIENCE) as connection:
            until(lambda: not _is_taken(connection))
        assert looker.get().status == 200


def _is_taken(connection: socket.socket) -> bool:
    """Tell whether a byte is taken; a moment later."""
    time.sleep(0.02)
    try:
        connection.sendall(b"G")
    except OSError:  # a pipe that is broken, or a reset
        return False
    return True


def test_a_time_that_is_over_is_not_waited_for(journal: SQLiteJournal, monkeypatch: Any) -> None:
    """What is left of it may be nothing."""
    monkeypatch.setattr(server_module, "PATIENCE", -1.0)
    near, far = socket.socketpair()
    with near, far, pytest.raises(TimeoutError):
        server_module._Timely(near).readinto(bytearray(1))  # noqa: SLF001 - by itself
    del journal


def test_only_so_many_are_answered_at_once(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are turned away, so that no number of them uses up the machine."""
    monkeypatch.setattr(server_module, "AT_ONCE", 1)
    with serving(journal) as looker:
        with socket.create_connection(("127.0.0.1", looker.port), timeout=PATIENCE) as first:
            first.sendall(b"GET /")
            until(lambda: _is_turned_away(looker))
        until(lambda: not _is_turned_away(looker))


def _is_turned_away(looker: Looker) -> bool:
    return _raw(looker.port, b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n") == b""


def test_who_leaves_in_the_middle_is_nobodys_trouble(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is said of it; what should not be is said in a line."""
    with Server(0, Board(journal.reader)) as server:
        monkeypatch.setattr(server, "finish_request", lambda error, _: _raised(error))
        for error in (BrokenPipeError(), TimeoutError(), RuntimeError("odd")):
            monkeypatch.setattr(server, "shutdown_request", lambda _: None)
            server._room.acquire()  # noqa: SLF001 - as for each request
            server.process_request_thread(error, None)

    assert capsys.readouterr().err == "saga: RuntimeError('odd')\n"


def _raised(error: Any) -> None:
    raise error


def test_a_page_that_cannot_be_made_is_no_traceback(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it is: the page says that there is something, and the terminal what."""

    def reader() -> Any:
        raise ZeroDivisionError(EVIL)

    page = looked(journal, reader=reader)

    assert page.status == 500
    assert "ZeroDivisionError, which should not be" in page.says
    assert "Traceback" not in page.html
    assert EVIL not in page.html
    assert capsys.readouterr().err == f"saga: /: ZeroDivisionError({EVIL!r})\n".replace("\\'", "'")


def test_who_reads_for_too_long_is_not_waited_for(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One reads at a time, so that the log of a file can be shortened; others wait for a while."""
    monkeypatch.setattr(board_module, "_TURN", 0.05)
    begun, over = threading.Event(), threading.Event()

    def reader() -> Any:
        begun.set()
        over.wait(PATIENCE)
        return journal.reader()

    board = Board(reader)
    with meanwhile(lambda: board.answer("", "")):
        assert begun.wait(PATIENCE)
        assert board.answer("", "").status == 503
        over.set()
    assert board.answer("", "").status == 200


def test_of_those_that_have_completed_no_more_are_counted_than_are_told(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be millions of them, and the page asks every two seconds."""
    run(order(), journal, "fine")
    run(order(), journal, "fine too")
    monkeypatch.setattr(board_module, "MOST_COUNTED", 1)
    monkeypatch.setattr(overview, "MOST_COUNTED", 1)

    with serving(journal) as looker:
        assert "1+ all" in looker.get().says


def test_those_that_have_ended_are_counted_anew_after_a_while_if_they_are_many(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To count a million takes longer than the rest of a page; what is stuck is told at once."""
    monkeypatch.setattr(board_module, "_MANY", 2)
    moment = time.monotonic()
    monkeypatch.setattr(clock, "monotonic", lambda: moment)
    board = Board(journal.onlooker)

    def counts() -> list[str]:
        page = Page(200, {}, board.answer("", "").body)
        (found,) = page.all("nav", class_="counts")
        return ["".join(one.itertext()) for one in found.iter("strong")]

    run(order(), journal, "first")
    assert counts() == ["1", "0", "0", "0", "1", "0"]
    run(order(), journal, "second")
    assert counts() == ["2", "0", "0", "0", "2", "0"]
    run(order(), journal, "third")
    stuck(journal, "bad")
    begin(journal, "left")
    assert counts() == ["4", "1", "1", "0", "2", "0"]
    moment += 11
    assert counts() == ["5", "1", "1", "0", "3", "0"]


def test_a_monitor_reads_the_same_as_from_the_command(journal: SQLiteJournal, say: Say) -> None:
    """In the format of Prometheus, and as its type says."""
    stuck(journal, "bad")

    with serving(journal) as looker:
        page = looker.get("metrics")

    assert page.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert page.html == say("check", "--prometheus")[1]


@pytest.mark.parametrize(
    ("query", "shown"),
    [("status=completed&error=OSError", 0), ("error=OSError", 1), ("below=1&error=OSError", 0)],
)
def test_an_error_is_looked_for_among_what_is_stuck(
    journal: SQLiteJournal, query: str, shown: int
) -> None:
    """And nowhere else: what has ended is not read for it."""
    run(order(), journal, "fine")
    stuck(journal, "bad")

    with serving(journal) as looker:
        assert len(json.loads(looker.get(f"api/list?{query}").html)["sagas"]) == shown


def test_an_error_that_only_older_ones_have_is_found_by_going_on(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page looks into so many; it says that there are others, and leads to them."""
    monkeypatch.setattr(overview, "_SEARCHED", 2)
    stuck(journal, "old")
    for number in range(2):
        depot.behaviour.update({"c": fail(ValueError()), "undo b": fail(TimeoutError())})
        run(order(), journal, f"new-{number}")

    with serving(journal) as looker:
        page = looker.get("?status=stuck&error=OSError")
        assert "There is no such saga among the 2 that were looked into." in page.says
        older = page.links()["older"].removeprefix("./")
        assert [one[0].text for one in looker.get(older).all("td", class_="of-id")] == ["old"]
        data = json.loads(looker.get("api/list?error=OSError").html)
        assert (data["sagas"], data["more"], data["below"]) == ([], True, 2)


# --- the command ----------------------------------------------------------------------------------


def test_it_serves_until_ctrl_c(journal: SQLiteJournal, start: Callable[..., Process]) -> None:
    """It prints its address, and ends without a word."""
    stuck(journal, "bad")
    process = start("--journal", "sagas.db", "dashboard", "--port", "0")
    process.until_said("http://127.0.0.1:")
    port = int(process.said.strip().rstrip("/").rpartition(":")[2])

    page = Looker(port).get()

    assert page.title == "(1) sagas"
    assert "saga --journal sagas.db retry bad" in page.html
    process.process.send_signal(signal.SIGINT)
    assert process.end() == (130, f"http://127.0.0.1:{port}/\n")


@pytest.mark.parametrize(
    ("typed", "status", "says"),
    [
        ([], 200, ["/"]),
        (["--act"], 403, ["?token=", "  lets you in, once"]),
        (
            ["--behind-a-proxy", "--host", "Sagas.example.org"],
            200,
            ["/", "whoever the proxy lets through sees all sagas without a login"],
        ),
    ],
)
def test_it_serves_until_sigterm(
    say: Say, journal: SQLiteJournal, typed: list[str], status: int, says: list[str]
) -> None:
    """And lets the port go, so that it can begin again; it says what it is that it serves."""
    run(order(), journal, "fine")
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    got: list[Page] = []

    def look() -> None:
        until(lambda: _answers(port))
        host = "sagas.example.org" if "--host" in typed else "localhost"
        got.append(Looker(port).get(Host=host))
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    with meanwhile(look):
        ended, said = say("dashboard", "--port", str(port), *typed)

    assert (ended, got[0].status) == (0, status)
    assert said.startswith(f"http://127.0.0.1:{port}/")
    assert len(said.splitlines()) == len(says)
    assert all(words in line for words, line in zip(says, said.splitlines(), strict=True))
    assert signal.getsignal(signal.SIGTERM) is before


def _answers(port: int) -> bool:
    try:
        return Looker(port).get().status in (200, 403)
    except OSError:
        return False


def test_a_port_that_is_taken_is_said_to_be(say: Say, journal: SQLiteJournal) -> None:
    """With what to type instead."""
    del journal
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        ended, said = say("dashboard", "--port", str(port))

    assert ended == 1
    assert said == (
        f"saga: port {port} of 127.0.0.1 is taken: give another one with --port, or --port 0 for "
        "any that is free\n"
    )


def test_a_port_that_cannot_be_had_is_said_to_be(
    say: Say, journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For whatever reason."""
    del journal

    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Server, "server_bind", refused)

    assert say("dashboard", "--port", "80") == (
        1,
        "saga: port 80 of 127.0.0.1 cannot be had: Permission denied\n",
    )


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["--behind-a-proxy"], "--behind-a-proxy takes --host NAME"),
        (["--host", "x.org"], "--host goes with --behind-a-proxy"),
        (["--behind-a-proxy", "--host", "x.org", "--act"], "--act is not for many"),
        (["--host", "x.org:80"], "expected a name such as sagas.example.org"),
        (["--host", "http://x"], "expected a name such as sagas.example.org"),
        (["--port", "70000"], "expected the number of a port, 0 to 65535"),
        (["--port", "²"], "expected the number of a port"),
    ],
)
def test_what_does_not_go_together_is_refused(
    say: Say, journal: SQLiteJournal, typed: list[str], says: str
) -> None:
    """As wrong usage, before anything is served."""
    del journal
    ended, said = say("dashboard", *typed)

    assert ended == 2
    assert says in said


def test_without_a_journal_it_does_not_begin(say: Say, tmp_path: Path) -> None:
    """Nor is one made."""
    ended, said = say("dashboard", "--journal", str(tmp_path / "none.db"))

    assert ended == 1
    assert "none.db" in said
    assert not list(tmp_path.iterdir())


def test_in_a_project_commands_begin_as_they_do_there(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not with the journal that the project names, and with what runs a script."""
    stuck(journal, "bad")
    for prog, begins in (("manage.py saga", "python manage.py saga"), ("flask saga", "flask saga")):
        project = Project(prog, journal.path, (), "")
        assert main(["why", "bad", "--json"], project) == 0
        why = json.loads(capsys.readouterr().out)
        assert why["remedies"][0]["command"] == f"{begins} retry bad"
        assert main(["why", "bad", "--journal", f"{journal.path}"], project) == 0
        assert f"  {begins} retry bad\n" in capsys.readouterr().out
