"""The journal in PostgreSQL of workers that die: who is silent for a moment is taken for dead."""

from __future__ import annotations

import os

from world import PATIENCE

from py_api_saga.journal import PostgreSQLJournal

from .places import LEASE, MODULES

journal = PostgreSQLJournal(
    os.environ["SAGA_TEST_URL"],
    schema=os.environ["SAGA_TEST_SCHEMA"],
    modules=[*MODULES],
    lease=LEASE,
    patience=PATIENCE,
)
