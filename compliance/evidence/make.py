"""Make evidence of a period: everything that shows a stranger what was served, and nothing that opens a payload.

It is one zip, the same bytes whenever it is made of the same leaves. Metadata are opened with the auditor's key, each
leaf by itself; record keys, chain keys and salts stay where they are. The leaves are copied as they are sealed, since
only all of their bytes lead to the signed root. See docs/formats.md, "Evidence".
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile, ZipInfo

import msgspec

from compliance.disk import staged_beside
from compliance.evidence.errors import EvidenceError
from compliance.evidence.period import Bounds, Cut
from compliance.evidence.proofs import Proved, held, prove
from compliance.journal.reader import Located, Source, Walk
from compliance.journal.records import Noted, Sealed
from compliance.state.grants.terms import Signed
from compliance.state.policies import archived
from compliance.verify.archive import DATE, MAX_ENTRIES, Archive, canonical
from compliance.verify.attached import BESIDE, check_declaration, check_grant, check_override, wanted
from compliance.verify.counts import Counts
from compliance.verify.disclosed import UNREAD, Span
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import NOBODY, NOTED, shard_name
from compliance.verify.note import Note, regular
from compliance.verify.recount import Recounted, recounted
from compliance.verify.statements import JointHead
from compliance.verify.timestamp import Kept

__all__ = ["STANDING", "Papers", "make"]

# kinds of notes from before a period that say how things stood when it began
STANDING = frozenset({
    "auditors", "held", "hold_released", "loaded", "override_ended", "override_opened", "policy_changed",
    "usage_grant_imported", "usage_grant_revoked", "incident_opened", "incident_updated", "incident_closed",
    "request_received", "request_extended", "request_answered",
})  # fmt: skip
_DECLARED = "declaration_"
_ZIP64 = 2**31 - 1
_CHUNK = 1_000_000


class Papers(NamedTuple):
    """What lies beside the journal: the folder with the texts of policies, the usage grants, the proof of the policy's
    claims (or None), what the settings say of the box, the signed files of overrides and declarations by id, and the
    tokens of time over its heads."""

    policies: Path
    grants: Sequence[Signed]
    proof: bytes | None
    box: Mapping[str, str]
    overrides: Mapping[str, bytes]
    declarations: Mapping[str, bytes]
    timestamps: Sequence[Kept] = ()


def make(
    path: Path,
    directory: Path,
    bounds: Bounds,
    walk: Walk,
    source: Source,
    papers: Papers,
    heads: Sequence[str] = (),
    progress: Callable[[int], None] = lambda _: None,
) -> Recounted:
    """Write the evidence of a period beside `path`, read it over as its verifier will, and rename it into place.

    `heads` are those that the auditor holds: proofs lead to each. `progress` hears how many leaves more were opened.
    Returns the counts. Raises EvidenceError, NotVerified, NotReadable, StateError, Failed.
    """
    if path.exists():
        raise EvidenceError("evidence_exists", f"{path} exists already")
    counts = Counts()
    with staged_beside(path) as beside:
        with ZipFile(beside, "w") as out:
            _write(out, "journal.note", (directory / "journal.note").read_bytes())
            _write(out, "certificates.notes", (directory / "certificates.notes").read_bytes())
            _write(out, "joint.notes", _notes((bounds.first, bounds.last)))
            _write(out, "heads.notes", _notes(note for cut in bounds.cuts for note in cut.notes))
            earlier = _opened(out, bounds, walk, source, progress)
            for cut in bounds.cuts:
                _copied(out, directory / f"{shard_name(cut.last.shard)}.log", cut)
        proved = prove(directory, bounds, earlier, [held(head, walk.journal.hex()) for head in heads])
        for one in proved.earlier:
            counts.noted(one.metadata)
        spans = [Span(cut.first, cut.last, proved.peaks[cut.last.shard], {}) for cut in bounds.cuts]
        with Archive(beside) as archive:
            found = recounted(archive, spans, counts, {}, lambda _: None)
        with ZipFile(beside, "a") as out:
            named = wanted(counts, (cut.last for cut in bounds.cuts), bounds.since, bounds.until)
            _papers(out, papers, walk.journal.hex(), counts, bounds, named)
            here = {name for name in out.namelist() if BESIDE.match(name)}
            files = {"papers": sorted(here), "absent": sorted(named - here)}
            _write(out, "evidence.json", canonical(_claims(walk, bounds, papers, proved, found) | files))
    return found


def _opened(
    out: ZipFile, bounds: Bounds, walk: Walk, source: Source, progress: Callable[[int], None]
) -> list[tuple[Located, Sealed]]:
    """Write what is opened of each leaf. Returns the notes from before the period that still stood in it."""
    standing: dict[tuple[str, ...], tuple[Located, Sealed]] = {}
    located = iter(walk)
    following = next(located, None)
    for cut in bounds.cuts:
        shard = cut.last.shard
        info = _info(f"{shard_name(shard)}.opened")
        with out.open(info, "w", force_zip64=cut.last.size_bytes > _ZIP64) as file:
            while following is not None and following.leaf.shard <= shard:
                _, sequence = following.place
                if following.leaf.shard == shard and cut.first.size <= sequence < cut.last.size:
                    file.write(_piece(following.unsealed(source)))
                    progress(1)
                elif following.leaf.shard == shard and sequence < cut.first.size:
                    _stands(standing, following, source)
                following = next(located, None)
    if len(standing) > MAX_ENTRIES:
        raise EvidenceError("evidence_large", f"{len(standing)} records from before the period still stand")
    return sorted(standing.values(), key=lambda found: found[0].place)


def _piece(sealed: Sealed | str) -> bytes:
    if not isinstance(sealed, Sealed):
        return UNREAD.index(sealed).to_bytes(4, "big")
    opened = sealed.opening + sealed.metadata_json
    return len(opened).to_bytes(4, "big") + opened


def _stands(standing: dict[tuple[str, ...], tuple[Located, Sealed]], located: Located, source: Source) -> None:
    """Keep a note that says how things stood; of one that was made ready again and again, the last."""
    if located.leaf.kind != NOTED or (located.leaf.of_shard, located.leaf.of_sequence) != NOBODY:
        return
    sealed = located.unsealed(source)
    if not isinstance(sealed, Sealed):
        return
    noted = sealed.metadata()
    if not isinstance(noted, Noted) or not (noted.kind in STANDING or noted.kind.startswith(_DECLARED)):
        return
    same: tuple[str, ...] = (located.name,)
    if noted.kind == "loaded":
        same = noted.kind, noted.data["manifest"]["digest"]
    elif noted.kind in ("auditors", "policy_changed"):
        same = (noted.kind,)
    standing[same] = located, sealed


def _claims(walk: Walk, bounds: Bounds, papers: Papers, proved: Proved, found: Recounted) -> dict[str, Any]:
    return {
        "format": 2,
        "journal": walk.journal.hex(),
        "since": str(bounds.since),
        "until": str(bounds.until),
        "box": dict(papers.box),
        "shards": [
            {
                "shard": shard_name(cut.last.shard),
                "since": cut.first.size,
                "until": cut.last.size,
                "peaks": _texts(proved.peaks[cut.last.shard]),
            }
            for cut in bounds.cuts
        ],
        "earlier": [
            {
                "record": one.name,
                "path": _texts(one.path),
                "body": _text(one.body),
                "opening": _text(one.opening),
                "metadata": _text(one.metadata),
            }
            for one in proved.earlier
        ],
        "consistency": [
            {"shard": shard_name(shard), "size": size, "path": _texts(path)}
            for (shard, size), path in sorted(proved.consistency.items())
        ],
        "counts": found.counts,
    }


def _papers(out: ZipFile, papers: Papers, journal: str, counts: Counts, bounds: Bounds, named: set[str]) -> None:
    """The texts that decided, the signed files behind what was told, where leaves name them, and the proof of a policy
    that decided. Raises StateError."""
    digests = sorted(counts.policies)
    for digest in digests:
        _write(out, f"policies/{digest}.json", archived(papers.policies, digest))
    first, last = (JointHead.parsed(Note.parsed(text).text) for text in (bounds.first, bounds.last))
    for kept in sorted(papers.timestamps, key=lambda one: one.digest):
        if first.grows_to(kept.head) and kept.head.grows_to(last):
            _write(out, f"timestamps/{kept.digest}.json", kept.written())
    for folder, files, check in (
        ("declarations", papers.declarations, check_declaration),
        ("grants", {one.terms.id: one.file for one in papers.grants}, check_grant),
        ("overrides", papers.overrides, check_override),
    ):
        for id_, content in sorted(files.items()):
            name = f"{folder}/{id_}.json"
            # a file that was changed since, or whose signer the settings know no more, is left out and counted
            with suppress(NotVerified):
                if name in named and name in counts.told:
                    check(name, content, (id_, journal), counts.told[name])
                    _write(out, name, content)
    if papers.proof is not None and _about(papers.proof) in digests:
        _write(out, "policy.proof", papers.proof)


def _about(proof: bytes) -> str:
    """The policy that a proof of claims is of, empty for what is no such proof."""
    try:
        statement = msgspec.json.decode(proof)["statement"]
        return str(msgspec.json.decode(base64.b64decode(statement))["policy"])
    except (msgspec.MsgspecError, KeyError, TypeError, ValueError):
        return ""


def _copied(out: ZipFile, path: Path, cut: Cut) -> None:
    """The leaves as they stand in the log."""
    left = cut.last.size_bytes - cut.first.size_bytes
    with regular(path) as log, out.open(_info(f"{path.stem}.log"), "w", force_zip64=left > _ZIP64) as file:
        log.seek(cut.first.size_bytes)
        while left and (piece := log.read(min(left, _CHUNK))):
            file.write(piece)
            left -= len(piece)


def _write(out: ZipFile, name: str, content: bytes) -> None:
    out.writestr(_info(name), content)


def _info(name: str) -> ZipInfo:
    info = ZipInfo(name, DATE)
    info.compress_type = ZIP_STORED
    info.create_system = 3  # the same on every system
    return info


def _notes(notes: Iterable[str]) -> bytes:
    return "".join(f"{note}\n" for note in notes).encode()


def _texts(hashes: Iterable[bytes]) -> list[str]:
    return list(map(_text, hashes))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
