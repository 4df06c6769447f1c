"""Each row of the table of what is received once, on each kind of connection."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from barrier_callers import AWAITED, KINDS, PLAIN, POSTGRESQL, SQLITE, Receiver, receiver
from servers.children import Missing, package
from world import PATIENCE

from py_api_saga.contrib import barrier
from py_api_saga.contrib.barrier import NotKept, Refused
from py_api_saga.contrib.http import Rules
from py_api_saga.testing import operation

DAY = 86_400.0
FINAL = {"Saga-Answer": "final"}
REPLAY = {**FINAL, "Idempotent-Replay": "true"}
NOTHING = {"undone": "nothing"}


@pytest.fixture(params=KINDS)
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """Give a service for each kind of connection."""
    try:
        with receiver(request.param, tmp_path) as made:
            yield made
    except Missing as missing:
        pytest.skip(f"there is no {missing}")


plain = pytest.mark.parametrize("service", PLAIN, indirect=True)
one_of_each = pytest.mark.parametrize("service", ["sqlite3", "psycopg"], indirect=True)
in_sqlalchemy = pytest.mark.parametrize(
    "service", [kind for kind in PLAIN if " " in kind], indirect=True
)


# --- the table -----------------------------------------------------------------------------------


def test_a_request_that_comes_twice_is_one_effect_and_one_answer(service: Receiver) -> None:
    """The second time the first answer is given, and said to be a replay."""
    first = service.receive("a")
    second = service.receive("a")

    assert first == (201, {"name": "a"}, FINAL)
    assert second == (201, {"name": "a"}, REPLAY)
    assert service.effects("a") == 1


def test_a_key_that_was_used_for_another_request_is_422(service: Receiver) -> None:
    """What it was first used for stands."""
    service.receive("a")

    status, body, headers = service.receive("a", b"2")

    assert (status, headers) == (422, {})
    assert body == {"error": "this Idempotency-Key was used for another request"}
    assert service.effects("a") == 1


@one_of_each
def test_no_key_is_400(service: Receiver) -> None:
    """Nor is one that is too long, or that no header could hold; nothing is written."""
    for key in [None, "", "x" * 256, " a", "a ", "a\nb", "a\0"]:
        status, _, headers = service.receive(key)
        assert (status, headers) == (400, {})

    assert service.rows() == 0


@pytest.mark.parametrize("name", ["undoes", "action"])
@one_of_each
def test_what_it_belongs_to_is_a_key_as_well(service: Receiver, name: str) -> None:
    """It is refused in the same way."""
    said: dict[str, Any] = {name: "x" * 256}
    assert service.receive("a", **said)[0] == 400
    said = {name: ""}
    assert service.receive("a", **said)[0] == 400


def test_the_longest_key_is_taken(service: Receiver) -> None:
    """Of 255 characters, also where it is undone, for which a longer row is needed."""
    key, undo = "é" * 255, "u" * 255

    assert service.receive(key)[0] == 201
    assert service.receive(undo, undoes=key)[0] == 201
    assert service.receive(undo, undoes=key)[2] == REPLAY


def test_a_refusal_is_kept_and_its_effect_is_not(service: Receiver) -> None:
    """Else a late copy of the request could succeed after the saga took the no for final."""
    for status in [302, 402, 404]:
        key = f"a{status}"
        refusal = service.receive(key, status=status)

        assert refusal == (status, {"name": key}, FINAL)
        assert service.receive(key) == (status, {"name": key}, REPLAY)
        assert service.effects(key) == 0


def test_what_passes_is_not_kept(service: Receiver) -> None:
    """The next one is a first try, and nothing says that the answer is final."""
    every = [401, 403, 408, 423, 425, 429, 500, 502, 503]
    for status in every if service.kind in ("sqlite3", "psycopg") else [429, 502]:
        passing = service.receive("a", status=status)

        assert passing == (status, {"name": "a"}, {})
    assert (service.effects("a"), service.rows()) == (0, 0)
    assert service.receive("a")[0] == 201


def test_an_error_keeps_nothing(service: Receiver) -> None:
    """It goes through, the transaction is rolled back, and a retry is a first try."""
    with pytest.raises(ValueError, match="a bug"):
        service.receive("a", raises=ValueError("a bug"))

    assert (service.effects("a"), service.rows()) == (0, 0)
    assert service.receive("a")[0] == 201


def test_an_undo_is_made_once(service: Receiver) -> None:
    """It is a request like any other, if there is something to undo."""
    service.receive("a")

    assert service.receive("a-", undoes="a") == (201, {"name": "a-"}, FINAL)
    assert service.receive("a-", undoes="a") == (201, {"name": "a-"}, REPLAY)
    assert service.effects("a-") == 1


def test_an_undo_of_what_never_came_does_nothing_and_bars_the_way(service: Receiver) -> None:
    """The action that comes after it is refused for good."""
    assert service.receive("a-", undoes="a") == (200, NOTHING, FINAL)
    assert service.receive("a-", undoes="a") == (200, NOTHING, REPLAY)

    status, _, headers = service.receive("a")

    assert (status, headers) == (410, FINAL)
    assert service.effects("a") == service.effects("a-") == 0


def test_an_undo_of_what_was_refused_does_nothing(service: Receiver) -> None:
    """And the refusal is still what the action is answered with."""
    service.receive("a", status=402)

    assert service.receive("a-", undoes="a") == (200, NOTHING, FINAL)
    assert service.receive("a") == (402, {"name": "a"}, REPLAY)


def test_an_action_that_comes_again_after_its_undo_has_its_first_answer(
    service: Receiver,
) -> None:
    """It makes no second effect."""
    service.receive("a")
    service.receive("a-", undoes="a")

    assert service.receive("a") == (201, {"name": "a"}, REPLAY)
    assert service.effects("a") == 1


@one_of_each
def test_an_action_of_several_requests_is_undone_as_one(service: Receiver) -> None:
    """If any of them was made there is something to undo; those that come later are refused."""
    service.receive("a", status=402, action="a")
    service.receive("a;2", action="a")

    assert service.receive("a-", undoes="a")[0] == 201
    assert service.receive("a;3", action="a")[0] == 410
    assert service.effects("a-") == 1


@one_of_each
def test_an_action_under_a_new_key_is_the_same_action(service: Receiver) -> None:
    """It was undone under the name that it had first."""
    assert service.receive("o:b:compensation", undoes="o:b:action")[1] == NOTHING
    assert service.receive("o:b:action:2", action="o:b:action")[0] == 410


@one_of_each
def test_an_undo_under_a_new_key_is_the_same_undo(service: Receiver) -> None:
    """What lands late is undone once more by its saga: that is not refunded twice."""
    service.receive("o:b:action")
    service.receive("o:b:compensation", undoes="o:b:action")

    again = service.receive("o:b:compensation:2", undoes="o:b:action")

    assert again == (201, {"name": "o:b:compensation"}, REPLAY)
    assert service.effects("o:b:compensation:2") == 0


@one_of_each
def test_an_undo_that_was_refused_may_be_made_under_a_new_key(service: Receiver) -> None:
    """A person has asked for it; a second request of the same undo is its own."""
    service.receive("o:b:action")
    assert service.receive("o:b:compensation", undoes="o:b:action", status=409)[0] == 409

    assert service.receive("o:b:compensation:2", undoes="o:b:action")[0] == 201
    assert service.receive("o:b:compensation;2", undoes="o:b:action")[0] == 201


@one_of_each
def test_an_undo_that_was_refused_bars_the_way_all_the_same(service: Receiver) -> None:
    """The saga has given the action up, so no other request of it may come."""
    service.receive("a", action="a")
    service.receive("a-", undoes="a", status=409)

    assert service.receive("a;2", action="a")[0] == 410


# --- at the same time ----------------------------------------------------------------------------


def at_once(*calls: Any) -> list[Any]:
    """Make calls in threads of their own; give what they gave, in order."""
    given: list[Any] = [None] * len(calls)

    def call(i: int) -> None:
        given[i] = calls[i]()

    threads = [threading.Thread(target=call, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()
    return given


@plain
def test_twelve_at_once_are_one_effect(service: Receiver) -> None:
    """Each is told the first answer or, by a 409 that is not final, that there is none yet."""
    answers = at_once(*[lambda: service.receive("a")] * 12)

    assert service.effects("a") == 1
    made = [answer for answer in answers if answer[0] == 201]
    assert {(status, json.dumps(body)) for status, body, _ in made} == {(201, '{"name": "a"}')}
    others = [answer for answer in answers if answer[0] != 201]
    assert {(status, bool(headers)) for status, _, headers in others} <= {(409, False)}


@pytest.mark.parametrize("service", POSTGRESQL, indirect=True)
@pytest.mark.parametrize(
    ("key", "said"), [("a", {}), ("a-", {"undoes": "a"}), ("a", {"action": "a"})]
)
def test_what_is_in_flight_is_409_at_once(
    service: Receiver, key: str, said: dict[str, Any]
) -> None:
    """Also an undo while its action is: nobody knows yet whether there is something to undo."""
    seen: list[Any] = []

    service.receive("a", within=lambda: seen.append(service.receive(key, **said)))

    assert [(status, headers) for status, _, headers in seen] == [(409, {})]
    assert service.receive("a")[2] == REPLAY
    assert service.rows() == 1


@pytest.mark.parametrize("service", ["psycopg"], indirect=True)
def test_requests_of_one_action_do_not_hinder_each_other(service: Receiver) -> None:
    """Those that an action makes at the same time are all received."""
    seen: list[Any] = []

    service.receive(
        "a;x", action="a", within=lambda: seen.append(service.receive("a;y", action="a"))
    )

    assert [status for status, _, _ in seen] == [201]


@pytest.mark.parametrize("service", SQLITE, indirect=True)
def test_sqlite_waits_and_then_says_409(service: Receiver) -> None:
    """Its file has one writer at a time."""
    seen: list[Any] = []
    other = Receiver.__new__(Receiver)
    other.__dict__.update(service.__dict__, patience=0.01)
    if service.driver:
        other.engine = package("sqlalchemy").create_engine(
            service.url,
            connect_args={"timeout": 0.01},
            poolclass=package("sqlalchemy.pool").NullPool,
        )

    service.receive("a", within=lambda: seen.append(other.receive("b")))

    assert [(status, headers) for status, _, headers in seen] == [(409, {})]
    assert service.effects("a") == 1


# --- what is forgotten ---------------------------------------------------------------------------


def within(service: Receiver, do: Any) -> Any:
    """Do something in a transaction."""
    connection = service.connect()
    try:
        done = do(connection)
        connection.commit()
    finally:
        connection.close()
    return done


def age(service: Receiver, days: int) -> None:
    """Let all that is there be so old."""
    earlier = (
        f"datetime('now', '-{days} days')"
        if service.is_sqlite
        else f"now() - make_interval(days => {days})"
    )
    service.do(f"UPDATE saga_barrier SET at = {earlier}")  # noqa: S608 - our own text


@plain
def test_purge_clears_answers_and_nothing_else(service: Receiver) -> None:
    """A repetition is still no effect; it has the status alone."""
    service.receive("a")
    service.receive("b-", undoes="b")
    age(service, 8)
    service.receive("c")

    assert within(service, barrier.purge) == 2
    assert service.receive("a") == (201, None, REPLAY)
    assert service.receive("b")[0] == 410
    assert service.receive("c")[1] == {"name": "c"}
    assert service.receive("a-", undoes="a")[0] == 201
    assert within(service, barrier.purge) == 0


@plain
def test_what_is_forgotten_is_never_said_to_be_nothing(service: Receiver) -> None:
    """An undo that may be of something forgotten is a 409; one that is not is as ever."""
    service.receive("a")
    age(service, 401)

    assert within(service, barrier.forget) == 1
    assert service.receive("a-", undoes="a")[0::2] == (409, {})
    assert service.receive("a-", undoes="a", since="2020-01-01T00:00:00Z")[0] == 409
    assert service.receive("a-", undoes="a", since="2222-01-01T00:00:00")[1] == NOTHING
    assert service.receive("b")[0] == 201
    assert service.receive("b-", undoes="b")[0] == 201


@one_of_each
def test_what_is_forgotten_only_grows(service: Receiver) -> None:
    """A longer memory than the last one's brings nothing back."""
    within(service, lambda it: barrier.forget(it, 10 * DAY))
    within(service, lambda it: barrier.forget(it, 1000 * DAY))

    assert service.receive("a-", undoes="a", since="2024-01-01T00:00:00Z")[0] == 409


