import contextlib
import resource

import numpy as np
import pytest
import soundfile

from routerlab.audio import fingerprint, load_clip, make_clip
from routerlab.errors import AudioError

RATE = 16_000


def tone(seconds=1.0, hz=440.0, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def write(path, samples, rate=RATE, **kwargs):
    soundfile.write(path, samples, rate, **kwargs)
    return path


def test_round_trip_keeps_samples_and_fingerprint(tmp_path):
    path = write(tmp_path / "a.wav", tone(), subtype="FLOAT")
    clip = load_clip(path)
    assert clip.samples.dtype == np.float32
    np.testing.assert_array_equal(clip.samples, tone())
    assert clip.fingerprint == make_clip(tone(), RATE).fingerprint
    assert (clip.seconds, clip.cut_seconds, clip.path) == (1.0, 0.0, str(path))


def test_the_fingerprint_is_of_samples_and_rate_not_of_the_path():
    one, other = make_clip(tone(), RATE, "a"), make_clip(tone(), RATE, "b")
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != make_clip(tone(), RATE // 2).fingerprint
    assert one.fingerprint != make_clip(tone() * 0.999, RATE).fingerprint
    assert fingerprint(tone()[::2], RATE) == fingerprint(tone()[::2].copy(), RATE)


@pytest.mark.parametrize("rate", [8_000, 22_051, 44_100, 384_000])
def test_any_rate_becomes_the_wanted_one(tmp_path, rate):
    clip = load_clip(write(tmp_path / "a.wav", tone(0.5, rate=rate), rate))
    assert abs(len(clip.samples) - RATE // 2) <= 2
    peak = np.abs(np.fft.rfft(clip.samples)).argmax() * RATE / len(clip.samples)
    assert abs(peak - 440) < 3


@pytest.mark.parametrize("name", ["a.flac", "a.ogg", "a.mp3"])
def test_compressed_formats(tmp_path, name):
    clip = load_clip(write(tmp_path / name, tone()))
    assert abs(clip.seconds - 1.0) < 0.1
    assert np.isfinite(clip.samples).all()


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3"])
def test_a_steady_tone_has_no_holes(tmp_path, name, rate):
    tone = 0.3 * np.sin(2 * np.pi * 220 * np.arange(5 * rate) / rate)
    soundfile.write(tmp_path / name, np.stack([tone, tone], axis=1), rate)
    samples = load_clip(tmp_path / name, sample_rate=rate).samples
    levels = [np.sqrt(np.mean(part**2)) for part in np.array_split(samples, 250)]
    assert min(levels) > 0.9 * max(levels)
    assert np.corrcoef(samples, tone)[0, 1] > 0.99


def test_channels_are_averaged(tmp_path):
    stereo = np.stack([tone(), np.zeros_like(tone())], axis=1)
    clip = load_clip(write(tmp_path / "a.wav", stereo, subtype="FLOAT"))
    np.testing.assert_allclose(clip.samples, tone() / 2, atol=1e-7)


def test_what_is_cut_is_recorded(tmp_path):
    clip = load_clip(write(tmp_path / "a.wav", tone(3.0)), max_seconds=1.25)
    assert (clip.seconds, clip.cut_seconds) == (1.25, 1.75)


def _damaged(tmp_path):
    nan = tone()
    nan[5] = np.nan
    whole = {}
    for kind in ("flac", "ogg"):
        whole[kind] = write(tmp_path / f"whole.{kind}", tone(3.0)).read_bytes()
    files = {
        "html.wav": b"<!doctype html><html>not found</html>",
        "nothing.wav": b"",
        "cut.flac": whole["flac"][: len(whole["flac"]) // 2],
        "header.ogg": whole["ogg"][:40],
        "raw.raw": bytes(100),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    write(tmp_path / "nan.wav", nan, subtype="FLOAT")
    write(tmp_path / "huge.wav", tone() * 1e30, subtype="FLOAT")
    write(tmp_path / "empty.wav", tone(0.0))
    write(tmp_path / "nine.wav", np.zeros((100, 9)))
    write(tmp_path / "slow.wav", tone(), 500)
    return [*files, "nan.wav", "huge.wav", "empty.wav", "nine.wav", "slow.wav", "absent.wav", "."]


def test_what_is_not_whole_sound_is_refused_by_name(tmp_path):
    for name in _damaged(tmp_path):
        with pytest.raises(AudioError, match=r"audio .*") as caught:
            load_clip(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1


def test_a_truncated_file_is_refused_or_finite(tmp_path):
    for kind in ("wav", "mp3", "ogg"):
        path = write(tmp_path / f"a.{kind}", tone(3.0))
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with contextlib.suppress(AudioError):
            assert np.isfinite(load_clip(path).samples).all()


def test_a_small_file_cannot_unpack_to_much_memory(tmp_path):
    path = tmp_path / "bomb.flac"
    with soundfile.SoundFile(path, "w", 192_000, 8) as sound:
        for _ in range(60):
            sound.write(np.zeros((192_000, 8), dtype="int16"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clip = load_clip(path)
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert clip.seconds == 30.0
    assert clip.cut_seconds == 30.0
    assert grown_mb < 256
    with pytest.raises(AudioError, match="Lower max_seconds"):
        load_clip(write(tmp_path / "long.wav", np.zeros(40_000_000, "i2")), max_seconds=1e9)


@pytest.mark.parametrize(
    ("samples", "rate"),
    [(np.zeros((2, 2)), RATE), (np.zeros(0), RATE), (np.array([np.inf]), RATE), (np.ones(2), 0)],
)
def test_make_clip_refuses_what_is_not_a_signal(samples, rate):
    with pytest.raises(AudioError):
        make_clip(samples, rate)
