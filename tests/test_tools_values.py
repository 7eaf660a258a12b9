"""Each tool against sounds whose truth is known, and against what is beyond it."""

import re

import numpy as np
import pytest

from routerlab.audio import make_clip
from routerlab.tools import known_tools, load_tool
from routerlab.tools.harmony import QUALITIES
from routerlab.tools.levels import integrated_loudness
from routerlab.tools.signal import NOTES, gate_db, note_name

RATE = 16_000
TOOLS = {name: load_tool(name) for name in known_tools()}
STRING = 1 / np.arange(1, 9)


def hertz(midi):
    return 440 * 2 ** ((midi - 69) / 12)


def tone(midi, seconds, partials=STRING):
    time = np.arange(round(seconds * RATE)) / RATE
    wave = sum(
        a * np.sin(2 * np.pi * hertz(midi) * k * time + k)
        for k, a in enumerate(partials, start=1)
        if k * hertz(midi) < 7000
    )
    return edges(0.3 * wave / np.abs(wave).max())


def edges(wave, seconds=0.008):
    n = round(seconds * RATE)
    wave[:n] *= np.linspace(0, 1, n)
    wave[-n:] *= np.linspace(1, 0, n)
    return wave


def hit(rng):
    return rng.standard_normal(480) * np.exp(-np.arange(480) / 120) * 0.3


def place(events, seconds=3.0, snr_db=None):
    """Clip with sounds at their start times, in white noise if asked."""
    canvas = np.zeros(round(seconds * RATE))
    for start, sound in events:
        begin = round(start * RATE)
        part = sound[: len(canvas) - begin]
        canvas[begin : begin + len(part)] += part
    if snr_db is not None:
        power = np.mean(canvas[np.abs(canvas) > 1e-4] ** 2)
        noise = np.random.default_rng(1).standard_normal(len(canvas))
        canvas += noise * np.sqrt(power * 10 ** (-snr_db / 10))
    return make_clip(canvas, RATE)


def names(values):
    return [note["note"] for note in values["notes"]]


def midi_name(midi):
    return f"{NOTES[midi % 12]}{midi // 12 - 1}"


def test_names_are_flats_and_cents_are_signed():
    assert note_name(440.0) == ("A4", 0)
    assert note_name(hertz(61)) == ("Db4", 0)
    assert note_name(hertz(60.4)) == ("C4", 40)
    assert note_name(hertz(59.6)) == ("C4", -40)


@pytest.mark.parametrize("snr_db", [None, 20])
@pytest.mark.parametrize("midi", [45, 52, 61, 70, 83])
def test_pitch_of_one_note(midi, snr_db):
    values = TOOLS["pitch"](place([(0.2, tone(midi + 0.2, 1.5))], snr_db=snr_db)).values
    assert names(values) == [midi_name(midi)]
    assert abs(values["cents"] - 20) <= 10
    assert abs(1200 * np.log2(values["f0_hz"] / hertz(midi + 0.2))) < 10
    assert values["confidence"] > 0.8


@pytest.mark.parametrize(
    "midis", [(60, 64), (60, 61, 60), (60, 60), (72, 72, 60), (48, 60, 84), (55, 54)]
)
def test_pitch_cuts_successive_notes_equal_ones_too(midis):
    starts = [0.15 + 0.75 * k for k in range(len(midis))]
    clip = place([(s, tone(m, 0.70)) for s, m in zip(starts, midis, strict=True)])
    values = TOOLS["pitch"](clip).values
    assert names(values) == [midi_name(m) for m in midis]
    for note, start in zip(values["notes"], starts, strict=True):
        assert abs(note["start_s"] - start) < 0.03
        assert abs(note["end_s"] - start - 0.70) < 0.03


def test_pitch_of_a_legato_change():
    two = np.concatenate([tone(60, 0.8), tone(67, 0.8)])
    values = TOOLS["pitch"](place([(0.2, two)])).values
    assert names(values) == ["C4", "G4"]
    assert abs(values["notes"][1]["start_s"] - 1.0) < 0.05


