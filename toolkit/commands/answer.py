"""sealpress audit answer"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec
import rich_click as click

from compliance.controls.answers import Answer, Says, Signed, signed
from compliance.controls.catalogue import catalogue
from compliance.controls.errors import ControlError
from compliance.crypto import Signer, sha256
from compliance.disk import put
from compliance.keys import fingerprint, read_key, to_text
from toolkit.box import Box
from toolkit.cli import output, with_settings
from toolkit.commands.reports import ANSWERS

__all__ = ["answer"]


@click.command()
@click.option("--control", required=True, help="The id of the control, as a report shows it.")
@click.option(
    "--says", required=True, type=click.Choice(["met", "not_met", "not_applicable"]), help="How the control came out."
)
@click.option("--text", required=True, help="The answer, in words for whoever reads the report.")
@click.option("--role", required=True, help="As what the person answers, e.g. data protection officer.")
@click.option(
    "--key",
    "key_file",
    required=True,
    type=click.Path(path_type=Path),
    help="The private key of the person, whom the settings name under [override.approvers].",
)
@with_settings
def answer(control: str, says: Says, text: str, role: str, key_file: Path, settings: str | None, as_json: bool) -> None:
    """Answer a question of a report as a named person. The next report carries the answer, the name and the signature.

    Example: sealpress audit answer --control gdpr-impact --says met --text "DPIA of 3 May" --role DPO --key ann.key
    """
    asked = catalogue().control(control)
    if asked.question is None:
        raise ControlError("control_measured", f"{asked.id} is answered from evidence, by the check {asked.check!r}")
    box = Box.open(settings)
    signer = Signer(read_key(key_file, "approver-signing"))
    name = _name(box, signer)
    with closing(box.journal) as journal:
        try:
            made = Answer(
                control=asked.id, journal=journal.id, says=says, text=text, name=name, role=role, at=journal.now()
            )
            one = signed(msgspec.convert(msgspec.to_builtins(made), Answer), signer)
        except msgspec.ValidationError as error:
            raise click.UsageError(f"this cannot be an answer: {error}") from None
        told = {
            "control": made.control,
            "says": made.says,
            "key": fingerprint(signer.public),
            "statement": sha256(one.statement.encode()).hex(),
        }
        # on record before it counts
        journal.record("answered", told, box.settings.box.tenant)
        journal.checkpoint()
        path = _keep(box, made, one)
    value = {"answer": str(path), "name": name, **told}
    output(value, as_json, f"{name} answered {asked.id}: {says}.\nThe next report carries it, from {path}")


def _name(box: Box, signer: Signer) -> str:
    public = to_text(signer.public)
    for name, key in box.settings.override.approvers.items():
        if key == public:
            return name
    raise ControlError("answer_person", "the key is of nobody whom the settings name under [override.approvers]")


def _keep(box: Box, made: Answer, one: Signed) -> Path:
    path = box.folder / ANSWERS / f"{made.control}-{made.at}.json"
    put(path, msgspec.json.format(msgspec.json.encode(one), indent=1) + b"\n")
    return path
