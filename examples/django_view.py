r"""A Django view that runs a checkout as a saga, with the whole project in this file.

Start it with `python examples/django_view.py runserver 127.0.0.1:8000 --noreload`, or give
`application` to a WSGI server; then place an order:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"user": "ada", "article": "mug", "pieces": 1, "card": "visa", "address": "Elm Street"}'

The card "declined" is refused (409). For the address "nowhere" the answer of the courier is lost,
so nobody knows whether he comes: he is cancelled, and all else is undone (502). With the card
"no-refund" as well, the saga is stuck (500). `GET /ledgers` shows what has been left.
"""

import atexit
import json
import logging
import sys
import tempfile
import uuid
from dataclasses import dataclass
from pathlib import Path

import httpx
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.servers.basehttp import WSGIServer
from django.core.wsgi import get_wsgi_application
from django.db import connection, models, transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
from remote_services import Entry, Service, bad_card, no_trouble

from py_api_saga import SagaAssembler, SagaException, SagaStuck, current_operation, result_of

# --- What a project has in settings.py. ---

folder = tempfile.TemporaryDirectory(prefix="shop-")
atexit.register(folder.cleanup)
settings.configure(
    DEBUG=False,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": Path(folder.name, "shop.sqlite3"),
            # Many threads write: each waits for its turn, which it takes before it reads.
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode=wal; PRAGMA synchronous=normal;",
            },
        }
    },
)
application = get_wsgi_application()


# --- What it has in models.py, and makes by a migration. ---


class Article(models.Model):  # type: ignore[misc]  # Django has no type hints
    """What there is to buy."""

    name = models.CharField(max_length=50, unique=True)
    cents = models.IntegerField()
    left = models.IntegerField()

    class Meta:
        """There is no package of an application here to take its name from."""

        app_label = "shop"

    def __str__(self) -> str:
        return str(self.name)


class Reservation(models.Model):  # type: ignore[misc]  # as above
    """What is put aside for whom, under the key of the operation that did so."""

    key = models.CharField(max_length=255, unique=True)
    user = models.CharField(max_length=50)
    article = models.ForeignKey(Article, on_delete=models.CASCADE)
    pieces = models.IntegerField()

    class Meta:
        """There is no package of an application here to take its name from."""

        app_label = "shop"

    def __str__(self) -> str:
        return f"R{self.pk}"

    def as_entry(self) -> Entry:
        """Give what a saga may keep: data, not the object."""
        return {"id": str(self), "user": self.user, "pieces": self.pieces}


with connection.schema_editor() as schema:
    for model in (Article, Reservation):
        schema.create_model(model)
Article.objects.create(name="mug", cents=1200, left=1000)
Article.objects.create(name="shirt", cents=2500, left=1000)


# --- Two services of others, each with an HTTP client. ---
#
# So that this runs by itself, a `Service` in this process answers each client. Leave out
# `transport=`, and the same client asks a real one.

payments = Service("P", bad_card)
parcels = Service("C", no_trouble)


def client(name: str, service: Service) -> httpx.Client:
    """Make a client of a service. It may be used by many threads; its timeout ends each call."""
    transport = httpx.MockTransport(service)
    return httpx.Client(base_url=f"https://{name}.example", timeout=5, transport=transport)


bank = client("bank", payments)
couriers = client("couriers", parcels)


# --- The operations, each next to its undo. ---
#
# Every attempt of one call has the same idempotency key, and what is made is named by it, so it is
# made once. An undo knows the key of its action, and it was known before that was called: so it
# finds what the action did, if anything, also when the answer was lost.


class Refused(Exception):
    """Somebody said no. Nothing was done, and asking again would not help."""


def reserve(user: str, article: str, pieces: int) -> Entry:
    """Reserve the goods, in a transaction of its own."""
    key = current_operation().idempotency_key
    with transaction.atomic():
        made = Reservation.objects.filter(key=key).first()
        if made is None:
            found = Article.objects.filter(name=article, left__gte=pieces).first()
            if found is None:
                raise Refused(f"we have no {article!r}")
            Article.objects.filter(pk=found.pk).update(left=models.F("left") - pieces)
            made = Reservation.objects.create(key=key, user=user, article=found, pieces=pieces)
    entry: Entry = made.as_entry()
    return entry


def release() -> None:
    """Undo `reserve`, if it has done anything."""
    with transaction.atomic():
        made = Reservation.objects.filter(key=current_operation().action_key).first()
        if made is not None:
            Article.objects.filter(pk=made.article_id).update(left=models.F("left") + made.pieces)
            made.delete()


