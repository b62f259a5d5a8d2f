"""A model, ready to be asked: every call goes through the gate, and there is no other way in."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct, to_builtins
from numpy.typing import NDArray

from compliance.journal.receipts import Written
from policies.errors import Denied
from policies.facts import Obligation
from policies.gate import close, decide_and_open
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle, BundleManifest
from toolkit.runtime.lane import Lane
from toolkit.runtime.readers import checked_texts

__all__ = ["Answer", "Model", "load"]


class Answer(Struct, frozen=True):
    """What a call gave: embeddings (n, hidden), the tokens it took, and how it is on record: its id and its records.

    `obligations` says what was done to the input before the model ran, and what has to go with the answer to whoever
    gets it: an attribution, a notice.
    """

    embeddings: NDArray[np.float32]
    tokens: int
    call: str
    written: tuple[Written, ...]
    obligations: tuple[Obligation, ...] = ()


class Model:
    """A verified bundle in memory, under the policy and with the journal of a box."""

    def __init__(self, bundle: Bundle, box: Box) -> None:
        self.manifest: BundleManifest = bundle.manifest
        self._box = box
        self._lane = Lane(bundle.model, bundle.manifest.digest, bundle.reader())
        self._signer = bundle.signer
        self._about = {"manifest": to_builtins(bundle.manifest), "measurements": to_builtins(bundle.measurements)}
        self.record_loaded()

    def record_loaded(self) -> None:
        """Put on record that the model is ready. Raises JournalError, StateError."""
        self._box.journal.record("loaded", self._about, self._box.settings.box.tenant)

    def embed(
        self,
        texts: str | Sequence[str],
        *,
        purpose: str | None = None,
        basis: str | None = None,
        consent: str | None = None,
        subject: str | None = None,
        region: str | None = None,
        override: str | None = None,
        data: str | Collection[str] = (),
    ) -> NDArray[np.float32]:
        """Embeddings of the texts, (n, hidden). `data` names categories of personal data that are known to be in them.

        Raises Denied with the findings when the policy refuses (the refusal is on record), InputError for texts that
        cannot be taken, JournalError when the call cannot be recorded; then the model does not run.
        """
        # one name is no set of letters
        declared = frozenset((data,) if isinstance(data, str) else data)
        context = Context(
            purpose=purpose,
            basis=basis,
            consent=consent,
            subject=subject,
            region=region,
            override=override,
            data=declared,
        )
        return self.ask(texts, context).embeddings

    def ask(self, texts: str | Sequence[str], context: Context) -> Answer:
        """The same for a caller with a context of its own, such as a server. Safe for threads."""
        payload = Payload.checked({"texts": checked_texts(texts)})
        in_force = self._box.policy
        call = self._box.call("infer", self.manifest.digest, context, self._signer, in_force)
        pseudonymise = self._box.pseudonymise(context.subject)
        grant = decide_and_open(in_force, self.manifest, call, payload, self._box.journal, pseudonymise)
        try:
            embeddings = self._lane.answers(grant, in_force.digest)
            tokens, obligations = grant.usage["tokens"], grant.obligations
        except BaseException as error:
            close(grant, error)
            raise
        written = close(grant)
        return Answer(embeddings=embeddings, tokens=tokens, call=call.id, written=written, obligations=obligations)

    def receipt(self, of: Answer | Denied) -> bytes:
        """What shows that the call is on record, as JSON (docs/formats.md): `sealpress receipt verify` checks it.

        A promise at first, which `sealpress receipt redeem` turns into a proof once the records are under a head.
        """
        written = of.written if isinstance(of, Answer) else (of.entry.written,)
        return self._box.journal.receipt(written)


def load(path: str | os.PathLike[str], settings: str | os.PathLike[str] | None = None) -> Model:
    """Read a bundle, check that a trusted signer signed it and that every byte holds, and make it ready.

    `settings` is the path of a sealpress.toml; without it $SEALPRESS_SETTINGS and ./sealpress.toml are looked for.
    Raises BundleMissing, BundleError, ModelError, SettingsError, KeyFault, PolicyError, JournalError.
    """
    box = Box.embedded(settings)
    return Model(Bundle.read(Path(path), box.settings.trust.signers), box)