@one_of_each
def test_a_time_that_is_none_is_400(service: Receiver) -> None:
    """Whatever it is said of."""
    assert service.receive("a-", undoes="a", since="yesterday")[0] == 400
    assert service.receive("a-", undoes="a", since=datetime.now(UTC))[1] == NOTHING


@pytest.mark.parametrize("forget", [barrier.purge, barrier.forget])
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_a_time_to_keep_must_be_one(forget: Any, seconds: float) -> None:
    """More than nothing."""
    with (
        closing(sqlite3.connect(":memory:")) as it,
        pytest.raises(ValueError, match="expected more"),
    ):
        forget(it, seconds)


# --- what is refused -----------------------------------------------------------------------------


def test_no_answer_is_an_error(service: Receiver) -> None:
    """The transaction is to be rolled back, and the effect is gone in any case."""
    if service.is_awaited:
        return

    connection = service.connect()
    with (
        pytest.raises(RuntimeError, match="has given no answer"),
        barrier.received(connection, "a", "-"),
    ):
        service.execute(connection, "INSERT INTO effect (name) VALUES ('a')")
    connection.commit()
    connection.close()

    assert service.effects("a") == 0


@one_of_each
@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (199, {}, ValueError),
        (600, {}, ValueError),
        (200, {1, 2}, TypeError),
        (200, float("nan"), TypeError),
        (200, b"", TypeError),
    ],
)
def test_what_is_no_answer_is_an_error(
    service: Receiver, status: int, body: Any, error: type[Exception]
) -> None:
    """It says what is expected, and not the body, which may be a secret."""
    with (
        closing(service.connect()) as connection,
        pytest.raises(error, match="answer: expected"),
        barrier.received(connection, "a", "-") as request,
    ):
        request.answer(status, body)

    assert service.rows() == 0


