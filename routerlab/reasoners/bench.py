"""How many answers a second a model gives on this machine: `python -m routerlab.reasoners.bench`.

Made-up clips and texts of the sizes of the quickstart's; only time is measured, not truth.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from routerlab.audio import make_clip
from routerlab.reasoners.base import ReasonRequest
from routerlab.reasoners.transformers_reasoner import TransformersReasoner
from routerlab.types import Observation

_TEXTS = (
    "pitch: C4 +3 cents at 0.1 to 0.8 s; E4 -2 cents at 0.9 to 1.6 s",
    "chord: Eb minor, fit 0.91; key: Bb major; strongest Eb Gb Bb",
    "tempo: 124 bpm, 5 beats",
    "onsets: 5 events at 0.21 0.63 1.04 1.46 1.88 s; mean gap 0.42 s",
    "loudness: levels -23 -21 -20 -19 -18 -18 -17 -16 dB; change +4.2 dB; range 6 dB",
    "segments: 2 sounds, 0.10 to 0.72 s (0.62 s), 1.01 to 1.80 s (0.79 s)",
    "brightness: centroid 1820 Hz, rolloff 4100 Hz",
)


def _requests(count: int, prompts: int) -> list[ReasonRequest]:
    rng = np.random.default_rng(0)
    shown = [Observation(text.split(":")[0], {}, text, "1") for text in _TEXTS]
    observations = ((), *((shown[k % len(shown)],) for k in range(prompts - 1)))
    return [
        ReasonRequest(
            make_clip(rng.normal(0, 0.1, int(16_000 * rng.uniform(2, 4))), 16_000),
            "Which note is played last in this clip?",
            ("C4", "Eb4", "G4", "Bb4"),
            observations,
        )
        for _ in range(count)
    ]


def main() -> None:
    """Print answers a second for one model and batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lalm", default="embedded")
    parser.add_argument("--questions", type=int, default=96)
    parser.add_argument("--prompts", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--protocol", default="likelihood", choices=["likelihood", "generate"])
    parser.add_argument("--prior", action="store_true")
    args = parser.parse_args()
    reasoner = TransformersReasoner(
        args.lalm, protocol=args.protocol, batch_size=args.batch_size, prior=args.prior
    )
    requests = _requests(args.questions, args.prompts)
    reasoner.answer_many(requests[: args.batch_size])
    begin, used = time.perf_counter(), time.process_time()
    answers = sum(len(reply) for reply in reasoner.answer_many(requests))
    seconds, used = time.perf_counter() - begin, time.process_time() - used
    print(
        f"{answers} answers in {seconds:.2f} s: {answers / seconds:.0f} a second, "
        f"{answers / used:.0f} a second of processor time"
    )


if __name__ == "__main__":
    main()
