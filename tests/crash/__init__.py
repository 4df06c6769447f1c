"""Crash tests of durable sagas: real processes, real HTTP services with ledgers, and `kill -9`.

A *nursery* (`nursery.py`) forks processes that run or recover sagas (`jobs.py`); their operations
(`shop.py`) call services (`services.py`) which keep ledgers and know nothing of sagas. A process
ends itself at the *n*-th of the points that `points.py` counts: around each commit, and around
each step of each HTTP call. Afterwards `checks.py` looks at the journal and at the ledgers from
outside, without this library.

`python -m tests.crash --rounds 3 --seed 1` strikes at every point (`__main__.py`);
`test_crash.py` is a short run; `python -m tests.mutants durable` breaks what it must notice.
"""

import sys
from pathlib import Path

# So that `servers` is found when this is `tests.crash`, as it is when this is `crash`.
sys.path.append(str(Path(__file__).parent.parent))
