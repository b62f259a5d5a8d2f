"""What can be wrong with a usage grant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from policies.errors import Refused

__all__ = ["GrantError"]


class GrantError(Refused):
    """A usage grant that is not accepted, or not here, or was held too long."""

    hints: ClassVar[Mapping[str, str]] = {
        "usage_grant_malformed": "Take the file again from who issued it: it is no usage grant of format 1.",
        "usage_grant_forged": "Take the file again from who issued it: its signature does not hold.",
        "usage_grant_issuer": "If you know the issuer, take the public key from them and run `sealpress trust add "
        "KEYFILE --scope grants`.",
        "usage_grant_foreign": "Ask the issuer for a grant to this box: `sealpress grant show` tells its identity.",
        "usage_grant_expired": "Ask the issuer for a new grant: this one is over.",
        "usage_grant_replayed": "Nothing to do if it was imported before; one that was revoked is not taken again. Ask "
        "the issuer for a new one.",
        "usage_grant_unknown": "`sealpress grant show` lists the grants of this box with their ids.",
        "usage_grant_many": "A journal counts under at most 100 grants: ask for one over a longer time.",
        "usage_grant_terms": "Give at least one model, an end after the start, and whole numbers from 1 on.",
        "usage_grant_tariff": "Give the tariff as docs/grants.md shows it, and a band that it has.",
        "usage_grant_exists": "Choose another name for --out: nothing is overwritten.",
        "usage_revocation_malformed": "Take the file again from who issued the grant: it is no revocation of format 1.",
        "usage_revocation_forged": "Take the file again from who issued the grant: the signature does not hold.",
        "usage_revocation_foreign": "A grant is ended by the key that issued it, on the box that it is for: ask there.",
        "usage_revocation_replayed": "Nothing to do: the grant has ended here already.",
        "usage_statement_malformed": "Take the file again from the box: it is no usage statement of format 1.",
        "usage_statement_forged": "Give the root key of each box with --root; `sealpress keys show` has it.",
        "usage_statement_month": "Write the month as 2026-11.",
        "usage_statement_journal": "Run `sealpress journal verify`: the heads of this journal do not hold.",
        "usage_statement_recount": "Run `sealpress journal verify`, and ask who could write to this journal.",
        "usage_statement_conflict": "Ask the box for its statement again: one of the two journals was rolled back.",
        "usage_grant_lease": "Ask again. If models run longer than that, raise `lease_s` under [grants].",
    }
