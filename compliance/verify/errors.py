"""What a verifier has against a journal, a receipt or a proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple

from policies.errors import Refused

__all__ = ["Failure", "NotVerified"]


class Failure(NamedTuple):
    """Where something does not hold (a record such as shard-000/17, a head, a note), and the code of the reason."""

    place: str
    code: str


class NotVerified(Refused):
    """A journal, a receipt or a proof that does not hold. `failures` names each place and its reason; `records` counts
    what was read."""

    hints: ClassVar[Mapping[str, str]] = {
        "journal_not_verified": "Change nothing, copy the journal, and compare it with a backup or a head you hold.",
        "genesis_missing": "journal.note is missing: this is no journal, or its first page was removed.",
        "genesis_signature": "journal.note was altered, or signed with another root: compare the root's fingerprint.",
        "certificate_truncated": "certificates.notes is missing or cut: take it from a backup, no other key will do.",
        "certificate_invalid": "The note was altered, or is not of the root of this journal: take it from a backup.",
        "certificate_days": "The root certified a day that was over or more than 31 days ahead: certify it anew.",
        "joint_truncated": "journal.heads ends inside a head: cut, or not yet repaired after a crash.",
        "joint_signature": "The joint head was altered, or signed with a key that the root has not certified.",
        "joint_expired": "The joint head was signed on a day for which its key is not certified: backdated or forged.",
        "joint_origin": "The joint head belongs to another journal: files were mixed up or put together.",
        "joint_order": "A shard or the time goes back from one joint head to the next: it was put together from parts.",
        "joint_missing": "A joint head counts more than there is, or there is none: the journal was cut.",
        "joint_revoked": "The last joint head is by a revoked key, which may be stolen: ask the box for a new one.",
        "joint_root": "The records are not those that the joint head signed: history was rewritten.",
        "given_foreign": "The head or receipt at hand belongs to another journal: look for the one that fits.",
        "given_signature": "The head you gave was altered, or no key that was certified for its day signed it.",
        "given_root": "The records are not those under the head you gave: history was rewritten since. Keep the head.",
        "given_missing": "The head you gave counts more records than there are: the journal was rolled back or cut.",
        "witness_signature": "witnessed.notes was altered: ask the witness for the head it signed last.",
        "witness_root": "The records are not those that the witness saw: history was rewritten since.",
        "witness_missing": "Nothing of this witness is here, or it saw more records: ask the witness for its head.",
        "shard_missing": "The log of this shard is missing, though heads or later shards are here: it was removed.",
        "head_missing": "The shard has no signed head: the file of heads was removed.",
        "head_truncated": "The file of heads ends inside a head: cut, or not yet repaired after a crash.",
        "head_signature": "The head was altered, or signed with a key that the root has not certified.",
        "head_origin": "The head belongs to another journal or shard: files were mixed up or put together.",
        "head_expired": "The head was signed on a day for which its key is not certified: backdated or forged.",
        "head_order": "The heads do not begin at 0, or do not grow in size and time: put together from parts.",
        "head_counters": "The head counts other than the records show, or less than the head before it.",
        "head_revoked": "The last head is by a revoked key, which may be stolen: have the box sign a new one.",
        "head_root": "The records up to this head are not those that were signed: history was rewritten.",
        "record_truncated": "The log ends inside this record: cut, or not yet repaired after a crash.",
        "record_length": "The length of this record is impossible: altered, or a failing disk.",
        "record_check": "The bytes of this record are not those that were written: altered, or a failing disk.",
        "record_format": "The record has another format than this version reads.",
        "record_sequence": "The record does not stand where it says: dropped, swapped or inserted records.",
        "record_epoch": "The record is not of the epoch it stands in: dropped, spliced or inserted records.",
        "record_malformed": "The record is intact but is no leaf: it was not written by sealpress.",
        "record_time": "Time goes back at this record: the clock was set back, or the log was put together from parts.",
        "record_of": "The record belongs to a call that does not stand where it says, or has ended before.",
        "record_missing": "The last head counts more records than there are: the log was cut.",
        "epoch_replayed": "The key of this epoch was used before: a copy of the process or the machine wrote on.",
        "nonce_reused": "Two records share a nonce, so that both may be readable: a copy of the process wrote on.",
        "receipt_malformed": "This is no receipt of format 1: take it again from where it was handed out.",
        "receipt_certificate": "This root did not certify the key of the receipt for its day: compare the root's key.",
        "receipt_signature": "What the box stated in the receipt was altered, or another key signed it.",
        "receipt_leaf": "The record in the receipt is not the one that was promised or proved.",
        "receipt_path": "The proof does not lead from the record to the signed head: it was altered.",
        "receipt_head": "The receipt leads to another head than you gave: ask for a proof under the head you hold.",
        "evidence_malformed": "This is no evidence as sealpress writes it, or it was altered: have it made again.",
        "evidence_format": "The evidence has another format than this version reads: take a newer verifier.",
        "evidence_missing": "A part of the evidence is missing, so that it was altered: have it made again.",
        "evidence_journal": "The evidence says that it is of another journal than it is: put together from two.",
        "evidence_period": "The signed heads do not reach around the period: ask for evidence of the whole of it.",
        "evidence_opening": "What is shown of this record is not what the box committed to: the metadata were edited.",
        "evidence_metadata": "The metadata of this record are none of a call, an outcome or a note.",
        "evidence_decision": "The record is of another kind than its metadata say: a denial shown as allowed, or so.",
        "evidence_call": "The outcome names another call than the record that it belongs to.",
        "evidence_model": "The call names another model than the one whose papers stand beside it.",
        "evidence_policy": "The policy behind this digest is missing, is another text, or decided no call here.",
        "evidence_grant": "The usage grant is not of this box, or its issuer did not sign it: take it from the issuer.",
        "evidence_override": "The override is not the one that was told, or two approvers did not sign it: report it.",
        "evidence_declaration": "The declaration is not the one that was told, or its signer did not sign it.",
        "evidence_proof": "The proof of the policy's claims was altered, or is of a policy that decided nothing here.",
        "evidence_earlier": "This record from before the period does not stand under the head where it begins.",
        "evidence_count": "The number is not what the leaves give when they are counted again: it was edited.",
        "evidence_rules": "The signed head counts other refusals by rule than the leaves show.",
        "evidence_usage": "The signed head counts other usage than the leaves show.",
        "evidence_sample": "A record of the sample does not stand in the signed tree: change nothing, and report it.",
        "timestamp_malformed": "This is no token of time over a head as RFC 3161 has it, or it was altered.",
        "timestamp_head": "The token is over a head of another history or journal: put together from two.",
        "timestamp_imprint": "The token is of another head than the one beside it: files were mixed up.",
        "timestamp_nonce": "The token answers another request than the one that was made: it may be an old answer.",
        "timestamp_signature": "The token was altered, or not signed by the authority whose certificate is in it.",
        "timestamp_usage": "The certificate is not for stamping time alone: this is no authority for time.",
        "timestamp_chain": "No valid chain leads to a root that you gave, or a certificate was over at that time.",
        "timestamp_early": "The token is older than its head, so that the clock of the box ran ahead, or it is forged.",
        "timestamp_late": "The token was made more than 7 days behind its head, for which it says nothing any more.",
        "timestamp_missing": "The journal tells of a token that is not here: have the evidence made again, with it.",
        "given_unproved": "Nothing leads from this evidence to the head you gave: have it made with --head.",
        "mark_malformed": "This is no mark of format 1: take it again from the answer that it came with.",
        "mark_certificate": "This root did not certify the key of the mark for its day: compare the root's key.",
        "mark_signature": "What the box stated in the mark was altered, or another key signed it.",
        "mark_text": "The mark is of another text: give the text as it was handed out, to the last character.",
        "promise_broken": "The journal does not hold the record: keep the receipt, it proves what was promised.",
    }

    def __init__(self, failures: Sequence[Failure], records: int = 0, code: str = "journal_not_verified") -> None:
        count = "1 failure," if len(failures) == 1 else f"{len(failures)} failures, the first"
        super().__init__(code, f"{count} at {failures[0].place}")
        self.failures = list(failures)
        self.records = records

    @classmethod
    def at(cls, place: str, code: str) -> NotVerified:
        """The refusal for a single reason."""
        return cls([Failure(place, code)], code=code)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.failures, self.records, self.code)