def test_pitch_finds_none_in_noise():
    observation = TOOLS["pitch"](
        make_clip(0.1 * np.random.default_rng(0).standard_normal(48_000), RATE)
    )
    assert observation.text == "pitch: no clear pitch"
    assert observation.values["f0_hz"] is None


def test_pitch_takes_no_drift_for_a_note():
    white = np.random.default_rng(0).standard_normal(48_000)
    brown = np.cumsum(white) - np.convolve(np.cumsum(white), np.ones(801) / 801, "same")
    above = np.sin(2 * np.pi * 2000 * np.arange(48_000) / RATE)
    for wave in (brown, above):
        observation = TOOLS["pitch"](make_clip(0.3 * wave / np.abs(wave).max(), RATE))
        assert observation.text == "pitch: no clear pitch"


@pytest.mark.parametrize("snr_db", [None, 10])
@pytest.mark.parametrize("quality", QUALITIES)
def test_chords_on_every_root(quality, snr_db):
    right = 0
    for root in range(12):
        voices = [(0.2, tone(55 + root + step, 2.0)) for step in QUALITIES[quality]]
        values = TOOLS["chord"](place(voices, snr_db=snr_db)).values
        right += values["chord"] == f"{NOTES[(55 + root) % 12]} {quality}"
        assert {values["root"], values["quality"]} == set(values["chord"].split())
    assert right == 12


def test_key_of_a_cadence():
    for tonic in (0, 5, 10):
        chords = [(0, 4, 7), (5, 9, 12), (7, 11, 14), (0, 4, 7)]
        events = [
            (0.1 + 0.7 * k, 0.3 * tone(60 + tonic + d, 0.65))
            for k, chord in enumerate(chords)
            for d in chord
        ]
        assert TOOLS["chord"](place(events)).values["key"] == f"{NOTES[tonic]} major"


@pytest.mark.parametrize("snr_db", [None, 20])
@pytest.mark.parametrize("bpm", [70, 91, 124, 150, 183, 200])
def test_tempo_of_even_pulses(bpm, snr_db):
    rng = np.random.default_rng(bpm)
    beats = np.arange(0.1, 3.9, 60 / bpm)
    values = TOOLS["tempo"](place([(t, hit(rng)) for t in beats], 4.0, snr_db)).values
    assert values["tempo_bpm"] == pytest.approx(bpm, rel=0.02)
    assert abs(values["beats"] - len(beats)) <= (0 if snr_db is None else 1)


@pytest.mark.parametrize("count", range(1, 13))
def test_onsets_of_clean_events(count):
    rng = np.random.default_rng(count)
    starts = np.linspace(0.1, 2.8, count) + rng.uniform(-0.03, 0.03, count)
    for sound in (tone(80, 0.08), hit(rng), tone(60, 0.12)):
        values = TOOLS["onsets"](place([(t, sound) for t in starts])).values
        assert values["count"] == count
        assert np.abs(np.array(values["times_s"]) - starts).max() < 0.03
    gaps = np.diff(starts)
    if count > 1:
        assert values["mean_gap_s"] == pytest.approx(gaps.mean(), abs=0.02)
    else:
        assert values["mean_gap_s"] is None


def test_onsets_in_noise_and_at_the_very_start():
    rng = np.random.default_rng(0)
    starts = [0.0, 0.6, 1.2, 1.9]
    clip = place([(t, tone(76, 0.15)) for t in starts], snr_db=20)
    assert TOOLS["onsets"](clip).values["count"] == 4
    assert TOOLS["onsets"](place([(0.0, tone(60, 3.0))])).values["count"] == 1
    assert TOOLS["onsets"](make_clip(rng.standard_normal(100) * 0, RATE)).values["count"] == 0


def test_echoes_are_counted_and_the_card_says_so():
    clip = place([(t, tone(76, 0.08)) for t in (0.2, 0.35, 1.2, 1.35)])
    assert TOOLS["onsets"](clip).values["count"] == 4
    assert "echoes" in TOOLS["onsets"].card.stops_at


