"""From policy texts to checked rules. Whatever is doubtful in a text is refused here, before it can be in force."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, Literal, get_args

import cedarpy
from msgspec import Struct

from policies.errors import Refused
from policies.facts import Carried, Overseen, Sanitising

__all__ = ["PolicyError", "Rule", "handle", "policy_text", "read", "schema_text"]

MAX_BYTES = 256_000
MAX_RULES = 2_000
# Cedar's parser is recursive and ends the process where its stack ends: 64 brackets do that in a thread with 512 KB,
# a rule of 2,000 parts likewise (measured with cedarpy 4.12.2), so both are counted before the parser sees a text
MAX_NESTING = 24
MAX_PARTS = 800


class PolicyError(Refused):
    """A policy text that cannot be put in force."""

    hints: ClassVar[Mapping[str, str]] = {
        "policy_syntax": "Correct the text at the place named; https://docs.cedarpolicy.com describes the language.",
        "policy_schema": "Use only the attributes and actions of the schema; test an optional one with `has` first.",
        "policy_annotation": 'Give every rule @id("area.rule"), unique over all files, lower case with dots, and '
        '@reason("One sentence."); ids that begin with default. or engine. are the engine\'s own. @obligation stands '
        'on a forbid about Action::"infer" alone, and is one of redact, pseudonymise, attribution, ai_notice, '
        "note_output, redact_output, stop_output.",
        "policy_empty": "Put at least one rule in force: an empty policy would have nothing to refuse or to allow by.",
        "policy_encoding": "Save the file as UTF-8.",
        "policy_too_large": "Split the file, or the rule into several: one condition per rule reads better, too.",
        "policy_unsupported": "Say the same in other words: docs/policy.md lists what is supported.",
        "policy_template": "Write the rule out: templates with ?principal or ?resource are not supported.",
        "policy_unproved": "Say the rule or the claim in simpler terms: docs/policy.md lists what is proved.",
        "policy_untested": "Mend the rules or the cases; `sealpress policy test sealpress.toml` shows each case. "
        "A server keeps what was in force.",
        "policy_cases": "Correct the file at the place named; docs/policy.md shows how a case and a claim are written.",
        "policy_pack": "Give a parameter by the name and in the type that `sealpress policy show PACK` lists.",
        "policy_archive": "Restore the folder state/policies from its backup: this file is not what was archived.",
        "policy_purpose": "Name purposes in lower case with letters, digits, dots, dashes and underscores; "
        "retain_days is 0 or more, and data names categories such as health, in lower case.",
    }


class Rule(Struct, frozen=True, kw_only=True):
    """One checked rule. `body` is Cedar's own JSON of it; `source` says which article stands behind it, if any
    does; `obligation` is what a forbid gives way to once it is met."""

    file: str
    id: str
    reason: str
    source: str
    effect: Literal["permit", "forbid"]
    body: dict[str, Any]
    obligation: Sanitising | Carried | Overseen | None = None


def policy_text(name: str, data: bytes) -> str:
    """A policy file as text, within bounds that the parser survives. Raises PolicyError."""
    text = _decoded(name, data)
    _refuse_deep(name, text, "([{", ")]}")
    return text


def schema_text(name: str, data: bytes) -> str:
    """A schema as text, within bounds that the parser survives. Raises PolicyError."""
    text = _decoded(name, data)
    _refuse_deep(name, text, "([{<", ")]}>")
    return text


def read(texts: Mapping[str, str], schema: cedarpy.Schema) -> list[Rule]:
    """The rules of all files, by file and then in their order there. Raises PolicyError."""
    rules = [rule for name, text in texts.items() for rule in _rules(name, text, schema)]
    if not rules:
        raise PolicyError("policy_empty", f"no rule in {', '.join(texts) or 'no file'}")
    if len(rules) > MAX_RULES:
        raise PolicyError("policy_too_large", f"{len(rules)} rules; at most {MAX_RULES} are put in force")
    twice = [id_ for id_, count in Counter(rule.id for rule in rules).items() if count > 1]
    if twice:
        raise PolicyError("policy_annotation", f"{', '.join(texts)}: more than one rule has the id {twice[0]}")
    return rules


def handle(rules: Iterable[Rule]) -> cedarpy.PolicySet:
    """The rules as Cedar evaluates them, under their own ids, so that its answers and errors name them."""
    bodies = {rule.id: rule.body for rule in rules}
    return cedarpy.PolicySet.from_json_str(json.dumps({"staticPolicies": bodies, "templates": {}, "templateLinks": []}))


def _decoded(name: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise PolicyError("policy_too_large", f"{name}: {len(data)} bytes; at most {MAX_BYTES} are read")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PolicyError("policy_encoding", f"{name}: not UTF-8 at byte {error.start}") from None


def _rules(name: str, text: str, schema: cedarpy.Schema) -> Iterator[Rule]:
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(text))
    except ValueError as error:
        message = str(error)[:300]
        raise PolicyError("policy_syntax", f"{_syntax(name, text, message)}: {message}") from None
    except RecursionError:
        raise PolicyError("policy_too_large", f"{name}: a rule is nested too deep") from None
    pieces = _pieces(text)
    if parsed["templates"] or parsed["templateLinks"]:
        raise PolicyError("policy_template", f"{_named(name, text, pieces, '?')}: it is a template")
    rules: dict[str, tuple[Rule, int]] = {}
    for key, body in sorted(parsed["staticPolicies"].items(), key=lambda item: int(item[0].removeprefix("policy"))):
        start = pieces[len(rules)][0]
        rules[key] = _rule(name, _at(name, text, start), body), start
        yield rules[key][0]
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        # in an order that is the same each time, and does not tell the same of every action
        first = min(result.errors, key=lambda error: (int(error.policy_id.removeprefix("policy") or 0), error.error))
        rule, start = rules[first.policy_id]
        message = first.error.replace(f"for policy `{first.policy_id}`, ", "")
        place = _at(name, text, start, _quoted(message))
        raise PolicyError("policy_schema", f"{place}: rule {rule.id}: {message}")


def _syntax(name: str, text: str, message: str) -> str:
    """Where a text stops being Cedar, which the parser does not say: the first rule that cannot be read, and in it the
    first part after which nothing could be added any more."""
    for start, end in _pieces(text):
        if _fault(text[start:end]) is None:
            continue
        if not message.startswith(("unexpected token", "invalid token")):
            return _at(name, text, start, _quoted(message))
        parts = [match for match in _PART.finditer(text, start, end) if not match[0].startswith("//")]
        low, high = 0, len(parts) - 1
        while low < high:
            middle = (low + high) // 2
            if _fault(text[start : parts[middle].end()]) == "unexpected end of input":
                low = middle + 1
            else:
                high = middle
        return _at(name, text, parts[low].start())
    return name


def _fault(text: str) -> str | None:
    try:
        cedarpy.policies_to_json_str(text)
    except ValueError as error:
        return str(error)
    return None


def _pieces(text: str) -> list[tuple[int, int]]:
    """Where each rule begins and ends: a semicolon ends it, unless it stands in a string or a comment."""
    pieces: list[tuple[int, int]] = []
    start = None
    for match in _PART.finditer(text):
        if match[0].startswith("//"):
            continue
        start = match.start() if start is None else start
        if match[0] == ";":
            pieces.append((start, match.end()))
            start = None
    return pieces if start is None else [*pieces, (start, len(text))]


def _named(name: str, text: str, pieces: Iterable[tuple[int, int]], part: str) -> str:
    """The place of the first rule with this part."""
    starts = [s for s, e in pieces if any(match[0] == part for match in _PART.finditer(text, s, e))]
    return _at(name, text, starts[0]) if starts else name


def _quoted(message: str) -> str:
    """What a message of Cedar quotes of the text, or nothing."""
    match = _QUOTED.search(message)
    return match[1] if match else ""


def _at(name: str, text: str, start: int, word: str = "") -> str:
    """File, line and column (from 1), of the word after the start where there is one."""
    found = text.find(word, start) if word else start
    place = start if found < 0 else found
    return f"{name}:{text.count(chr(10), 0, place) + 1}:{place - (text.rfind(chr(10), 0, place) + 1) + 1}"


def _rule(name: str, place: str, body: dict[str, Any]) -> Rule:
    annotations = body.get("annotations", {})
    id_, reason = annotations.get("id") or "", annotations.get("reason") or ""
    if not _ID.fullmatch(id_):
        raise PolicyError("policy_annotation", f"{place}: the rule has no @id, or one that is not well formed")
    if not _REASON.fullmatch(reason) or not reason.isprintable():
        raise PolicyError("policy_annotation", f"{place}: rule {id_} has no @reason, or one that is no sentence")
    source = annotations.get("source") or ""
    if len(source) > 300 or not source.isprintable():
        raise PolicyError("policy_annotation", f"{place}: rule {id_} has a @source that is no line of text")
    rule = Rule(
        file=name,
        id=id_,
        reason=reason,
        source=source,
        effect=body["effect"],
        body=body,
        obligation=_obligation(f"{place}: rule {id_}", body, annotations),
    )
    try:
        handle([rule])
    except ValueError:
        # the JSON of a rule is read 128 levels deep, a chain of && has two for each of its parts
        raise PolicyError(
            "policy_too_large", f"{place}: rule {id_} has too many conditions in one expression"
        ) from None
    return rule


def _obligation(
    rule: str, body: dict[str, Any], annotations: dict[str, str | None]
) -> Sanitising | Carried | Overseen | None:
    if "obligation" not in annotations:
        return None
    found = _OBLIGATIONS.get(annotations["obligation"] or "")
    if found is None:
        raise PolicyError("policy_annotation", f"{rule} has an @obligation that is not known")
    if body["effect"] != "forbid" or body["action"] != _INFER:
        raise PolicyError(
            "policy_annotation", f'{rule} has an @obligation, and is no forbid about Action::"infer" alone'
        )
    return found


# ids stand in reports, in addresses and between backticks in Cedar's messages
_ID = re.compile(r"(?!default\.|engine\.)[a-z][a-z0-9_]{0,30}(?:\.[a-z0-9][a-z0-9_]{0,30}){1,3}")
_REASON = re.compile(r"\S.{8,298}\S")
_OBLIGATIONS: dict[str, Sanitising | Carried | Overseen] = {
    kind: kind for kind in (*get_args(Sanitising), *get_args(Carried), *get_args(Overseen))
}
# a model answers where it is run: nothing else has a payload to be sanitised, or an answer that could carry anything
_INFER = {"op": "==", "entity": {"type": "Action", "id": "infer"}}
_QUOTED = re.compile(r"`([^`]+)`")
_PART = re.compile(r'"(?:[^"\\]|\\[\s\S])*+"?|//[^\n]*|[A-Za-z0-9_]+|[^\sA-Za-z0-9_]')


def _refuse_deep(name: str, text: str, opening: str, closing: str) -> None:
    depth = parts = 0
    for match in _PART.finditer(text):
        part = match[0]
        if part.startswith("//"):
            continue
        parts = 0 if part == ";" else parts + 1
        # a stray closing bracket must not buy room for opening ones
        depth = max(0, depth + (part in opening) - (part in closing))
        if depth > MAX_NESTING or parts > MAX_PARTS:
            place = _at(name, text, match.start())
            raise PolicyError("policy_too_large", f"{place}: more than {MAX_NESTING} levels or {MAX_PARTS} parts")
