"""The errors of the house. Standard library only, so that the offline verifier can ship this file unchanged.

Every error that a person can meet is a Fault: a stable code to look up in docs/errors.md, a message about this
case, and a hint that says what can be done about it. The three branches tell whose move is next, and the command
line turns them into its exit status.

    Exception
    └── Fault                           code, hint
        ├── Refused                     exit 1: the content was looked at and not accepted
        │   ├── Denied                  the gate said no; carries the findings
        │   ├── Ungated                 a model was touched without a grant that covers the touch
        │   ├── OutputRefused           policies/outgoing: an answer that ended before what may not be handed out
        │   ├── PolicyError             policies/cedar: a policy text that cannot be put in force
        │   ├── LicenceError            policies/licences: papers that are missing, unknown or in conflict
        │   ├── NotVerified             compliance/verify: a journal that does not hold; carries the failures
        │   ├── NotReadable             compliance/journal: a record that these keys do not open
        │   ├── ReportError             compliance/report: a journal or a report whose records and numbers disagree
        │   ├── ControlError            compliance/controls: a control that is not there, or an answer that is forged
        │   ├── DutyError               compliance/duties: an incident or a request that is not there, or is over
        │   ├── ConsentError            compliance/state: a consent that cannot be recorded, or is not there
        │   ├── OverrideError           compliance/state: an override that cannot be made, or is not there
        │   ├── DeclarationError        compliance/state: a declaration that is not accepted
        │   ├── GrantError              compliance/state: a usage grant that is not accepted, or not here
        │   ├── SealedError             compliance/sealed: a sealed bundle that is broken, or does not open here
        │   ├── HoldError               compliance/state: a legal hold that is in the way, or is not there
        │   ├── WitnessError            compliance/witness: a head that is not co-signed, or an answer that is not kept
        │   ├── BackupError             compliance/backup: a backup that cannot be restored
        │   ├── Unauthentic             compliance/crypto: a signature, a ciphertext or a key that does not hold
        │   ├── ModelError              toolkit/runtime: a model file that is not taken, or is fed something else
        │   ├── GenerationStopped       toolkit/generating: an answer that was stopped before its end
        │   ├── BundleError             toolkit/bundle: a bundle that is broken, foreign or altered
        │   ├── BomError                toolkit/bom: a bundle that says what a bill of materials has no place for
        │   ├── ApiKeyError             compliance/state: a key that opens nothing at the server of this box
        │   ├── JwtError                compliance/issuer: a token that says nothing at the server of this box
        │   ├── ScopeError              serve: a caller who is known, and asks for what is not theirs
        │   ├── SourceError             toolkit/compress: a model that cannot be taken in
        │   ├── CompressionError        toolkit/compress: a result that is not faithful enough to hand out
        │   └── TrainingError           toolkit/train: a training that came to nothing
        ├── Unusable                    exit 2: arguments, missing files, settings
        │   ├── InputError              policies/payload: an input that no model can be given
        │   ├── SettingsError           toolkit/settings: sealpress.toml, packs, trust
        │   ├── KeyFault                compliance/keys: a key that is missing, malformed or of another kind
        │   ├── JwksError               compliance/issuer: no keys of the issuer where they were named
        │   ├── TlsError                serve: a certificate or a key with which nothing can be secured
        │   ├── TimestampError          compliance/timestamps: a token of time that cannot be asked for, or taken in
        │   ├── WitnessMissing          compliance/witness: no witness where one was named
        │   ├── RequestError            serve: a request that cannot be read, or asks for what is not here
        │   ├── Busy                    serve: not now, for the rate of the key or the queue of the server
        │   ├── Abandoned               serve: an answer that nobody waits for any more
        │   ├── Unserved                toolkit/models: a model that is not served, or not now
        │   ├── GenerationError         toolkit/runtime: an answer that cannot be generated as it was asked for
        │   ├── BundleMissing           toolkit/bundle: no bundle where one was named
        │   ├── SourceMissing           toolkit/compress: no model where one was named
        │   ├── RecipeError             toolkit/compress: a recipe that cannot be followed
        │   ├── ItemsError              toolkit/compress: data that cannot be learned from, or measured on
        │   ├── ParentError             toolkit/compress: statements about ancestors
        │   ├── BudgetError             toolkit/compress: a budget that cannot be read
        │   ├── ComparisonError         toolkit/compress: bundles that cannot be held against each other
        │   ├── ReportExists            compliance/report: a report that would be overwritten
        │   ├── FontMissing             compliance/report: characters that no font of the machine has
        │   ├── EvidenceError           compliance/evidence: evidence that cannot be made as it was asked for
        │   └── MissingExtra            toolkit: an optional part that is not installed
        └── Failed                      exit 3: disk, memory, or our own fault
            ├── TrainingHalted          toolkit/train: a training that stopped on its way, and left a checkpoint
            ├── StateError              compliance/state: a store beside the journal that cannot be used
            ├── TracesError             serve: spans that did not get to their collector
            └── JournalError            compliance/journal: the journal cannot be written, so nothing runs
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

__all__ = ["Denied", "Failed", "Fault", "Refused", "Ungated", "Unusable"]


class Fault(Exception):
    """The root. A family lists its codes with their hints once, in `hints`; the message is about the case at hand.

    Messages name files, records and numbers, never the content of a payload.
    """

    hints: ClassVar[Mapping[str, str]] = {}

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = self.hints[code]

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.code, str(self))


class Refused(Fault):
    """The content was looked at and not accepted. Trying again changes nothing."""


class Unusable(Fault):
    """Arguments, missing files or settings: the caller can mend it."""


class Failed(Fault):
    """Disk, memory, or our own fault."""

    hints: ClassVar[Mapping[str, str]] = {
        "internal": "This is a fault of sealpress: please report it with the command and the version.",
        "memory": "Close other programs, or press a smaller model: nothing half-written was kept.",
        "disk": "Free some space, check the permissions, and run the command again: nothing half-written was kept.",
    }


class Ungated(Refused):
    """A model was touched without a grant that covers the touch."""

    hints: ClassVar[Mapping[str, str]] = {
        "grant_missing": "Call the model through sealpress.load(...), which asks the gate first.",
        "grant_spent": "A grant serves one run: ask the gate again.",
        "grant_other_model": "The grant was given for another model: ask the gate for this one.",
        "grant_outdated": "The policy changed after the grant was given: ask the gate again.",
        "usage_grant_unruled": "Add the pack `grants` to `packs` under [policy]: it says what a grant is needed for.",
        "detector_missing": "Call the model through sealpress.load(...), which brings the detector that the settings "
        "name: nothing runs that it has not looked at.",
    }


class Denied(Refused):
    """The gate said no. `findings` holds the answer of every rule.

    The refusal itself is on record under the id `call`; `entry` is what the ledger gave for it, within this process.
    """

    hints: ClassVar[Mapping[str, str]] = {
        "denied": "Read the findings that are not ok: each names its rule and what would have to change.",
    }

    def __init__(self, findings: tuple[object, ...], call: str, message: str, entry: Any = None) -> None:
        super().__init__("denied", message)
        self.findings = findings
        self.call = call
        self.entry = entry

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.findings, self.call, str(self))
