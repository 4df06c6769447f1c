"""`python -m py_api_saga` is the `saga` command."""

import sys

from py_api_saga.cli import main

if __name__ == "__main__":
    sys.exit(main())
