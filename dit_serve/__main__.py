"""`python -m dit_serve` is `dit`."""

import sys

from dit_serve.service.cli import main

if __name__ == "__main__":
    sys.exit(main())
