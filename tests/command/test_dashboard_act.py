"""`saga dashboard --act`: what can be decided on the pages, and by whom alone."""

from __future__ import annotations

import getpass
import re
import socket
import threading
from collections.abc import Callable
from email.message import Message
from typing import Any

import depot
import pytest
from boards import Looker, Page, deciding, hrefs
from commands import Process, Say, alter, notes, remedies, run, stuck_forward
from depot import do, fail, undo
from pending import HOUR, KEY, pass_by, pending, undo_pending
from recorded import chain, order, status, stuck
from world import PATIENCE

from py_api_saga import JournalError, SagaAssembler, SagaStatus, SagaStuck, answer, recover, repair
from py_api_saga.cli.dashboard import deciding as deciding_module
from py_api_saga.cli.dashboard.answering import Request, answered
from py_api_saga.cli.dashboard.guarding import LOOPBACK, Lock
from py_api_saga.journal import SQLiteJournal
from py_api_saga.journal.sqlite.view import SQLiteView
from py_api_saga.pictures import decisions
from py_api_saga.pictures.board import Board


def opener(journal: SQLiteJournal) -> Callable[[], SQLiteJournal]:
    """Open a journal to write, as the command does: without modules."""
    return lambda: SQLiteJournal(journal.path, codec=journal.codec)


def board(journal: SQLiteJournal) -> Any:
    """Serve the pages to somebody who decides."""
    return deciding(journal, opener(journal))


def decided(looker: Looker, href: str, **more: str) -> Page:
    """Follow a link to what is to be confirmed, and confirm it."""
    return looker.post({**looker.get(href).form(), "note": "the bank is back", **more})


# --- who is let in --------------------------------------------------------------------------------


def test_without_the_cookie_everything_is_refused(journal: SQLiteJournal) -> None:
    """Whatever is asked: every user of the machine reaches the port."""
    stuck(journal)
    with board(journal) as looker:
        other = Looker(looker.port, looker.home)
        for address in (
            "",
            "saga?saga=x",
            "api/list",
            "decide?saga=x&verb=retry",
            "metrics",
            "?token=x",
        ):
            assert other.get(address).status == 403, address
        assert other.post({"verb": "retry"}).status == 403
        other.cookie = "saga=guessed"
        assert other.get().status == 403
        other.cookie = 'saga="; =; saga'
        assert other.get().status == 403
        other.cookie = f"a/b=of another server; {looker.cookie}"
        assert other.get().status == 200
        other.cookie, other.home = looker.cookie, "/"
        assert other.get().status == 403
        assert "open the address that `saga dashboard --act` has printed" in other.get().html
        assert looker.get().status == 200


def test_the_address_lets_in_once_and_there_is_another(journal: SQLiteJournal) -> None:
    """What is left in a history or a log opens nothing; the cookie is for these pages alone."""
    with board(journal) as looker:
        server_lock = _lock(looker)
        address = server_lock.address.removeprefix(server_lock.place)
        told: list[str] = []
        server_lock.tell = lambda: told.append(server_lock.address)
        other = Looker(looker.port, looker.home)
        assert other.get(address, "HEAD").status == 403  # as what looks before somebody clicks

        first = other.get(address)

        assert (first.status, first.headers["Location"]) == (303, "./")
        assert other.get(address).status == 403
        assert told == [server_lock.address]
        assert not told[0].endswith(address)
        cookie = first.headers["Set-Cookie"]
        assert cookie.endswith(f"; Path={server_lock.place}; HttpOnly; SameSite=Strict")
        assert first.headers["Referrer-Policy"] == "no-referrer"


