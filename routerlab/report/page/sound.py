"""The clips of a page: as the model heard them, in the page itself or in a folder beside it.

A clip is mono FLAC of at most the recipe's length, so its size is bounded whatever the file was. A
page that was opened from a disk may not read other files, so a clip beside it is a small script
that hands over the same bytes.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from routerlab.audio import MAX_SECONDS, SAMPLE_RATE, load_clip
from routerlab.errors import AudioError, UserError

MODES = ("auto", "embed", "beside", "none")
EMBED_SECONDS = 600.0
"""`auto` embeds up to this much sound: about 12 MB of a page."""
MOST_EMBEDDED_SECONDS = 10_000.0

Advance = Callable[[int, int], None]


@dataclass(frozen=True)
class Sound:
    """The clips that a page has.

    Attributes:
        mode: "embed", "beside" or "none".
        clips: path as the rows give it -> number of the clip; a path without sound is missing.
        embedded: clip as base64, in order of the numbers; [] unless embedded.
        folder: the name of the folder beside the page.
        missing: path -> why there is no sound of it.
    """

    mode: str = "none"
    clips: Mapping[str, int] = field(default_factory=dict)
    embedded: Sequence[str] = ()
    folder: str = ""
    missing: Mapping[str, str] = field(default_factory=dict)


def gather(
    paths: Sequence[str],
    run: Path,
    out: Path,
    mode: str = "auto",
    max_seconds: float = MAX_SECONDS,
    advance: Advance = lambda done, of: None,
) -> Sound:
    """Take up the clips of these paths; a folder beside the page is written whole.

    Args:
        paths: as predictions have them: absolute, or relative to where the run was started.
        run: the run's folder, from which such a place is looked for.
        out: the page's own path.
        advance: told how many clips are done, and of how many.

    Raises:
        UserError: a mode that there is not, too much to embed, or a folder that is another's.
    """
    if mode not in MODES:
        raise UserError(f"report: --audio {mode!r}: choose from {', '.join(MODES)}.")
    if mode == "none":
        return Sound()
    found, missing = _find(list(dict.fromkeys(path for path in paths if path)), run)
    if mode == "auto":
        mode = "embed" if _seconds(found, max_seconds) <= EMBED_SECONDS else "beside"
    if mode == "beside":
        return _beside(found, missing, out, max_seconds, advance)
    length = _seconds(found, max_seconds)
    if length > MOST_EMBEDDED_SECONDS:
        raise UserError(
            f"report: --audio embed: {length / 60:.0f} minutes of sound in one page are more than "
            f"a browser takes well (at most {MOST_EMBEDDED_SECONDS / 60:.0f}). Use --audio beside."
        )
    clips, embedded = {}, []
    for done, (path, file) in enumerate(found.items(), 1):
        try:
            embedded.append(encoded(file, max_seconds))
            clips[path] = len(embedded) - 1
        except AudioError as error:
            missing[path] = str(error)
        advance(done, len(found))
    return Sound("embed", clips, embedded, missing=missing)


def encoded(file: Path, max_seconds: float = MAX_SECONDS) -> str:
    """A sound file as base64 of 16-bit FLAC, mono, 16 kHz, cut as the model's clip was.

    Raises:
        AudioError: it is no sound, or not whole.
    """
    import soundfile

    samples = load_clip(file, max_seconds=max_seconds).samples
    loudest = float(np.abs(samples).max(initial=0.0))
    out = io.BytesIO()
    # FLAC clips beyond full scale: such a clip is made less loud, which the ear forgives.
    scaled = samples / loudest if loudest > 1 else samples
    soundfile.write(out, scaled, SAMPLE_RATE, format="FLAC", subtype="PCM_16")
    return base64.b64encode(out.getvalue()).decode("ascii")


def _beside(
    found: Mapping[str, Path],
    missing: dict[str, str],
    out: Path,
    max_seconds: float,
    advance: Advance,
) -> Sound:
    """Write a script a clip into a folder named after the page, and put it in place at the end."""
    folder = out.with_name(f"{out.stem}_audio")
    if folder.exists() and not _ours(folder):
        raise UserError(f"report: {folder} holds other files. Give another --out, or remove it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    half = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{folder.name}."))
    clips: dict[str, int] = {}
    try:
        for done, (path, file) in enumerate(found.items(), 1):
            try:
                text = f'routerlabClip({len(clips)}, "{encoded(file, max_seconds)}");\n'
                (half / f"{len(clips)}.js").write_text(text, encoding="ascii")
                clips[path] = len(clips)
            except AudioError as error:
                missing[path] = str(error)
            advance(done, len(found))
        os.chmod(half, 0o755)
        if folder.exists():
            shutil.rmtree(folder)
        half.rename(folder)
    except BaseException:
        shutil.rmtree(half, ignore_errors=True)
        raise
    return Sound("beside", clips, folder=folder.name, missing=missing)


def _ours(folder: Path) -> bool:
    """Whether a folder holds clips of a page and nothing else."""
    return folder.is_dir() and all(
        file.suffix == ".js" and file.stem.isdigit() for file in folder.iterdir()
    )


def _find(paths: Sequence[str], run: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Where each path's file is: as given, or from a folder above the run's."""
    above = [Path("."), *run.resolve().parents]
    found: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for path in paths:
        file = next((it for base in above if (it := base / path).is_file()), None)
        if file is None:
            missing[path] = "no such file here"
        else:
            found[path] = file
    return found, missing


def _seconds(found: Mapping[str, Path], max_seconds: float) -> float:
    """About how much sound there is, by the files' headers; what is no sound counts nothing."""
    import soundfile

    total = 0.0
    for file in found.values():
        try:
            about: Any = soundfile.info(str(file))
        except (soundfile.SoundFileError, RuntimeError):
            continue
        total += min(max_seconds, about.frames / max(1, about.samplerate))
    return total
