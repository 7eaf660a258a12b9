"""Writes the listening page: clips of all families that a person can play and answer.

`python -m routerlab.data.listening docs` writes `listening.md` and `listening/*.ogg` there. The
questions are a stream of their own: no split of SynthAQA or SpeechAQA holds them.
"""

from __future__ import annotations

import sys
from html import escape
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import soundfile

from routerlab.audio import make_clip
from routerlab.data.speech.families import MAKERS as SPEECH
from routerlab.data.speech.make import draw as draw_speech
from routerlab.data.synth.draw import FAMILIES, OOD_FAMILIES, draw
from routerlab.data.synth.item import Item, Pool
from routerlab.data.synth.sounds import SAMPLE_RATE
from routerlab.tools.registry import load_tool

CLIPS = 60
ALL_FAMILIES = (*FAMILIES, *OOD_FAMILIES, *SPEECH)
TOOLS = ("pitch", "chord", "tempo", "onsets", "loudness", "segments")
_STREAM = 0x4C49_5354
"""Mixed into every seed, so that the stream differs from that of any data set."""

_HEAD = """\
# Listen for yourself

Sixty clips over all {families} families of SynthAQA and SpeechAQA, drawn as their splits are but
from a stream of their own. Play one, choose, then open the answer: it names the condition of the
clip and shows what the tools said, first those that measure what is asked on this clip, then those
whose name fits although the clip is beyond them. `python -m routerlab.data.listening docs` writes
this page.
"""


def questions(clips: int = CLIPS) -> list[Item]:
    """`clips` questions, family after family; a family's conditions take turns."""
    families = list(islice(cycle(ALL_FAMILIES), clips))
    seen: dict[str, list[str]] = {}
    items = []
    for number, family in enumerate(families):
        before = seen.setdefault(family, [])
        item = _unlike(number, family, before[-1] if before else "")
        before.append(item.condition)
        items.append(item)
    return items


def _unlike(number: int, family: str, condition: str) -> Item:
    """A question of a family in another condition than the one before, if there is another."""
    for attempt in range(20):
        item = _drawn(np.random.default_rng([_STREAM, number, attempt]), family)
        if item.condition != condition:
            break
    return item


def _drawn(rng: np.random.Generator, family: str) -> Item:
    if family in SPEECH:
        return draw_speech(rng, "train", family)
    pool: Pool = "ood" if family in OOD_FAMILIES else "train"
    return draw(rng, family, pool)


def write(folder: str | Path, clips: int = CLIPS) -> Path:
    """Write the page and its clips into `folder`; the page's path."""
    folder = Path(folder)
    sounds = folder / "listening"
    sounds.mkdir(parents=True, exist_ok=True)
    parts = [_HEAD.format(families=len(ALL_FAMILIES))]
    for number, item in enumerate(questions(clips), start=1):
        name = f"{number:02d}-{item.family}.ogg"
        soundfile.write(sounds / name, item.samples, SAMPLE_RATE, format="OGG", subtype="VORBIS")
        parts.append(_entry(number, f"listening/{name}", item))
    page = folder / "listening.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _entry(number: int, sound: str, item: Item) -> str:
    options = "\n".join(f"- {choice}" for choice in item.choices)
    said = "\n".join(
        f"- {how}: `{escape(load_tool(tool)(make_clip(item.samples, SAMPLE_RATE)).text)}`"
        for how, tools in (("measures it", item.fits), ("is beyond it", item.outside))
        for tool in tools
        if tool in TOOLS
    )
    return f"""
## {number}. {item.question}

<audio controls preload="none" src="{sound}"></audio> [the clip]({sound})

{options}

<details><summary>Answer</summary>

**{item.answer}** ({item.family}, {item.condition.replace("_", " ")})

{said or _untold(item)}

</details>
"""


def _untold(item: Item) -> str:
    others = " or ".join(f"`{tool}`" for tool in item.fits)
    return f"{others} would measure this." if others else "The ear is all there is for this."


if __name__ == "__main__":
    print(write(sys.argv[1]))
