"""`python -m tests`: every part of the tests, all at once, and one summary of them."""

from __future__ import annotations

import sys

from .harness.suite.run import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
