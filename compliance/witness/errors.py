"""What can go wrong between a box and its witness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from compliance.witness.exchange import Seen
from policies.errors import Refused, Unusable

__all__ = ["WitnessError", "WitnessMissing"]


class WitnessError(Refused):
    """A head that is not co-signed, or an answer that is not kept. `last` is what the witness has seen last."""

    hints: ClassVar[Mapping[str, str]] = {
        "exchange_malformed": "Make the exchange again with `sealpress witness send --out FILE`.",
        "exchange_proof": "Make the exchange again; if it fails again, run `sealpress journal verify` on the box.",
        "exchange_signature": "Renew the keys of the box with `sealpress keys renew`, and check which root is trusted.",
        "exchange_time": "Set the clock of the box, or of the witness, and make the exchange again.",
        "witness_answer": "Compare the key under [witness] with the one that `sealpress witness init` printed.",
        "witness_fork": "Two journals bear one name: stop the box, keep both copies, and find out where they part.",
        "witness_pinned": "Compare both roots with the operator of the box: a journal never changes its root.",
        "witness_stale": "Take the answer back to the box with `sealpress witness keep`, then make the exchange again.",
        "witness_unknown": "Compare the root's fingerprint with the box, then run `sealpress witness trust`.",
    }

    def __init__(self, code: str, message: str, last: Seen | None = None) -> None:
        super().__init__(code, message)
        self.last = last

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, str(self), self.last)


class WitnessMissing(Unusable):
    """No witness where one was named."""

    hints: ClassVar[Mapping[str, str]] = {
        "witness_unset": "Add the table [witness] with its key, and its url if it has one, to sealpress.toml.",
        "witness_unreachable": "Check the address and that the witness runs; meanwhile heads can go by file.",
    }
