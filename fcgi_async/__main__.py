"""`python -m fcgi_async`: the command `fcgi-async`."""

import sys

from fcgi_async.cli import main

__all__ = ()

if __name__ == "__main__":
    sys.exit(main())
