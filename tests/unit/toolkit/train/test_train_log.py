"""What is written of a training stays readable; a log that is gone on with tells each step once."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from toolkit.compress.quiet import quiet
from toolkit.compress.training import Personal

with quiet():
    from toolkit.train.curves import curves
    from toolkit.train.errors import TrainingError
    from toolkit.train.lesson import Lesson
    from toolkit.train.log import BEGUN, LOG, Begun, Line, Log, read_log
    from toolkit.train.settings import Settings

VECTORS = Path(__file__).resolve().parents[3] / "vectors" / "training"
SETTINGS = Settings(epochs=1, batch=2, rate=0.1, seed=0, processes=1, lesson=Lesson())


def line(step: int, loss: float = 0.5) -> Line:
    return Line(step=step, epoch=1, loss=loss, rate=0.1, items=2, seconds=0.5)


def test_the_files_of_format_1_are_readable() -> None:
    begun = msgspec.json.decode((VECTORS / BEGUN).read_bytes(), type=Begun)
    lines = read_log(VECTORS / LOG)
    assert (begun.format, begun.steps, begun.items) == (1, 8, 16)
    assert [one.step for one in lines] == list(range(1, 9))
    personal = msgspec.json.decode((VECTORS / "personal.json").read_bytes(), type=Personal)
    assert (personal.format, personal.scanned, personal.kinds) == (1, 16, {})


def test_a_log_that_is_gone_on_with_tells_each_step_once(tmp_path: Path) -> None:
    log = Log(tmp_path, "a" * 64, SETTINGS, items=8, steps=4, parameters=3)
    log.go_on(0)
    assert log.step(line(1)) == "step 1 of 4: loss 0.50000, 4.0 items/s, 2 s left"
    log.step(line(2))
    log.step(line(3, 0.7))
    with (tmp_path / LOG).open("ab") as file:
        file.write(b'{"step":4,"epo')  # the disk was full, or the machine went off
    again = Log(tmp_path, "a" * 64, SETTINGS, items=8, steps=4, parameters=3)
    again.go_on(2)
    assert again.step(line(3)) == "step 3 of 4: loss 0.50000, 4.0 items/s, 0 s left"
    assert [(one.step, one.loss) for one in read_log(tmp_path / LOG)] == [(1, 0.5), (2, 0.5), (3, 0.5)]


@pytest.mark.parametrize("content", [b"", b'{"format":2}\n', b'{"format":1}\n{"step":"x"}\n', b"\xff\n"])
def test_what_is_no_log_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / LOG).write_bytes(content)
    with pytest.raises(TrainingError) as error:
        read_log(tmp_path / LOG)
    assert error.value.code == "train_checkpoint"


@pytest.mark.parametrize("count", [0, 1, 7, 5000])
def test_curves_hold_what_fits_into_the_picture(count: int) -> None:
    drawn = ElementTree.fromstring(curves([(step + 1, 2.0 / (step + 1), 0.1) for step in range(count)]))  # noqa: S314 - our own
    lines = [one for one in drawn if one.tag.endswith("polyline")]
    points = [point.split(",") for one in lines for point in one.attrib["points"].split()]
    assert len(lines) == 2
    assert len(points) <= 1200
    assert all(0 <= float(x) <= 640 and 0 <= float(y) <= 300 for x, y in points)
    assert bool(points) == bool(count)


def test_a_loss_that_is_no_number_is_left_out_of_the_curves() -> None:
    assert "nan" not in curves([(1, 1.0, 0.1), (2, math.nan, 0.1)])
