"""Record the steps of sagas on DBOS into the folder `dbos`, for `saga.v1` to replay.

    python tests/golden/make_dbos.py

They are the sagas that `make_temporal` records. What is there is kept as long as a worker may meet
a saga that a released version began. If one of them can't be replayed any more, the workflow is
another one, and has another name: `saga.v2` is recorded beside it then, and nothing is recorded
anew.
"""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "support")]

from engines import temporal_calls as shop  # noqa: E402 - they are found only now
from make_temporal import SAGAS, diamond  # noqa: E402
from servers import shared  # noqa: E402
from world import until  # noqa: E402

from py_api_saga import SagaException  # noqa: E402
from py_api_saga.engines.dbos import DBOSEngine  # noqa: E402
from py_api_saga.engines.worker import Work  # noqa: E402


def _record(engine: DBOSEngine, saga_id: str) -> None:
    with suppress(SagaException):
        engine.result(saga_id, wait=60)
    until(lambda: not engine.standing(saga_id).is_open)  # type: ignore[union-attr]
    seen = engine.server.look(saga_id)
    assert seen is not None
    steps = engine._dbos.list_workflow_steps(saga_id)  # noqa: SLF001 - what nobody else asks
    told = {
        "given": seen.given,
        "steps": [[it["function_id"], it["function_name"], it["output"]] for it in steps],
        "result": seen.result,
    }
    (HERE / "dbos").mkdir(exist_ok=True)
    (HERE / "dbos" / f"{saga_id}.json").write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    """Record each saga, in a database of its own."""
    with shared.run(), shared.dbos_database() as url:
        engine = DBOSEngine(url, modules=[shop.__name__])
        any_engine: Any = engine
        worker = engine.worker(Work())
        worker.begin()
        for make, then in SAGAS.items():
            make().start(engine=engine, saga_id=make.__name__, at_once=make is diamond)
            if then is not None:
                then(any_engine)
            _record(engine, make.__name__)
        worker.end()
        engine.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
