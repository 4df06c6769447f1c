"""What each HTTP client raises when a service dies at each instant, and what a saga makes of it.

A *service* (`dying.py`) dies at the instant that the path of a request names, and keeps a ledger of
what it has done. The *clients* (`clients.py`) send it one request each, from within an operation of
a real saga. A *cell* (`cells.py`) is one client at one instant: the saga has told the truth unless
it says that the operation failed, undoes nothing, and the ledger has an effect.

`python -m tests.matrix` runs every client at every instant and each manner in which people pass an
error on (`__main__.py`); `test_matrix.py` runs one cell of each kind.
"""

import sys
from pathlib import Path

# So that `servers` is found when this is `tests.matrix`, as it is when this is `matrix`.
sys.path.append(str(Path(__file__).parent.parent))
