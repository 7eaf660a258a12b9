"""`routerlab report RUN`: one HTML page of a run; the page itself is `report.page`'s."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from routerlab.audio import MAX_SECONDS
from routerlab.commands.parsing import Parser
from routerlab.data.writers import write_text
from routerlab.errors import UserError
from routerlab.report.page.page import page
from routerlab.report.page.run_files import RunFiles, read_run
from routerlab.report.page.sound import MODES, Sound, gather


def main(words: Sequence[str]) -> int:
    """Run `routerlab report`."""
    args = _parser().parse_args(words)
    run = read_run(args.run)
    out = Path(args.out or run.folder / "report.html")
    if out.is_dir():
        raise UserError(f"report: --out {out} is a folder. Name a file, such as {out}/report.html.")
    paths = [str(row.get("audio") or "") for row in run.rows]
    sound = gather(paths, run.folder, out, args.audio, _max_seconds(run), _told())
    write_text(out, page(run, sound))
    print("\n".join(_said(out, run, sound, any(paths))))
    return 0


def _said(out: Path, run: RunFiles, sound: Sound, had: bool) -> list[str]:
    """What was written, and what is not in it."""
    lines = [f"report: {out} ({_size(out.stat().st_size)}, {len(run.rows):,} questions)"]
    if sound.mode == "beside" and sound.clips:
        folder = out.with_name(sound.folder)
        size = sum(file.stat().st_size for file in folder.iterdir())
        lines.append(
            f"sound: {folder} ({_size(size)}, {len(set(sound.clips.values())):,} clips): keep it "
            "beside the page"
        )
    elif sound.mode == "embed" and sound.clips:
        lines.append(f"sound: {len(set(sound.clips.values())):,} clips in the page")
    if sound.missing:
        path, why = next(iter(sound.missing.items()))
        lines.append(f"sound: {len(sound.missing):,} clips are missing, {path} for one: {why}")
    if run.rows and not had:
        lines.append(
            "sound: none, since this run was made before its rows named their clips. "
            f"routerlab test {run.folder} writes them anew."
        )
    return lines


def _size(count: float) -> str:
    """A number of bytes in words.

    >>> _size(1_234_567), _size(3000)
    ('1.2 MB', '3 kB')
    """
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} kB"


def _told() -> Any:
    """Says how far the clips are, on a terminal only."""

    def advance(done: int, of: int) -> None:
        if sys.stderr.isatty() and (done % 25 == 0 or done == of):
            end = "\n" if done == of else ""
            print(f"\rclips {done}/{of}", end=end, file=sys.stderr, flush=True)

    return advance


def _max_seconds(run: RunFiles) -> float:
    """Where the recipe cuts clips."""
    try:
        recipe = yaml.safe_load(run.recipe) or {}
        given = recipe["data"]["init_args"]["max_seconds"]
    except (yaml.YAMLError, KeyError, TypeError):
        return MAX_SECONDS
    usable = isinstance(given, int | float) and not isinstance(given, Mapping) and given > 0
    return float(given) if usable else MAX_SECONDS


def _parser() -> Parser:
    parser = Parser(
        prog="routerlab report",
        description=(
            "One HTML page of a finished run or survey: verdict, tables, plots, and a browser of "
            "its questions with their sound. It needs no network."
        ),
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, such as runs/quickstart/001")
    parser.add_argument("--out", metavar="FILE", help="the page (default: RUN/report.html)")
    parser.add_argument(
        "--audio",
        default="auto",
        choices=MODES,
        help="in the page, in a folder beside it, or not at all; auto embeds up to ten minutes",
    )
    return parser