@pytest.mark.parametrize("snr_db", [None, 15])
def test_segments_have_their_edges_and_levels(snr_db):
    rng = np.random.default_rng(0)
    sounds = [
        (0.10, tone(60, 0.62)),
        (1.01, edges(0.2 * rng.standard_normal(12_640))),
        (2.2, tone(67, 0.3)),
    ]
    values = TOOLS["segments"](place(sounds, snr_db=snr_db)).values
    assert values["count"] == 3
    for row, (start, sound) in zip(values["segments"], sounds, strict=True):
        assert abs(row["start_s"] - start) < 0.03
        assert abs(row["end_s"] - start - len(sound) / RATE) < 0.03
        assert row["seconds"] == pytest.approx(row["end_s"] - row["start_s"], abs=0.002)
    levels = [20 * np.log10(np.sqrt(np.mean(sound**2))) for _, sound in sounds]
    assert np.abs(np.array([r["level_db"] for r in values["segments"]]) - levels).max() < 1.0


def test_a_short_gap_parts_two_sounds():
    clip = place([(0.1, tone(64, 1.0)), (1.14, tone(64, 1.0))])
    assert TOOLS["segments"](clip).values["count"] == 2


def test_a_steady_sound_is_one_segment():
    clip = place([(0.0, tone(64, 3.0))])
    assert TOOLS["segments"](clip).values["count"] == 1
    assert gate_db(np.full(100, -20.0), 40.0) == -24.0


@pytest.mark.parametrize("change_db", [-12.0, -3.0, 0.0, 2.0, 12.0])
def test_loudness_follows_a_slope(change_db):
    sound = tone(60, 2.4)
    sound *= 10 ** (np.linspace(-change_db / 2, change_db / 2, len(sound)) / 20)
    values = TOOLS["loudness"](place([(0.3, sound)])).values
    assert len(values["levels_db"]) == 8
    assert values["change_db"] == pytest.approx(change_db, abs=0.6)
    assert values["trend_db_per_s"] == pytest.approx(change_db / 2.4, abs=0.3)
    assert values["measure"] == "LUFS"


def test_loudness_tells_a_swell_from_a_level_sound():
    swell = tone(60, 2.4)
    swell *= 10 ** ((3 - 6 * np.abs(np.linspace(-1, 1, len(swell)))) / 20)
    up = TOOLS["loudness"](place([(0.3, swell)])).values
    flat = TOOLS["loudness"](place([(0.3, tone(60, 2.4))])).values
    assert abs(up["change_db"]) < 1
    assert up["range_db"] > 4
    assert flat["range_db"] < 1


def test_loudness_agrees_with_the_standard():
    # EBU Tech 3341, case 1, in mono: 1 kHz at -23 dBFS (peak) reads 3 dB less than in stereo.
    time = np.arange(20 * 48_000) / 48_000
    sine = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * time)
    assert integrated_loudness(sine, 48_000) == (pytest.approx(-26.0, abs=0.1), "LUFS")
    # Case 3, shortened: parts 13 dB quieter are gated out.
    quiet = 10 ** (-13 / 20) * sine[: 3 * 48_000]
    gated = integrated_loudness(np.concatenate([quiet, sine, quiet]), 48_000)[0]
    assert gated == pytest.approx(-26.0, abs=0.1)
    assert integrated_loudness(sine[::3], 16_000)[0] == pytest.approx(-26.0, abs=0.2)
    assert integrated_loudness(sine[:4800], 48_000)[1] == "dBFS"
    assert integrated_loudness(sine * 1e-4, 48_000)[1] == "LUFS ungated"


def test_brightness_orders_dull_and_bright():
    dull, bright = tone(50, 1.2, [1.0, 0.2]), tone(50, 1.2, np.ones(30))
    values = TOOLS["brightness"](place([(0.1, dull), (1.6, bright)])).values
    assert values["halves_hz"][0] < 300 < 1500 < values["halves_hz"][1]
    assert values["halves_hz"][0] < values["centroid_hz"] < values["halves_hz"][1]


