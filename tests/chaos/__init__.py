"""Sagas against a bank, while the network, the bank and whoever runs the sagas go wrong.

The bank (`bank.py`) receives by `@saga_barrier` under gunicorn, whose workers are killed as they
answer. Before it lies a network (`network.py`) that loses, doubles and delays. Whoever runs the
sagas (`driver.py`) is killed too, and recovers. In the end `trial.py` holds what stands in the bank
against what the journal says. `python -m tests.chaos` runs thousands, `test_chaos.py` thirty.
"""

import sys
from pathlib import Path

# So that `servers` is found when this is `tests.chaos`, as it is when this is `chaos`.
sys.path.append(str(Path(__file__).parent.parent))
