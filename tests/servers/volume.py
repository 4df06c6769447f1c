"""A disk of ours that can be full: a file system in memory, which only those within it see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .children import Missing, ended, supervised, until

NAMESPACE = ("unshare", "--mount", "--propagation", "private")
AS_ROOT = ("--user", "--map-root-user")


class Volume:
    """A folder that is a file system of a size of its own to whoever is within it.

    Attributes:
        within: What runs a command within it, followed by that.
    """

    def __init__(self, folder: Path, size: int) -> None:
        own = () if os.geteuid() == 0 else AS_ROOT
        if (
            not shutil.which("nsenter")
            or subprocess.run([*NAMESPACE, *own, "true"], check=False).returncode
        ):
            raise Missing("mount namespace that this user may make (Debian: util-linux)")
        mount = f"mount -t tmpfs -o size={size},mode=0700 none '{folder}' && echo pid $$"
        log = folder.with_suffix(".log")
        self._process = supervised(
            [*NAMESPACE, *own, "sh", "-c", f"{mount} && exec sleep infinity"], log
        )
        until(lambda: "pid" in log.read_text(), self._process, log)
        pid = re.findall(r"pid (\d+)", log.read_text())[-1]
        self.within: tuple[str, ...] = ("nsenter", f"--target={pid}", "--mount")
        if own:  # root of the namespace, until it is somebody else again
            self.within += (
                "--user",
                "--preserve-credentials",
                "unshare",
                "--user",
                "--map-user=1000",
            )
        self._inside = Path(f"/proc/{pid}/root")
        self._filler = self.seen(folder / "filler")

    def seen(self, path: Path) -> Path:
        """Give a path as it is within, for whoever is outside."""
        return self._inside / path.relative_to("/")

    def fill(self) -> None:
        """Leave no room."""
        with suppress(OSError), self._filler.open("wb", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 16))
        with suppress(OSError), self._filler.open("ab", buffering=0) as filler:
            while True:
                filler.write(bytes(1 << 9))

    def clear(self) -> None:
        """Give the room back."""
        self._filler.unlink(missing_ok=True)

    def close(self) -> None:
        """Let it go, with all that is in it; nobody is within any more."""
        ended(self._process)


@contextmanager
def volume(folder: Path, size: int) -> Iterator[Volume]:
    """Mount one at a folder, for the time of a block."""
    made = Volume(folder, size)
    try:
        yield made
    finally:
        made.close()
