"""The heads of this box go to its witness over HTTP, once a minute while the box serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from compliance.verify.statements import JointHead
from compliance.witness.errors import WitnessError, WitnessMissing
from compliance.witness.exchange import Seen
from compliance.witness.witnessed import Witnessed
from policies.errors import Fault
from toolkit.posting import posted

__all__ = ["Witnessing"]

EVERY_S = 60.0
TIMEOUT_S = 10.0
MAX_ANSWER = 1_000_000
PATH = "/witness/v1/heads"


class Witnessing:
    """Brings heads to the witness at a URL. `said` is how the last exchange ended: the time of its head, or a code."""

    def __init__(self, witnessed: Witnessed, url: str) -> None:
        self.said: int | str | None = None
        self._witnessed = witnessed
        self._url = url

    def exchange(self) -> JointHead:
        """Have the last joint head co-signed, and keep it.

        Raises WitnessError, WitnessMissing, and JournalError: journal_forked when the witness saw another journal.
        """
        known = self._witnessed.last()
        try:
            return self._exchange(known, again=True)
        finally:
            # looked at last: so the witness gets the evidence, and no witness that is silent hides a fork
            if known is not None:
                self._witnessed.must_hold(known)

    def _exchange(self, known: JointHead | None, *, again: bool) -> JointHead:
        exchange = self._witnessed.exchange(known)
        try:
            seen = _posted(self._url, msgspec.json.encode(exchange))
        except WitnessError as refusal:
            last = None if refusal.last is None else self._kept(refusal.last)
            if again and refusal.code == "witness_stale":
                return self._exchange(last, again=False)
            if last is not None:
                self._witnessed.must_hold(last)
            raise
        found = self._kept(seen)
        self._witnessed.must_hold(found)
        if not seen.head.startswith(exchange.head):
            raise WitnessError("witness_answer", f"the answer of {self._url} is about another head than was sent")
        return found

    def _kept(self, seen: Seen) -> JointHead:
        return self._witnessed.keep(seen.head, seen.certificate)

    async def upkeep(self, failed: Callable[[Fault], None], forked: Callable[[Fault], None]) -> None:
        """Exchange at once and then every minute. A failure is told, and tried again; after a fork this ends."""
        while True:
            try:
                self.said = (await asyncio.to_thread(self.exchange)).at
            except Fault as fault:
                self.said = fault.code
                failed(fault)
                if fault.code == "journal_forked":
                    forked(fault)
                    return
            await asyncio.sleep(EVERY_S)


class _Problem(Struct, frozen=True):
    """What is read of a problem document; a text of the witness is never shown."""

    code: str
    last: Seen | None = None


def _posted(url: str, document: bytes) -> Seen:
    """What the witness answers. No redirect is followed and no proxy asked. Raises WitnessError, WitnessMissing."""
    try:
        status, content = _answer(url, document)
    except (OSError, HTTPException, ValueError) as error:
        raise WitnessMissing("witness_unreachable", f"{url}: {type(error).__name__}") from None
    try:
        if status == HTTPStatus.OK:
            return msgspec.json.decode(content, type=Seen)
        problem = msgspec.json.decode(content, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = _Problem("")
    if problem.code in WitnessError.hints:
        raise WitnessError(problem.code, f"the witness at {url} refused the head", problem.last)
    raise WitnessMissing("witness_unreachable", f"{url} answered as no witness does, with status {status}")


def _answer(url: str, document: bytes) -> tuple[int, bytes]:
    if urlsplit(url).query:
        raise ValueError("no address of a witness")
    asked = f"{url.rstrip('/')}{PATH}"
    return posted(asked, document, "application/json", most=MAX_ANSWER, timeout_s=TIMEOUT_S)
