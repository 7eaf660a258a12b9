"""The cache: what is acknowledged survives a kill, what is damaged is never served.

Bounded by default; with ROUTERLAB_SLOW=1 the full 200 kills, 32 x 1,000 upserts and 300 flips.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routerlab.errors import UserError
from routerlab.oracle.cache import Cache, is_network

SLOW = bool(os.environ.get("ROUTERLAB_SLOW"))
KILLS, WRITERS, UPSERTS, FLIPS = (200, 32, 1000, 300) if SLOW else (25, 8, 100, 32)


def row(n: int) -> dict[str, object]:
    return {"n": n, "text": "é" * (n % 70), "list": [n / 7, None, True]}


def rows(start: int, stop: int) -> dict[str, dict[str, object]]:
    return {f"key {n}": row(n) for n in range(start, stop)}


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "deep" / "cache")


# -- ordinary life --------------------------------------------------------------------------------


def test_what_is_put_is_got(cache: Cache) -> None:
    cache.put_many(rows(0, 1200))
    assert cache.get_many([*rows(0, 1300), "key 5"]) == rows(0, 1200)
    assert Cache(cache.folder).get_many(["key 7", "no such"]) == rows(7, 8)
    assert cache.stats().rows == 1200
    assert cache.damaged == 0


json_rows = st.dictionaries(
    st.text(), st.none() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.lists(st.text(), max_size=2), max_size=3
)  # fmt: skip


@settings(max_examples=30)
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_rows, max_size=4))
def test_any_json_comes_back_as_it_was(facts: dict[str, dict[str, object]]) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"routerlab-cache-{os.getpid()}"
    with Cache(folder) as cache:
        cache.put_many(facts)
        assert cache.get_many(facts) == facts
    shutil.rmtree(folder)


def test_a_known_key_is_replaced(cache: Cache) -> None:
    cache.put_many({"a": {"n": 1}, "b": {"n": 2}})
    cache.put_many({"a": {"n": 3}})
    assert cache.get_many(["a", "b"]) == {"a": {"n": 3}, "b": {"n": 2}}
    assert cache.stats().rows == 2


def test_what_is_not_json_is_a_bug(cache: Cache) -> None:
    with pytest.raises(ValueError, match="JSON"):
        cache.put_many({"a": {"n": float("nan")}})
    assert cache.get_many(["a"]) == {}


def test_merging_twice_is_merging_once(cache: Cache, tmp_path: Path) -> None:
    cache.put_many({**rows(0, 10), "key 3": {"mine": True}})
    other = Cache(tmp_path / "other")
    other.put_many(rows(0, 30))
    assert cache.merge(other) == 20
    assert cache.merge(tmp_path / "other") == 0
    assert cache.get_many(rows(0, 30)) == {**rows(0, 30), "key 3": {"mine": True}}


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache: cannot make the folder .*file/cache"):
        Cache(tmp_path / "file" / "cache")


# -- network file systems -------------------------------------------------------------------------


def test_on_a_network_file_system_each_writer_has_a_file_and_none_is_wal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        writer = Cache(tmp_path, network=True)
        writer.put_many(rows(int(rank) * 5, int(rank) * 5 + 8))
    assert writer.get_many(rows(0, 13)) == rows(0, 13)
    files = sorted(tmp_path.glob("facts-*.sqlite"))
    assert len(files) == 2
    for file in files:
        assert file.read_bytes()[18:20] == b"\x01\x01"  # 2 2 would be WAL (sqlite.org/fileformat)
    assert not list(tmp_path.glob("*-wal"))
    local = Cache(tmp_path / "merged")
    assert local.merge(tmp_path) == 13
    assert (tmp_path / "merged" / "facts.sqlite").read_bytes()[18:20] == b"\x02\x02"


@pytest.mark.parametrize(
    ("kind", "network"), [("ext4", False), ("nfs4", True), ("fuse.sshfs", True), ("overlay", False)]
)
def test_the_file_system_is_that_of_the_nearest_mount(
    tmp_path: Path, kind: str, network: bool
) -> None:
    mounts = tmp_path / "mounts"
    place = tmp_path / "a b"
    escaped = str(place).replace(" ", "\\040")
    mounts.write_text(f"disk / ext4 rw 0 0\nfar {escaped} {kind} rw 0 0\nproc /proc proc rw 0 0\n")
    assert is_network(place / "cache", str(mounts)) == network
    assert not is_network(tmp_path, str(mounts))
    assert not is_network(place, str(tmp_path / "none"))


# -- killed ---------------------------------------------------------------------------------------

FORKED = """
import os, random, signal, sys, time
from routerlab.oracle.cache import Cache

def rows(start, stop):
    return {f"key {n}": {"n": n, "text": "\\u00e9" * (n % 70), "list": [n / 7, None, True]}
            for n in range(start, stop)}

