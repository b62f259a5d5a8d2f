"""sealpress policy prove, sealpress policy diff"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import rich_click as click

from compliance.crypto import Signer
from compliance.disk import put
from compliance.keys import secret
from compliance.report.wording import plain
from policies.cedar.claims import Claims
from toolkit.cli import output, with_settings
from toolkit.commands.policy.check import at
from toolkit.extras import needs
from toolkit.proof import NAME, signed
from toolkit.settings import found_settings, read_settings

__all__ = ["diff", "prove"]


@click.command()
@click.argument("path")
@click.option("--sign", is_flag=True, help="Write policy.proof beside the sealpress.toml at PATH, signed by this box.")
@with_settings
def prove(path: str, sign: bool, settings: str | None, as_json: bool) -> int:
    """Prove the claims that stand beside the rules at PATH, for every call that there can be.

    Those of a pack are proved for every way to fill its parameters, those of a sealpress.toml or of rules of your own
    for yours. A claim that does not hold is answered with a call that is allowed all the same, and ends this with 1.

    With --sign, boxes that trust this one and ask for proofs (`prove = true` under [policy]) need no solver.

    Example: sealpress policy prove gdpr
    """
    with needs("prove"):
        from policies.cedar.proof import proved
    if sign and Path(path).suffix != ".toml":
        raise click.UsageError("--sign is for what a sealpress.toml puts in force")
    found = at(path, settings)
    rules = found.engine().rules
    claims = {name: Claims.read(name, data).claim for name, data in found.claims.items() if data}
    # a pack that is looked at by itself is filled by nobody yet
    parameters = None if found.unfilled else found.filled
    results = {name: proved(rules, found.schema.decode(), one, parameters) for name, one in claims.items()}
    count = sum(map(len, results.values()))
    ok = bool(count) and all(one.holds for tried in results.values() for one in tried)
    if ok and sign:
        own = found_settings(settings)
        key = Signer(secret(read_settings(own).keys.bundle, "bundle-signing", own.parent))
        put(Path(path).resolve().parent / NAME, signed(found, found.engine(), key))
    lines = []
    for name, tried in results.items():
        for one in tried:
            lines.append(f"{'holds   ' if one.holds else 'does NOT'}  {name}: {one.name}")
            lines += [] if one.example is None else ["    this call is allowed:", *_shown(one.example)]
    output(
        {"ok": ok, "claims": results},
        as_json,
        "\n".join(plain(line, 400) for line in lines) or f"{path}: there are no claims.",
    )
    return 0 if ok else 1


@click.command()
@click.argument("old")
@click.argument("new")
@with_settings
def diff(old: str, new: str, settings: str | None, as_json: bool) -> None:
    """Tell what the policy NEW allows that OLD refuses, and the other way round, over every call that there can be; and
    what one of them lets run only once personal data is masked or has pseudonyms, where the other refuses.

    Both are what `sealpress policy check` takes. Each way is shown by a call, where there is one.

    Example: sealpress policy diff sealpress.toml new/sealpress.toml
    """
    with needs("prove"):
        from policies.cedar.proof import difference
    before, after = at(old, settings), at(new, settings)
    found = difference(
        (before.engine().rules, before.schema.decode(), before.filled),
        (after.engine().rules, after.schema.decode(), after.filled),
    )
    lines = []
    for example, word, allows, refuses in (
        (found.widened, "Widened", "the new policy allows", "the old one refuses"),
        (found.narrowed, "Narrowed", "the new policy refuses", "the old one allows"),
        (found.sanitised, "Sanitised", "the new policy decides anew without its personal data", "the old one refuses"),
        (found.unsanitised, "Unsanitised", "the new policy refuses", "the old one decides anew without personal data"),
    ):
        if example is not None:
            lines += [f"{word}: {allows} what {refuses}, such as", *_shown(example)]
    output(
        found,
        as_json,
        "\n".join(plain(line, 400) for line in lines) or "Both policies give the same answer to every call.",
    )


def _shown(example: Any) -> list[str]:
    facts = msgspec.to_builtins(example)
    lines = [f"    {example.action} by {_fact(facts['actor'])} on {_fact(facts['model'])}"]
    return lines + [f"      {name} = {_fact(value)}" for name, value in sorted(facts["context"].items())]


def _fact(value: object) -> str:
    return msgspec.json.encode(value).decode()