def test_quality_hears_noise_clipping_and_bandwidth():
    events = [(0.3, tone(60, 0.9)), (1.8, tone(60, 0.9))]
    for snr_db in (5, 20, 35):
        values = TOOLS["quality"](place(events, snr_db=snr_db)).values
        assert values["snr_db"] == pytest.approx(snr_db, abs=4)
        assert values["clipped_percent"] == 0.0
    square = np.clip(20 * tone(60, 2.0), -1, 1)
    assert TOOLS["quality"](make_clip(square, RATE)).values["clipped_percent"] > 50
    low = TOOLS["quality"](place([(0.1, tone(72, 2.0, [1.0]))])).values
    assert 400 < low["bandwidth_hz"] < 1200


def test_quality_makes_up_no_noise_where_nothing_pauses():
    steady = TOOLS["quality"](make_clip(tone(60, 2.0), RATE))
    assert steady.values["snr_db"] is None
    assert "no pause" in steady.text
    silent = TOOLS["quality"](make_clip(np.zeros(RATE), RATE))
    assert silent.text == "quality: no sound"


SKELETONS = {
    "pitch": r"pitch: (no clear pitch|[A-G]b?\d [+-]\d+ cents at \d\.\d to \d\.\d s(; .*)?)",
    "chord": r"chord: (nothing sounds|[A-G]b? \w+, fit \d\.\d\d; key: [A-G]b? (major|minor); "
    r"strongest( [A-G]b?){3})",
    "tempo": r"tempo: (no pulse|\d+ bpm, \d+ beats)",
    "onsets": r"onsets: (no events|"
    r"\d+ events? at( \d\.\d\d)+ s(; mean gap \d\.\d\d s, \d+ a minute)?)",
    "loudness": r"loudness: levels( -?\d+){8} dB; change [+-]\d+\.\d dB; range \d+\.\d dB",
    "segments": r"segments: (no sound|\d+ sounds?"
    r"(, \d\.\d\d to \d\.\d\d s \(\d\.\d\d s, -?\d+ dB\))+(; longest \d+, loudest \d+)?)",
    "brightness": r"brightness: (no sound|centroid \d+ Hz, rolloff \d+ Hz; halves \d+ then \d+ Hz)",
    "quality": r"quality: (no sound|(SNR -?\d+ dB|no pause to hear noise in), "
    r"clipped \d+\.\d percent, bandwidth \d+ Hz)",
}


@pytest.mark.parametrize("name", SKELETONS)
def test_texts_keep_one_skeleton(name):
    rng = np.random.default_rng(0)
    silence = make_clip(np.zeros(32_000), RATE)
    clips = [
        place([(0.2, tone(61, 0.8)), (1.2, tone(66, 0.9))]),
        place([(t, hit(rng)) for t in np.arange(0.1, 2.9, 0.25)]),
        place([(0.2, tone(m, 2.0)) for m in (60, 63, 67)], snr_db=5),
        make_clip(0.2 * rng.standard_normal(48_000), RATE),
        make_clip(0.2 * rng.standard_normal(1_600), RATE),
        silence,
    ]
    for clip in clips:
        observation = TOOLS[name](clip)
        assert re.fullmatch(SKELETONS[name], observation.text), observation.text
        assert len(observation.text.split()) <= 55
    assert "no " in TOOLS[name](silence).text or name in ("loudness", "chord")


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100])
def test_other_sample_rates_read_the_same(rate):
    time = np.arange(2 * rate) / rate
    wave = 0.3 * np.sin(2 * np.pi * 440 * time) * ((time > 0.5) & (time < 1.5))
    clip = make_clip(wave, rate)
    assert TOOLS["pitch"](clip).values["note"] == "A4"
    assert TOOLS["segments"](clip).values["segments"][0]["seconds"] == pytest.approx(1.0, abs=0.03)
    assert TOOLS["onsets"](clip).values["count"] == 1
    assert TOOLS["chord"](clip).values["strongest"][0] == "A"