def child(run, *values):
    pid = os.fork()
    if not pid:
        try:
            run(*values)
        except BaseException:
            __import__("traceback").print_exc()
            os._exit(1)
        os._exit(0)
    return pid
"""

KILLED = """
folder, kills = sys.argv[1], int(sys.argv[2])

def write(start):
    log = os.open(folder + ".log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    cache = Cache(folder)
    for n in range(start, start + 1_000_000, 25):
        cache.put_many(rows(n, n + 25))
        os.write(log, f"{n}\\n".encode())

rng = random.Random(0)
writers = [child(write, 0), child(write, 1_000_000)]
for kill in range(kills):
    time.sleep(rng.uniform(0, 0.08))
    victim = rng.randrange(2)
    os.kill(writers[victim], signal.SIGKILL)
    os.waitpid(writers[victim], 0)
    writers[victim] = child(write, (kill + 2) * 1_000_000)
for pid in writers:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""

CROWD = """
folder, writers, upserts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def write(writer):
    cache = Cache(folder)
    for n in range(upserts):
        cache.put_many(rows(writer * upserts + n, writer * upserts + n + 2))

sys.exit(sum(os.waitpid(pid, 0)[1] for pid in [child(write, w) for w in range(writers)]))
"""


def run_forked(script: str, *values: object) -> None:
    command = [sys.executable, "-c", FORKED + script, *map(str, values)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_acknowledged_row_is_lost_to_a_kill(tmp_path: Path) -> None:
    run_forked(KILLED, tmp_path / "cache", KILLS)
    acknowledged = [int(n) for n in Path(f"{tmp_path}/cache.log").read_text().split()]
    assert len(acknowledged) > KILLS
    with Cache(tmp_path / "cache") as cache:
        for start in acknowledged:
            assert cache.get_many(rows(start, start + 25)) == rows(start, start + 25)
        assert cache.stats().rows >= 25 * len(acknowledged)
        assert cache.stats().damaged == 0


def test_a_crowd_of_writers_waits_its_turn(tmp_path: Path) -> None:
    run_forked(CROWD, tmp_path, WRITERS, UPSERTS)
    with Cache(tmp_path) as cache:
        assert cache.get_many(rows(0, WRITERS * UPSERTS + 2)) == rows(0, WRITERS * UPSERTS + 1)


# -- damaged --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sound_file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("sound")
    with Cache(folder) as cache:
        cache.put_many(rows(0, 700))
    return (folder / "facts.sqlite").read_bytes()


def flip(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    data[rng.randrange(120)] ^= 1 << rng.randrange(8)


def tear(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(len(data)) :]


def overwrite(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start : start + 4096] = rng.randbytes(min(4096, len(data) - start))


@pytest.mark.parametrize("damage", [flip, flip_header, tear, overwrite])
def test_no_damaged_value_is_served_and_all_can_be_computed_again(
    damage: Callable[[bytearray, random.Random], None], sound_file: bytes, tmp_path: Path
) -> None:
    expected, lost = rows(0, 700), 0
    for trial in range(FLIPS if damage is flip else FLIPS // 4):
        data = bytearray(sound_file)
        damage(data, random.Random(trial))
        folder = tmp_path / str(trial)
        folder.mkdir()
        (folder / "facts.sqlite").write_bytes(data)
        with Cache(folder) as cache:
            served = cache.get_many(expected)
            assert served.items() <= expected.items()
            lost += len(expected) - len(served)
            cache.put_many({k: v for k, v in expected.items() if k not in served})
            assert cache.get_many(expected) == expected
        with Cache(folder) as cache, Cache(folder / "new") as new:
            assert cache.get_many(expected) == expected
            assert new.merge(cache) == len(expected)
            assert new.get_many(expected) == expected
        shutil.rmtree(folder)
    assert lost > 0


def test_damage_is_counted_and_a_row_mended(cache: Cache) -> None:
    cache.put_many(rows(0, 50))
    link = sqlite3.connect(cache.folder / "facts.sqlite")
    with link:
        link.execute("UPDATE facts SET fact = replace(fact, '7', '8') WHERE key = ?", (b"key 7",))
        link.execute("UPDATE facts SET key = ? WHERE key = ?", (b"key 99", b"key 9"))
    link.close()
    assert cache.get_many(rows(0, 100)).keys() == rows(0, 50).keys() - {"key 7"}
    assert cache.damaged == 2
    cache.put_many(rows(0, 50))
    assert cache.get_many(rows(0, 50)) == rows(0, 50)


def test_something_else_under_the_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "facts.sqlite").write_bytes(b"<html>not found</html>" * 99)
    with Cache(tmp_path) as cache:
        cache.put_many(rows(0, 5))
        assert cache.get_many(rows(0, 9)) == rows(0, 5)
        assert cache.damaged > 0
    assert (tmp_path / "facts.sqlite").read_bytes().startswith(b"<html>")
    assert (tmp_path / "facts.1.sqlite").exists()
