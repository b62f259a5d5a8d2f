"""Seal a bundle to boxes and grants: what is opened there, in memory only, and nowhere else.

What is sealed to this box alone stays here. Sealed to anybody else it is handed on, so it is asked for like an export:
the licences of all ancestors must let it be shared, and it carries what they ask for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, structs

from compliance.crypto import Sealer, Unauthentic
from compliance.disk import staged
from compliance.keys import KeyFault, fingerprint, kind_of, read_key
from compliance.sealed.container import MAX_RECIPIENTS, Sealing, write
from compliance.sealed.errors import SealedError
from compliance.sealed.granted import sealing_to
from compliance.state.grants.terms import read
from compliance.state.signed_file import MAX_FILE
from policies.errors import Denied
from policies.gate import Grant, gate
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleError
from toolkit.export import must_keep
from toolkit.sealed import READABLE, must_be_plain

__all__ = ["SealedTo", "recipient", "seal"]


class SealedTo(Struct, frozen=True, kw_only=True):
    """A bundle that was sealed: its digest, which is that of the plain one, to whom, and bytes that cannot be read."""

    digest: str
    name: str
    recipients: tuple[str, ...]
    shared: bool
    hidden_bytes: int


def recipient(path: Path) -> Sealing:
    """To whom a file seals: the public key of a box, or a usage grant that carries a key.

    Raises KeyFault, GrantError, SealedError: sealed_grant_keyless; Unauthentic for what is no key.
    """
    if kind_of(path) is not None:
        sealer = Sealer(read_key(path, "sealing-public"))
        return Sealing(kind="box", name=fingerprint(sealer.public), sealer=sealer)
    try:
        with path.open("rb") as file:
            return sealing_to(read(file.read(MAX_FILE + 1)).terms)
    except OSError as error:
        raise KeyFault("key_missing", f"{path}: no key and no grant can be read here ({error.strerror})") from None


def seal(
    box: Box, path: Path, to: Sequence[Sealing], out: Path, context: Context, *, dry_run: bool = False
) -> SealedTo:
    """Write the plain bundle at `path` to the sealed one `out`, put on record to whom. A dry run checks all of it,
    records nothing and writes nothing.

    Raises Denied where it is sealed to others and may not be shared, LicenceError, BundleError, BundleMissing,
    SealedError, JournalError, Failed.
    """
    if out.exists():
        raise BundleError("bundle_exists", f"{out} exists already")
    if not 1 <= len({one.name for one in to}) == len(to) <= MAX_RECIPIENTS:
        raise SealedError("sealed_recipients", f"{len(to)} recipients were named, or one of them twice")
    must_be_plain(path, "sealed again")
    bundle, content = Bundle.with_content(path, box.trusted())
    manifest, names = bundle.manifest, tuple(f"{one.kind}:{one.name}" for one in to)
    readable = {name: data for name, data in content.items() if name in READABLE}
    hidden = {name: data for name, data in content.items() if name not in READABLE}
    shared = set(names) != {f"box:{_own(box)}"}
    made = SealedTo(
        digest=manifest.digest,
        name=manifest.name,
        recipients=names,
        shared=shared,
        hidden_bytes=sum(map(len, hidden.values())),
    )

    def work(_: Grant | None) -> SealedTo:
        if shared:
            must_keep(manifest, content)
        if not dry_run:
            with staged(out) as file:
                write(file, readable, hidden, to)
        return made

    if not shared:
        if not dry_run:
            said = {"model": manifest.digest, "recipients": list(names)}
            box.journal.record("bundle_sealed", said, box.settings.box.tenant)
        return work(None)
    call = box.call("export", manifest.digest, context, bundle.signer)
    if dry_run:
        decision = box.policy.decide(manifest, structs.replace(call, sealed=box.journal.sealed))
        if not decision.allowed:
            why = "; ".join(finding.reason for finding in decision.findings if not finding.ok)
            raise Denied(decision.findings, call.id, f"would be refused: {why}")
        return work(None)
    payload = Payload.checked({"sealed": out.name, "recipients": list(names)})
    return gate(box.policy, manifest, call, payload, box.journal, work)


def _own(box: Box) -> str | None:
    """The fingerprint of this box's own key, None where it has none."""
    try:
        return fingerprint(box.sealing_key().public)
    except (KeyFault, Unauthentic):
        return None
