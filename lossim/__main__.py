"""``python -m lossim`` and the command ``lossim``."""

import sys

from lossim._cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
