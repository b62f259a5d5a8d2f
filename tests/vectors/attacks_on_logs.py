"""Attacks on the log without the key of the day: the order of records, the bytes of the file."""

from __future__ import annotations

from compliance.verify.leaf import HEADER, PLACE
from tests.forge import Forge, ForgedShard, altered, log_of
from tests.vectors.cases import Given, attack, plain, two_shards

LOG = "shard-000.log"


@attack("shard-000/6 record_sequence")
def dropped(forge: Forge, shard: ForgedShard) -> None:
    del shard.bodies[6]


@attack("shard-000/5 record_sequence")
def swapped(forge: Forge, shard: ForgedShard) -> None:
    shard.bodies[5:7] = shard.bodies[6], shard.bodies[5]


@attack("shard-000/6 record_sequence")
def duplicated(forge: Forge, shard: ForgedShard) -> None:
    shard.bodies.insert(6, shard.bodies[5])


@attack("shard-000/7 record_sequence")
def inserted(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(sequence=6)
    shard.bodies.insert(6, shard.bodies.pop())


@attack("shard-000 head 1 head_root")
def rewritten(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(sequence=4)
    shard.bodies[4] = shard.bodies.pop()


@attack("shard-000 head 2 head_root")
def spliced_from_another_log(forge: Forge, shard: ForgedShard) -> None:
    _, other = plain("another")
    shard.bodies[8] = other.bodies[8]


@attack("shard-000/1 record_sequence", on=two_shards)
def spliced_from_another_shard(forge: Forge, shard: ForgedShard) -> None:
    forge.shards[0].bodies[1] = shard.bodies[1]


@attack("shard-000 head 0 head_signature")
def shard_of_another_journal(forge: Forge, shard: ForgedShard) -> None:
    other, _ = plain("another")
    forge.shards = other.shards


@attack("shard-000/7 record_missing")
def truncated_between_checkpoints(forge: Forge, shard: ForgedShard) -> None:
    del shard.bodies[7:]


@attack("head given_missing")
def truncated_between_checkpoints_with_heads_cut_too(forge: Forge, shard: ForgedShard) -> Given:
    head = forge.joints[2]
    del shard.bodies[7:], shard.heads[2:], forge.joints[2:]
    return Given(head=head)


@attack("head given_missing")
def truncated_at_a_checkpoint(forge: Forge, shard: ForgedShard) -> Given:
    head = shard.heads[2]
    del shard.bodies[5:], shard.heads[2:], forge.joints[2:]
    return Given(head=head)


@attack("joint 2 joint_missing")
def truncated_at_a_checkpoint_with_joint_heads_kept(forge: Forge, shard: ForgedShard) -> None:
    del shard.bodies[5:], shard.heads[2:]


@attack("joint 1 joint_missing")
def truncated_before_every_joint_head(forge: Forge, shard: ForgedShard) -> Given:
    head = shard.heads[2]
    del shard.bodies[3:], shard.heads[1:]
    return Given(head=head)


@attack("shard-000/7 record_truncated")
def truncated_in_a_record(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: log_of(shard.bodies[:8])[:-1]})


@attack("shard-000/9 record_truncated")
def truncated_in_a_length(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: log_of(shard.bodies) + b"\x00\x00\x01"})


@attack("shard-000/9 record_truncated")
def fewer_bytes_at_the_end_than_any_record_has(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: log_of(shard.bodies) + b"\xff" * 117})


@attack("shard-000/0 record_missing")
def emptied(forge: Forge, shard: ForgedShard) -> None:
    shard.bodies.clear()


@attack("shard-000/9 record_length")
def shorter_than_a_header(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: log_of([*shard.bodies, bytes(105), bytes(106)])})


@attack("shard-000/9 record_length")
def longer_than_any_record(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: log_of(shard.bodies) + (96_000_001).to_bytes(4, "big") + bytes(200)})


@attack("shard-000/6 record_length")
def flipped_bit_in_a_length(forge: Forge, shard: ForgedShard) -> Given:
    return _flipped(shard, 0, 0x80)


@attack("shard-000/6 record_check")
def flipped_bit_in_a_header(forge: Forge, shard: ForgedShard) -> Given:
    return _flipped(shard, 4 + PLACE, 0x01)


@attack("shard-000/6 record_check")
def flipped_bit_in_a_content(forge: Forge, shard: ForgedShard) -> Given:
    return _flipped(shard, 4 + HEADER + 40, 0x10)


@attack("shard-000/6 record_check")
def flipped_bit_in_a_check(forge: Forge, shard: ForgedShard) -> Given:
    return _flipped(shard, 4 + len(shard.bodies[6]) + 7, 0x01)


@attack("shard-000 head 2 head_root")
def flipped_bit_under_a_good_check(forge: Forge, shard: ForgedShard) -> None:
    shard.bodies[6] = altered(shard.bodies[6], HEADER + 40, bytes([shard.bodies[6][HEADER + 40] ^ 1]))


def _flipped(shard: ForgedShard, offset: int, bit: int) -> Given:
    """A bit in the record 6 and its frame."""
    log = bytearray(log_of(shard.bodies))
    log[len(log_of(shard.bodies[:6])) + offset] ^= bit
    return Given(files={LOG: bytes(log)})
