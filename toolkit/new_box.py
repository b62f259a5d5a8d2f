"""A new box: its settings, its keys, a journal without a record."""

from __future__ import annotations

import logging
import os
import shutil
import time
from datetime import timedelta
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from compliance.crypto import Opener, Signer, fresh
from compliance.journal.certificates import Request, certify
from compliance.journal.genesis import CERTIFICATES, create
from compliance.journal.signing import DayKeys
from compliance.keys import fingerprint, read_key, to_text, write_key
from compliance.state.salts import Salts
from compliance.verify.statements import DAYS_AHEAD, day_of
from policies.errors import Failed
from toolkit.box_keys import apart, auditors
from toolkit.settings import NAME, SettingsError

__all__ = ["PrivateKeys", "create_box", "private_settings"]

_log = logging.getLogger("sealpress")

_TEMPLATE = """\
# The settings of this box. Paths are relative to this file, so the folder can be copied as a whole.
format = 1

[box]
name = "{name}"
# region = "DE"  # where this machine stands, for rules on transfers

# Whose bundles are accepted. `sealpress trust add KEYFILE` adds a line.
[trust]
signers = [
    "{bundle_signer}",  # this box
]

# The root certifies the keys that sign the journal: `sealpress keys renew` before they run out.
[journal]
root = "{journal_root}"
durability = "buffered"  # "durable": a record is on the disk before the model runs, which takes milliseconds

# [grants]
# models = ["*"]  # they run under a usage grant only, with the pack "grants" below: docs/grants.md

# [privacy]
# detector = "ner.bundle"  # a model that labels tokens looks at every input, too: docs/policy.md

[policy]
packs = ["base", "gdpr", "licence"]  # also ai-act, grants, hipaa, pipl; `sealpress policy show gdpr` explains one
rules = []  # your own rule files in Cedar, e.g. ["rules/opening-hours.cedar"]

# What models may be used for. A caller names one of these; any other purpose is refused.
# bases: consent, contract, legal_obligation, vital_interests, public_task, legitimate_interests (GDPR Art. 6(1))
# uses, where the licence of a model asks: uses = ["medical_advice"], or [] for none of them (docs/licences.md)
[purposes.search]
bases = ["consent", "contract", "legal_obligation", "public_task", "legitimate_interests"]
commercial = false
retain_days = 180

[purposes.classification]
bases = ["consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"]
commercial = false
retain_days = 180

[purposes.assistance]
bases = ["consent", "contract", "legal_obligation", "vital_interests", "public_task", "legitimate_interests"]
commercial = false
retain_days = 180

[purposes.product]
bases = ["consent", "contract", "legitimate_interests"]
commercial = true
retain_days = 180
"""


class PrivateKeys(NamedTuple):
    """Where the keys of a new box lie that have to be moved off its machine."""

    auditor: Path
    root: Path


def create_box(folder: Path) -> PrivateKeys:
    """Make a box in a new folder, and the keys of its auditor and of its root in folders beside it.

    The root certifies the keys of 31 days. Raises SettingsError where something is already: nothing is overwritten.
    """
    folder = folder.resolve()
    aside = apart(folder)
    taken = [p for p in (*aside.values(), *(folder / n for n in (NAME, "journal", "keys", "state"))) if p.exists()]
    if taken:
        raise SettingsError("settings_exist", f"{taken[0]} exists already")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise Failed("disk", f"{folder} cannot be made: {error.strerror}") from None
    try:
        _fill(beside, folder.name)
        for name, target in aside.items():
            beside.joinpath(name).rename(target)
        folder.mkdir(exist_ok=True)
        for name in ("keys", "state", "journal", NAME):  # the settings last: with them it is a box
            beside.joinpath("box", name).rename(folder / name)
    except OSError as error:
        raise Failed("disk", f"{folder} was not made: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return PrivateKeys(**{name: target / f"{name}.key" for name, target in aside.items()})


def private_settings() -> Path:
    """The settings of the user's private box, which is made once: a box that was removed does not restart clean."""
    folder = _user_folder("XDG_DATA_HOME", ".local/share") / "box"
    marker = _user_folder("XDG_STATE_HOME", ".local/state") / "private-box-made"
    if not (folder / NAME).is_file():
        if marker.exists():
            raise SettingsError("settings_lost", f"{folder} is gone, though it was made before ({marker})")
        keys = create_box(folder)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{folder}\n", "utf-8")
        _log.warning("made a private box in %s; move %s and %s off this machine", folder, *keys)
    return folder / NAME


def _user_folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "sealpress"


def _fill(beside: Path, name: str) -> None:
    box, id_, made = beside / "box", fresh(16).hex(), time.time_ns()
    bundle, root, opener, sealing = Signer.generate(), Signer.generate(), Opener.generate(), Opener.generate()
    keys, days = box / "keys", DayKeys(box / "keys" / "days", box / "journal" / CERTIFICATES, id_, root.public)
    for folder in (box, keys, days.folder, auditors(box).folder, box / "state", beside / "auditor", beside / "root"):
        folder.mkdir(mode=0o700)
    write_key(beside / "auditor" / "auditor.key", "auditor-private", opener.private_bytes())
    write_key(beside / "root" / "root.key", "journal-root", root.private_bytes())
    write_key(auditors(box).folder / f"{fingerprint(opener.public)[:16]}.pub", "auditor-public", opener.public)
    write_key(keys / "root.pub", "journal-root-public", root.public)
    write_key(keys / "bundle.key", "bundle-signing", bundle.private_bytes())
    write_key(keys / "bundle.pub", "bundle-verifying", bundle.public)
    write_key(keys / "sealing.key", "sealing-private", sealing.private_bytes())
    write_key(keys / "sealing.pub", "sealing-public", sealing.public)
    today = day_of(made)
    wanted = [today + timedelta(ahead) for ahead in range(DAYS_AHEAD)]
    asked = Request(id_, root.public, tuple((day, days.make(day)) for day in wanted))
    first = Signer(read_key(days.path(*asked.days[0]), "journal-signing"))
    create(box / "journal", root, first, certify(asked, root, today), id_, made)
    shutil.copy(box / "journal" / CERTIFICATES, beside / "root")  # to revoke them when the box is gone
    Salts.create(box / "state" / "salts.sqlite")
    safe = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name)
    text = _TEMPLATE.format(name=safe, bundle_signer=to_text(bundle.public), journal_root=to_text(root.public))
    (box / NAME).write_text(text, "utf-8")
