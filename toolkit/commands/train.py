"""sealpress train"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from toolkit.box import Context
from toolkit.cli import output, with_settings
from toolkit.commands.compress import ITEMS, until
from toolkit.commands.context import with_context
from toolkit.commands.licences import with_licences
from toolkit.commands.progress import spinner
from toolkit.commands.show import described
from toolkit.compress.plan import Plan
from toolkit.compress.training import Personal, foreseen
from toolkit.compress.training import train as trained
from toolkit.settings import found_settings
from toolkit.train.place import Place

__all__ = ["train"]


@click.command()
@click.argument("recipe")
@click.argument("source")
@click.option(
    "--calibrate", type=click.Path(path_type=Path), required=True, help=f"{ITEMS} that the model learns from."
)
@click.option("--evaluate", type=click.Path(path_type=Path), help="The same to measure on; none of those above.")
@with_context
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the bundle goes; must not exist. Default: NAME-trained.bundle.",
)
@click.option("--run", type=click.Path(path_type=Path), help="The folder of the run. Default: OUT.run.")
@click.option(
    "--budget", help='What to keep to, as in compress: "fidelity>=0.9". Nothing is handed out that misses it.'
)
@click.option(
    "--processes", type=click.IntRange(1, 1024), help="On this host.  [default: what each step of the recipe says]"
)
@click.option("--hosts", type=click.IntRange(1, 1024), default=1, show_default=True, help="Each runs this command.")
@click.option("--host-rank", type=click.IntRange(0, 1023), default=0, show_default=True, help="0 hands out the bundle.")
@click.option(
    "--meet", help="HOST:PORT of the host 0, where all hosts meet: in a network of their own, nothing is secret."
)
@click.option(
    "--patience",
    type=click.IntRange(1, 86_400),
    default=120,
    show_default=True,
    help="Seconds after which a host that is not heard is given up.",
)
@click.option("--shards", is_flag=True, help="Processes share moments and gradients (FSDP): less memory, more traffic.")
@click.option("--bf16", is_flag=True, help="Products in halves of floats, where the processor has them.")
@click.option("--memory", type=click.IntRange(1), help="MB (10^6) that it may take; one that needs more is refused.")
@click.option("--resume", is_flag=True, help="Go on with the run in the folder, instead of refusing to touch it.")
@click.option("--dry-run", is_flag=True, help="Estimate time and memory, count personal data, and write nothing.")
@with_licences
@with_settings
def train(
    recipe: str,
    source: str,
    calibrate: Path,
    evaluate: Path | None,
    context: Context,
    out: Path | None,
    run: Path | None,
    budget: str | None,
    processes: int | None,
    hosts: int,
    host_rank: int,
    meet: str | None,
    patience: int,
    shards: bool,
    bf16: bool,
    memory: int | None,
    resume: bool,
    dry_run: bool,
    licences: dict[str, Any],
    settings: str | None,
    as_json: bool,
) -> None:
    """Train the model in SOURCE by RECIPE, a .toml file with a step that trains, to a signed bundle.

    The gate stands before it, for the action "train". Ctrl-C leaves a checkpoint; the same command with --resume goes
    on from it. The folder of the run holds what was begun, checkpoints, a log, curves and the report.

    Example: sealpress train recovered.toml ./my-model --calibrate texts.txt --data-licence LicenseRef-own
    --purpose search --out my.bundle
    """
    if hosts > 1 and not meet:
        raise click.UsageError("several --hosts need to know where they --meet")
    if host_rank >= hosts:
        raise click.UsageError(f"--host-rank is below --hosts, {hosts}")
    given: dict[str, Any] = {
        "calibrate": calibrate,
        "evaluate": evaluate,
        "context": context,
        "place": Place(
            folder=run,
            processes=processes,
            hosts=hosts,
            rank=host_rank,
            meet=meet or "",
            shards=shards,
            bfloat16=bf16,
            patience_s=patience,
        ),
        **licences,
        "memory": None if memory is None else 1_000_000 * memory,
        "settings": found_settings(settings),
    }
    with spinner() as progress:
        if dry_run:
            plan, personal = foreseen(source, recipe, progress=progress, **given)
        else:
            bundle = trained(
                source,
                recipe,
                out=out,
                budget=budget,
                resume=resume,
                progress=progress,
                **given,
            )
    if dry_run:
        value: dict[str, Any] = {"estimated": "by the cost model", "plan": plan, "personal": personal}
        output(value, as_json, _foreseen(plan, personal))
    elif bundle is None:
        output({"bundle": None}, as_json, f"host {host_rank} took part; host 0 hands out the bundle")
    else:
        folder = run or bundle.path.with_suffix(".run")
        value = {
            "bundle": str(bundle.path),
            "run": str(folder),
            "manifest": bundle.manifest,
            "measurements": bundle.measurements,
        }
        output(value, as_json, f"{described(bundle)}\n  bundle   {bundle.path}\n  run      {folder}")


def _foreseen(plan: Plan, personal: Personal) -> str:
    found = ", ".join(f"{count} {kind}" for kind, count in personal.kinds.items()) or "none"
    return "\n".join(
        [
            f"{plan.name}: {plan.task}, {plan.licence}{until(plan)}; {plan.parameters:,} parameters",
            f"{plan.calibrate} items to learn from, {plan.evaluate} to evaluate on",
            f"personal data in {personal.personal} of {personal.scanned} texts that were scanned: {found}",
            f"about {plan.seconds:.0f} s and {plan.memory_bytes / 1e6:.0f} MB by the cost model, give or take",
            "nothing was done",
        ]
    )
