"""sealpress compress"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import rich_click as click

from toolkit import compress as pressing
from toolkit.cli import output, with_settings
from toolkit.commands.diagnose import diagnose
from toolkit.commands.licences import with_licences
from toolkit.commands.progress import spinner
from toolkit.commands.show import described
from toolkit.compress.plan import Plan
from toolkit.settings import found_settings

__all__ = ["ITEMS", "compress", "until"]

ITEMS = "Texts (.txt: one a line, .jsonl: {text, label?, score?, slice?}), images (the same with paths, or a folder)"


class _WithDiagnose(click.RichCommand):
    """`compress SOURCE` presses; `compress diagnose SOURCE` is a command of its own below the same word."""

    beside: ClassVar[dict[str, click.Command]] = {"diagnose": diagnose}

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        if args and args[0] in self.beside:
            return self.beside[args[0]].make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)


@click.command(cls=_WithDiagnose)
@click.argument("source")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where the bundle goes; must not exist. Default: NAME.bundle."
)
@click.option("--budget", help='What to keep to: "size<=20MB, fidelity>=0.99, latency<=0.4x". The best is sought.')
@click.option("--recipe", help=f"One recipe alone: a .toml file, or a name: {', '.join(pressing.RECIPES)}.")
@click.option("--calibrate", type=click.Path(path_type=Path), help=f"{ITEMS} that steps learn from.")
@click.option("--evaluate", type=click.Path(path_type=Path), help="The same to measure on; none of those above.")
@click.option("--trials", type=click.IntRange(1, 1000), default=pressing.TRIALS, show_default=True, help="At most.")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), help="No trial is begun after so many.")
@click.option(
    "--memory", type=click.IntRange(1), help="MB (10^6) that the run may take; one that needs more is refused."
)
@click.option("--resume", is_flag=True, help="Go on with the run in OUT.run, instead of refusing to touch it.")
@click.option("--plan", is_flag=True, help="Show the steps, the time and the memory, and do nothing.")
@with_licences
@with_settings
def compress(
    source: str,
    out: Path | None,
    budget: str | None,
    recipe: str | None,
    calibrate: Path | None,
    evaluate: Path | None,
    trials: int,
    minutes: float | None,
    memory: int | None,
    resume: bool,
    plan: bool,
    licences: dict[str, Any],
    settings: str | None,
    as_json: bool,
) -> None:
    """Press the model in SOURCE to a signed bundle: a Hugging Face or timm directory, an ONNX file, a .keras file,
    the folder of a SavedModel, or an architecture with local weights, timm:NAME:FILE or torchvision:NAME:FILE (a
    .safetensors file).

    With --budget, the smallest bundle that keeps to it is looked for. OUT.run holds every trial and the report, also
    when nothing can be handed out. `sealpress compress diagnose` says where a recipe hurts.

    Example: sealpress compress ./my-model --budget "size<=20MB, fidelity>=0.99" --calibrate texts.txt
    --data-licence LicenseRef-own --out my.bundle
    """
    given: dict[str, Any] = {
        "budget": budget,
        "recipe": recipe,
        "calibrate": calibrate,
        "evaluate": evaluate,
        **licences,
        "trials": trials,
        "memory": None if memory is None else 1_000_000 * memory,
        "settings": found_settings(settings),
    }
    with spinner() as progress:
        if plan:
            found = pressing.plan(source, progress=progress, **given)
        else:
            bundle = pressing.compress(
                source,
                out=out,
                minutes=minutes,
                resume=resume,
                progress=progress,
                **given,
            )
    if plan:
        output(found, as_json, _shown(found))
        return
    report = bundle.path.with_suffix(".run") / "report.html"
    value = {
        "bundle": str(bundle.path),
        "report": str(report),
        "manifest": bundle.manifest,
        "measurements": bundle.measurements,
    }
    output(value, as_json, f"{described(bundle)}\n  bundle   {bundle.path}\n  report   {report}")


def until(plan: Plan) -> str:
    """Until when what was stated about licences counts; nothing where the papers say it all."""
    return "" if plan.stated_until is None else f", as it is stated until {plan.stated_until}"


def _shown(plan: Plan) -> str:
    """A line for each recipe, the sum below."""
    lines = [
        f"{plan.name}: {plan.task}, {plan.licence}{until(plan)}",
        f"{plan.parameters:,} parameters, {plan.fp32_bytes / 1e6:.1f} MB in FP32",
        f"{plan.calibrate} items to calibrate on, {plan.evaluate} to evaluate on",
        *(
            f"  {one.name:16} about {one.seconds:6.0f} s  {one.memory_bytes / 1e6:8.0f} MB  {', '.join(one.steps)}"
            for one in plan.recipes
        ),
    ]
    more = ["recipes between the gentlest and the roughest"] * plan.halves
    more += ["pruned or factorised first, the best of all"] * plan.combines
    if more:
        lines.append(f"  then {'; '.join(more)}; up to {plan.trials} trials in all")
    lines.append(f"in all about {plan.seconds:.0f} s and {plan.memory_bytes / 1e6:.0f} MB of memory; nothing was done")
    return "\n".join(lines)
