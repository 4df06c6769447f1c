"""Sagas in real servers under load: what is left open, mixed up, or half done.

A *case* (`cases.py`) is an application behind gunicorn or uvicorn with two workers on PostgreSQL,
and a way to run a saga of four operations in each request. Two hundred requests come, forty at
once; `trial.py` counts the connections from outside, in `pg_stat_activity`, and the rows. In some
cases a worker is killed in the middle, and what it has left is recovered.

`python -m tests.load` runs them all, `--short` with forty requests; `test_load.py` runs one of each
server. Applications: `django_app.py`, `flask_app.py`, `fastapi_app.py`, with their cases.
"""

import sys
from pathlib import Path

# So that these are found when this is `tests.load`, as they are when this is `load`.
sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]