def _lock(looker: Looker) -> Lock:
    assert looker.acts is not None
    return looker.acts.lock


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://evil.example.org"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "evil.example.org"}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Length": "x"}, 411),
        ({"Content_Length": "999999999999"}, 413),
    ],
)
def test_only_a_form_of_these_pages_is_taken(
    journal: SQLiteJournal, headers: dict[str, str], status: int
) -> None:
    """Not what a page elsewhere sends, though the browser adds the cookie."""
    stuck(journal)
    with board(journal) as looker:
        form = looker.get("decide?saga=x&verb=retry").form()
        assert looker.post({**form, "note": "why"}, **headers).status == status
        assert looker.post({**form, "note": "why", "token": "guessed"}).status == 403
        assert looker.post({**form, "note": "why", "token": "é"}).status == 403
        assert looker.post({**form, "note": "why"}, "nowhere").status == 404
    assert notes(journal) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"note": " "}, "note: expected why, in 1 to 2,000 characters"),
        ({"note": "x" * 2001}, "note: expected why"),
        ({"verb": "recover"}, "expected a decision about 1 to 500 sagas"),
        ({"said": "broken"}, "said: expected the status of an operation"),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_in_words(
    journal: SQLiteJournal, change: dict[str, str], says: str
) -> None:
    """A browser sends none of these, but whoever has the cookie may."""
    stuck(journal)
    with board(journal) as looker:
        form = looker.get("decide?saga=x&verb=retry").form()
        page = looker.post({**form, "note": "why", **change})
        assert page.status == 400
        assert says in page.says
        assert looker.post([("a", "b")] * 1000).status == 400
    assert notes(journal) == []


def test_a_form_of_which_the_rest_never_comes_is_given_up(
    journal: SQLiteJournal, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words; it is nobody's mistake here, so the terminal says nothing, nor the address."""
    headers = Message()
    headers["Host"] = "localhost"
    headers["Origin"] = "http://localhost"
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    headers["Content-Length"] = "9999"
    with board(journal) as looker:
        acts = looker.acts
        assert acts is not None
        headers["Cookie"] = looker.cookie
        request = Request("POST", f"{acts.lock.place}decide", headers, never)
        answer = answered(request, Board(journal.reader), LOOPBACK, acts)
    assert (answer.status, answer.body) == (408, "expected all of the form by now\n")
    assert capsys.readouterr().err == ""


def never(size: int) -> bytes:
    """Read so many bytes that do not come in time."""
    del size
    raise TimeoutError


# --- what is decided ------------------------------------------------------------------------------


def test_a_decision_is_confirmed_and_written_down(journal: SQLiteJournal) -> None:
    """With who and why, as the command writes it; nothing is called before somebody recovers."""
    stuck(journal)
    called = [*depot.log]
    with board(journal) as looker:
        page = looker.get("saga?saga=x")
        (href,) = hrefs(page, "Try again")
        asked = looker.get(href)
        assert "It calls once more what is stuck, so that it is undone after all." in asked.says
        assert [one.text for one in asked.all("code")] == ["saga retry x"]
        assert "Write it down as ada@here" in asked.says
        assert [one.get("required") for one in asked.all("textarea", name="note")] == [""]

        led = decided(looker, href)

        assert (led.status, led.headers["Location"]) == (303, "saga?saga=x")
        assert "ada@here decided: retry: the bank is back" in looker.get("saga?saga=x").says
    assert notes(journal) == [{"who": "ada@here", "why": "the bank is back", "did": "retry"}]
    assert depot.log == called
    assert [one.outcome for one in recover(journal)] == [SagaStatus.COMPENSATED]


def test_exactly_what_the_machine_accepts_is_offered(journal: SQLiteJournal, say: Say) -> None:
    """Of what `saga why` lists; what would import code is left to the command."""
    stuck(journal)
    run(order(), journal, "fine")
    with board(journal) as looker:
        page = looker.get("saga?saga=x")
        offered = [one for one in page.all("a") if one.get("class") == "act"]
        typed = remedies(say, "why", "x")
        assert (
            len(offered) == len([one for one in typed if " takeover " not in one]) == len(typed) - 1
        )
        for link in offered:
            asked = looker.get(link.get("href"))
            assert asked.status == 200
            assert next(one.text for one in asked.all("code")) in typed
        for address in (
            "verb=takeover",
            "verb=compensate",
            "verb=cancel",
            "verb=",
            "verb=resolve&operation=a&said=failed",
        ):
            refused = looker.get(f"decide?saga=x&{address}")
            assert (refused.status, "cannot be decided" in refused.says) == (409, True)
        assert looker.get("decide?saga=fine&verb=retry").status == 409
        assert looker.get("decide?saga=none&verb=retry").status == 404
        assert looker.get("decide?saga=x&verb=resolve&said=odd").status == 400
        assert not [
            one for one in looker.get("saga?saga=fine").all("a") if one.get("class") == "act"
        ]


@pytest.mark.parametrize(
    ("said", "more", "stands"),
    [
        ("compensated", {}, SagaStatus.COMPENSATED),
        ("skipped", {}, SagaStatus.COMPENSATED),
        ("failed", {}, SagaStatus.COMPENSATED),
        ("succeeded", {"result": '"B"'}, SagaStatus.COMPENSATING),
    ],
)
def test_what_came_of_an_operation_can_be_said(
    journal: SQLiteJournal, said: str, more: dict[str, str], stands: SagaStatus
) -> None:
    """With what it returned, as plain JSON."""
    stuck(journal)
    with board(journal) as looker:
        led = decided(looker, f"decide?saga=x&verb=resolve&operation=b&said={said}", **more)
    assert led.status == 303
    assert status(journal) is stands


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ("{", "what it returned: "),
        ('{"$dataclass":["shop:Order",{}]}', "a value of a type of its own takes the command"),
        ("[" * 10_000, "what it returned: "),
    ],
)
def test_what_it_returned_is_read_without_importing_anything(
    journal: SQLiteJournal, result: str, says: str
) -> None:
    """So a type of the user's own is left to the command."""
    stuck(journal)
    with board(journal) as looker:
        page = decided(
            looker, "decide?saga=x&verb=resolve&operation=b&said=succeeded", result=result
        )
    assert page.status == 409
    assert says in page.says
    assert notes(journal) == []


