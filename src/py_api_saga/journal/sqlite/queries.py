"""The SQL of a journal's file: its tables, and all that is asked of them."""

from __future__ import annotations

from py_api_saga.journal.sql.statements import read

SCHEMA = read(globals(), "schema.sql")
QUERIES = read(globals(), "queries.sql")
