"""`dit serve` with the fake door instead of a model: for tests alone. Tells at its end what the process imported."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys

from dit_serve.service.commands import serve
from dit_serve.service.errors import LocalError


def main() -> int:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    try:
        return serve.run(parser.parse_args(), loader="tests.service.fake:load")
    except LocalError as error:
        print(f"dit serve: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    status = main()
    with contextlib.suppress(OSError):  # some tests leave nobody to read it
        os.write(2, json.dumps({"event": "modules", "modules": sorted(sys.modules)}).encode() + b"\n")
    sys.exit(status)
