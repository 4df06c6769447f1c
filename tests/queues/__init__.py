"""Task queues as they are: Celery, RQ and dramatiq strike, kill and redeliver the tasks of sagas.

`python -m tests.queues` starts a Redis of its own (`server.py`) and real workers (`workers.py`).
What operations do stands in a ledger outside of all processes (`ledger.py`), and what must hold is
asked of that, of the queue and of the journal (`matrix.py`). `page.py` does the same with the code
of `docs/howto/task-queues.md`, as it is printed there.

The queues are imported by `import_module`: where the types are checked they are not installed.
"""

import sys
from pathlib import Path

# So that `servers` is found when this is `tests.queues`, as it is when this is `queues`.
sys.path.append(str(Path(__file__).parent.parent))
