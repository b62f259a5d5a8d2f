"""A box: the settings, keys, policy and journal of one place where models run."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

from msgspec import Struct
from msgspec.structs import asdict

from compliance.crypto import Opener, Sealer, Signer, fresh
from compliance.journal.writer import Journal, create
from compliance.keys import KeyFault, from_text, read_key, to_text, write_key
from policies.cedar.engine import Engine, load
from policies.errors import Failed
from policies.facts import Action, Call
from policies.payload import InputError
from toolkit.settings import NAME, VARIABLE, SettingsError, found_settings, policy_texts, read_settings, schema_text

__all__ = ["Box", "Context", "create_box"]

MAX_CONTEXT = 256

_log = logging.getLogger("sealpress")

_TEMPLATE = """\
# The settings of this box. Paths are relative to this file, so the folder can be copied as a whole.
format = 1

[box]
name = "{name}"

# Whose bundles are accepted. `sealpress trust add KEYFILE` adds a line.
[trust]
signers = [
    "{bundle_signer}",  # this box
]

[journal]
signer = "{journal_signer}"

[policy]
packs = ["base"]
rules = []  # your own rule files in Cedar, e.g. ["rules/opening-hours.cedar"]

# What models may be used for. A caller names one of these; any other purpose is refused.
# bases: consent, contract, legal_obligation, vital_interests, public_task, legitimate_interests (GDPR Art. 6(1))
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


class Context(Struct, frozen=True, kw_only=True):
    """Under what a caller asks, and who: without an actor it is the one of the settings.

    Raises InputError for what is no text of at most 256 characters.
    """

    actor: str | None = None
    purpose: str | None = None
    basis: str | None = None
    consent: str | None = None
    subject: str | None = None
    region: str | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if value is not None:
                _check_context(name, value)


class Box:
    """Opened by `Box.open`. Holds what every call needs: the policy in force and the journal."""

    def __init__(self, settings_path: Path) -> None:
        self.path = settings_path
        self.folder = settings_path.parent
        self.settings = read_settings(settings_path)
        self.policy: Engine = load(
            policy_texts(settings_path, self.settings.policy), schema_text(), self.settings.purposes
        )
        signer = Signer(read_key(self.folder / "keys" / "journal.key", "journal-signing"))
        if to_text(signer.public) != self.settings.journal.signer:
            raise KeyFault("key_kind", "keys/journal.key is not the signer that the settings name under [journal]")
        auditor = Sealer(read_key(self.folder / "keys" / "auditor.pub", "auditor-public"))
        self.journal = Journal(self.journal_folder, signer, auditor, self.salts_path)

    @classmethod
    def open(cls, settings: str | os.PathLike[str] | None = None) -> Box:
        """The box whose settings are given or found. Raises SettingsError, KeyFault, PolicyError, JournalError."""
        return cls(found_settings(settings))

    @classmethod
    def embedded(cls, settings: str | os.PathLike[str] | None) -> Box:
        """The same for a process that imports sealpress; without settings, the user's private box, made once."""
        try:
            return cls.open(settings)
        except SettingsError as error:
            if error.code != "settings_not_found" or settings is not None or VARIABLE in os.environ:
                raise
        return cls(_private_settings())

    @property
    def journal_folder(self) -> Path:
        return self.folder / "journal"

    @property
    def salts_path(self) -> Path:
        return self.folder / "state" / "salts.sqlite"

    @property
    def journal_signer(self) -> bytes:
        return from_text(self.settings.journal.signer)

    def bundle_signer(self) -> Signer:
        """The key that signs bundles pressed here. Raises KeyFault."""
        return Signer(read_key(self.folder / "keys" / "bundle.key", "bundle-signing"))

    def call(self, action: Action, model: str, context: Context) -> Call:
        """A call of this moment."""
        purpose = self.settings.purposes.get(context.purpose or "")
        return Call(
            id=fresh(16).hex(),
            at=self.journal.now(),
            tenant=self.settings.box.tenant,
            action=action,
            model=model,
            retain_days=0 if purpose is None else purpose.retain_days,
            **{**asdict(context), "actor": context.actor or self.settings.box.actor},
        )


def create_box(folder: Path) -> Path:
    """Make a box in a new folder, and the auditor's private key in `FOLDER-auditor`. Returns the path of that key.

    Raises SettingsError when there is a box or an auditor's key already: nothing is overwritten.
    """
    folder = folder.resolve()
    auditor_folder = folder.with_name(f"{folder.name}-auditor")
    taken = [p for p in (auditor_folder, *(folder / n for n in (NAME, "journal", "keys", "state"))) if p.exists()]
    if taken:
        raise SettingsError("settings_exist", f"{taken[0]} exists already")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise Failed("disk", f"{folder} cannot be made: {error.strerror}") from None
    try:
        _fill(beside / "box", beside / "auditor", folder.name)
        beside.joinpath("auditor").rename(auditor_folder)
        folder.mkdir(exist_ok=True)
        for name in ("keys", "state", "journal", NAME):  # the settings last: with them it is a box
            beside.joinpath("box", name).rename(folder / name)
    except OSError as error:
        raise Failed("disk", f"{folder} was not made: {error.strerror}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return auditor_folder / "auditor.key"


def _private_settings() -> Path:
    """The settings of the user's private box, which is made once: a box that was removed does not restart clean."""
    folder = _user_folder("XDG_DATA_HOME", ".local/share") / "box"
    marker = _user_folder("XDG_STATE_HOME", ".local/state") / "private-box-made"
    if not (folder / NAME).is_file():
        if marker.exists():
            raise SettingsError("settings_lost", f"{folder} is gone, though it was made before ({marker})")
        auditor = create_box(folder)
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.write_text(f"{folder}\n", "utf-8")
        _log.warning("made a private box in %s; move the auditor's key %s off this machine", folder, auditor)
    return folder / NAME


def _user_folder(variable: str, default: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / default) / "sealpress"


def _fill(box: Path, auditor: Path, name: str) -> None:
    bundle, journal, opener = Signer.generate(), Signer.generate(), Opener.generate()
    for folder in (box, box / "keys", auditor):
        folder.mkdir(mode=0o700)
    write_key(auditor / "auditor.key", "auditor-private", opener.private_bytes())
    write_key(box / "keys" / "auditor.pub", "auditor-public", opener.public)
    write_key(box / "keys" / "bundle.key", "bundle-signing", bundle.private_bytes())
    write_key(box / "keys" / "bundle.pub", "bundle-verifying", bundle.public)
    write_key(box / "keys" / "journal.key", "journal-signing", journal.private_bytes())
    write_key(box / "keys" / "journal.pub", "journal-verifying", journal.public)
    create(box / "journal", journal, box / "state" / "salts.sqlite")
    safe = "".join(c if c.isalnum() or c in "-_. " else "-" for c in name)
    text = _TEMPLATE.format(name=safe, bundle_signer=to_text(bundle.public), journal_signer=to_text(journal.public))
    (box / NAME).write_text(text, "utf-8")


def _check_context(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise InputError("input_type", f"{name} is given as a string")
    if len(value) > MAX_CONTEXT:
        raise InputError("input_too_large", f"{name} has more than {MAX_CONTEXT} characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InputError("input_unicode", f"{name} is not valid Unicode") from None