def make(service: httpx.Client, entry: Entry) -> Entry:
    """Have a service make an entry, once, however often it is asked."""
    reply = service.put(f"/entries/{current_operation().idempotency_key}", json=entry)
    if reply.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
        raise Refused(reply.json()["error"])
    reply.raise_for_status()
    made: Entry = reply.json()
    return made


def unmake(service: httpx.Client) -> None:
    """Have a service take back what the action made; if it never did, that is fine."""
    reply = service.delete(f"/entries/{current_operation().action_key}")
    if reply.status_code != httpx.codes.NOT_FOUND:
        reply.raise_for_status()


def charge(user: str, card: str, article: str, pieces: int) -> Entry:
    """Charge the card."""
    cents = Article.objects.get(name=article).cents * pieces
    return make(bank, {"user": user, "card": card, "cents": cents})


def refund() -> None:
    """Undo `charge`."""
    unmake(bank)


def book_courier(user: str, address: str, reservation: str) -> Entry:
    """Book a courier, who will ask for the goods by the number of the reservation."""
    return make(couriers, {"user": user, "address": address, "reservation": reservation})


def cancel_courier() -> None:
    """Undo `book_courier`."""
    unmake(couriers)


def write_receipt(user: str) -> Entry:
    """Sum up what this saga has done so far: nobody else's results are in sight."""
    results = current_operation().results
    return {"user": user, "lines": {name: result["id"] for name, result in results.items()}}


@dataclass(frozen=True)
class Order:
    """What a customer sends as JSON."""

    user: str
    article: str
    pieces: int
    card: str
    address: str


def checkout_of(order: Order) -> SagaAssembler:
    """Say what to do for an order and how to undo it; nothing runs yet."""
    return (
        SagaAssembler.saga(name="checkout")
        .operation((reserve, order.user, order.article, order.pieces), release)
        .operation(
            (charge, order.user, order.card, order.article, order.pieces),
            refund,
        )
        .operation(
            (book_courier, order.user, order.address, result_of("reserve")["id"]),
            cancel_courier,
        )
        .operation((write_receipt, order.user))  # has no effect, so there is nothing to undo
    )


# --- The web side. ---

logger = logging.getLogger("shop")


def checkout(request: HttpRequest) -> JsonResponse:
    """Place an order, or change nothing."""
    try:
        order = Order(**json.loads(request.body))
    except (TypeError, ValueError):
        return JsonResponse(
            {"error": "expected user, article, pieces, card and address"}, status=400
        )
    body: dict[str, object]
    # The id names the attempt, not the order: a customer may try again.
    saga_id = f"checkout-{uuid.uuid4().hex}"
    try:
        # Give up well before the web server's own limit, so that there is time to undo.
        results = checkout_of(order).orchestrator_execute(saga_id=saga_id, deadline=20)
    except SagaStuck as error:
        # It could not be undone either: call a person.
        logger.critical("%s: %s", saga_id, error)
        body = {"saga": saga_id, "stuck": list(error.stuck), "error": "we are looking into it"}
        return JsonResponse(body, status=500)
    except SagaException as error:
        # Everything was undone: 409 if a service refused, 502 if one failed.
        logger.warning("%s: %s", saga_id, error)
        refused = isinstance(error.operation_error, Refused)
        reason = str(error.operation_error) if refused else "please try again later"
        body = {"saga": saga_id, "failed": error.operation_name, "error": reason}
        return JsonResponse(body, status=409 if refused else 502)
    body = {
        "saga": saga_id,
        "reservation": results["reserve"],
        "payment": results["charge"],
        "parcel": results["book_courier"],
        "receipt": results["write_receipt"],
    }
    return JsonResponse(body, status=201)


def ledgers(_request: HttpRequest) -> JsonResponse:
    """Show what every service holds."""
    reserved = [made.as_entry() for made in Reservation.objects.order_by("pk")]
    return JsonResponse(
        {"stock": reserved, "payments": payments.entries(), "parcels": parcels.entries()}
    )


urlpatterns = [
    path("checkout", require_POST(checkout)),
    path("ledgers", require_GET(ledgers)),
]


def main(arguments: list[str]) -> None:
    """Run a command of Django's; without one, serve on port 8000."""
    # Connections that may wait to be accepted. With Django's 10, the kernel drops most of a burst
    # of 200, and those clients try again only seconds later.
    WSGIServer.request_queue_size = 512
    command = arguments or ["runserver", "127.0.0.1:8000", "--noreload"]
    execute_from_command_line([sys.argv[0], *command])


if __name__ == "__main__":
    main(sys.argv[1:])
