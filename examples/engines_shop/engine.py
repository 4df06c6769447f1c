"""Where the sagas of the shop run: what the environment says, for the shop and for its workers."""

import os

from py_api_saga.engines.dbos import DBOSEngine
from py_api_saga.engines.temporal import TemporalEngine

MODULES = ["engines_shop.operations"]  # of all functions that a saga may name
LOST_AFTER = 3.0  # seconds without a sign of its worker after which a call is lost; 30 by default


def engine() -> DBOSEngine | TemporalEngine:
    """Give the engine; a program of yours has one of the two lines."""
    where = os.environ["SAGA_ENGINE_URL"]
    if os.environ["ENGINE"] == "dbos":
        return DBOSEngine(where, modules=MODULES)
    return TemporalEngine(where, modules=MODULES, lost_after=LOST_AFTER)
