"""What is said in a clip, by any Whisper checkpoint, asked only where a voice is heard.

It stops at the words: not who says them or how. The gate and the model's own doubt keep out most
of what Whisper makes up; that a stretch is told says that something sounded, not that all is right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from routerlab.tools.base import MAX_TEXT
from routerlab.tools.hub_models import HubModel
from routerlab.tools.language_codes import language_code, language_names
from routerlab.tools.spoken import MODEL, Spoken, SpokenTool, in_batches
from routerlab.tools.stretches import Stretch
from routerlab.tools.voices import Gate
from routerlab.tools.whisper import UNSURE, Written
from routerlab.types import Clip, ToolCard

_WORDS, _CHARACTERS = 500, 1000
"""Most words that are kept with times, and characters of one stretch."""


class Transcript(SpokenTool):
    """The words of a clip.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id.
        device: where it runs.
        dtype: number format of the weights.
        language: "auto", or a code or English name: "de", "german". One a clip.
        gate: "voice" asks the model where silero-vad hears a voice; "level" wherever it is loud.
        threshold: probability at which a voice starts.
        most_windows: how many windows of 30 s are heard, from the first voice on.
        times: whether the text tells each word's start, [1.2] before the word.
    """

    card = ToolCard(
        name="transcript",
        measures="the words that are spoken (Whisper), their language, and when they are said",
        unit="text and seconds",
        stops_at="errs on names, numbers, accents, songs, voices at once; not who speaks, nor how",
        needs=("silero-vad",),
        licence="Apache-2.0",
    )
    schema: ClassVar = {
        "text": str,
        "language": (str, type(None)),
        "confidence": (float, type(None)),
        "words": list,
        "timed": str,
        "segments": list,
        "speech_s": float,
        "unheard_s": float,
        "cuts": int,
    }
    revision = 1

    def __init__(
        self,
        model: str = MODEL,
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        language: str = "auto",
        gate: str = "voice",
        threshold: float = 0.5,
        most_windows: int = 6,
        times: bool = False,
    ) -> None:
        self._open(HubModel(model, revision, device, dtype), Gate(gate, threshold), most_windows)
        self.language = language
        self.times = times

    def load(self) -> None:
        """Whisper, and the language it is to write."""
        super().load()
        auto = self.language == "auto" and self._whisper.many_languages
        known = self._whisper.codes
        wanted = known[0] if self.language == "auto" else language_code(self.language, known)
        self._code = "" if auto else wanted

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Windows of all clips in batches; a clip's longest one first, it tells the language."""
        spoken = [self._spoken(clip, lambda found: found[: self.most_windows]) for clip in clips]
        leads = [(at, _longest(one.parts)) for at, one in enumerate(spoken) if one.parts]
        done = self._write(leads, {})
        codes = {at: done[at, part.start_s].language for at, part in leads}
        parts = [(at, part) for at, one in enumerate(spoken) for part in one.parts]
        rest = [(at, part) for at, part in parts if (at, part.start_s) not in done]
        done |= self._write(rest, codes)
        return [
            self._values(one, [done[at, part.start_s] for part in one.parts])
            for at, one in enumerate(spoken)
        ]

    def describe(self, values: Mapping[str, Any]) -> str:
        """The words in quotes; before them the language, when, and all that is missing."""
        if not values["segments"]:
            return "transcript: no speech detected"
        words = _timed(values) if self.times else values["text"]
        if not words:
            return f"transcript: {values['speech_s']:.1f} s of voices, but no words made out"
        head = "; ".join(self._notes(values))
        whole = f'transcript ({head}): "{words}"'
        if len(whole) <= MAX_TEXT:
            return whole
        room = MAX_TEXT - len(whole) + len(words) - len(f"; {len(words)} of {len(words)} left out")
        kept = words[: room - len(" characters…")]
        kept = kept.rpartition(" ")[0] or kept
        left = f"{len(words) - len(kept)} of {len(words)} characters left out"
        return f'transcript ({head}; {left}): "{kept}…"'

    def _write(
        self, asked: Sequence[tuple[int, Stretch]], codes: Mapping[int, str]
    ) -> dict[tuple[int, float], Written]:
        """What is said in parts of clips, by clip and start; in `codes`' language where known."""
        done: dict[tuple[int, float], Written] = {}
        for batch in in_batches(asked, self.batch_size):
            parts = [part for _, part in batch]
            sound = self._whisper.hear([part.samples for part in parts])
            known = [codes.get(at, self._code) for at, _ in batch]
            lengths = [part.end_s - part.start_s for part in parts]
            written = self._whisper.write(sound, lengths, known)
            done |= {
                (at, part.start_s): one for (at, part), one in zip(batch, written, strict=True)
            }
        return done

    def _values(self, spoken: Spoken, written: Sequence[Written]) -> dict[str, Any]:
        told = [
            (part, one)
            for part, one in zip(spoken.parts, written, strict=True)
            if not self._nobody(one.silent, one.confidence)
        ]
        words = [
            {
                "word": word.text,
                "start_s": round(part.start_s + word.start_s, 2),
                "end_s": round(part.start_s + word.end_s, 2),
                "probability": round(word.probability, 2),
            }
            for part, one in told
            for word in one.words
        ]
        sure = sum(one.confidence for _, one in told) / len(told) if told else None
        return {
            "text": " ".join(text for _, one in told if (text := _text(one))),
            "language": told[0][1].language if told else None,
            "confidence": None if sure is None else round(sure, 2),
            "words": words[:_WORDS],
            "timed": "words" if words else "stretches",
            "segments": [
                {"start_s": part.start_s, "end_s": part.end_s, "text": _text(one)}
                for part, one in told
            ],
            "speech_s": spoken.speech_s if told else 0.0,
            "unheard_s": spoken.unheard_s if told else 0.0,
            "cuts": sum(one.cut for _, one in told),
        }

    def _notes(self, values: Mapping[str, Any]) -> list[str]:
        first, last = values["segments"][0], values["segments"][-1]
        notes = [
            language_names()[values["language"]].title(),
            f"{first['start_s']:.1f} to {last['end_s']:.1f} s",
        ]
        if values["confidence"] < UNSURE:
            notes.append("unsure")
        if values["cuts"]:
            notes.append("cut where the model repeated itself or did not end")
        if values["unheard_s"]:
            notes.append(f"{values['unheard_s']:.0f} s of later speech not heard")
        if self.times and values["timed"] == "stretches":
            notes.append("times of stretches, this model tells none of words")
        return notes


def _longest(parts: Sequence[Stretch]) -> Stretch:
    return max(parts, key=lambda part: len(part.samples))


def _text(one: Written) -> str:
    """The words of a stretch; an ellipsis where they were cut."""
    text = one.text[:_CHARACTERS]
    return f"{text}…" if one.cut or len(one.text) > _CHARACTERS else text


def _timed(values: Mapping[str, Any]) -> str:
    """Words, or whole stretches where no word has a time, each after its start in seconds."""
    rows = values["words"] if values["timed"] == "words" else values["segments"]
    told = "word" if values["timed"] == "words" else "text"
    return " ".join(f"[{row['start_s']:.1f}] {row[told]}" for row in rows if row[told])