@plain
def test_a_connection_in_autocommit_is_refused(service: Receiver) -> None:
    """What is noted would be committed before the effect."""
    connection = service.connect()
    if service.what == "sqlite3":
        connection.isolation_level = None
    elif not service.driver:
        connection.autocommit = True
    elif service.what == "Connection":
        connection.execution_options(isolation_level="AUTOCOMMIT")
    else:
        connection.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    with (
        closing(connection),
        pytest.raises(RuntimeError, match="is in autocommit"),
        barrier.received(connection, "a", "-"),
    ):
        pass

    assert service.rows() == 0


@one_of_each
def test_a_transaction_in_autocommit_that_was_begun_is_taken(service: Receiver) -> None:
    """Its end is the caller's."""
    with closing(service.connect()) as connection:
        if service.is_sqlite:
            connection.isolation_level = None
        else:
            connection.autocommit = True
        connection.execute("BEGIN")
        with barrier.received(connection, "a", "-") as request:
            request.answer(200, None)
        connection.execute("COMMIT")

    assert service.rows() == 1


@pytest.mark.parametrize("service", ["psycopg", "Session psycopg"], indirect=True)
def test_another_isolation_is_refused(service: Receiver) -> None:
    """It would not see what was committed before it has its locks."""
    with closing(service.connect()) as connection:
        service.execute(connection, "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        with (
            pytest.raises(RuntimeError, match="got REPEATABLE READ"),
            barrier.received(connection, "a", "-"),
        ):
            pass


