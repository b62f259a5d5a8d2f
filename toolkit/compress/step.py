"""What a step of a recipe is: one model in, one model out, and a report of what it did."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol, runtime_checkable

from msgspec import Struct

from toolkit.compress.calibration import Calibration, Texts
from toolkit.train.settings import Outcome

__all__ = ["FLOAT", "FUSED", "QUANTISED", "Form", "Retokenises", "Step", "StepReport"]

# float: operators of ONNX and weights in floats, as the export gives them. fused: the runtime's own operators, weights
# in floats. quantised: some of the weights, or all, are integers; what is a float still may be quantised further.
Form = Literal["float", "fused", "quantised"]
FLOAT: Form = "float"
FUSED: Form = "fused"
QUANTISED: Form = "quantised"


class StepReport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a step did. `weights` holds the bytes of the weights afterwards by how they are stored ("float32", "int8",
    "int4" ...); `left` names what the step was asked for and could not do, each with the reason. `shapes` are the
    outputs and inputs of the layers that it gave another shape, by the names of their nodes, `zeros` how many weights
    of a layer are zeros where it made them so, `spent` what it took where it trained. `fidelity` is that of the model
    after the step, as its lower bound: the engine adds it."""

    kind: str
    bytes_before: int
    bytes_after: int
    weights: dict[str, int]
    left: tuple[str, ...] = ()
    shapes: dict[str, tuple[int, int]] = {}
    zeros: dict[str, int] = {}
    spent: Outcome | None = None
    fidelity: float | None = None


class Step(Protocol):
    """A frozen Struct whose fields are its configuration, tagged with its `kind`.

    `takes` are the forms it can be given; `gives` is the form of its result, None where it stays what it was.
    `calibrates` says whether it looks at the calibration data: without any it is refused before it runs.
    """

    takes: ClassVar[frozenset[Form]]
    gives: ClassVar[Form | None]
    calibrates: ClassVar[bool]

    def apply(self, model: bytes, data: Calibration) -> tuple[bytes, StepReport]:
        """The new model as an ONNX file, and the report. Pure: the same bytes for the same arguments.

        It runs a model through `data` only, which holds the grant. Raises CompressionError "step_failed", and
        TrainingError where it trains.
        """
        ...


@runtime_checkable
class Retokenises(Protocol):
    """A step that changes the tokenizer with the model: what `apply` makes takes the tokens of `retokenised`."""

    def retokenised(self, texts: Texts | None) -> Texts:
        """How the model reads texts after the step, which is given them in `Calibration.texts`. Pure, as `apply` is.

        Raises CompressionError: vocabulary_fixed, calibration_missing.
        """
        ...
