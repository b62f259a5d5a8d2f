"""Records that no writer writes, signed by a thief with the key of the day."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from compliance.verify.leaf import EPOCH, GAP, HEADER, NOBODY, NOTED, Epoch, Gap, Leaf
from tests.forge import Forge, ForgedShard, altered
from tests.vectors.cases import ATTACKS, Case, Given, attack, case_of, head_of, plain, two_shards

LOG = "shard-000.log"
_SEALED = ((bytes(32), bytes(1168)),)
_EPOCH, _GAP = Epoch(2**62, bytes(16), _SEALED).packed(), Gap(2**62, 1, 1, 1).packed()
# kind, content and changes of the place of a tenth record that is not of its kind
_MALFORMED: Mapping[str, tuple[int, bytes, bytes, dict[str, int | bytes]]] = {
    "kind-zero": (0, bytes(28), bytes(64), {}),
    "epoch-without-auditors": (EPOCH, Epoch(2**62, bytes(16), ()).packed(), bytes(64), {}),
    "epoch-of-seventeen-auditors": (EPOCH, Epoch(2**62, bytes(16), _SEALED * 17).packed(), bytes(64), {}),
    "epoch-with-a-byte-more": (EPOCH, _EPOCH + b"\x00", bytes(64), {}),
    "epoch-cut-short": (EPOCH, _EPOCH[:24], bytes(64), {}),
    "epoch-with-a-row": (EPOCH, _EPOCH, bytes(64), {"row": b"\x01" + bytes(15)}),
    "epoch-with-a-commitment": (EPOCH, _EPOCH, bytes(63) + b"\x01", {}),
    "epoch-of-a-call": (EPOCH, _EPOCH, bytes(64), {"of_shard": 0, "of_sequence": 7}),
    "gap-with-a-byte-more": (GAP, _GAP + b"\x00", bytes(64), {}),
    "gap-cut-short": (GAP, _GAP[:-1], bytes(64), {}),
    "gap-with-a-row": (GAP, _GAP, bytes(64), {"row": bytes(15) + b"\x01"}),
    "gap-with-a-commitment": (GAP, _GAP, b"\x01" + bytes(63), {}),
    "gap-of-a-call": (GAP, _GAP, bytes(64), {"of_shard": 0, "of_sequence": 7}),
    "sealed-content-too-short": (NOTED, bytes(27), bytes(64), {}),
}


@attack("shard-000/9 record_format", signs=True)
def unknown_format(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    shard.bodies[9] = altered(shard.bodies[9], 0, b"\x02")


@attack("shard-000/9 record_sequence", signs=True)
def sequence_skipped(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(sequence=10)


@attack("shard-000/9 record_sequence", signs=True)
def number_of_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(shard=1)


@attack("shard-000/9 record_epoch", signs=True)
def epoch_number_skipped(forge: Forge, shard: ForgedShard) -> None:
    shard.epoch()
    shard.bodies[9] = altered(shard.bodies[9], 12, (3).to_bytes(4, "big"))


@attack("shard-000/9 record_epoch", signs=True)
def epoch_number_repeated(forge: Forge, shard: ForgedShard) -> None:
    shard.epoch()
    shard.bodies[9] = altered(shard.bodies[9], 12, (1).to_bytes(4, "big"))


@attack("shard-000/10 record_epoch", signs=True)
def sealed_in_the_epoch_before(forge: Forge, shard: ForgedShard) -> None:
    shard.epoch()
    shard.noted(epoch=1)


@attack("shard-001/0 record_epoch", signs=True)
def sealed_before_any_epoch(forge: Forge, shard: ForgedShard) -> None:
    forge.shard().allowed()
    forge.shards[1].head()
    shard.noted()


@attack("shard-000/10 record_epoch", signs=True)
def gap_without_an_epoch(forge: Forge, shard: ForgedShard) -> None:
    shard.gap()
    shard.noted()


@attack("shard-000/9 record_epoch", signs=True)
def gap_of_another_epoch(forge: Forge, shard: ForgedShard) -> None:
    shard.public(shard.place(GAP, epoch=2), _GAP)


@attack("shard-000/9 epoch_replayed", signs=True)
def replayed_epoch(forge: Forge, shard: ForgedShard) -> None:
    _replay(shard, _epoch(forge)._replace(at=forge.tick()))


@attack("shard-000/9 record_time", signs=True)
def replayed_epoch_with_its_time(forge: Forge, shard: ForgedShard) -> None:
    _replay(shard, _epoch(forge))


@attack("shard-001/2 epoch_replayed", on=two_shards, signs=True)
def replayed_epoch_in_another_shard(forge: Forge, shard: ForgedShard) -> None:
    _replay(shard, _epoch(forge)._replace(at=forge.tick()))


@attack("shard-000/9 epoch_replayed", signs=True)
def replayed_epoch_for_one_of_two_auditors(forge: Forge, shard: ForgedShard) -> None:
    old = _epoch(forge)
    _replay(shard, Epoch(forge.tick(), bytes(16), (*_SEALED, *old.sealed)))


@attack("shard-000/9 nonce_reused", signs=True)
def keystream_reuse(forge: Forge, shard: ForgedShard) -> None:
    nonce = shard.bodies[5][HEADER : HEADER + 12]
    shard.noted()
    shard.bodies[9] = altered(shard.bodies[9], HEADER, nonce)


@attack("shard-000/9 record_malformed", signs=True)
def of_a_later_record(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(of=(0, 10))


@attack("shard-000/9 record_malformed", signs=True)
def of_a_shard_that_cannot_be(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(of=(1000, 0))


@attack("shard-000/9 record_malformed", signs=True)
def of_half_a_place(forge: Forge, shard: ForgedShard) -> None:
    shard.noted(of=(NOBODY[0], 5))


@attack("shard-000/9 record_malformed", signs=True)
def of_itself(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 9))


@attack("shard-000/9 record_malformed", signs=True)
def allowed_of_another_call(forge: Forge, shard: ForgedShard) -> None:
    shard.allowed(of=(0, 7))


@attack("shard-000/9 record_malformed", signs=True)
def refused_of_a_call_in_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.refused(of_shard=1)


@attack("shard-000/9 record_malformed", signs=True)
def closed_of_nothing(forge: Forge, shard: ForgedShard) -> None:
    shard.closed(NOBODY)


@attack("shard-000/9 record_of", signs=True)
def closed_twice(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 5))


@attack("shard-000/9 record_of", signs=True)
def closed_without_a_call(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 4))


@attack("shard-001/2 record_of", on=two_shards, signs=True)
def closed_again_in_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 5))


@attack("shard-001/3 record_of", on=two_shards, signs=True)
def closed_twice_in_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 7))
    shard.closed((0, 7))


@attack("shard-001/2 record_of", on=two_shards, signs=True)
def closed_without_a_call_in_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 8))


@attack("shard-001/2 record_of", on=two_shards, signs=True)
def closed_behind_the_end_of_another_shard(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((0, 9))


@attack("shard-001/2 record_of", on=two_shards, signs=True)
def closed_in_a_shard_that_is_not_there(forge: Forge, shard: ForgedShard) -> None:
    shard.closed((2, 1))


@attack("shard-000/9 record_time", signs=True)
def clock_set_back_at_an_epoch(forge: Forge, shard: ForgedShard) -> None:
    shard.epoch(at=head_of(shard.heads[2]).at - 1)


@attack("shard-000/10 record_time", signs=True)
def clock_set_back_at_a_gap(forge: Forge, shard: ForgedShard) -> None:
    shard.epoch()
    shard.gap(at=forge.at - 1)


@attack("shard-000/10 record_time", signs=True)
def clock_set_back_behind_a_gap(forge: Forge, shard: ForgedShard) -> None:
    shard.gap()
    shard.epoch(at=forge.at - 1)


def _epoch(forge: Forge) -> Epoch:
    """The first of the journal."""
    return Epoch.parsed(Leaf.parsed(forge.shards[0].bodies[0]).content)


def _replay(shard: ForgedShard, epoch: Epoch) -> None:
    shard.public(shard.place(EPOCH, epoch=2), epoch.packed())


def _malformed(kind: int, content: bytes, commitments: bytes, place: dict[str, int | bytes]) -> Case:
    forge, shard = plain()
    shard.public(shard.place(kind, epoch=2 if kind == EPOCH else 1, **place), content, commitments)
    shard.head()
    forge.joint()
    return case_of(forge, ["shard-000/9 record_malformed"], Given())


ATTACKS.update({name: partial(_malformed, *record) for name, record in _MALFORMED.items()})
