"""Django's admin in a real browser: Debian's chromium, driven by selenium."""

import sys
from pathlib import Path

# So that `servers` and what supports the tests are found.
sys.path += [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "support")]
