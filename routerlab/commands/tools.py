"""`routerlab tools list|run|check|bench`: look at tools, try one on a sound, examine one's own."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from routerlab.audio import load_clip
from routerlab.commands.parsing import Parser, settings
from routerlab.errors import ToolError, UserError, unknown
from routerlab.tools import listing
from routerlab.tools.base import Tool
from routerlab.tools.registry import construct, find_tool
from routerlab.trust import TrustedImports


def main(words: Sequence[str]) -> int:
    """Run `routerlab tools`; 0, or 1 where a tool failed or was found wanting."""
    args = _parser().parse_args(words)
    code: int = args.do(args)
    return code


def _parser() -> Parser:
    parser = Parser(prog="routerlab tools", description="Signal tools: list, try, check.")
    verbs = parser.add_subparsers(
        required=True, metavar="list|run|check|bench", parser_class=Parser
    )
    show = verbs.add_parser("list", help="every known tool with its card")
    show.add_argument("--json", action="store_true", help="one JSON list instead of text")
    show.add_argument("--markdown", action="store_true", help="a table, as in docs/tools.md")
    show.set_defaults(do=_list)
    run = verbs.add_parser("run", help="one tool on one sound file")
    run.add_argument("name", help="a known tool, or the class path of one of your own")
    run.add_argument("audio", help="a sound file")
    run.add_argument("settings", nargs="*", metavar="key=value", help="the tool's settings")
    run.add_argument("--choice", action="append", default=[], help="an option, for those that see")
    run.set_defaults(do=_run)
    check = verbs.add_parser("check", help="what is wrong with a tool, and what to change")
    check.add_argument("name", metavar="CLASS_PATH", help="package.module.Class, or a known name")
    check.add_argument("settings", nargs="*", metavar="key=value", help="the tool's settings")
    check.set_defaults(do=_check)
    measure = verbs.add_parser("bench", help="how right and how fast the tools are")
    measure.add_argument("name", nargs="*", help="tools to measure; all if none")
    measure.add_argument("--clips", type=int, default=96, help="sounds a task (96)")
    measure.set_defaults(do=_bench)
    for verb in (show, run, check):
        verb.add_argument("--trust", action="append", default=[], metavar="PACKAGE|FILE")
    return parser


def _list(args: argparse.Namespace) -> int:
    TrustedImports(args.trust).import_all()
    listed = listing.rows()
    if args.json:
        print(json.dumps(listed, indent=1))
    else:
        print(listing.markdown(listed) if args.markdown else listing.text(listed))
    return 0


def _run(args: argparse.Namespace) -> int:
    tool = _tool(args, "tools run")
    clip = load_clip(args.audio)
    try:
        seen = tool(clip, args.choice)
    except ToolError as error:
        print(f"{args.name}: {error.kind}: {error}", file=sys.stderr)
        return 1
    print(seen.text)
    print(json.dumps(seen.values, indent=1))
    return 0


def _check(args: argparse.Namespace) -> int:
    # Imported here: the check brings a process pool, which the other verbs never need.
    from routerlab.tools.check import check_tool, figures

    tool = _tool(args, "tools check")
    problems = check_tool(tool)
    for problem in problems:
        print(f"{args.name}: {problem}")
    if not problems:
        print(f"{args.name}: nothing wrong.")
        print(f"{args.name}: {figures(tool)}")
    return 1 if problems else 0


def _bench(args: argparse.Namespace) -> int:
    from routerlab.tools import bench

    measured = (*bench.TASKS, *bench.DEVIATIONS)
    tools = sorted({one.tool for one in measured})
    for name in args.name:
        if name not in tools:
            raise UserError(unknown("tools bench: nothing measures a tool", name, tools))
    for score in bench.bench(args.name, clips=args.clips):
        print(score, flush=True)
    for deviation in bench.DEVIATIONS:
        if deviation.tool in (args.name or tools):
            print(deviation.line(), flush=True)
    for name in tools if not args.name else []:
        if line := bench.lacking(name):
            print(f"{name:12} not measured. {line}")
    return 0


def _tool(args: argparse.Namespace, what: str) -> Tool:
    """The tool meant, built; what its settings name is trusted, for it was typed here."""
    given = settings(args.settings, what)
    tool = construct(_tool_class(args), given, args.name)
    path, argv = str(given.get("function", "")), given.get("argv") or [""]
    file, _, _ = path.rpartition(":")
    program = shutil.which(str(argv[0])) if isinstance(argv, list) else None
    typed = [file or path.split(".")[0], program and os.path.abspath(program)]
    tool.bind(TrustedImports([*args.trust, *(word for word in typed if word)]))
    return tool


def _tool_class(args: argparse.Namespace) -> type[Tool]:
    """The class meant by a known name or by a dotted path (typing the path is trusting it)."""
    name: str = args.name
    package = name.split(".")[0]
    local = f"./{package}.py"
    named = [local if Path(local).is_file() else package] if "." in name else []
    trusted = TrustedImports([*args.trust, *(t for t in named if t not in args.trust)])
    trusted.import_all()
    if "." not in name:
        return find_tool(name)
    found = trusted.resolve(name)
    if not (isinstance(found, type) and issubclass(found, Tool)):
        raise UserError(f"tools: {name} is no subclass of routerlab.Tool.")
    return found
