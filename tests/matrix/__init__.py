"""What each HTTP client raises when a service dies at each instant, and what a saga makes of it.

A *service* (`servers/dying.py`) dies at the instant that the path of a request names, and keeps a
ledger of what it has done. The *clients* (`clients.py`) send it one request each, from within an
operation of a real saga; so do those that know their operation (`senders`), of `contrib`. A *cell*
(`cells.py`) is one client at one instant: the saga has told the truth unless it says that the
operation failed, undoes nothing, and the ledger has an effect.

`python -m tests.matrix` runs every client at every instant and each manner in which people pass an
error on (`__main__.py`); `test_matrix.py` runs one cell of each kind.
"""

import sys
from pathlib import Path

# So that these are found when this is `tests.matrix`, as they are when this is `matrix`.
sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]
