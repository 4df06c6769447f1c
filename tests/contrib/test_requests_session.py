"""A session of requests that knows its operation: what is of requests alone."""

from __future__ import annotations

import pickle
import unittest.mock
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
import requests
import requests_mock
from requests.adapters import HTTPAdapter
from servers.dying import Service
from urllib3.util import Retry as Again
from urllib3.util import Timeout

from py_api_saga import SagaAssembler, SagaException
from py_api_saga.contrib.requests import SagaSession
from py_api_saga.testing import operation


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that dies at the instant that a path names."""
    running = Service()
    yield running
    running.close()


@pytest.fixture
def session() -> Iterator[SagaSession]:
    """A session, with all its defaults."""
    with SagaSession() as made:
        yield made


class Noting(HTTPAdapter):
    """Sends nothing, and notes how long it was to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[Any] = []

    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:  # type: ignore[override]
        self.timeouts.append(options["timeout"])
        response = requests.Response()
        response.status_code, response.request = 204, request
        response.raw = BytesIO()
        return response


@pytest.mark.parametrize(
    "retries",
    [3, Again(1), Again(total=None, read=2), Again(total=None, status=1), True],
    ids=str,
)
def test_an_adapter_that_tries_again_is_not_mounted(session: SagaSession, retries: Any) -> None:
    """A second try would hide what became of the first."""
    adapter = HTTPAdapter()
    adapter.max_retries = retries

    with pytest.raises(ValueError, match="retry="):
        session.mount("https://", adapter)
    assert session.get_adapter("https://bank/") is not adapter


@pytest.mark.parametrize(
    "retries", [0, Again(0), Again(total=None), Again(total=False), None, Again(0, read=3)], ids=str
)
def test_an_adapter_that_does_not_is_mounted(session: SagaSession, retries: Any) -> None:
    """As any session does."""
    adapter = HTTPAdapter()
    adapter.max_retries = retries

    session.mount("https://", adapter)
    assert session.get_adapter("https://bank/") is adapter


@pytest.mark.parametrize(
    ("given", "left", "used"),
    [
        (None, None, (5.0, 20.0)),
        (None, 7.0, (5.0, 7.0)),
        (None, 2.0, (2.0, 2.0)),
        (9.0, None, 9.0),
        (9.0, 2.0, 2.0),
        ((3.0, None), 2.0, (2.0, 2.0)),
        ((1.0, 9.0), 2.0, (1.0, 2.0)),
    ],
)
def test_no_request_is_given_more_time_than_is_left(
    session: SagaSession, given: Any, left: float | None, used: Any
) -> None:
    """To connect, and between two reads; and so much if nobody says more."""
    adapter = Noting()
    session.mount("http://", adapter)

    with operation(remaining=left):
        session.post("http://bank/", timeout=given)

    assert adapter.timeouts == [used]


def test_a_timeout_of_urllib3_is_bounded_as_well(session: SagaSession) -> None:
    """By its total; the one that was given is another one's, too."""
    adapter = Noting()
    session.mount("http://", adapter)
    given = Timeout(total=9, connect=1)

    with operation(remaining=2.0):
        session.post("http://bank/", timeout=given)  # type: ignore[arg-type]
        session.post("http://bank/", timeout=Timeout(read=1))  # type: ignore[arg-type]

    assert [timeout.total for timeout in adapter.timeouts] == [2.0, 2.0]
    assert adapter.timeouts[0].connect_timeout == 1
    assert given.total == 9


def test_without_a_limit_there_is_none(session: SagaSession) -> None:
    """If it is said so, and nothing bounds the operation."""
    adapter = Noting()
    with SagaSession(timeout=None) as patient:
        patient.mount("http://", adapter)
        with operation():
            patient.post("http://bank/")

    assert adapter.timeouts == [(None, None)]
    assert session.saga.timeout == (5.0, 20.0)


