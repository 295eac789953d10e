"""``python -m papers NAME --out FOLDER`` is the same as `chartae reproduce`."""

import sys

from chartae.cli import main

if __name__ == "__main__":
    sys.exit(main(["reproduce", *sys.argv[1:]]))
