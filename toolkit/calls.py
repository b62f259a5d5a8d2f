"""The calls of one model: each decided and opened by itself, counted under its usage grant, and closed on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec import Struct

from compliance.journal.receipts import Written
from compliance.state.errors import StateError
from policies.cedar import Engine
from policies.facts import Metered, Obligation
from policies.gate import Grant, charge, close, decide_and_open
from policies.payload import Payload
from toolkit.box import Box, Context
from toolkit.bundle import Bundle
from toolkit.runtime.readers import Outputs

__all__ = ["Answer", "Asked", "Calls"]


class Asked(Struct, frozen=True):
    """What a model is asked, and under what."""

    payload: Payload
    context: Context


class Answer(Struct, frozen=True):
    """What a call gave: outputs by name (`embedding` (n, hidden), `logits` (n, classes), `entities` (n,) lists of
    Entity, or what the model calls them); what it used (texts, tokens, images); and how it is on record: its id and its
    records.

    `detected` are the categories of personal data that the detector of the settings found in the input. `obligations`
    says what was done to the input before the model ran, and what has to go with the answer to whoever gets it: an
    attribution, a notice.
    """

    outputs: Outputs
    usage: Mapping[str, int]
    call: str
    written: tuple[Written, ...]
    detected: frozenset[str] = frozenset()
    obligations: tuple[Obligation, ...] = ()


class Calls:
    """Of a verified bundle, under the policy and with the journal of a box. Safe for threads."""

    def __init__(self, bundle: Bundle, box: Box, *, threads: int, served: bool) -> None:
        """`threads` is how many work on a run. Raises what is wrong with a detector that the settings name: it shows
        now, and not at the first call."""
        self.manifest = bundle.manifest
        self.signer = bundle.signer
        self.under = bundle.under
        self._box = box
        self._threads = threads
        self._served = served
        self._noticed = bundle.noticed
        self._detectors = box.detectors
        # how much longer the same takes on the model that this one was pressed from, as it was measured
        measured = bundle.measurements
        self._longer = measured.before.latency_ms / measured.after.latency_ms if measured.after.latency_ms > 0 else 1.0

    @property
    def metering(self) -> bool:
        """Whether calls run under a usage grant: of what the settings name, or was opened by one."""
        return bool(self._box.meter.models) or self.under is not None

    def opened(self, asked: Asked, in_force: Engine, *, metering: bool) -> Grant | Exception:
        """The grant for a call, or why there is none: the answer to this call alone."""
        metered: Metered | None = None
        try:
            if metering:
                # held before it is decided, and given back where it is refused
                issuers = self._box.trusted("grants")
                metered = self._box.meter.hold(self.manifest, self._box.journal.now(), issuers, self.under)
            # a signer may have been revoked since the model was loaded
            signer = self.signer if self.signer in self._box.trusted() else None
            call = self._box.call(
                "infer",
                self.manifest.digest,
                asked.context,
                signer,
                in_force,
                metered,
                served=self._served,
                noticed=self._noticed,
            )
            pseudonymise = self._box.pseudonymise(asked.context)
            return decide_and_open(
                in_force, self.manifest, call, asked.payload, self._box.journal, self._detectors, pseudonymise
            )
        except Exception as error:  # noqa: BLE001 - it is the answer to this call alone
            if metered is not None:
                with suppress(StateError):  # then it is free again when its lease is over
                    self._box.meter.give_back(metered)
            return error

    def closed(self, grant: Grant, outputs: Outputs | Exception) -> Answer | Exception:
        """The answer to a call, once its outcome is on record."""
        call, usage, obligations = grant.call, grant.usage, grant.obligations
        failed = outputs if isinstance(outputs, Exception) else None
        try:
            written = close(grant, failed)
        except Exception as error:  # noqa: BLE001 - no record of the outcome, no answer to this call
            return error
        if isinstance(outputs, Exception):
            return outputs
        return Answer(
            outputs=outputs,
            usage=usage,
            call=call.id,
            written=written,
            detected=call.detected,
            obligations=obligations,
        )

    def counted(
        self, grants: Sequence[Grant], ran: Sequence[Outputs | Exception], thread_us: float
    ) -> list[Outputs | Exception]:
        """What comes out once each call is counted under its usage grant, `thread_us` shared out by their tokens.

        All threads of a session are taken to work as long as the one that waits for them.
        """
        weights = [max(1, grant.usage.get("tokens", 1)) for grant in grants]
        cpu_us = thread_us * self._threads / max(1, sum(weights))
        return [
            one if grant.call.metered is None else self.settled(grant, grant.call.metered, one, cpu_us * weight)
            for grant, one, weight in zip(grants, ran, weights, strict=True)
        ]

    def settled(
        self, grant: Grant, metered: Metered, outputs: Outputs | Exception, cpu_us: float
    ) -> Outputs | Exception:
        """What comes out once the call is counted, before it is on record: a crash in between then costs the caller one
        call, and gives none away."""
        try:
            if not grant.usage:  # nothing of it was run
                self._box.meter.give_back(metered)
                return outputs
            # what was begun counts as one
            used = max(1, round(cpu_us))
            self._box.meter.settle(metered, grant.usage.get("tokens", 0), used)
        except Exception as error:  # noqa: BLE001 - what was not counted has no answer
            return error
        charge(grant, calls=1, cpu_us=used, parent_cpu_us=round(used * self._longer))
        return outputs
