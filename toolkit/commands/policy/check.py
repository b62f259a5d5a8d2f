"""sealpress policy check, sealpress policy test, sealpress policy show"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from policies.cedar import Engine
from policies.cedar.source import Rule
from toolkit.cli import output, with_settings
from toolkit.policy import Policy, packs
from toolkit.settings import SettingsError, found_settings, read_settings

__all__ = ["at", "check", "show", "test"]

_path = click.argument("path")


@click.command()
@_path
@with_settings
def check(path: str, settings: str | None, as_json: bool) -> None:
    """Check that the rules at PATH can be put in force: a Cedar file, a folder of them, a sealpress.toml, or a pack.

    A file of your own is taken together with the packs of your settings. What is wrong is named with its file, line and
    column, or with its rule.

    Example: sealpress policy check rules/opening-hours.cedar
    """
    found = at(path, settings)
    engine = found.engine()
    rules = _own(found, engine)
    value = {"ok": True, "digest": engine.digest, "rules": [rule.id for rule in rules]}
    output(value, as_json, f"{path}: {len(rules)} rules, all of which can be put in force.")


@click.command()
@_path
@with_settings
def test(path: str, settings: str | None, as_json: bool) -> int:
    """Try the cases that stand beside the rules at PATH, in cases.toml or where the settings name them.

    Each case is a call and the answer that it must get (docs/policy.md). Ends with 1 when one comes out otherwise, or
    when there is none.

    Example: sealpress policy test gdpr
    """
    results = at(path, settings).tried()
    failed = [(name, one) for name, cases in results.items() for one in cases if not one.ok]
    count = sum(map(len, results.values()))
    value = {"ok": bool(count) and not failed, "cases": results}
    lines = []
    for name, one in failed:
        lines.append(f"{name}: {one.name}: {'allowed' if one.allow else 'refused by ' + ', '.join(one.rules)}")
    lines.append(f"{count - len(failed)} of {count} cases came out as they must.")
    output(value, as_json, "\n".join(lines))
    return 0 if value["ok"] else 1


@click.command()
@_path
@with_settings
def show(path: str, settings: str | None, as_json: bool) -> None:
    """Show the rules at PATH as a person reads them: what each requires, the article behind it, and the parameters.

    Example: sealpress policy show hipaa
    """
    found = at(path, settings)
    engine = found.engine()
    rules = [_described(rule) for rule in _own(found, engine)]
    chosen = [pack for pack in found.packs if f"{pack.name}/policy.cedar" in found.own]
    parameters = {
        pack.name: {**pack.parameters, **found.parameters.get(pack.name, {})} for pack in chosen if pack.parameters
    }
    value = {
        "digest": engine.digest,
        "packs": {pack.name: {"title": pack.title, "about": pack.about} for pack in chosen},
        "rules": rules,
        "parameters": parameters,
    }
    lines = [f"{pack.title}: {pack.about}" for pack in chosen]
    for rule in rules:
        lines += ["", f"{rule['id']} ({rule['effect']})", f"  {rule['reason']}"]
        lines += [f"  {rule['source']}"] if rule["source"] else []
        lines += [f"  gives way to: {rule['obligation']}"] if rule["obligation"] else []
    for name, values in parameters.items():
        lines += ["", f"[policy.parameters.{name}]", *(f"{key} = {_toml(one)}" for key, one in values.items())]
    output(value, as_json, "\n".join(lines))


def at(path: str, settings: str | None) -> Policy:
    """What stands at a path: the name of a pack, a sealpress.toml, a Cedar file, or a folder of them.

    Raises SettingsError, PolicyError.
    """
    place = Path(path)
    if not place.exists() and path in packs():
        return Policy.shipped(path)
    if place.suffix == ".toml":
        named = found_settings(path)
        return Policy.in_force(named, read_settings(named))
    return Policy.beside(place, _settings(settings))


def _settings(given: str | None) -> Path | None:
    try:
        return found_settings(given)
    except SettingsError:
        if given is not None:
            raise
        return None


def _own(policy: Policy, engine: Engine) -> list[Rule]:
    return [rule for rule in engine.rules if rule.file in policy.own]


def _described(rule: Rule) -> dict[str, Any]:
    names = ("id", "effect", "reason", "source", "obligation", "file")
    return {name: getattr(rule, name) for name in names}


def _toml(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
