"""What sounds: events by an audio spectrogram transformer (AST), the question's options by CLAP.

Both hear about ten seconds at a time. It stops at which sounds there are: how many, and in which
order, such models do not say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from routerlab.tools.base import MAX_TEXT
from routerlab.tools.hub_models import HubModel, HubTool, heard
from routerlab.tools.rhythm import audible
from routerlab.tools.signal import Floats, softmax
from routerlab.tools.stretches import Stretch, heard_s, stretches
from routerlab.types import Clip, ToolCard

_HOP_S = 0.01
"""Of AST's filter bank (Kaldi's), which its config does not repeat."""

_OPTION = 48
"""Most characters of an option that are repeated: the reasoner has them in full."""


class SoundEvents(HubTool):
    """Sound events of a clip, from any AST checkpoint with a classifier.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id.
        device: where it runs.
        dtype: number format of the weights.
        top: most events told.
        least: least score of an event that is told.
        most_stretches: how many ten-second stretches are heard; of a longer clip, evenly spread.
        exclusive: whether one label excludes the others (softmax), as among speech commands;
            AudioSet's do not (sigmoid).
    """

    card = ToolCard(
        name="sound_events",
        measures="which kinds of sound are heard (AudioSet's classes), with scores and when",
        unit="score 0 to 1 and seconds",
        stops_at="which, not how many or in which order; soft, short and rare sounds are missed",
        licence="BSD-3-Clause",
    )
    schema: ClassVar = {"events": list, "best": (str, type(None)), "heard_s": float}
    revision = 1

    def __init__(
        self,
        model: str = "MIT/ast-finetuned-audioset-10-10-0.4593",
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        top: int = 5,
        least: float = 0.1,
        most_stretches: int = 6,
        exclusive: bool = False,
    ) -> None:
        if top < 1 or most_stretches < 1:
            raise ValueError("top and most_stretches must be 1 or more")
        self.source = HubModel(model, revision, device, dtype)
        self.top = top
        self.least = least
        self.most_stretches = most_stretches
        self.exclusive = exclusive

    def load(self) -> None:
        """Filter bank, network and labels."""
        self._features = self.source.part("ASTFeatureExtractor")
        self._network = self.source.network("ASTForAudioClassification")
        self._labels = self._network.config.id2label

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Scores of every stretch in batches; a label's score is its highest."""
        rate, seconds = self._features.sampling_rate, self._features.max_length * _HOP_S
        cut = [_parts(clip, rate, seconds, self.most_stretches) for clip in clips]
        scores = _in_batches(cut, self.batch_size, self._scores)
        return [self._values(*pair) for pair in zip(cut, scores, strict=True)]

    def describe(self, values: Mapping[str, Any]) -> str:
        """Events with scores and, of a long clip, when; as many as the text has room for."""
        if not values["heard_s"]:
            return "sound_events: nothing sounds"
        told = [
            f"{row['label'][:_OPTION]} {row['score']:.2f}"
            + (f" ({row['start_s']:.0f} to {row['end_s']:.0f} s)" if "start_s" in row else "")
            for row in values["events"]
        ]
        if not told:
            return f"sound_events: none scores {self.least:g} or more; likeliest {values['best']}"
        return _joined("sound_events: ", told)

    def _scores(self, parts: Sequence[Stretch]) -> Floats:
        """[stretches, labels]."""
        given = self._features(
            [part.samples for part in parts],
            sampling_rate=self._features.sampling_rate,
            return_tensors="pt",
        )["input_values"]
        logits = self._network(given.to(self._network.device, self._network.dtype)).logits
        raw = logits.float().cpu().numpy()
        return softmax(raw) if self.exclusive else 1 / (1 + np.exp(-raw))

    def _values(self, parts: list[Stretch], scores: Floats) -> dict[str, Any]:
        if not parts:
            return {"events": [], "best": None, "heard_s": 0.0}
        highest, where = scores.max(axis=0), scores.argmax(axis=0)
        order = np.argsort(-highest, kind="stable")[: self.top]
        rows = []
        for label in order[highest[order] >= self.least].tolist():
            part = parts[int(where[label])]
            row = {"label": str(self._labels[label]), "score": round(float(highest[label]), 3)}
            if len(parts) > 1:
                row |= {"start_s": round(part.start_s, 1), "end_s": round(part.end_s, 1)}
            rows.append(row)
        best = f"{self._labels[int(order[0])]} {highest[order[0]]:.2f}"
        return {"events": rows, "best": best[:_OPTION], "heard_s": heard_s(parts)}


