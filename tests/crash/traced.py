"""A saga for whoever traces its system calls: three calls, each a connection."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path

from py_api_saga import SagaAssembler
from py_api_saga.journal import SQLiteJournal


def connect(port: int) -> None:
    """Call a service that only listens."""
    with socket.create_connection(("127.0.0.1", port)):
        pass


def main(folder: str) -> None:
    """Run it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=lambda: [server.accept() for _ in range(3)], daemon=True).start()
        journal = SQLiteJournal(Path(folder) / "sagas.db", modules=["crash.traced"])
        saga = SagaAssembler.saga()
        for _ in range(3):
            saga.operation((connect, port))
        saga.orchestrator_execute(journal=journal, saga_id="traced")
    journal.close()


if __name__ == "__main__":
    main(sys.argv[1])
