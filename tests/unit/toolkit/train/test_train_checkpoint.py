"""A checkpoint of format 1 stays readable; what is none, or was changed, is refused and nothing of it is taken."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from toolkit.compress.quiet import quiet

with quiet():
    import torch
    from safetensors.torch import save

    from toolkit.train.checkpoint import FILE, Standing, gone_on_with, keep, read_checkpoint
    from toolkit.train.errors import TrainingError
    from toolkit.train.group import Group

GOLDEN = Path(__file__).resolve().parents[3] / "vectors" / "training" / FILE
OF = "a" * 64
STANDING = Standing(of=OF, steps=3, first=1.5, current=0.5, flops=120, cpu_s=0.25)


def begun() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
    model = torch.nn.Linear(3, 2)
    return model, torch.optim.AdamW(model.parameters(), lr=0.1)


def moved(folder: Path) -> torch.nn.Module:
    """A model of known weights that took three steps along known gradients, and what is kept of it in a folder."""
    model, optimiser = begun()
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(2, 3) / 8)
        model.bias.copy_(torch.tensor([0.5, -0.25]))
    for step in range(1, 4):
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, 1 / step)
        optimiser.step()
    keep(folder, STANDING, model, optimiser, put_it=True)
    return model


def refused(folder: Path, content: bytes, of: str = OF) -> str:
    (folder / FILE).write_bytes(content)
    model, optimiser = begun()
    with pytest.raises(TrainingError) as error:
        gone_on_with(folder, of, model, optimiser, Group())
    assert error.value.code == "train_checkpoint"
    return str(error.value)


def headed(content: bytes, change: Callable[[dict[str, str]], None]) -> bytes:
    """The same with other metadata."""
    size = int.from_bytes(content[:8], "little")
    header = msgspec.json.decode(content[8 : 8 + size])
    change(header["__metadata__"])
    written = msgspec.json.encode(header)
    return len(written).to_bytes(8, "little") + written + content[8 + size :]


def said(**other: object) -> Callable[[dict[str, str]], None]:
    """Another standing."""

    def change(metadata: dict[str, str]) -> None:
        metadata["standing"] = msgspec.json.encode({**msgspec.json.decode(metadata["standing"]), **other}).decode()

    return change


def test_a_checkpoint_of_format_1_is_gone_on_with(tmp_path: Path) -> None:
    model, optimiser = begun()
    assert gone_on_with(GOLDEN.parent, OF, model, optimiser, Group()) == STANDING
    same = moved(tmp_path)
    for ours, theirs in zip(model.parameters(), same.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        assert set(optimiser.state[ours]) == {"step", "exp_avg", "exp_avg_sq"}
        assert float(optimiser.state[ours]["step"]) == 3
    standing, tensors = read_checkpoint(GOLDEN.read_bytes())
    assert standing.format == 1
    assert set(tensors) == set(read_checkpoint((tmp_path / FILE).read_bytes())[1])


def test_a_checkpoint_of_another_release_or_training_is_refused(tmp_path: Path) -> None:
    content = GOLDEN.read_bytes()
    assert "format 2" in refused(tmp_path, headed(content, said(format=2, more="of a later release")))
    assert "another training" in refused(tmp_path, content, of="b" * 64)
    for other in ({"steps": -1}, {"flops": -1}, {"cpu_s": -0.5}, {"steps": "3"}, {"unknown": 1}):
        refused(tmp_path, headed(content, said(**other)))


@pytest.mark.parametrize("length", [0.02, 0.3, 0.9, 0.999])
def test_a_checkpoint_that_was_cut_short_is_refused(tmp_path: Path, length: float) -> None:
    content = GOLDEN.read_bytes()
    refused(tmp_path, content[: round(length * len(content))])


def test_a_checkpoint_of_which_a_bit_changed_is_refused(tmp_path: Path) -> None:
    content = bytearray(GOLDEN.read_bytes())
    content[-3] ^= 1
    assert "not what was put there" in refused(tmp_path, bytes(content))
    changed = headed(GOLDEN.read_bytes(), lambda metadata: metadata.update(sha256="0" * 64))
    assert "not what was put there" in refused(tmp_path, changed)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00",
        b"\xff" * 64,
        (2).to_bytes(8, "little") + b"{}",
        (9).to_bytes(8, "little") + b'{"a":[1]}',
        (100_000).to_bytes(8, "little") + b'{"__metadata__":' + b"[" * 99_984,
        (100_000).to_bytes(8, "little") + b'{"__metadata__":{"standing":"' + b"[" * 99_971,
        (30).to_bytes(8, "little") + b'{"__metadata__":{"standing":1}}',
        save({"a": torch.zeros(1)}, {"standing": "[" * 20_000}),
        save({"a": torch.zeros(1)}, {"standing": "{}", "sha256": ""}),
    ],
    ids=["short", "no-length", "empty", "no-metadata", "deep", "unended", "no-text", "deep-standing", "no-standing"],
)
def test_a_hostile_header_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(tmp_path, content)


def test_tensors_that_the_model_does_not_have_in_that_shape_are_refused(tmp_path: Path) -> None:
    _, tensors = read_checkpoint(GOLDEN.read_bytes())
    for name, other in (
        ("model/weight", torch.zeros(1, 3)),  # would be stretched
        ("model/weight", torch.zeros(2, 3, dtype=torch.float64)),
        ("model/weight", None),
        ("optimiser/weight/exp_avg", torch.zeros(1)),
        ("optimiser/weight/step", None),
        ("model/other", torch.zeros(1)),
    ):
        changed = {key: value for key, value in tensors.items() if key != name}
        changed |= {} if other is None else {name: other}
        model, optimiser = torch.nn.ParameterDict(), torch.optim.SGD([torch.zeros(1)])
        for key, value in changed.items():
            kind, parameter, *rest = key.split("/")
            if kind == "model":
                model[parameter] = torch.nn.Parameter(value)
        for key, value in changed.items():
            kind, parameter, *rest = key.split("/")
            if kind == "optimiser" and parameter in model:
                optimiser.state[model[parameter]][rest[0]] = value
        keep(tmp_path, STANDING, model, optimiser, put_it=True)
        refused(tmp_path, (tmp_path / FILE).read_bytes())
