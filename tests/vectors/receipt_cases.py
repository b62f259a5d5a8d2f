"""Receipts and proofs that hold, and what can be done to them. They are of the journal that `cases.plain` makes."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any

from compliance.verify.merkle import leaf_hash
from compliance.verify.statements import key_text
from tests.forge import FIRST_DAY, NEXT_DAY, Forge, ForgedShard, signer
from tests.vectors.cases import plain

__all__ = ["RECEIPTS"]

Receipt = dict[str, Any]
RECEIPTS: dict[str, Callable[[], Receipt]] = {}
CALL = [(0, 1), (0, 2), (0, 3)]
THIEF = signer("a thief")
# members of a receipt that are not as they must be
_MALFORMED: Mapping[str, Receipt] = {
    "of-another-format": {"format": 2},
    "with-a-member-more": {"note": "well"},
    "without-records": {"records": []},
    "with-a-statement-that-is-none": {"statement": "sealpress\n"},
    "with-records-that-are-no-list": {"records": {}},
}
# members of the first record that are not
_MALFORMED_RECORD: Mapping[str, Receipt] = {
    "with-a-record-of-no-place": {"record": "shard-000/01"},
    "with-a-leaf-of-31-bytes": {"leaf": base64.b64encode(bytes(31)).decode()},
    "with-a-leaf-in-another-spelling": {"leaf": base64.b64encode(bytes(32)).decode().removesuffix("=")},
    "with-a-path-of-numbers": {"path": [1]},
    "with-a-record-of-a-member-more": {"kind": 2},
}


def receipt(*failures: str) -> Callable[[Callable[[Forge, ForgedShard], Any]], None]:
    """Registers what makes a receipt, and perhaps a head that is given with it, under its name."""

    def registered(function: Callable[[Forge, ForgedShard], Any]) -> None:
        RECEIPTS[function.__name__.replace("_", "-")] = lambda: _case(function, failures)

    return registered


@receipt()
def good_promise(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL))


@receipt()
def good_head(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2])


@receipt()
def good_head_that_was_given(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]), shard.heads[2]


@receipt()
def good_head_in_a_joint_head_that_was_given(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]), forge.joints[2]


@receipt()
def good_proof(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt([(0, 8)], shard.heads[2], bodies=True)


@receipt()
def good_promise_with_bodies(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL), bodies=True)


@receipt()
def good_head_over_one_record(forge: Forge, shard: ForgedShard) -> Any:
    only = forge.shard()
    only.epoch()
    only.head()
    return forge.receipt([(1, 0)], only.heads[1], bodies=True)


@receipt("receipt receipt_malformed")
def promise_with_a_path(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, forge.promise(CALL))
    made["records"][0]["path"] = forge.receipt(CALL, shard.heads[2])["records"][0]["path"]
    return made


@receipt("receipt receipt_malformed")
def statement_that_is_a_joint_head(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]) | {"statement": forge.joints[2]}


@receipt("certificate receipt_certificate")
def certificate_of_another_day(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2], certificate=1)


@receipt("certificate receipt_certificate")
def certificate_of_another_journal(forge: Forge, shard: ForgedShard) -> Any:
    return _certified(forge, shard, Forge("another").certificate(FIRST_DAY, key=forge.day_key(FIRST_DAY)))


@receipt("certificate receipt_certificate")
def certificate_by_a_thief(forge: Forge, shard: ForgedShard) -> Any:
    return _certified(forge, shard, Forge(root="a thief").certificate(FIRST_DAY))


@receipt("certificate receipt_certificate")
def certificate_too_far_ahead(forge: Forge, shard: ForgedShard) -> Any:
    return _certified(forge, shard, forge.certificate(FIRST_DAY, made=FIRST_DAY - timedelta(32)))


@receipt("certificate receipt_certificate")
def certificate_that_is_a_revocation(forge: Forge, shard: ForgedShard) -> Any:
    return _certified(forge, shard, forge.revocation(forge.day_key(FIRST_DAY), 0))


@receipt("statement receipt_signature")
def statement_by_a_thief(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL, key=THIEF))


@receipt("statement receipt_signature")
def statement_by_the_key_of_the_next_day(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL, key=forge.day_key(NEXT_DAY)))


@receipt("statement receipt_signature")
def statement_with_a_flipped_bit(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    return made | {"statement": made["statement"].replace("\nallowed 3\n", "\nallowed 2\n")}


@receipt("shard-000/3 receipt_leaf")
def promise_for_fewer_records(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL[:2]))


@receipt("statement receipt_leaf")
def promise_for_more_records(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL[:2], forge.promise(CALL))


@receipt("shard-000/1 receipt_leaf")
def promise_in_another_order(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, forge.promise(CALL[::-1]))


@receipt("shard-000/1 receipt_leaf")
def promise_for_another_leaf(forge: Forge, shard: ForgedShard) -> Any:
    promise = forge.promise(CALL)
    shard.bodies[1] = shard.bodies[5]
    return forge.receipt(CALL, promise)


@receipt("shard-000/2 receipt_leaf")
def body_of_another_record(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2], bodies=True)
    made["records"][1]["body"] = made["records"][0]["body"]
    return made


@receipt("shard-000/1 receipt_leaf")
def body_that_stands_elsewhere(forge: Forge, shard: ForgedShard) -> Any:
    """Signed: a record that says it is the sixth stands second."""
    shard.bodies[1] = shard.bodies[5]
    shard.resign(first=1)
    return forge.receipt(CALL, shard.heads[2], bodies=True)


@receipt("shard-000/1 receipt_path")
def leaf_of_another_record(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][0]["leaf"] = base64.b64encode(leaf_hash(shard.bodies[5])).decode()
    return made


@receipt("shard-000/2 receipt_path")
def path_cut_short(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][1]["path"].pop()
    return made


@receipt("shard-000/2 receipt_path")
def path_with_a_node_more(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][1]["path"].append(made["records"][0]["path"][0])
    return made


@receipt("shard-000/2 receipt_path")
def path_in_another_order(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][1]["path"].reverse()
    return made


@receipt("shard-000/1 receipt_path")
def paths_under_another_head(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[1]) | {"statement": shard.heads[2]}


@receipt("shard-001/1 receipt_path")
def record_of_another_shard(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][0]["record"] = "shard-001/1"
    return made


@receipt("shard-000/9 receipt_path")
def record_behind_the_head(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt([(0, 8)], shard.heads[2])
    made["records"][0]["record"] = "shard-000/9"
    return made


@receipt("head receipt_head")
def head_of_another_size(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]), shard.heads[1]


@receipt("head receipt_head")
def head_of_another_branch(forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    shard.bodies[8] = shard.bodies[7]
    shard.resign(first=2)
    return made, shard.heads[2]


@receipt("head given_foreign")
def head_of_another_journal(forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]), plain("another")[1].heads[2]


def _certified(forge: Forge, shard: ForgedShard, certificate: str) -> Any:
    return forge.receipt(CALL, shard.heads[2]) | {"certificate": certificate}


def _case(function: Callable[[Forge, ForgedShard], Any], failures: tuple[str, ...]) -> Receipt:
    forge, shard = plain()
    made = function(forge, shard)
    made, head = made if isinstance(made, tuple) else (made, None)
    found = [dict(zip(("place", "code"), failure.rsplit(" ", 1), strict=True)) for failure in failures]
    return {"root": key_text(forge.root.public), "receipt": made, "head": head, "failures": found}


def _altered(changes: Receipt, forge: Forge, shard: ForgedShard) -> Any:
    return forge.receipt(CALL, shard.heads[2]) | changes


def _altered_record(changes: Receipt, forge: Forge, shard: ForgedShard) -> Any:
    made = forge.receipt(CALL, shard.heads[2])
    made["records"][0] |= changes
    return made


for change, table in ((_altered, _MALFORMED), (_altered_record, _MALFORMED_RECORD)):
    for name, members in table.items():
        RECEIPTS[name] = partial(_case, partial(change, members), ("receipt receipt_malformed",))
