"""A folder of SQLite files that remembers facts: key -> JSON row, each with its SHA-256.

A row is served only if its checksum holds; a damaged one is counted, dropped and so computed
again. `put_many` returns after its rows are committed: a process killed later loses none of them.
A *file* in which damage was met is left in place, its sound rows still served, and writing goes on
in the next one: a torn index may take a row and never find it again. What a key means is not known
here.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from routerlab.errors import UserError

_T = TypeVar("_T")

_PATIENCE_S = 120.0
_ROWS_A_QUERY = 500
# The key column serves the look-up; what is believed is the key inside the checked fact.
_SCHEMA = "CREATE TABLE IF NOT EXISTS facts (key BLOB PRIMARY KEY, fact BLOB, sha BLOB)"
# An upsert keeps the rowid (REPLACE would not), so rowids stay dense.
_UPSERT = """INSERT INTO facts (key, fact, sha) VALUES (?, ?, ?)
             ON CONFLICT (key) DO UPDATE SET fact = excluded.fact, sha = excluded.sha"""
_SMALLEST_ROW = 100  # bytes in the file, at least: a checksum and the key three times
_DAMAGE = (
    sqlite3.SQLITE_ERROR,  # the queries are fixed: only a damaged schema can refuse them
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_IOERR,
)
# WAL needs memory shared between processes, which these cannot give (sqlite.org/wal.html).
_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "lustre", "gpfs", "ceph", "beegfs", "afs")


@dataclass(frozen=True)
class CacheStats:
    """What a cache holds and met. `damaged` counts rows and unreadable stretches, once a look."""

    rows: int
    damaged: int
    files: int


class Cache:
    """Facts by key, shared by any number of processes.

    Args:
        folder: made if missing. One file on a local disk; on a network file system one a writer,
            without WAL. All files of the folder are read.
        part: names this writer's own file; by default chosen as said.
        network: whether the folder is on a network file system; looked up if None.
    """

    def __init__(
        self, folder: str | Path, part: str | None = None, network: bool | None = None
    ) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"cache: cannot make the folder {folder} ({error.strerror}). Name one that can be "
                "written to."
            ) from error
        self._network = is_network(self.folder) if network is None else network
        if part is None and self._network:
            part = f"{socket.gethostname()}-{os.environ.get('RANK', '0')}"
        self._part = part or ""
        self._damaged = 0
        self._lock = threading.RLock()  # the oracle's producer reads while its consumer writes
        self._readers: dict[Path, _File] = {}
        self._own = self._open_own()

    def get_many(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The rows of those keys that are known and sound."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, dict[str, Any]] = {}
        with self._lock:
            for file in self._files():
                missing = [key for key in wanted if key not in found] if found else wanted
                if not missing:
                    break
                rows, damaged = file.read(missing)
                if damaged:
                    self._met_damage(file, damaged)
                found.update({key: rows[key] for key in missing if key in rows})
        return found

    def put_many(self, rows: Mapping[str, Mapping[str, Any]]) -> None:
        """Remember rows; on return they are committed. Known keys are replaced."""
        encoded = [_encode(key, row) for key, row in rows.items()]
        if not encoded:
            return
        with self._lock:
            while True:
                try:
                    return self._own.write(encoded)
                except sqlite3.DatabaseError as error:
                    self._own.refuse_unless_damaged(error)
                    self._met_damage(self._own, 1)

    def merge(self, other: str | Path | Cache) -> int:
        """Take over another cache's sound rows that are not known here; how many there were."""
        source = other if isinstance(other, Cache) else Cache(other)
        taken = 0
        with self._lock:
            for batch in source._batches():
                known = self.get_many(batch)
                new = {key: row for key, row in batch.items() if key not in known}
                self.put_many(new)
                taken += len(new)
        if source is not other:
            source.close()
        return taken

    def stats(self) -> CacheStats:
        """Sound rows (each is read for it), damage met so far by this object, and files."""
        with self._lock:
            keys: set[str] = set()
            for batch in self._batches():
                keys.update(batch)
            return CacheStats(len(keys), self._damaged, len(self._files()))

    @property
    def damaged(self) -> int:
        """Damaged rows met so far by this object; each was treated as unknown."""
        return self._damaged

    def close(self) -> None:
        """Close the files; closing twice is fine."""
        with self._lock:
            for file in (self._own, *self._readers.values()):
                file.close()
            self._readers.clear()

    def __enter__(self) -> Cache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _batches(self) -> Iterator[dict[str, dict[str, Any]]]:
        for file in self._files():
            for rows, damaged in file.scan():
                self._damaged += damaged
                yield rows

    def _files(self) -> list[_File]:
        """Own file first: what was computed again stands before what it replaces."""
        for path in sorted(self.folder.glob("facts*.sqlite")):
            if path != self._own.path and path not in self._readers:
                self._readers[path] = _File(path, wal=not self._network)
        return [self._own, *(f for p, f in self._readers.items() if p != self._own.path)]

    def _met_damage(self, file: _File, damaged: int) -> None:
        self._damaged += damaged
        if file is self._own:
            self._own = self._open_own(after=file)

    def _open_own(self, after: _File | None = None) -> _File:
        """The first file of this part that can be written, or the next after a damaged one."""
        number = after.number + 1 if after else 0
        if after:
            after.close()
        while True:
            stem = f"facts-{self._part}" if self._part else "facts"
            name = f"{stem}.{number}.sqlite" if number else f"{stem}.sqlite"
            file = _File(self.folder / name, wal=not self._network, number=number)
            try:
                file.create()
                return file
            except sqlite3.DatabaseError as error:
                file.close()
                file.refuse_unless_damaged(error)
                self._damaged += 1
                number += 1