class SoundMatch(HubTool):
    """How well each of the question's options describes the clip, from any CLAP checkpoint.

    Args:
        model: a folder, or a hub id.
        revision: commit, tag or branch of a hub id.
        device: where it runs.
        dtype: number format of the weights.
        prompt: what an option is put into before it is compared; {} stands for it.
        most_stretches: how many ten-second stretches are heard; of a longer clip, evenly spread.
    """

    card = ToolCard(
        name="sound_match",
        measures="how well each option of the question describes the sound (CLAP)",
        unit="percent of the options, and cosine similarity",
        stops_at="options that name sounds: not counts, order, pitch, words or reasons",
        sees_choices=True,
        licence="Apache-2.0",
    )
    schema: ClassVar = {"matches": list, "best": (str, type(None)), "heard_s": float}
    revision = 1

    def __init__(
        self,
        model: str = "laion/clap-htsat-unfused",
        revision: str = "",
        device: str = "cpu",
        dtype: str = "float32",
        prompt: str = "This is a sound of {}.",
        most_stretches: int = 6,
    ) -> None:
        if "{}" not in prompt:
            raise ValueError("prompt must hold {}, where an option goes")
        if most_stretches < 1:
            raise ValueError("most_stretches must be 1 or more")
        self.source = HubModel(model, revision, device, dtype)
        self.prompt = prompt
        self.most_stretches = most_stretches

    def load(self) -> None:
        """Mel features, tokenizer and network."""
        self._features = self.source.part("ClapFeatureExtractor")
        self._tokenizer = self.source.part("AutoTokenizer")
        self._network = self.source.network("ClapModel")
        self._scale = float(np.exp(self._network.logit_scale_a.float().cpu().numpy()))

    def run_many(
        self, clips: Sequence[Clip], choices: Sequence[tuple[str, ...]] = ()
    ) -> list[dict[str, Any]]:
        """Stretches and options in batches; an option's similarity is that of its best stretch."""
        rate, seconds = self._features.sampling_rate, self._features.max_length_s
        cut = [_parts(clip, rate, seconds, self.most_stretches) for clip in clips]
        sounds = _in_batches(cut, self.batch_size, self._hear)
        rows = []
        for parts, sound, options in zip(cut, sounds, choices, strict=True):
            alike = (sound @ self._read(options).T).max(axis=0) if parts else np.zeros(0)
            rows.append(self._values(parts, options, alike))
        return rows

    def describe(self, values: Mapping[str, Any]) -> str:
        """The options from best to worst with their shares and similarities."""
        if values["best"] is None:
            return "sound_match: nothing sounds"
        told = [
            f'"{_short(row["choice"])}" {row["percent"]:.0f} % (similarity {row["similarity"]:.2f})'
            for row in values["matches"]
        ]
        return _joined("sound_match: ", told)

    def _hear(self, parts: Sequence[Stretch]) -> Floats:
        """Unit vectors [stretches, D]."""
        given = self._features(
            [part.samples for part in parts],
            sampling_rate=self._features.sampling_rate,
            return_tensors="pt",
        )
        features = given["input_features"].to(self._network.device, self._network.dtype)
        # The extractor calls one clip of a batch longer by chance; none is, they are cut already.
        longer = given["is_longer"].new_zeros(given["is_longer"].shape)
        found = self._network.get_audio_features(
            input_features=features, is_longer=longer.to(features.device)
        )
        return _vectors(found)

    def _read(self, options: Sequence[str]) -> Floats:
        """Unit vectors [options, D]; at most as many tokens as the text tower has places for."""
        positions = self._network.config.text_config.max_position_embeddings
        tokens = self._tokenizer(
            [self.prompt.replace("{}", option) for option in options],
            padding=True,
            truncation=True,
            max_length=positions - 2,
            return_tensors="pt",
        ).to(self._network.device)
        return _vectors(
            self._network.get_text_features(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            )
        )

    def _values(
        self, parts: list[Stretch], options: Sequence[str], alike: Floats
    ) -> dict[str, Any]:
        if not parts:
            return {"matches": [], "best": None, "heard_s": 0.0}
        shares = 100 * softmax(self._scale * alike)
        rows = [
            {
                "choice": options[at],
                "percent": round(float(shares[at]), 1),
                "similarity": round(float(alike[at]), 3),
            }
            for at in np.argsort(-alike, kind="stable").tolist()
        ]
        return {"matches": rows, "best": rows[0]["choice"], "heard_s": heard_s(parts)}


def _parts(clip: Clip, rate: int, seconds: float, most: int) -> list[Stretch]:
    """Stretches of what a model may hear; none of a clip in which nothing sounds."""
    samples = heard(clip, rate)
    return stretches(samples, rate, seconds, most) if audible(clip) else []


def _in_batches(
    cut: Sequence[list[Stretch]], size: int, work: Callable[[Sequence[Stretch]], Floats]
) -> Iterator[Floats]:
    """Rows of `work` over all clips' stretches, given back clip by clip."""
    flat = [part for parts in cut for part in parts]
    rows = [row for at in range(0, len(flat), size) for row in work(flat[at : at + size])]
    left = iter(rows)
    for parts in cut:
        yield np.array([next(left) for _ in parts])


def _vectors(found: Any) -> Floats:
    raw: Floats = found.pooler_output.float().cpu().numpy()
    unit: Floats = raw / np.maximum(np.linalg.norm(raw, axis=-1, keepdims=True), 1e-9)
    return unit


def _short(text: str) -> str:
    """An option on one line, cut with an ellipsis."""
    flat = " ".join(text.split())
    return flat if len(flat) <= _OPTION else f"{flat[: _OPTION - 1]}…"


def _joined(head: str, told: Sequence[str]) -> str:
    """As many of the phrases as fit, and how many did not."""
    for count in range(len(told), 0, -1):
        more = f"; {len(told) - count} more" if count < len(told) else ""
        text = f"{head}{', '.join(told[:count])}{more}"
        if len(text) <= MAX_TEXT:
            break
    return text
