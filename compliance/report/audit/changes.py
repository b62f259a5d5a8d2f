"""What differs from the report before: controls, numbers, and which models answered under which policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from compliance.report.audit.contents import Changed, Contents, Previous

__all__ = ["kept", "since"]

# what stands where one of the two reports has nothing; a reader sees a dash
_NONE = ""


def kept(contents: Contents) -> Previous:
    """What the report after this one compares itself with."""
    main = (contents.records, *contents.counts, *contents.calls, *contents.acts)
    policies = [row.name for table in contents.served if table.id == "policies" for row in table.rows]
    return Previous(
        made=contents.inputs.made,
        kinds={one.id: one.kind for one in contents.controls},
        values={one.id: one.value for one in main},
        models={one.digest: f"{one.name} {one.version}".strip() for one in contents.models},
        policies=tuple(sorted(policies)),
    )


def since(contents: Contents, previous: Previous) -> Contents:
    """The same contents with what changed: controls first, then numbers, models and policies. What only one of the
    reports could say, since the other is of another profile or of before it was kept, is no change."""
    now = kept(contents)
    changed = [*_differing(previous.kinds, now.kinds), *_differing(previous.values, now.values)]
    if previous.models and now.models:
        changed += _come_and_gone("model", previous.models, now.models)
    if previous.policies and now.policies:
        changed += _come_and_gone("policy", dict.fromkeys(previous.policies, ""), dict.fromkeys(now.policies, ""))
    return replace(contents, changed=tuple(changed))


def _differing(before: Mapping[str, str | float], now: Mapping[str, str | float]) -> Iterator[Changed]:
    for name, value in now.items():
        if name in before and before[name] != value:
            yield Changed(about=name, before=f"{before[name]}", now=f"{value}")


def _come_and_gone(what: str, before: Mapping[str, str], now: Mapping[str, str]) -> Iterator[Changed]:
    for digest in sorted(before.keys() ^ now.keys()):
        name = f"{before.get(digest) or now.get(digest) or ''} {digest}".strip()
        gone = digest in before
        yield Changed(about=f"{what} {name}", before="seen" if gone else _NONE, now=_NONE if gone else "seen")