class _File:
    """One SQLite file: opened when first used, its damage turned into missing rows."""

    def __init__(self, path: Path, *, wal: bool, number: int = 0) -> None:
        self.path, self.number, self._wal = path, number, wal
        self._link: sqlite3.Connection | None = None

    def create(self) -> None:
        mode = "WAL" if self._wal else "DELETE"
        _patiently(lambda: self._db.execute(f"PRAGMA journal_mode={mode}"))
        _patiently(lambda: self._db.execute(_SCHEMA))

    def write(self, rows: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        def commit() -> None:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                self._db.executemany(_UPSERT, rows)

        _patiently(commit)

    def read(self, keys: Sequence[str]) -> tuple[dict[str, dict[str, Any]], int]:
        """(sound rows by key, number of damaged ones)."""
        found, damaged = {}, 0
        for start in range(0, len(keys), _ROWS_A_QUERY):
            some = [key.encode() for key in keys[start : start + _ROWS_A_QUERY]]
            rows, bad = self._select("key", some)
            found.update(rows)
            damaged += bad
        return found, damaged

    def scan(self) -> Iterator[tuple[dict[str, dict[str, Any]], int]]:
        """All rows in batches. A torn file misstates its last rowid; its size bounds it."""
        size = sum(f.stat().st_size for f in (self.path, Path(f"{self.path}-wal")) if f.exists())
        end = size // _SMALLEST_ROW + 1
        for start in range(1, end, _ROWS_A_QUERY):
            yield self._select("rowid", range(start, min(start + _ROWS_A_QUERY, end)))

    def refuse_unless_damaged(self, error: sqlite3.DatabaseError) -> None:
        """Raise the user's error, unless writing failed because the file itself is damaged."""
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # A flipped header bit makes a file "read-only" to SQLite though it is not.
        lies = code == sqlite3.SQLITE_READONLY and os.access(self.path, os.W_OK)
        if code not in _DAMAGE and not lies:
            raise UserError(
                f"cache: cannot write {self.path} ({error}). Free the disk or name another folder."
            ) from error

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None

    @property
    def _db(self) -> sqlite3.Connection:
        if self._link is None:
            self._link = sqlite3.connect(
                self.path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
            )
            self._link.text_factory = bytes  # a damaged type tag must not fail to decode
            self._link.execute("PRAGMA synchronous=NORMAL")
            self._link.execute("PRAGMA cell_size_check=ON")
        return self._link

    def _select(self, column: str, values: Sequence[Any]) -> tuple[dict[str, dict[str, Any]], int]:
        marks = ",".join("?" * len(values))
        query = f"SELECT key, fact, sha FROM facts WHERE {column} IN ({marks})"
        rows, broken = self._fetch(query, values)
        if broken and len(values) > 1:  # one torn page must not hide its neighbours
            half = len(values) // 2
            left, right = (self._select(column, part) for part in (values[:half], values[half:]))
            return left[0] | right[0], left[1] + right[1]
        found, damaged = _sound(rows)
        return found, damaged + broken

    def _fetch(self, query: str, values: Sequence[Any]) -> tuple[list[tuple[Any, ...]], bool]:
        """(rows, whether the file broke on the way): for a reader every failure is damage."""
        rows: list[tuple[Any, ...]] = []
        try:
            rows.extend(_patiently(lambda: self._db.execute(query, values)))
        except sqlite3.ProgrammingError:
            raise
        except sqlite3.DatabaseError:
            return rows, True
        return rows, False


def is_network(folder: Path, mounts: str = "/proc/mounts") -> bool:
    """Whether a folder lies on a network file system; False where that cannot be known."""
    try:
        lines = Path(mounts).read_text().splitlines()
    except OSError:
        return False
    place, best, kind = folder.resolve(), Path("/"), ""
    for fields in (line.split() for line in lines):
        mount = Path(fields[1].replace("\\040", " "))
        if place.is_relative_to(mount) and len(mount.parts) >= len(best.parts):
            best, kind = mount, fields[2]
    return kind.startswith(_NETWORK)


def _encode(key: str, row: Mapping[str, Any]) -> tuple[bytes, bytes, bytes]:
    fact = json.dumps([key, row], separators=(",", ":"), allow_nan=False).encode()
    return key.encode(), fact, hashlib.sha256(fact).digest()


def _sound(rows: Iterable[tuple[Any, ...]]) -> tuple[dict[str, dict[str, Any]], int]:
    """Decode the facts whose checksum holds; count the others."""
    found, damaged = {}, 0
    for place, fact, sha in rows:
        if not isinstance(fact, bytes) or sha != hashlib.sha256(fact).digest():
            damaged += 1
            continue
        key, row = json.loads(fact)
        found[key] = row
        damaged += key.encode() != place  # true, but the file led to it by a wrong way
    return found, damaged


def _patiently(action: Callable[[], _T]) -> _T:
    """Run it again while the file is locked: changing to WAL does not wait by itself."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            busy = code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