def test_what_is_sealed_is_not_resolved_without_its_codec(
    journal: SQLiteJournal, sealed: SQLiteJournal
) -> None:
    """What it returned could not be sealed as the rest is."""
    stuck(sealed)
    with deciding(journal, opener(journal)) as looker:
        page = decided(looker, "decide?saga=x&verb=resolve&operation=b&said=succeeded", result="1")
        assert "its values are sealed: give the codec" in page.says
    with deciding(sealed, opener(sealed)) as looker:
        page = decided(
            looker, "decide?saga=x&verb=resolve&operation=b&said=succeeded", result='"B"'
        )
        assert page.status == 303


def test_an_open_saga_that_nobody_drives_can_be_undone(journal: SQLiteJournal) -> None:
    """And one that is stuck before its pivot can be given up."""
    order().start(journal=journal, saga_id="open")
    with board(journal) as looker:
        assert decided(looker, "decide?saga=open&verb=cancel").status == 303
        assert status(journal, "open") is SagaStatus.COMPENSATED
    stuck_forward(journal, "past")
    with board(journal) as looker:
        assert looker.get("decide?saga=past&verb=compensate").status == 409
        led = decided(looker, "decide?saga=past&verb=retry", new_key="yes")
        assert led.status == 303
    assert notes(journal, "past")[0]["did"] == "retry --new-key"


def test_what_has_changed_since_it_was_shown_is_left(journal: SQLiteJournal) -> None:
    """Somebody else was faster: their decision stands, and it is said."""
    stuck(journal)
    with board(journal) as looker:
        form = looker.get("decide?saga=x&verb=retry").form()
        repair.again(journal, "x", who="bob", why="first")
        page = looker.post({**form, "note": "second"})
        assert page.status == 409
        assert "saga 'x' has changed since it was shown: look at it again" in page.says
        gone = looker.post({**form, "saga": "1.stuck.1:gone", "note": "second"})
        assert "there is no saga 'gone'" in gone.says
    assert [one["who"] for one in notes(journal)] == ["bob"]


def test_all_of_an_error_are_decided_at_once(journal: SQLiteJournal) -> None:
    """They are counted first; what fails keeps no other back."""
    for number in range(3):
        stuck(journal, f"bad-{number}")
    depot.behaviour["c"] = fail(ValueError("no courier"))
    depot.behaviour["undo b"] = fail(KeyError("other"))
    run(order(), journal, "other")
    with board(journal) as looker:
        listed = looker.get("?status=stuck&error=OSError")
        (href,) = hrefs(listed, "^Try again: all of these")
        asked = looker.get(href)
        assert asked.says.startswith("Try again: 3 sagas bad-2 bad-1 bad-0")
        form = [
            (str(one.get("name")), str(one.get("value")))
            for one in asked.all("input", type="hidden")
        ]
        repair.again(journal, "bad-1", who="bob", why="first")

        page = looker.post([*form, ("note", "the bank is back")])

        assert page.title == "Try again: 2 written down, 1 not"
        assert "bad-1 saga 'bad-1' has changed since it was shown" in page.says
        assert looker.get("decide?verb=retry&error=OSError").status == 409
        assert looker.get("decide?verb=resolve").status == 400
        assert not hrefs(looker.get(), "all of these")
    assert notes(journal, "other") == []
    assert notes(journal, "bad-2")[0]["why"] == "the bank is back"