@pytest.mark.parametrize("service", AWAITED, indirect=True)
def test_what_is_to_be_awaited_is_said_to_be(service: Receiver) -> None:
    """And what is not is not awaited."""
    connection = service.connect()
    with pytest.raises(TypeError, match="write `async with"), barrier.received(connection, "a", ""):
        pass

    async def wait() -> None:
        with closing(sqlite3.connect(":memory:")) as it:
            async with barrier.received(it, "a", ""):
                pass

    with pytest.raises(TypeError, match=r"got sqlite3\.Connection"):
        service.run(wait())


@pytest.mark.parametrize("thing", [None, 7, object()])
def test_what_is_no_connection_is_refused(thing: object) -> None:
    """By its type, and what would do."""
    with (
        pytest.raises(TypeError, match="expected a connection of psycopg, psycopg2"),
        barrier.received(thing, "a", "-"),
    ):
        pass


def test_another_database_is_refused() -> None:
    """Nobody has tried it."""
    sqlalchemy = package("sqlalchemy")
    engine = sqlalchemy.create_mock_engine("mysql://", lambda *_: None)
    connection = package("sqlalchemy.orm").Session()
    connection.connection = lambda: engine

    with (
        pytest.raises(TypeError, match="expected PostgreSQL or SQLite, got mysql"),
        barrier.received(connection, "a", "-"),
    ):
        pass
    with pytest.raises(ValueError, match="expected 'postgresql' or 'sqlite', got 'mysql'"):
        barrier.ddl("mysql")


