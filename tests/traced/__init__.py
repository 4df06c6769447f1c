"""Sagas under every fault, and what OpenTelemetry was told of them against what is on record.

`shop.py` has the sagas, `trial.py` explores them and looks. `python -m tests.traced` runs hundreds
of schedules, `test_traced.py` those of one fault.
"""

import sys
from pathlib import Path

# So that what they use is found when this is `tests.traced`, as it is when this is `traced`.
sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]
