"""The example projects, each by the one command that starts it.

`python -m tests.examples` kills a server in the middle of a charge, with `kill -9`, and waits until
the worker beside it has finished the order: the card is charged once. It does so to the shop whose
bank answers by webhook, before the bank has answered and after. The suite runs each project without
that, and kills the one that waits while it does.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))  # for what starts PostgreSQL