def test_a_request_that_was_prepared_is_another_one_each_time(
    session: SagaSession, service: Service
) -> None:
    """It may be kept in a module: it keeps no key of ours."""
    prepared = session.prepare_request(requests.Request("POST", f"{service.url}/ok"))

    for _ in range(2):
        with operation(idempotency_key="k"):
            session.send(prepared)
            answer = session.send(prepared)

    keys = [request.headers["idempotency-key"] for request in service.ledger.requests]
    assert keys == ["k", "k;2"] * 2
    assert "Idempotency-Key" not in prepared.headers
    assert answer.request.headers["Idempotency-Key"] == "k;2"


@pytest.mark.parametrize(
    ("path", "error", "is_undone"),
    [
        ("ok", KeyError("id"), True),
        ("ok", requests.ConnectTimeout("of a log"), True),
        ("402-before", KeyError("why"), False),
        ("402-before", requests.ReadTimeout("of a second try"), True),
        ("401-before", KeyError("who"), True),
    ],
    ids=str,
)
def test_what_a_hook_raises_proves_nothing_of_what_was_answered(
    session: SagaSession, service: Service, path: str, error: Exception, *, is_undone: bool
) -> None:
    """The answer tells, but for one that a hook may answer with credentials."""

    def fail(*_: object, **__: object) -> None:
        raise error

    undone: list[str] = []
    session.hooks["response"].append(fail)
    saga = SagaAssembler.saga().operation(
        (session.post, f"{service.url}/{path}"), (undone.append, path)
    )
    with pytest.raises(SagaException):
        saga.orchestrator_execute()

    assert undone == [path] * is_undone


def test_an_answer_can_be_pickled(session: SagaSession, service: Service) -> None:
    """As any of requests."""
    with operation():
        answer = session.post(f"{service.url}/ok")

    assert pickle.loads(pickle.dumps(answer)).status_code == answer.status_code  # noqa: S301 - ours


def test_a_bad_answer_of_a_stream_can_be_read(session: SagaSession, service: Service) -> None:
    """And its connection is free again."""
    with operation(), pytest.raises(requests.HTTPError) as caught:
        session.post(f"{service.url}/502-after", stream=True)

    assert caught.value.response.content == b""


def test_it_is_the_same_in_a_pickle(session: SagaSession) -> None:
    """As sessions of requests are."""
    given = SagaSession(header="X-Key", conflict="refused")

    again = pickle.loads(pickle.dumps(given))  # noqa: S301 - our own

    assert again.saga.__getstate__() == given.saga.__getstate__()
    assert session.saga.__getstate__() != given.saga.__getstate__()
    given.close()
    again.close()


@pytest.mark.parametrize("alone", [True, False])
def test_requests_mock_stands_in_for_a_service(session: SagaSession, *, alone: bool) -> None:
    """It sees the key, and says what a service would; an error of its own is a lost answer."""
    undone: list[int] = []
    with requests_mock.Mocker(session=session if alone else None) as bank:
        bank.post("http://bank/charges", [{"status_code": 402}, {"exc": requests.ReadTimeout}])
        for expected in ([], [1]):
            saga = SagaAssembler.saga().operation(
                lambda: session.post("http://bank/charges"), (undone.append, 1), name="charge"
            )
            with pytest.raises(SagaException):
                saga.orchestrator_execute()
            assert undone == expected

    assert bank.last_request is not None
    assert bank.last_request.headers["Idempotency-Key"].endswith(":charge:action")
    with pytest.raises(requests.ConnectionError):
        session.post("http://nobody.invalid/", timeout=1)


def test_what_sends_can_be_patched(session: SagaSession) -> None:
    """The rules hold above it; when it is taken away, all is as before."""
    response = requests.Response()
    response.status_code, response.raw = 402, BytesIO()
    with (
        unittest.mock.patch.object(session, "send", return_value=response) as send,
        operation(idempotency_key="k"),
        pytest.raises(requests.HTTPError),
    ):
        session.post("http://bank/")

    ((request,), _) = send.call_args
    assert request.headers["Idempotency-Key"] == "k"
    with pytest.raises(requests.ConnectionError):
        session.post("http://nobody.invalid/", timeout=1)
