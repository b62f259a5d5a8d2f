"""Attacks that show at joint heads, and those that only a head from outside shows."""

from __future__ import annotations

from compliance.verify.note import Note
from tests.forge import FIRST_DAY, NEXT_DAY, Forge, ForgedShard, midnight, notes_file, signer
from tests.vectors.cases import Given, attack, joint_of, plain, two_shards

LOG, HEADS, JOINT = "shard-000.log", "shard-000.heads", "journal.heads"


@attack("joint 2 joint_truncated")
def joint_heads_truncated(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={JOINT: notes_file(forge.joints)[:-20]})


@attack("journal.heads joint_missing")
def joint_heads_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={JOINT: None})


@attack("journal.heads joint_missing")
def joint_heads_emptied(forge: Forge, shard: ForgedShard) -> None:
    forge.joints.clear()


@attack("joint 1 joint_signature")
def joint_head_with_a_flipped_bit(forge: Forge, shard: ForgedShard) -> None:
    forge.joints[1] = forge.joints[1].replace("\nat 1", "\nat 3")


@attack("joint 3 joint_signature")
def joint_head_of_a_wrong_total(forge: Forge, shard: ForgedShard) -> None:
    text = Note.parsed(forge.joints[2]).text.replace("\n9\n", "\n8\n")
    forge.joints.append(forge.by_day(text, forge.at))


@attack("joint 3 joint_signature")
def joint_head_of_a_wrong_root(forge: Forge, shard: ForgedShard) -> None:
    before, after = (Note.parsed(note).text.split("\n") for note in forge.joints[1:])
    after[2] = before[2]
    forge.joints.append(forge.by_day("\n".join(after), forge.at))


@attack("joint 3 joint_origin")
def joint_head_of_another_journal(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(id="00" * 16)


@attack("joint 3 joint_order")
def clock_set_back_at_a_joint_head(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(at=joint_of(forge.joints[2]).at - 1)


@attack("joint 3 joint_order")
def joint_shard_smaller(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(shards=joint_of(forge.joints[1]).shards)


@attack("joint 4 joint_order", on=two_shards)
def joint_shard_gone(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(shards=joint_of(forge.joints[2]).shards)


@attack("joint 3 joint_root")
def joint_head_over_other_records(forge: Forge, shard: ForgedShard) -> None:
    forge.joint(shards=((9, bytes(32)),))


@attack("joint 3 joint_root")
def joint_head_over_nothing_with_a_root(forge: Forge, shard: ForgedShard) -> None:
    forge.shard()
    forge.joint(shards=(*joint_of(forge.joints[2]).shards, (0, bytes(32))))


@attack("joint 3 joint_missing")
def joint_head_over_more_than_there_is(forge: Forge, shard: ForgedShard) -> None:
    shard.noted()
    forge.joint()
    del shard.bodies[9]


@attack("shard-001 shard_missing", on=two_shards)
def shard_removed(forge: Forge, shard: ForgedShard) -> None:
    del forge.shards[1]


@attack("shard-000 shard_missing", on=two_shards)
def first_shard_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: None, HEADS: None})


@attack("shard-000 shard_missing")
def log_removed(forge: Forge, shard: ForgedShard) -> Given:
    return Given(files={LOG: None})


@attack("shard-001 shard_missing", on=two_shards)
def shard_removed_with_its_joint_heads(forge: Forge, shard: ForgedShard) -> Given:
    del forge.shards[1], forge.joints[3]
    return Given(head=shard.heads[1])


@attack("shard-001 shard_missing", "shard-002 shard_missing")
def shard_removed_behind_another(forge: Forge, shard: ForgedShard) -> Given:
    forge.shard()
    last = forge.shard()
    del forge.shards[1:]
    return Given(head=last.heads[0])


# with a head from outside


@attack("head given_missing")
def rolled_back(forge: Forge, shard: ForgedShard) -> Given:
    head = forge.joints[2]
    del shard.bodies[5:], shard.heads[2:], forge.joints[2:]
    return Given(head=head)


@attack("journal.note genesis_signature")
def restarted_clean(forge: Forge, shard: ForgedShard) -> Given:
    another = Forge("another", root="another root")
    return Given(head=forge.joints[2], files={LOG: None, HEADS: None, **another.files()})


@attack("head given_foreign")
def restarted_clean_under_the_same_root(forge: Forge, shard: ForgedShard) -> Given:
    return Given(head=forge.joints[2], files={LOG: None, HEADS: None, **Forge("another").files()})


@attack("head given_root")
def forked(forge: Forge, shard: ForgedShard) -> Given:
    head = shard.heads[2]
    _fork(forge, shard, 6)
    return Given(head=head)


@attack("head given_missing")
def forked_and_shorter(forge: Forge, shard: ForgedShard) -> Given:
    head = forge.joints[2]
    _fork(forge, shard, 1)
    return Given(head=head)


@attack("head given_foreign")
def head_from_outside_of_another_journal(forge: Forge, shard: ForgedShard) -> Given:
    return Given(head=plain("another")[0].joints[1])


@attack("head given_signature")
def head_from_outside_of_a_thief(forge: Forge, shard: ForgedShard) -> Given:
    shard.head(key=signer("a thief"))
    return Given(head=shard.heads.pop())


@attack("head given_signature")
def head_from_outside_out_of_its_day(forge: Forge, shard: ForgedShard) -> Given:
    forge.joint(at=midnight(NEXT_DAY), key=forge.day_key(FIRST_DAY))
    return Given(head=forge.joints.pop())


@attack("head given_signature")
def head_from_outside_cut_short(forge: Forge, shard: ForgedShard) -> Given:
    return Given(head=forge.joints[2][:-5])


@attack("head given_signature")
def head_from_outside_that_is_a_promise(forge: Forge, shard: ForgedShard) -> Given:
    return Given(head=forge.promise([(0, 1)]))


# more than one flaw


@attack("joint 1 joint_root")
def joint_head_and_head_from_outside_over_other_records(forge: Forge, shard: ForgedShard) -> Given:
    head = shard.heads[1]
    shard.noted(sequence=2, of=(0, 1))
    shard.bodies[2] = shard.bodies.pop()
    shard.resign(first=1)
    return Given(head=head)


@attack(
    "certificate 2 certificate_invalid",
    "joint 3 joint_order",
    "head given_signature",
    "shard-000/6 record_sequence",
    "shard-001 head 1 head_signature",
    on=two_shards,
)
def flaws_of_every_step(forge: Forge, shard: ForgedShard) -> Given:
    forge.certificates.append(forge.certificates[0].replace("day 2026-11-23", "day 2026-11-22"))
    forge.joints[3] = forge.joints[1]
    del forge.shards[0].bodies[6]
    shard.heads[1] = shard.heads[1].replace("\nallowed 1\n", "\nallowed 0\n")
    return Given(head="a head\n")


def _fork(forge: Forge, shard: ForgedShard, records: int) -> None:
    """Go on from the first checkpoint as a machine that was set back to its snapshot."""
    del shard.bodies[5:], shard.heads[2:], forge.joints[2:]
    shard.epoch()
    for _ in range(records - 1):
        shard.noted()
    shard.head()
    forge.joint()
