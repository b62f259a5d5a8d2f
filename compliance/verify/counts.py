"""Count the calls again from metadata that were opened, and compare with what was signed and with what is claimed.

The metadata of a leaf are what its box wrote, so they are read with the same care as anything else from outside.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from compliance.verify.alike import Alike, value_of_json
from compliance.verify.errors import NotVerified
from compliance.verify.leaf import ALLOWED, Broken, record_name
from compliance.verify.statements import Head

__all__ = ["Counts", "Ending"]

OTHERS, UNREAD = "(others)", "(before-a-restart)"  # in counters by name, what is counted under no name
_EVENTS = ("imported", "revoked")  # lines of usage that say something of a grant, and count no use
# notes that stand on a signed file, and the folder that it has in evidence
_SIGNED = {"declaration_imported": "declarations", "override_opened": "overrides", "usage_grant_imported": "grants"}
_DAY = 86_400 * 10**9
_EPOCH = date(1970, 1, 1).toordinal()

_Call = tuple[bool, str, str, str | None, str]  # allowed, model, policy, purpose, action


class Ending(NamedTuple):
    """How a call ended that stands in another shard: at a record, of a place."""

    shard: int
    sequence: int
    of: tuple[int, int]
    call: str
    outcome: Mapping[str, Any]


class Counts:
    """One pass over the opened metadata, of which it keeps counts, and the calls that have not ended yet."""

    def __init__(self) -> None:
        # tokens of time that notes tell of, their heads, and the times of these (ns)
        self.stamps: set[tuple[str, str, int]] = set()
        self.manifests: set[str] = set()  # the digests of models whose papers were opened
        self.policies: set[str] = set()  # that calls name
        self.told: dict[str, list[Any]] = {}  # what notes say of a signed file, by the name that it has in evidence
        self.named: set[str] = set()  # the signed files that calls stand on which were allowed, by that name
        self.elsewhere: list[Ending] = []
        self._calls: defaultdict[_Call, dict[int, int]] = defaultdict(dict)  # how many on which day
        self._rules: Counter[str] = Counter()
        self._used: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._done = 0
        self._open: dict[tuple[int, int], tuple[str, str]] = {}  # the id of the call, and its usage grant
        self._earlier = 0  # outcomes of calls that stand before the period, or that were not opened
        self._unread: Counter[str] = Counter()
        self._alike = Alike()
        # what was looked at last, the days of such calls, their usage grant, and the rules that spoke against them
        self._last: tuple[Any, Any, int] = None, None, 0
        self._days: dict[int, int] = {}
        self._grant = "-"
        self._against: list[str] = []

    def unread(self, kind: str, why: str) -> None:
        """A leaf that is sealed still."""
        self._unread[f"{kind} {why}"] += 1

    def opened(self, shard: int, sequence: int, kind: int, metadata: bytes) -> None:
        """The metadata of a call. Raises Broken: evidence_decision, evidence_model, evidence_metadata."""
        try:
            record, id_, at, call, decided = self._alike.opened(metadata)
            last = self._last
            if call is not last[0] or decided is not last[1] or kind != last[2]:
                self._look(record, kind, call, decided)
            day = at // _DAY
            self._days[day] = self._days.get(day, 0) + 1
            if kind == ALLOWED:
                self._open[shard, sequence] = id_, self._grant
            else:
                self._rules.update(self._against)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise Broken("evidence_metadata") from None

    def _look(self, record: str, kind: int, call: Any, decided: Any) -> None:
        """See as what a call is counted, and whether it is what it says. Raises Broken, KeyError and such."""
        allowed, model = decided["allowed"], call["model"]
        if record != "opened" or allowed is not (kind == ALLOWED):
            raise Broken("evidence_decision")
        if model != decided["model"]["digest"]:
            raise Broken("evidence_model")
        self._days = self._calls[allowed, model, decided["policy"], call.get("purpose"), call["action"]]
        if allowed:
            metered = call.get("metered")
            self._grant = "-" if metered is None else metered.get("grant") or "-"
            if metered is not None:
                self._names("grants", metered.get("grant"))
            if (override := call.get("override")) is not None:
                self._names("overrides", override["id"])
        else:
            self._against = [_written(finding["rule"]) for finding in decided["against"]]
        self._last = call, decided, kind

    def _names(self, folder: str, id_: Any) -> None:
        if type(id_) is str:
            self.named.add(f"{folder}/{id_}.json")

    def closed(self, shard: int, sequence: int, of: tuple[int, int], metadata: bytes) -> None:
        """The metadata of an outcome. Raises Broken: evidence_decision, evidence_call, evidence_metadata."""
        try:
            record, call, outcome = self._alike.closed(metadata)
            if record != "closed":
                raise Broken("evidence_decision")
            if of[0] == shard:
                self._ended(self._open.pop(of, None), call, outcome)
            else:
                self.elsewhere.append(Ending(shard, sequence, of, call, outcome))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise Broken("evidence_metadata") from None

    def noted(self, metadata: bytes) -> None:
        """The metadata of anything else. Raises Broken: evidence_decision, evidence_metadata."""
        try:
            value = value_of_json(metadata)
            if value["record"] != "noted" or type(value["kind"]) is not str:
                raise Broken("evidence_decision")
            if value["kind"] == "loaded":
                self.manifests.add(value["data"]["manifest"]["digest"])
            elif value["kind"] == "timestamped":
                token, head = value["data"]["token"], value["data"]["head"]
                self.stamps.add((str(token), str(head), int(value["data"]["head_at"])))
            elif (folder := _SIGNED.get(value["kind"])) is not None:
                said = value["data"]
                if type(said["id"]) is not str:
                    raise ValueError("no id")
                self.told.setdefault(f"{folder}/{said['id']}.json", []).append(said)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
            raise Broken("evidence_metadata") from None

    def settle(self) -> None:
        """The outcomes of calls in other shards. Raises NotVerified with the codes of `closed`."""
        for ending in self.elsewhere:
            place = record_name(ending.shard, ending.sequence)
            try:
                self._ended(self._open.pop(ending.of, None), ending.call, ending.outcome)
            except (KeyError, TypeError, ValueError, AttributeError):
                raise NotVerified.at(place, "evidence_metadata") from None
            except Broken as broken:
                raise NotVerified.at(place, broken.code) from None

    def groups(self, records: Mapping[str, int], unfinished: int) -> dict[str, dict[str, int]]:
        """All counts by group and name, without those that are 0. Raises Broken: evidence_metadata."""
        found: dict[str, Counter[str]] = {name: Counter() for name in _GROUPS}
        for (allowed, model, policy, purpose, action), days in self._calls.items():
            said = "allowed" if allowed else "refused"
            found[f"{said}_by_day"].update({_day(day): count for day, count in days.items()})
            names = {"model": model, "policy": policy, "action": action}
            # a purpose that was refused may be any text
            for what, name in (names | {"purpose": purpose or ""} if allowed else names).items():
                if type(name) is not str:
                    raise Broken("evidence_metadata")
                found[f"{said}_by_{what}"][name] += sum(days.values())
            self.policies.add(policy)
        found["refused_by_rule"] = self._rules
        found["failed_by_code"] = self._failed
        found["used"] = self._used
        found["unread"] = self._unread
        found["records"] = Counter(records)
        found["calls"] = Counter(
            done=self._done,
            failed=sum(self._failed.values()),
            unfinished=unfinished,
            earlier=self._earlier,
            unbound=self._unbound(),
        )
        return {group: {name: count for name, count in counts.items() if count} for group, counts in found.items()}

    def compare(self, heads: Iterable[tuple[Head, Head]], gaps: int) -> None:
        """Compare with what the heads count by name from the first to the last of each shard.

        Of a record that cannot be read nobody knows its rule or its use; a crash loses what was counted behind the last
        head. Raises Broken: evidence_rules, evidence_usage.
        """
        rules: Counter[str] = Counter()
        usage: Counter[str] = Counter()
        for first, last in heads:
            rules.update({name: count - first.rules.get(name, 0) for name, count in last.rules.items()})
            usage.update({name: count - first.usage.get(name, 0) for name, count in last.usage.items()})
        missing = sum(count for name, count in self._unread.items() if name.startswith("refused "))
        unnamed = rules.pop(UNREAD, 0) + rules.pop(OTHERS, 0)
        for name in rules.keys() | self._rules.keys():
            if not rules[name] - missing <= self._rules[name] <= rules[name] + unnamed:
                raise Broken("evidence_rules")
        unclear = self._earlier or any(name.startswith(("closed ", "allowed ")) for name in self._unread)
        for name in usage.keys() | self._used.keys():
            grant, _, unit = name.rpartition("/")
            if grant == OTHERS or unit in _EVENTS:
                continue
            more = usage[f"{OTHERS}/{unit}"]
            if (not unclear and self._used[name] < usage[name]) or (not gaps and self._used[name] > usage[name] + more):
                raise Broken("evidence_usage")

    def _unbound(self) -> int:
        """Calls that a model answered whose papers were not opened."""
        return sum(
            sum(days.values())
            for (allowed, model, _, _, action), days in self._calls.items()
            if allowed and action in ("infer", "scan") and model not in self.manifests
        )

    def _ended(self, opened: tuple[str, str] | None, call: str, outcome: Mapping[str, Any]) -> None:
        if opened is None:
            self._earlier += 1
            return
        if opened[0] != call:
            raise Broken("evidence_call")
        if outcome["ok"] is True:
            self._done += 1
        else:
            self._failed[outcome["code"] or ""] += 1
        for unit, amount in outcome["usage"].items():
            if type(amount) is not int or amount < 0:
                raise Broken("evidence_metadata")
            self._used[_written(f"{opened[1]}/{unit}")] += amount


_GROUPS = (
    "records", "calls", "unread", "refused_by_rule", "failed_by_code", "used", "allowed_by_day", "allowed_by_model",
    "allowed_by_policy", "allowed_by_purpose", "allowed_by_action", "refused_by_day", "refused_by_model",
    "refused_by_policy", "refused_by_action",
)  # fmt: skip


@lru_cache(maxsize=4096)
def _written(name: str) -> str:
    """A name as heads hold it."""
    return "".join(c if "!" <= c <= "~" else quote(c) for c in name) or "-"


def _day(day: int) -> str:
    try:
        return date.fromordinal(_EPOCH + day).isoformat()
    except (TypeError, ValueError, OverflowError):
        raise Broken("evidence_metadata") from None
