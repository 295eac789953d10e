"""`python -m chartae`."""

import sys

from chartae.cli import main

if __name__ == "__main__":
    sys.exit(main())