@one_of_each
def test_a_table_that_is_not_there_is_said_to_be_missing(service: Receiver) -> None:
    """The error is the database's, with a note that helps."""
    service.do("DROP TABLE saga_barrier")

    with pytest.raises(Exception, match="saga_barrier") as caught:
        service.receive("a")

    assert "barrier.ddl" in caught.value.__notes__[0]


@pytest.mark.parametrize("service", ["psycopg", "psycopg2", "Session psycopg"], indirect=True)
def test_a_server_that_has_gone_is_503(service: Receiver) -> None:
    """Whether it goes before or as the answer is kept: nobody knows, and the next try may tell."""
    with closing(service.connect()) as connection:
        (pid,), *_ = service.execute(connection, "SELECT pg_backend_pid()")
        service.do("SELECT pg_terminate_backend(?)", pid)
        with pytest.raises(Refused) as refused, barrier.received(connection, "a", "-"):
            pass
    with closing(service.connect()) as connection:
        (pid,), *_ = service.execute(connection, "SELECT pg_backend_pid()")
        receiving = barrier.received(connection, "a", "-")
        receiving.__enter__().answer(201, None)
        service.do("SELECT pg_terminate_backend(?)", pid)
        with pytest.raises(Refused) as lost:
            receiving.__exit__(None, None, None)

    assert [(it.value.status, it.value.headers) for it in (refused, lost)] == [(503, {})] * 2
    assert not isinstance(lost.value, NotKept)


# --- what a request says -------------------------------------------------------------------------


@in_sqlalchemy
def test_an_effect_that_its_maker_commits_is_not_made(service: Receiver) -> None:
    """Nothing would be noted of it, and the repetition would be a second one."""

    def receive() -> None:
        connection = service.connect()
        with closing(connection), barrier.received(connection, "a", "-"):
            service.execute(connection, "INSERT INTO effect (name) VALUES ('a')")
            connection.commit()

    for _ in range(2):
        with pytest.raises(RuntimeError, match="leaves COMMIT to whoever"):
            receive()
        assert (service.effects("a"), service.rows()) == (0, 0)

    assert service.receive("a")[0] == 201
    assert service.effects("a") == 1


def test_the_headers_are_read() -> None:
    """With the quotes that the draft of the IETF puts around a key, or without them."""
    headers = {
        "Idempotency-Key": '"a b"',
        "Saga-Undoes": "c",
        "Saga-Action": '"',
        "Saga-Since": "2026-01-01T00:00:00Z",
    }

    assert barrier.said(headers) == {
        "key": "a b",
        "undoes": "c",
        "action": '"',
        "since": "2026-01-01T00:00:00Z",
    }
    assert barrier.said({}) == {"key": "", "undoes": None, "action": None, "since": None}


def test_a_key_in_quotes_is_that_without() -> None:
    """What is escaped in it as well: an undo says the key of its action as it is."""
    for key in (r"a\b:charge:action", 'a"b:charge:action', "a:charge:action"):
        with operation(idempotency_key=key):
            exchange = Rules(quote=True).exchange("POST", {})
        assert exchange is not None
        said = barrier.said({"Idempotency-Key": exchange.key, "Saga-Undoes": key})
        assert said["key"] == said["undoes"] == key


def test_a_fingerprint_tells_requests_apart() -> None:
    """By method, path and body."""
    one = barrier.fingerprint("post", "/x", b"1")

    assert one == barrier.fingerprint("POST", "/x", b"1")
    others = {
        barrier.fingerprint("PUT", "/x", b"1"),
        barrier.fingerprint("POST", "/y", b"1"),
        barrier.fingerprint("POST", "/x", b"2"),
        barrier.fingerprint("POST", "/x\x001", b""),
    }
    assert len(others | {one}) == 5
