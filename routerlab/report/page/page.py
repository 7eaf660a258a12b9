"""Puts a run's page together: words, tiles, plots, tables, the browser's data and what was run.

Text from data is escaped here, in `svg` and in `browser`, and nowhere taken for markup. The page's
own style and script are named in its policy by their hashes, so nothing else in it can run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from routerlab import __version__
from routerlab.report.page import blocks
from routerlab.report.page.browser import browser_data, script_json
from routerlab.report.page.figures import Split, split_of
from routerlab.report.page.panels import split_panel, survey_panels, training_panel
from routerlab.report.page.run_files import RunFiles
from routerlab.report.page.sound import Sound
from routerlab.report.page.words import verdict

SCRIPTS = ("page.js", "sound.js", "detail.js", "browser.js")
SPLITS = {"test": "test", "ood": "out of distribution"}


def page(run: RunFiles, sound: Sound | None = None) -> str:
    """The whole page as text."""
    heard = sound or Sound()
    tested = bool(run.results)
    splits = list(_splits(run)) if tested else []
    sections = list(_tested(run, splits) if tested else survey_panels(run.survey))
    data = browser_data(splits, heard, run.cards, run.manifest.get("tools") or {})
    if any(split.rows for split in splits):
        sections.append(("questions", "Questions", asset("browser.html")))
    sections.append(("run", "What was run", blocks.what_was_run(run)))
    said = verdict(run.results) if tested else run.survey.get("verdict") or []
    style = _style()
    script = "".join(f"(() => {{\n{asset(name)}\n}})();\n" for name in SCRIPTS)
    return Template(asset("page.html")).substitute(
        policy=_policy(style, script),
        version=escape(__version__),
        title=escape(f"{run.name} · routerlab"),
        style=style,
        nav=_nav(sections),
        kind="Run" if tested else "Survey",
        name=escape(run.name),
        facts=escape(" · ".join(_facts(run))),
        verdict=blocks.sentences([str(line) for line in said]),
        body="\n".join(blocks.section(*it) for it in sections),
        folder=escape(str(run.folder)),
        data=_data(data, heard),
        script=script,
    )


def _style() -> str:
    """The style sheet; dark colours stand in it twice, for the system's choice and the reader's."""
    text = asset("page.css") + asset("browser.css")
    return text.replace("DARK", asset("dark.css"))


def asset(name: str) -> str:
    """The text of one of the page's own files."""
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _splits(run: RunFiles) -> Iterator[Split]:
    for name in dict.fromkeys(str(row["split"]) for row in run.rows):
        yield split_of(name, run.rows, run.right.get(name, {}))


def _tested(run: RunFiles, splits: Sequence[Split]) -> Iterator[tuple[str, str, str]]:
    """Sections of a tested run: a panel a split behind tabs, then training."""
    panels = []
    for name, says in SPLITS.items():
        results = run.results if name == "test" else run.results.get(name) or {}
        own = next((split for split in splits if split.name == name), None)
        if results.get("accuracy"):
            panels.append((name, says, split_panel(results, own)))
    if panels:
        yield "results", "Results", blocks.tabs(panels)
    curves = training_panel(run.metrics)
    if curves:
        yield "training", "Training", curves


def _facts(run: RunFiles) -> Iterator[str]:
    seed = run.results.get("seed", run.manifest.get("seed"))
    started = str(run.state.get("started", ""))[:16].replace("T", " ")
    if started:
        yield f"started {started} UTC"
    if seed is not None:
        yield f"seed {seed}"
    status = run.state.get("status")
    if status and status != "finished":
        yield f"{status}, not finished"
    counted = run.results.get("questions")
    if counted:
        yield f"{counted:,} test questions"
    seconds = (run.results.get("seconds") or {}).get("total")
    if seconds:
        yield f"took {seconds:,.0f} s"


def _nav(sections: Sequence[tuple[str, str, str]]) -> str:
    return "".join(f'<a href="#{name}">{escape(title)}</a>' for name, title, _ in sections)


def _data(data: dict[str, Any], sound: Sound) -> str:
    """The data of the browser, and each embedded clip in an element of its own."""
    parts = [f'<script type="application/json" id="data">{script_json(data)}</script>']
    parts += [
        f'<script type="application/json" id="clip-{index}">"{clip}"</script>'
        for index, clip in enumerate(sound.embedded)
    ]
    return "\n".join(parts)


def _policy(style: str, script: str) -> str:
    """Only this style and this script, and what the script loads; no network at all."""
    return (
        f"default-src 'none'; style-src '{_digest(style)}'; "
        f"script-src '{_digest(script)}' 'strict-dynamic'; img-src data:; media-src blob: data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
