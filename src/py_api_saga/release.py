"""Which release this is: what `saga --version` says, and what is written down of a process."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"  # as in pyproject.toml: to ask for what is installed takes 30 ms
