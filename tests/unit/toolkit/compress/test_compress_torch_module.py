"""A module of the user's own process, with an example of its inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from policies.errors import Refused
from policies.gate import Grant
from tests.unit.toolkit.compress.conftest import Gated
from toolkit.compress.data import NONE, Data, gathered
from toolkit.compress.engine import Press
from toolkit.compress.errors import CompressionError, SourceError
from toolkit.compress.quiet import quiet
from toolkit.compress.sources.torch_module import TorchModule, named, read
from toolkit.runtime.inputs import ImageInput

with quiet():
    import torch


class Two(torch.nn.Module):
    """Two inputs, two outputs, a layer that is random in training."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(8, 4)
        self.table = torch.nn.Embedding(10, 8)
        self.dropout = torch.nn.Dropout(0.5)

    def forward(self, ids: torch.Tensor, weights: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.dropout(self.linear(self.table(ids) * weights[..., None]))
        return {"hidden": hidden, "total": hidden.sum(dim=1)}


@pytest.fixture
def two() -> Two:
    torch.manual_seed(0)
    return Two()


IDS, WEIGHTS = torch.arange(6).reshape(2, 3), torch.linspace(0, 1, 6).reshape(2, 3)


def pressed(gated: Gated, source: TorchModule) -> Press:
    data = Data(calibrate=NONE, evaluate=source.examples(4))
    found: Press = gated(source.digest, lambda grant: Press(source, grant, "policy", data, lambda _: None))
    return found


def test_a_module_is_exported_and_checked_in_eval_mode(gated: Gated, two: Two) -> None:
    source = read(two, (IDS, WEIGHTS))
    assert two.training, "the user's own module stays as it is"
    press = pressed(gated, source)
    assert press.export_error < 1e-6
    assert [tensor.shape for tensor in press.float.session.inputs] == [("batch", 3), ("batch", 3)]
    assert [tensor.shape for tensor in press.float.session.outputs] == [("batch", 3, 4), ("batch", 4)]


@pytest.mark.parametrize("given", [(IDS, WEIGHTS), [IDS[:1], WEIGHTS[:1]], {"weights": WEIGHTS, "ids": IDS}])
def test_an_example_comes_in_order_or_by_name_and_may_be_one_item(two: Two, given: Any) -> None:
    assert list(read(two, given).example) == ["ids", "weights"]
    assert read(two, given).digest == read(two, (IDS, WEIGHTS)).digest


def test_the_digest_tells_weights_and_activations_apart() -> None:
    def module(activation: torch.nn.Module, bias: float = 0.0) -> torch.nn.Module:
        torch.manual_seed(0)
        layers = torch.nn.Sequential(torch.nn.Linear(3, 3), activation)
        layers[0].bias.data.fill_(bias)  # type: ignore[operator]  # a Linear has one
        return layers

    example = torch.ones(2, 3)
    digests = [
        read(one, example).digest
        for one in (module(torch.nn.ReLU()), module(torch.nn.ReLU6()), module(torch.nn.ReLU(), 1.0))
    ]
    assert len(set(digests)) == 3
    assert read(module(torch.nn.ReLU()), example).digest == digests[0]


def test_one_tensor_for_two_inputs_is_refused(two: Two) -> None:
    with pytest.raises(CompressionError) as caught:
        read(two, (IDS, IDS))
    assert caught.value.code == "export_inputs"


@pytest.mark.parametrize(
    ("example", "code"),
    [
        ((IDS, torch.ones(3, 3)), "source_examples"),
        ((IDS, torch.ones(())), "source_examples"),
        ((IDS, "weights"), "source_examples"),
        ((IDS, WEIGHTS, WEIGHTS.clone()), "source_examples"),
        ({"ids": IDS, "other": WEIGHTS}, "source_examples"),
        ((), "source_examples"),
        ((IDS.float(), WEIGHTS), "source_examples"),
        ((IDS,), "source_examples"),
        ((IDS + 100, WEIGHTS), "source_examples"),
    ],
)
def test_examples_that_are_none_are_refused(two: Two, example: Any, code: str) -> None:
    with pytest.raises(Refused) as caught:
        read(two, example).load()
    assert caught.value.code == code


def test_torchscript_is_refused(two: Two) -> None:
    with quiet(), pytest.raises(SourceError) as caught:
        read(torch.jit.script(torch.nn.Linear(3, 3)), torch.ones(2, 3))
    assert caught.value.code == "source_code"


def test_weights_that_are_no_numbers_are_refused(two: Two) -> None:
    two.linear.weight.data[0, 0] = float("nan")
    with pytest.raises(SourceError) as caught:
        read(two, (IDS, WEIGHTS))
    assert caught.value.code == "source_weights"


def test_a_module_that_fixes_its_batch_is_refused() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.reshape(2, 3) * 2

    with pytest.raises(CompressionError) as caught:
        read(Fixed(), torch.ones(2, 3)).load().export()
    assert caught.value.code in ("export_inputs", "export_failed")


def test_a_module_that_gives_something_else_for_a_larger_batch_is_seen(gated: Gated) -> None:
    class Centred(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x - x.mean(dim=0) if len(x) > 2 else x

    with pytest.raises(CompressionError) as caught:
        pressed(gated, read(Centred(), torch.rand(2, 3)))
    assert caught.value.code in ("export_differs", "export_inputs", "export_failed")


def test_a_module_of_images_takes_pictures(gated: Gated) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2), torch.nn.Flatten(), torch.nn.Linear(4 * 49, 2))
    image = ImageInput(height=16, width=16)
    source = read(module, torch.rand(1, 3, 16, 16), image=image, labels=("cat", "dog"))
    assert (source.task, source.measure) == ("image-classification", "agreement")
    assert pressed(gated, source).export_error < 1e-6


class Net(torch.nn.Module):
    """As EfficientNet is: its package can exchange the activation in place, "for export"."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.before, self.after = torch.nn.Linear(8, 16), torch.nn.Linear(16, 4)
        self.activation: torch.nn.Module = torch.nn.ReLU6()

    def set_swish(self) -> None:
        self.activation = torch.nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.after(self.activation(self.before(x)))
        return hidden


def test_the_export_of_a_module_whose_activation_was_exchanged_is_refused(gated: Gated) -> None:
    net, example = Net(), torch.randn(2, 8)
    source = read(net, example)
    net.set_swish()
    other = read(net, example)
    assert other.digest != source.digest, "the weights are the same, the model is not"
    wrong = other.load().export()

    class Exchanged:
        def load(self) -> Any:
            original = source.load()
            original.export = lambda: wrong  # type: ignore[method-assign]  # what the package does behind one's back
            return original

        def __getattr__(self, name: str) -> Any:
            return getattr(source, name)

    with pytest.raises(CompressionError) as caught:
        pressed(gated, Exchanged())  # type: ignore[arg-type]  # it stands for the source
    assert caught.value.code == "export_differs"
    assert pressed(gated, source).export_error < 1e-6


def test_items_are_given_like_the_example(two: Two) -> None:
    items = gathered(
        [named(two, item) for item in ((IDS[:1], WEIGHTS[:1]), {"ids": IDS, "weights": WEIGHTS})], "tensors"
    )
    assert [np.shape(item["ids"]) for item in items.items] == [(1, 3), (2, 3)]


def test_it_runs_under_its_grant_only(gated: Gated, two: Two) -> None:
    source = read(two, (IDS, WEIGHTS))

    def other(grant: Grant) -> None:
        source.load().run(grant, "policy", lambda _: [])

    with pytest.raises(Exception, match="grant"):
        gated("another model", other)
