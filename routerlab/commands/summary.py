"""`routerlab summary RUN…`: several runs as one table; the figures come from `report.summary`."""

from __future__ import annotations

from collections.abc import Sequence

from routerlab.commands.parsing import Parser
from routerlab.report.summary import show


def main(words: Sequence[str]) -> int:
    """Run `routerlab summary`."""
    parser = Parser(prog="routerlab summary", description="Mean over seeds, paired intervals.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a finished run's folder")
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    args = parser.parse_args(words)
    show(args.runs, markdown=args.markdown)
    return 0