def test_of_many_only_so_many_are_decided_about_at_once(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said of how many it is not possible, or cannot be told."""
    for number in range(4):
        stuck(journal, f"bad-{number}")
    stuck_forward(journal, "past")
    alter(journal, "UPDATE entry SET body = '[' WHERE saga = 1")
    with board(journal) as looker:
        asked = looker.get("decide?verb=compensate")
        assert asked.status == 409
        asked = looker.get("decide?verb=retry")
        assert asked.says.startswith("Try again: 4 sagas")
        find = SQLiteView.find
        gone = "bad-3"
        monkeypatch.setattr(
            SQLiteView, "find", lambda view, name: None if name == gone else find(view, name)
        )
        assert looker.get("decide?verb=retry").says.startswith("Try again: 3 sagas")
        monkeypatch.setattr(SQLiteView, "find", find)
        assert "1 other among them: this is not possible as they stand." in asked.says
        monkeypatch.setattr(decisions, "MOST", 2)
        monkeypatch.setattr(decisions, "_SHOWN", 1)
        asked = looker.get("decide?verb=retry")
        assert asked.says.startswith("Try again: 2 sagas past and 1 more These are the newest 2")


def test_what_takes_too_long_is_left(
    journal: SQLiteJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a page for minutes; those that were not reached can be chosen again."""
    stuck(journal)
    monkeypatch.setattr(deciding_module, "LONGEST", -1.0)
    with board(journal) as looker:
        page = decided(looker, "decide?saga=x&verb=retry")
    assert page.status == 409
    assert "left, as the others took longer" in page.says


def test_a_journal_that_cannot_be_written_is_said_to(journal: SQLiteJournal) -> None:
    """Nothing was decided."""
    stuck(journal)

    def refuses() -> Any:
        raise JournalError("the disk is full")

    with deciding(journal, refuses) as looker:
        page = decided(looker, "decide?saga=x&verb=retry")
    assert (page.status, page.title) == (503, "The journal cannot be written")


def test_what_may_still_land_takes_somebody_who_knows(journal: SQLiteJournal) -> None:
    """A call was given up: the journal cannot tell whether it has ended, so it is to be ticked."""
    go_on = threading.Event()
    depot.behaviour.update({"undo a": lambda: go_on.wait(PATIENCE), "b": fail(ValueError())})
    made = SagaAssembler.saga().operation((do, "a"), (undo, "a"), name="a", timeout=0.05)
    with pytest.raises(SagaStuck):
        made.operation((do, "b")).orchestrator_execute(journal=journal, saga_id="x")
    with board(journal) as looker:
        asked = looker.get("decide?saga=x&verb=retry")
        assert "The calls that were given up have ended for sure" in asked.says
        form = {**asked.form(), "note": "its undo is dead"}
        assert "a call that was given up may still live" in looker.post(form).says
        assert looker.post({**form, "ended": "yes"}).status == 303
    assert status(journal) is SagaStatus.COMPENSATING
    go_on.set()


def test_the_command_prints_the_address_that_lets_in(
    journal: SQLiteJournal, start: Callable[..., Process]
) -> None:
    """And the next one, once it was used; what was decided is decided by whoever is logged in."""
    stuck(journal)
    process = start("--journal", "sagas.db", "dashboard", "--port", "0", "--act")
    process.until_said("lets you in, once")
    found = re.search(r"http://127.0.0.1:(\d+)(/\w+/)(\S+)", process.said)
    assert found is not None
    looker = Looker(int(found[1]), found[2])

    looker.cookie = str(looker.get(found[3]).headers["Set-Cookie"]).partition(";")[0]

    process.until_said("is the next, for another browser")
    led = decided(looker, "decide?saga=x&verb=retry")
    assert led.status == 303
    (note,) = notes(journal)
    assert note["who"] == f"{getpass.getuser()}@{socket.gethostname()}"
    process.process.terminate()
    assert process.end()[0] == 0


# --- answers --------------------------------------------------------------------------------------


def test_a_call_that_waits_is_answered_on_the_page(journal: SQLiteJournal) -> None:
    """That it took effect, or that it did not: it is posted, and a worker goes on."""
    pending(journal)
    pending(journal, "y")
    with board(journal) as looker:
        page = looker.get("saga?saga=x")
        (good,) = hrefs(page, "^b: it took effect…$")
        asked = looker.get(good)
        assert "If it took effect; JSON is what it returns." in asked.says
        assert "saga answer x b --result JSON --note TEXT" in asked.says
        assert decided(looker, good, result='{"id": 7}').status == 303
        assert "An answer has come that nobody has taken in yet" in looker.get("saga?saga=x").says
        assert hrefs(looker.get("saga?saga=x"), "took effect") == []

        (bad,) = hrefs(looker.get("saga?saga=y"), "^b: it took no effect…$")
        assert "What it failed with" in looker.get(bad).says
        assert decided(looker, bad, result="declined").status == 303

    outcomes = {one.saga_id: one.outcome for one in recover(journal)}
    assert outcomes == {"x": SagaStatus.COMPLETED, "y": SagaStatus.COMPENSATED}
    assert notes(journal) == [{"who": "ada@here", "did": "answer", "why": "the bank is back"}]
    results = chain("a", "b", "c").orchestrator_execute(journal=journal, saga_id="x")
    assert results["b"] == {"id": 7}


def test_an_undo_that_waits_is_answered_on_the_page(journal: SQLiteJournal) -> None:
    """It says that it is the undo."""
    undo_pending(journal)
    with board(journal) as looker:
        (good,) = hrefs(looker.get("saga?saga=x"), "^the undo of b: it took effect…$")
        assert decided(looker, good, result="null").status == 303

    (recovered,) = recover(journal)
    assert recovered.outcome is SagaStatus.COMPENSATED


@pytest.mark.parametrize(
    ("words", "result", "says"),
    [
        ("it took effect", "{", "what it returned: "),
        ("it took effect", '{"$decimal": "1"}', "saga answer x b --result JSON --modules …"),
        ("it took no effect", " ", "what it failed with: expected some words"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_words(
    journal: SQLiteJournal, words: str, result: str, says: str
) -> None:
    """And nothing is written."""
    pending(journal)
    with board(journal) as looker:
        (link,) = hrefs(looker.get("saga?saga=x"), f"^b: {words}")
        page = decided(looker, link, result=result)

    assert page.status == 409
    assert says in page.says
    assert recover(journal) == []


def test_what_waits_is_counted_and_unfolds(journal: SQLiteJournal) -> None:
    """Those that are due first; it is nobody's trouble."""
    for number in range(12):
        pending(journal, f"x{number}", timeout=HOUR * (1 + number))
    with board(journal) as looker:
        page = looker.get()

    assert page.title == "sagas"
    assert "✓ Nothing needs a person." in page.says
    (waiting,) = page.all("section", id="waiting")
    says = " ".join(" ".join(waiting.itertext()).split())
    assert says.startswith("12 sagas waiting for answers x0 ")
    assert says.endswith("and 2 more, due later")
    assert "x11" not in says
    rows = [" ".join("".join(row.itertext()).split()) for row in page.all("tr")]
    assert all("waits until" in row for row in rows[1:])


def test_what_is_overdue_is_shown_with_what_to_type(journal: SQLiteJournal) -> None:
    """An answer that was given long ago, or the end of a wait: somebody has to go on."""
    pending(journal, timeout=None)
    answer(journal, KEY, result="B", go_on=False)
    pending(journal, "y", timeout=HOUR)
    pass_by(journal, 2 * HOUR)
    with board(journal) as looker:
        says = looker.get().says

    assert "Needs a person: 2 left lying" in says
    assert "answered, and nobody goes on" in says
    assert "waits, due since" in says
    assert "saga takeover x --modules depot" in says
    assert "saga takeover y --modules depot" in says
