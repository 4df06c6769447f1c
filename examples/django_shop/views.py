r"""The views of the shop, and where they are.

With the shop running, place an order, and look at its page:

    curl http://127.0.0.1:8000/checkout -H 'Content-Type: application/json' \
        -d '{"order": "7", "article": "mug", "card": "visa"}'
    curl http://127.0.0.1:8000/orders/7

The card "declined" is refused (409): the middleware answers so, since settings.py says that it is a
refusal. With the card "slow" there is time to kill the server in the middle of the charge; its
worker finishes the order.
"""

import json

from django.db import transaction
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path, reverse
from django.views.decorators.http import require_GET, require_POST

from django_shop.models import Order
from django_shop.operations import CHECKOUT, PRICES
from py_api_saga import SagaStatus, saga_status
from py_api_saga.contrib.django import get_journal

WORDS = {
    SagaStatus.RUNNING: "we are working on it",
    SagaStatus.COMPENSATING: "it could not be done, and is being undone",
    SagaStatus.COMPENSATED: "it could not be done, and nothing was charged",
    SagaStatus.STUCK: "something went wrong: we are looking into it",
    SagaStatus.COMPLETED: "it is on its way",
}


# For a project with ATOMIC_REQUESTS: each operation commits.
@transaction.non_atomic_requests  # type: ignore[untyped-decorator]  # Django has no type hints
@require_POST  # type: ignore[untyped-decorator]  # as above
def checkout(request: HttpRequest) -> JsonResponse:
    """Check out. The number comes with the form, so a button that is pressed twice is one."""
    wish = json.loads(request.body)
    if wish["article"] not in PRICES:
        return JsonResponse({"error": "there is none"}, status=400)
    saga = CHECKOUT.given(order=wish["order"], article=wish["article"], card=wish["card"])
    saga.orchestrator_execute(saga_id=f"order-{wish['order']}", deadline=20)
    page = reverse("order", args=[wish["order"]])
    return JsonResponse({"order": wish["order"], "page": page}, status=201)


@require_GET  # type: ignore[untyped-decorator]  # as above
def order(_: HttpRequest, number: str) -> JsonResponse:
    """Show where an order stands, also while it is worked on or recovered."""
    stands = saga_status(get_journal(), f"order-{number}")
    if stands is None:
        raise Http404
    row = Order.objects.filter(number=number).first()
    return JsonResponse(
        {
            "order": number,
            "status": "new" if row is None else row.status,
            "payment": None if row is None else row.payment,
            "says": WORDS[stands.status],
        }
    )


urlpatterns = [
    path("checkout", checkout),
    path("orders/<number>", order, name="order"),
]
