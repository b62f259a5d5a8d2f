"""What every step of a recipe must keep to, as checks for the tests of whoever writes one.

from toolkit.testing import step_checks

def test_my_step() -> None:
    step_checks(MyStep(strength=2), model, batches)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import msgspec

from policies.facts import Call, Decision, Finding, Manifest, Outcome
from policies.gate import Grant, gate
from policies.payload import Payload
from toolkit.compress.calibration import Calibration, Texts
from toolkit.compress.errors import CompressionError
from toolkit.compress.quiet import quiet
from toolkit.compress.step import FLOAT, FUSED, QUANTISED, Retokenises, Step, StepReport
from toolkit.extras import needs
from toolkit.runtime.readers import read_tokenizer
from toolkit.runtime.session import Feeds, ModelError, Session
from toolkit.train.errors import TrainingError

__all__ = ["StepFault", "step_checks"]


class StepFault(AssertionError):
    """A step that does not keep to the contract; the message says in what."""


def step_checks(
    step: Step,
    model: bytes,
    batches: Sequence[Feeds] = (),
    texts: Texts | None = None,
    labels: Sequence[str] = (),
    classes: Sequence[str] = (),
) -> None:
    """Take a step on a model that it can be given, and hold what it does against the contract of Step.

    `model` is an ONNX file, `batches` what the step may learn from, by the names of the inputs. `texts` are
    for a step that changes the tokenizer: how the model reads texts, and those to learn from; `labels` are those of the
    batches, among the `classes` of the model, for a step that learns them. Raises StepFault.
    """
    kind = _declared(step)
    known = {"texts": texts, "labels": labels, "classes": classes}
    after, report = _taken(step, model, batches, **known)
    again, _ = _taken(msgspec.convert(msgspec.to_builtins(step), type(step)), model, batches, **known)
    _must(after == again, "the same model and data gave other bytes the second time")
    _must(report.kind == kind, f"the report is called {report.kind!r}, the step {kind!r}")
    sizes = (report.bytes_before, report.bytes_after)
    _must(sizes == (len(model), len(after)), f"the report says {sizes} bytes, there are {(len(model), len(after))}")
    with quiet(), needs("compress"):
        from toolkit.compress.serialise import serialise
        from toolkit.compress.weights import opened, stored
    proto = opened(after, kind)
    _must(report.weights == stored(proto), "the report is not true to the weights")
    _must(serialise(proto) == after, "the file depends on more than the model: hand on what `serialise` gives")
    one, other = (Session(data, hashlib.sha256(data).hexdigest()) for data in (model, after))
    _must((one.inputs, one.outputs) == (other.inputs, other.outputs), "the model takes or gives something else now")
    for broken in (b"", b"no model", model[: len(model) // 2]):
        try:
            _taken(step, broken, batches, **known)
        except CompressionError as error:
            _must(error.code == "step_failed", f"a broken model is refused with {error.code!r}, not step_failed")
        else:
            raise StepFault("a broken model was taken")
    if isinstance(step, Retokenises):
        _retokenised(step, texts)
    if step.calibrates:
        try:
            _taken(step, model, ())
        except (CompressionError, TrainingError):
            return
        raise StepFault("it says that it learns from data, and needs none")


def _declared(step: Step) -> str:
    config = getattr(type(step), "__struct_config__", None)
    if config is None or not config.frozen:
        raise StepFault("a step is a frozen msgspec Struct")
    _must(config.tag_field == "kind" and isinstance(config.tag, str), "the field of its tag is `kind`")
    _must(config.forbid_unknown_fields, "unknown fields are forbidden, so that a recipe with a slip is refused")
    forms = {FLOAT, FUSED, QUANTISED}
    _must(bool(step.takes) and step.takes <= forms, f"`takes` is some of {sorted(forms)}")
    _must(step.gives is None or step.gives in forms, f"`gives` is one of {sorted(forms)}, or None")
    _must(isinstance(step.calibrates, bool), "`calibrates` is a boolean")
    _must(bool((type(step).__doc__ or "").strip()), "a docstring says what it does and where it comes from")
    return str(config.tag)


def _must(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StepFault(otherwise)


def _retokenised(step: Retokenises, texts: Texts | None) -> None:
    made = step.retokenised(texts)
    _must(made == step.retokenised(texts), "the same texts gave another tokenizer the second time")
    try:
        read_tokenizer(made.tokenizer)
    except ModelError as error:
        raise StepFault(f"the tokenizer cannot be read: {error}") from None
    try:
        step.retokenised(None)
    except CompressionError:
        return
    raise StepFault("it changed a tokenizer that is not there")


class _Allowing:
    """For a test of a step, which is no use of a model: what is served or pressed asks the policy of a box."""

    digest = "testing"

    def decide(self, model: Manifest, call: Call) -> Decision:
        return Decision(allowed=True, findings=(Finding(rule="test", ok=True, reason="a test"),), policy=self.digest)


class _Forgetting:
    sealed = False

    def opened(self, call: Call, model: Manifest, decision: Decision, payload: Payload) -> object:
        return call.id

    def noted(self, entry: object, kind: str, data: dict[str, Any], payload: Payload | None = None) -> None:
        pass

    def closed(self, entry: object, outcome: Outcome) -> None:
        pass


def _taken(step: Step, model: bytes, batches: Sequence[Feeds], **known: Any) -> tuple[bytes, StepReport]:
    digest = hashlib.sha256(model).hexdigest()
    manifest = Manifest(
        format=1, name="test", version="", digest=digest, task="test", licence="MIT", inputs=(), outputs=()
    )
    call = Call(id="test", at=0, actor="test", tenant="test", action="compress", model=digest)

    def work(grant: Grant) -> tuple[bytes, StepReport]:
        return step.apply(model, Calibration(grant, _Allowing.digest, batches, parent=model, **known))

    return gate(_Allowing(), manifest, call, Payload.checked({}), _Forgetting(), work)
