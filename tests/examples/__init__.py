"""The example projects, each by the one command that starts it.

`python -m tests.examples` kills a server in the middle of a charge, with `kill -9`, and waits until
the worker beside it has finished the order: the card is charged once. The suite runs each project
without that.
"""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent.parent))  # for what starts PostgreSQL
