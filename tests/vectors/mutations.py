"""A journal of 60 records, and what may become of it when bytes change, records move, or files are cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice

from compliance.crypto import NONCE, TAG, fresh
from compliance.verify.leaf import ALLOWED, CLOSED, NOTED, REFUSED
from tests.forge import FIRST_DAY, Forge, ForgedShard, log_of

__all__ = ["HEADS", "LOG", "Files", "changed", "sample", "sixty_records"]

GENESIS, CERTIFICATES, LOG, HEADS = "journal.note", "certificates.notes", "shard-000.log", "shard-000.heads"
Files = dict[str, bytes]


def sixty_records(name: str = "journal") -> tuple[Forge, ForgedShard]:
    """One shard with records of every kind and of a later version, a head over all of them, and a joint head over that.

    Most sealed records are as short as may be: nobody can open them, which no verifier sees.
    """
    forge = Forge(name)
    forge.certificates = [forge.certificate(FIRST_DAY)]
    forge.joints.clear()
    shard = forge.shard()
    shard.epoch()
    call = shard.allowed()
    shard.public(shard.place(7), fresh())
    while len(shard.bodies) < 59:
        _short(shard, NOTED, of_shard=0, of_sequence=call[1])
        _short(shard, CLOSED, of_shard=0, of_sequence=call[1])
        _short(shard, REFUSED)
        call = _short(shard, ALLOWED)
    shard.gap()
    shard.head()
    forge.joint()
    return forge, shard


def changed(data: bytes, offset: int, new: bytes) -> bytes:
    return data[:offset] + new + data[offset + len(new) :]


def sample(count: int, seed: int) -> Iterator[Files]:
    """So many journals, all files of each, with one mutation: of each class in turn, from a seed."""
    source = random.Random(seed)  # noqa: S311 - to choose mutations, not keys
    forge, _ = sixty_records()
    files = forge.files()
    for mutation in islice(cycle((_flipped, _overwritten, _cut, _removed, _moved, _reframed, _lines, _signed)), count):
        yield files | mutation(source, files, forge)


def _flipped(source: random.Random, files: Files, forge: Forge) -> Files:
    """One bit of any file."""
    name, offset = _somewhere(source, files)
    return {name: changed(files[name], offset, bytes([files[name][offset] ^ 1 << source.randrange(8)]))}


def _overwritten(source: random.Random, files: Files, forge: Forge) -> Files:
    """Up to 40 bytes by others, random or of the same file."""
    name, offset = _somewhere(source, files)
    length = min(source.randint(2, 40), len(files[name]) - offset)
    start = source.randrange(len(files[name]) - length)
    new = source.choice((files[name][start : start + length], source.randbytes(length)))
    return {name: changed(files[name], offset, new)}


def _cut(source: random.Random, files: Files, forge: Forge) -> Files:
    name, offset = _somewhere(source, files)
    return {name: files[name][:offset]}


def _removed(source: random.Random, files: Files, forge: Forge) -> Files:
    """A few bytes from the middle of a file."""
    name, offset = _somewhere(source, files)
    return {name: files[name][:offset] + files[name][offset + source.randint(1, 40) :]}


def _moved(source: random.Random, files: Files, forge: Forge) -> Files:
    """A record to another place, or over another one."""
    moved = list(forge.shards[0].bodies)
    record = source.choice((moved.pop, moved.__getitem__))(source.randrange(60))
    moved.insert(source.randrange(len(moved)), record)
    return {LOG: log_of(moved)}


def _reframed(source: random.Random, files: Files, forge: Forge) -> Files:
    """Bytes of a record, most often of its header, in a frame that says nothing about it."""
    bodies = forge.shards[0].bodies
    number = source.randrange(60)
    body = bodies[number]
    offset = source.randrange(source.choice((42, 140, len(body))))
    body = changed(body, min(offset, len(body) - 1), source.choice((b"\x00", b"\x01", b"\xff", source.randbytes(1))))
    return {LOG: log_of([*bodies[:number], body, *bodies[number + 1 :]])}


def _lines(source: random.Random, files: Files, forge: Forge) -> Files:
    """A line of a file of notes: gone, twice, or with another behind it."""
    name = source.choice([name for name in files if name != LOG])
    return {name: _relined(source, files[name])}


def _signed(source: random.Random, files: Files, forge: Forge) -> Files:
    """The last note of a file with another text, signed by whom it must be signed."""
    name = source.choice([name for name in files if name != LOG])
    *before, text, _ = files[name].decode().removesuffix("\n").rsplit("\n\n", 2 if name == HEADS else 1)
    data = f"{text}\n".encode()
    while data == f"{text}\n".encode():
        offset = source.randrange(len(data))
        new = source.choice(b"0123456789 -+=/\n\r\tAZaz\xc3\x00").to_bytes(1, "big")
        data = source.choice((changed(data, offset, new), data[:offset] + new + data[offset:], _relined(source, data)))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {name: files[name] + data}
    sign = forge.by_root if name in (GENESIS, CERTIFICATES) else partial(forge.by_day, at=forge.at)
    end = "" if name == GENESIS else "\n"
    return {name: "".join((*(f"{note}\n\n" for note in before), sign(text), end)).encode()}


def _relined(source: random.Random, data: bytes) -> bytes:
    lines = data.splitlines(keepends=True)
    number = source.randrange(len(lines))
    lines[number : number + 1] = source.choice(([], [lines[number]] * 2, [lines[number], source.choice(lines)]))
    return b"".join(lines)


def _somewhere(source: random.Random, files: Files) -> tuple[str, int]:
    name = source.choice([*files, LOG])
    return name, source.randrange(len(files[name]))


def _short(shard: ForgedShard, kind: int, **of: int) -> tuple[int, int]:
    return shard.public(shard.place(kind, row=fresh(16), **of), fresh(NONCE + TAG), fresh(64))
