"""Replay histories as a worker does, in a process of its own: `replay_temporal.py FILE …`.

Prints the name of each that this version can go on with, as a line.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from py_api_saga.engines.temporal_workflow import SagaV1


async def main() -> None:
    """Replay each file; an error names what is other than it was."""
    replayer = Replayer(workflows=[SagaV1], workflow_runner=UnsandboxedWorkflowRunner())
    for path in map(Path, sys.argv[1:]):
        await replayer.replay_workflow(WorkflowHistory.from_json(path.stem, path.read_text()))
        sys.stdout.write(f"{path.stem}\n")


asyncio.run(main())
sys.stdout.flush()
os._exit(0)  # threads of Temporal's SDK may abort an interpreter that takes itself down
