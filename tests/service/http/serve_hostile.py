"""`dit serve` with a fake model that does not misbehave: for tests alone."""

from __future__ import annotations

import argparse
import json
import sys

from dit_serve.service.commands import serve
from dit_serve.service.errors import LocalError


def main() -> int:
    parser = argparse.ArgumentParser()
    serve.add_arguments(parser)
    try:
        return serve.run(parser.parse_args(), loader="tests.service.http.hostile:load")
    except LocalError as error:
        print(f"dit serve: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    status = main()
    print(json.dumps({"event": "modules", "modules": sorted(sys.modules)}), file=sys.stderr)
    sys.exit(status)
