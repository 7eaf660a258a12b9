"""How many voices speak, and who when: x-vectors (WavLM) of short windows of speech, clustered.

It stops at one voice at a time, and at voices that differ more from one another than each does from
word to word. The names A, B ... are of this clip alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import MAX_TEXT
from routerlab.tools.hub_models import RATE, HubModel, HubTool, heard
from routerlab.tools.pitch import VOICED, Pitch
from routerlab.tools.signal import Floats
from routerlab.tools.speaker_turns import NAMES, Turn, Window, group, slide, turns
from routerlab.tools.stretches import spread
from routerlab.tools.voices import Gate, cut
from routerlab.tools.waveforms import WaveformModel
from routerlab.types import Clip, ToolCard

_MODEL, _CONVERTED = "microsoft/wavlm-base-sv", "refs/pr/2"
"""Its main branch has no safetensors; this one has the same weights in that form."""

_MOST_TURNS = 500
_VOICE_HZ = (65.0, 500.0)
_LEAST_FRAMES = 3


class Speakers(HubTool):
    """Speakers of a clip, by any x-vector model of the kind of WavLM.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id; "" for the default model's safetensors, and
            for the main branch of any other.
        device: where it runs.
        dtype: number format of the weights.
        distance: cosine distance (0 to 2) of two groups of windows from which they are two
            speakers. It is the model's own: set it on clips of known speakers.
        most_speakers: most speakers told apart, 1 to 10.
        window_s: what is heard at once, in seconds; shorter speech is heard as it is.
        hop_s: at most so far from one window to the next.
        most_windows: how many are heard; of more speech than that, evenly spread.
        gate: what counts as speech: "voice" (silero-vad) or "level" (all that is loud).
        threshold: probability at which a voice starts.
    """

    card = ToolCard(
        name="speakers",
        measures="how many voices speak, who when and how long, who begins, how high each speaks",
        unit="speakers, seconds and Hz",
        stops_at="up to 8 voices, one at a time; unsure of overlap, very short turns, like voices",
        needs=("silero-vad",),
        licence="CC-BY-SA-3.0",
    )
    schema: ClassVar = {
        "speech": bool,
        "count": (int, type(None)),
        "first": (str, type(None)),
        "speakers": list,
        "turns": list,
        "speech_s": float,
        "heard_s": float,
    }
    revision = 1

    def __init__(
        self,
        model: str = _MODEL,
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        distance: float = 0.25,
        most_speakers: int = 8,
        window_s: float = 1.5,
        hop_s: float = 0.75,
        most_windows: int = 160,
        gate: str = "voice",
        threshold: float = 0.5,
    ) -> None:
        if not 0 < distance < 2:
            raise ValueError(f"distance is {distance!r}; allowed: above 0 and below 2")
        if not 1 <= most_speakers <= len(NAMES):
            raise ValueError(f"most_speakers is {most_speakers!r}; allowed: 1 to {len(NAMES)}")
        if not 0 < hop_s <= window_s or most_windows < 1:
            raise ValueError("allowed: hop_s above 0 and up to window_s, most_windows 1 or more")
        revision = revision or (_CONVERTED if model == _MODEL else "")
        self.source = HubModel(model, revision, device, dtype)
        self.distance, self.most_speakers = distance, most_speakers
        self.window_s, self.hop_s, self.most_windows = round(window_s, 3), hop_s, most_windows
        self._gate = Gate(gate, threshold)
        self._pitch = Pitch(*_VOICE_HZ)

    @property
    def version(self) -> str:
        """With the gate's weights."""
        return f"{super().version} {self._gate.mark()}"

    def load(self) -> None:
        """Network, pitch tracker and clustering, all warmed up.

        Raises:
            UserError: a checkpoint without an x-vector head.
        """
        self._gate.mark()
        self._model = WaveformModel(self.source, "AutoModelForAudioXVector", output="embeddings")
        self._pitch.setup()
        group(np.eye(2), self.distance, self.most_speakers)

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Windows of all clips in batches; each clip's are clustered by themselves."""
        sounds = [heard(clip) for clip in clips]
        spoken = [slide(self._gate.spans(sound), self.window_s, self.hop_s) for sound in sounds]
        asked = [spread(windows, self.most_windows) for windows in spoken]
        pieces = [
            cut(sound, (window.start_s, window.end_s))
            for sound, windows in zip(sounds, asked, strict=True)
            for window in windows
        ]
        rows = iter(self._model.rows(pieces, self.batch_size) if pieces else ())
        return [
            self._values(sound, _seconds(everything), windows, list(islice(rows, len(windows))))
            for sound, everything, windows in zip(sounds, spoken, asked, strict=True)
        ]

    def describe(self, values: Mapping[str, Any]) -> str:
        """How many, each one's time and pitch, then the turns that the text has room for."""
        if not values["speech"]:
            return "speakers: no speech detected"
        count, text = values["count"], "speakers: "
        text += f"{count} speakers, {values['first']} first; " if count > 1 else "1 speaker; "
        text += f"speaking time (pitch): {', '.join(map(_told, values['speakers']))}"
        if values["heard_s"] < values["speech_s"]:
            text += f"; heard {values['heard_s']:.0f} of {values['speech_s']:.0f} s of speech"
        text += "; when:"
        for turn in values["turns"]:
            more = f" {turn['speaker']} {turn['start_s']:.1f}-{turn['end_s']:.1f} s,"
            if len(text) + len(more) > MAX_TEXT - 4:
                return f"{text} ..."
            text += more
        return text.removesuffix(",")

    def _values(
        self, sound: Floats, speech_s: float, windows: list[Window], vectors: list[Floats]
    ) -> dict[str, Any]:
        none: dict[str, Any] = {"count": None, "first": None, "speakers": [], "turns": []}
        if not windows:
            return {"speech": False, **none, "speech_s": 0.0, "heard_s": 0.0}
        found = turns(windows, group(np.array(vectors), self.distance, self.most_speakers))
        names = list(dict.fromkeys(turn.speaker for turn in found))
        return {
            "speech": True,
            "count": len(names),
            "first": found[0].speaker,
            "speakers": [self._speaker(sound, name, found) for name in names],
            "turns": [
                {
                    "speaker": turn.speaker,
                    "start_s": round(turn.start_s, 2),
                    "end_s": round(turn.end_s, 2),
                }
                for turn in found[:_MOST_TURNS]
            ],
            "speech_s": round(speech_s, 2),
            "heard_s": round(_seconds(windows), 2),
        }

    def _speaker(self, sound: Floats, name: str, found: Sequence[Turn]) -> dict[str, Any]:
        own = [turn for turn in found if turn.speaker == name]
        voice = np.concatenate([cut(sound, (turn.start_s, turn.end_s)) for turn in own])
        return {
            "speaker": name,
            "speaking_s": round(sum(turn.speaking_s for turn in own), 2),
            "turns": len(own),
            "pitch_hz": self._height(voice),
        }

    def _height(self, voice: Floats) -> float | None:
        """Median pitch in Hz of a voice's samples [n]; None where too little of it is voiced."""
        track = self._pitch.track(voice, RATE)
        sung = track.f0_hz[track.periodicity > VOICED]
        return round(float(np.median(sung)), 1) if len(sung) >= _LEAST_FRAMES else None


def _seconds(windows: Sequence[Window]) -> float:
    """Of the speech that they stand for."""
    return sum(window.to_s - window.from_s for window in windows)


def _told(row: Mapping[str, Any]) -> str:
    pitch = f" ({row['pitch_hz']:.0f} Hz)" if row["pitch_hz"] else ""
    return f"{row['speaker']} {row['speaking_s']:.1f} s{pitch}"
