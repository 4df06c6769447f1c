"""Who orders: `python -m engines_shop.customer visa declined`, an order for each card."""

import sys
from contextlib import closing

from engines_shop.engine import engine
from engines_shop.models import pieces
from engines_shop.operations import CHECKOUT
from py_api_saga import SagaException, SagaStuck

PATIENCE = 120.0  # seconds; after them there is a SagaPending, and the order goes on without us


def main(*cards: str) -> None:
    """Order a mug with each card, one after the other, and say what became of it."""
    with closing(engine()) as there:
        for number, card in enumerate(cards, 1):
            saga = CHECKOUT.given(article="mug", card=card)
            order = f"order-{number}"
            try:
                results = saga.orchestrator_execute(engine=there, saga_id=order, wait=PATIENCE)
            except SagaStuck:
                raise  # a person must look: `saga why order-1 --engine …`
            except SagaException as error:
                print(f"{order}, {card}: undone, {error.operation_error}", flush=True)
            else:
                print(f"{order}, {card}: completed, parcel {results['send']}", flush=True)
    print(f"mugs on the shelf: {pieces('mug')}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
