"""A LoRA adapter as PEFT saves it: its configuration and its weights, looked at and not loaded.

Only what is plain LoRA over linear layers is taken: W + s B A, where s is alpha / r, or alpha / sqrt(r) for rsLoRA
(https://arxiv.org/abs/2106.09685, https://arxiv.org/abs/2312.03732). Variants that compute something else are refused,
known or not: a field that is not named here has to be empty.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from toolkit.compress.errors import SourceError
from toolkit.compress.sources.folder import File, Folder
from toolkit.extras import needs

__all__ = ["CONFIG", "Adapter", "read_adapter"]

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
MAX_WEIGHTS = 1_900_000_000
# fields that say how it was trained, or where, and change nothing in what it computes once it is merged
_NEUTRAL = {
    "auto_mapping", "base_model_name_or_path", "exclude_modules", "inference_mode", "layers_pattern",
    "layers_to_transform", "lora_alpha", "lora_dropout", "megatron_core", "peft_type", "peft_version",
    "qalora_group_size", "r", "revision", "target_modules", "task_type", "use_rslora", "ensure_weight_tying",
}  # fmt: skip
# starts that leave the weights of the base as they were; others are differences to a base that was changed
_STARTS = (True, False, None, "gaussian")


class Adapter(Struct, frozen=True, kw_only=True):
    """`base` is what it says it was trained on; `rank` how many rows each A has, and `scale` what B A is taken times;
    `weights` holds A and B of each layer, and `digest` identifies both files."""

    base: str | None
    rank: int
    scale: float
    weights: File
    digest: str


class _Config(Struct):
    peft_type: str
    r: Annotated[int, Meta(ge=1, le=65_536)]
    lora_alpha: Annotated[float, Meta(gt=0, le=1e6)]
    use_rslora: bool = False
    base_model_name_or_path: Annotated[str, Meta(max_length=200)] | None = None


def read_adapter(path: Path) -> Adapter | None:
    """The adapter in a folder; None where there is none. Raises SourceError: source_adapter, source_pickle,
    source_config."""
    if not (path / CONFIG).is_file():
        return None
    folder = Folder(path)
    content = folder.json(CONFIG, dict[str, Any])
    try:
        config = msgspec.convert(content, _Config)
    except msgspec.ValidationError as error:
        raise SourceError("source_config", f"{CONFIG}: {error}") from None
    if config.peft_type != "LORA":
        raise SourceError("source_adapter", f"the adapter is of the kind {config.peft_type[:40]!r}")
    start = content.pop("init_lora_weights", True)
    if start not in _STARTS:
        raise SourceError("source_adapter", f"init_lora_weights is {str(start)[:40]!r}: its base is another one")
    odd = sorted(name for name, value in content.items() if name not in _NEUTRAL and value and value != "none")
    if odd:
        raise SourceError("source_adapter", f"{CONFIG} asks for more than plain LoRA: {', '.join(odd)[:200]}")
    if not folder.has(WEIGHTS):
        pickled = folder.has("adapter_model.bin")
        raise SourceError("source_pickle" if pickled else "source_adapter", f"{path} has no {WEIGHTS}")
    weights = folder.hash(WEIGHTS, MAX_WEIGHTS)
    with needs("compress"):
        from safetensors import SafetensorError, safe_open
    try:
        with safe_open(weights.path, framework="np"):
            pass
    except SafetensorError as error:
        raise SourceError("source_pickle", f"{WEIGHTS} is no safetensors file: {str(error)[:200]}") from None
    identity = [folder.used[CONFIG].sha256, weights.sha256]
    return Adapter(
        base=config.base_model_name_or_path or None,
        rank=config.r,
        scale=config.lora_alpha / (config.r**0.5 if config.use_rslora else config.r),
        weights=weights,
        digest=hashlib.sha256(msgspec.json.encode(identity)).hexdigest(),
    )
