"""The folder through which processes that share a training are given it, and give back what came of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from compliance.disk import put
from toolkit.modification import Spent
from toolkit.train.errors import TrainingError, TrainingHalted
from toolkit.train.items import Feeds
from toolkit.train.settings import Outcome, Settings

__all__ = ["Work", "digest_of", "ended", "failed", "given", "result", "shared", "spends", "spent", "told"]

STUDENT, TEACHER, ITEMS, SETTINGS = "student.onnx", "teacher.onnx", "items.safetensors", "settings.json"
WEIGHTS, OUTCOME, FAULT = "weights.safetensors", "outcome.json", "fault.json"
SPENT = "spent.jsonl"


class Work(Struct, frozen=True):
    """What each process is given."""

    student: bytes
    teacher: bytes | None
    items: tuple[Feeds, ...]
    settings: Settings


class _Fault(Struct, forbid_unknown_fields=True):
    code: str
    message: str
    halted: bool


def digest_of(student: bytes, teacher: bytes | None, items: Sequence[Feeds], settings: Settings) -> str:
    """Of all that the outcome of a training depends on (SHA-256 in hexadecimal), but for how the work is dealt out."""
    digest = hashlib.sha256(msgspec.json.encode(settings.what()))
    for part in (student, teacher or b"", *(item[name].tobytes() for item in items for name in sorted(item))):
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def shared(folder: Path, student: bytes, teacher: bytes | None, items: Sequence[Feeds], settings: Settings) -> None:
    """Put a training into a folder. Raises Failed."""
    arrays = {
        f"{number}/{name}": np.ascontiguousarray(item[name]) for number, item in enumerate(items) for name in item
    }
    put(folder / STUDENT, student)
    if teacher is not None:
        put(folder / TEACHER, teacher)
    put(folder / ITEMS, save(arrays))
    put(folder / SETTINGS, msgspec.json.encode(settings))


def given(folder: Path) -> Work:
    """The training in a folder. Raises TrainingError "train_work"."""
    try:
        arrays = load((folder / ITEMS).read_bytes())
        settings = msgspec.json.decode((folder / SETTINGS).read_bytes(), type=Settings)
        student = (folder / STUDENT).read_bytes()
        teacher = (folder / TEACHER).read_bytes() if settings.lesson.teacher else None
    except (OSError, SafetensorError, msgspec.MsgspecError) as error:
        raise TrainingError("train_work", f"{folder}: {str(error)[:200]}") from None
    items: dict[int, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        number, _, name = key.partition("/")
        items.setdefault(int(number), {})[name] = array
    return Work(student, teacher, tuple(items[number] for number in sorted(items)), settings)


def told(folder: Path, weights: dict[str, NDArray[np.float32]], outcome: Outcome) -> None:
    """Put what was learned into the folder. Raises Failed."""
    put(folder / WEIGHTS, save(weights))
    put(folder / OUTCOME, msgspec.json.encode(outcome))


def failed(folder: Path, error: TrainingError | TrainingHalted) -> None:
    """Put into the folder that the training came to nothing, and why. Raises Failed."""
    put(folder / FAULT, msgspec.json.encode(_Fault(error.code, str(error), isinstance(error, TrainingHalted))))


def spends(folder: Path, took: Spent) -> None:
    """Note in the folder what a step took: at once, whatever becomes of the process."""
    with (folder / SPENT).open("ab") as file:
        file.write(msgspec.json.encode(took) + b"\n")


def spent(folder: Path) -> Spent:
    """What all steps took that were noted in a folder, also those that had to be made once more."""
    path = folder / SPENT
    lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    steps = [msgspec.json.decode(line, type=Spent) for line in lines]
    return Spent(flops=sum(step.flops for step in steps), cpu_s=sum(step.cpu_s for step in steps))


def ended(folder: Path) -> bool:
    """Whether a training in the folder is told to have ended, well or badly."""
    return (folder / FAULT).exists() or (folder / OUTCOME).exists()


def result(folder: Path) -> tuple[dict[str, NDArray[np.float32]], Outcome] | None:
    """What was learned in a folder, None where that is not there. Raises what is told there: TrainingError,
    TrainingHalted."""
    if (folder / FAULT).exists():
        fault = msgspec.json.decode((folder / FAULT).read_bytes(), type=_Fault)
        raise (TrainingHalted if fault.halted else TrainingError)(fault.code, fault.message)
    if not (folder / OUTCOME).exists():
        return None
    return load((folder / WEIGHTS).read_bytes()), msgspec.json.decode((folder / OUTCOME).read_bytes(), type=Outcome)
