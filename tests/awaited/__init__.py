"""Sagas that wait: the answer against `later()`, kills at each commit, kills at any moment.

`bank.py` has the sagas, and a bank that says its word later; `jobs.py` the processes that run,
answer and recover them, in the nursery of `crash`; `audit.py` holds what the bank and the
operations have told against the journal. `races.py`, `kills.py` and `moments.py` are the proofs.

`python -m tests.awaited` runs all of it on SQLite and PostgreSQL; `test_awaited_proofs.py` is a
short run.
"""

import sys
from pathlib import Path

# So that what they use is found when this is `tests.awaited`, as it is when this is `awaited`.
sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]
