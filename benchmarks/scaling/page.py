"""Writes the figures of docs/scaling-study.md: its tables, between marks, and the plots beside it.

    python -m benchmarks.scaling.page build/scaling/results.json

What stands between `<!-- scaling: NAME -->` and `<!-- /scaling -->` is made of the results, which are copied to
docs/scaling/results.json; the words around it are people's. Knows no figure by itself.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scaling.plots import write_plots
from benchmarks.scaling.results import RESULTS, Study, read_study, write_study
from benchmarks.scaling.tables import TABLES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = "scaling-study.md"
FOLDER = "scaling"  # beside the page: plots and results
_MARKED = re.compile(r"(<!-- scaling: ([a-z-]+) -->\n)(.*?)(<!-- /scaling -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the page's tables, its plots and a copy of the results; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling.page", description=main.__doc__)
    parser.add_argument("results", nargs="?", type=Path, default=Path("build/scaling") / RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args(arguments)
    try:
        study = read_study(options.results)
        page = options.docs / PAGE
        text = with_tables(page.read_text(encoding="utf-8"), study)
        written = write_plots(study, options.docs / FOLDER)
    except ModuleNotFoundError as error:
        print(f"scaling: no {error.name}: pip install --constraint constraints.txt -e '.[bench]'", file=sys.stderr)
        return 2
    except (OSError, ValueError) as error:
        print(f"scaling: {error}", file=sys.stderr)
        return 2
    write_study(options.docs / FOLDER / RESULTS, study)
    page.write_text(text, encoding="utf-8")
    print(f"{page}, {len(written)} plots in {options.docs / FOLDER}")
    return 0


def with_tables(text: str, study: Study) -> str:
    """The page's text with every table made anew.

    Raises:
        ValueError: the page and the tables do not name the same.
    """
    named = [match[2] for match in _MARKED.finditer(text)]
    if sorted(named) != sorted(TABLES):
        raise ValueError(f"the page needs the marks of {', '.join(TABLES)} once each, and has {', '.join(named)}")
    return _MARKED.sub(lambda match: f"{match[1]}{TABLES[match[2]](study)}{match[4]}", text)


if __name__ == "__main__":
    sys.exit(main())
