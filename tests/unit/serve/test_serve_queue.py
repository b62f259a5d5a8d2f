"""The queue before a model. The model is a real one; what holds a lane up is how a test has its answers written."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from threading import Event

import pytest
from msgspec import structs

from policies.errors import Fault
from policies.payload import Payload
from serve.admission import Busy
from serve.queue import BURST, LOWEST, NICER, Job, Queue
from tests.bundles import put_bundle, trusting_box
from toolkit.box import Box, Context
from toolkit.model import Answer, Model
from toolkit.plan import PLAIN

Content = tuple[bytes, Mapping[str, str]]


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    box = trusting_box(tmp_path_factory.mktemp("queue"))
    put_bundle(box.folder / "a.bundle")
    yield box
    box.journal.close()


def model(box: Box, *, lanes: int = 1, batch: int = 1, pace: float = 1e-6) -> Model:
    from toolkit.bundle import Bundle

    bundle = Bundle.read(box.folder / "a.bundle", box.trusted())
    return Model(bundle, box, structs.replace(PLAIN, lanes=lanes, batch=batch, pace=pace))


class Ask:
    """Makes jobs, and remembers in which order they were answered."""

    def __init__(self) -> None:
        self.answered: list[str] = []
        self.hold = Event()
        self.hold.set()

    def job(
        self,
        text: str,
        *,
        tenant: str = "t",
        deadline: float | None = None,
        gone: Callable[[], bool] = lambda: False,
        repeated: int = 1,
    ) -> Job:
        def written(_: Model, answer: Answer | Exception) -> Content:
            assert self.hold.wait(20)
            self.answered.append(text)
            if isinstance(answer, Exception):
                raise answer
            return text.encode(), {}

        payload = Payload.checked({"texts": [text] * repeated})
        context = nullcontext(Context(purpose="search"))
        return Job(payload, context, size=1, tenant=tenant, deadline=deadline, gone=gone, written=written)


def run(scenario: Callable[[Ask], object]) -> Ask:
    ask = Ask()

    async def main() -> None:
        await scenario(ask)  # type: ignore[misc] # every scenario is a coroutine function

    asyncio.run(asyncio.wait_for(main(), 30))
    return ask


async def busy(queue: Queue, ask: Ask) -> Job:
    """A job that the only lane is held up with."""
    ask.hold.clear()
    job = ask.job("first")
    assert queue.put(job)
    while queue._running == 0:
        await asyncio.sleep(0.001)
    return job


async def code(job: Job) -> str:
    with pytest.raises(Fault) as caught:
        await job.done
    return caught.value.code


def test_jobs_are_answered_in_the_order_they_came(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 64)
        jobs = [ask.job(str(number)) for number in range(20)]
        assert all(map(queue.put, jobs))
        assert [(await job.done)[0] for job in jobs] == [str(number).encode() for number in range(20)]
        queue.stop()
        queue.join(5)
        assert (queue.inside, queue.waiting) == (0, 0)

    assert run(scenario).answered == [str(number) for number in range(20)]


def test_a_job_knows_when_it_came_began_and_ended_and_how_many_a_lane_took(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 64)
        first = await busy(queue, ask)
        rest = [ask.job(str(number)) for number in range(3)]
        assert all(map(queue.put, rest))
        assert [(job.began, job.ended, job.led) for job in rest] == [(None, None, 0)] * 3
        ask.hold.set()
        for job in (first, *rest):
            await job.done
            assert job.began is not None
            assert job.ended is not None
            assert job.came <= job.began <= job.ended
        assert [job.led for job in (first, *rest)] == [1, 3, 0, 0]
        queue.stop()

    run(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a thread has no priority of its own")
def test_lanes_are_nicer_than_the_event_loop(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 64)
        job = ask.job("first")
        assert queue.put(job)
        await job.done
        own = os.getpriority(os.PRIO_PROCESS, 0)
        lanes = [os.getpriority(os.PRIO_PROCESS, thread.native_id or 0) for thread in queue._threads]
        assert lanes == [min(LOWEST, own + NICER)]
        queue.stop()

    run(scenario)


def test_a_full_queue_says_so_at_once_and_for_how_long(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box, pace=0.1), 2)
        jobs = [await busy(queue, ask), ask.job("second"), ask.job("third")]
        assert all(map(queue.put, jobs[1:]))
        assert (queue.inside, queue.waiting) == (3, 2)
        with pytest.raises(Busy) as caught:
            queue.put(ask.job("fourth"))
        assert caught.value.code == "queue_full"
        # three jobs of the least size, 32 units each, at 0.1 s a unit
        assert caught.value.retry_after_s == pytest.approx(3 * 32 * 0.1, abs=1)
        ask.hold.set()
        assert [(await job.done)[0] for job in jobs] == [b"first", b"second", b"third"]
        queue.stop()

    run(scenario)


def test_who_would_wait_too_long_is_told_before_they_wait(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box, pace=1.0), 8)
        first = await busy(queue, ask)
        with pytest.raises(Busy) as caught:
            queue.put(ask.job("second", deadline=time.monotonic() + 5))
        assert caught.value.code == "deadline_short"
        patient = ask.job("third", deadline=time.monotonic() + 3600)
        assert queue.put(patient)
        ask.hold.set()
        await first.done
        await patient.done
        queue.stop()

    assert run(scenario).answered == ["first", "third"]


def test_a_job_whose_time_is_over_is_not_run(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 8)
        first = await busy(queue, ask)
        late = ask.job("late", deadline=time.monotonic() + 0.05)
        assert queue.put(late)
        await asyncio.sleep(0.1)
        ask.hold.set()
        await first.done
        assert await code(late) == "deadline_exceeded"
        queue.stop()

    run(scenario)


def test_a_job_whose_client_is_gone_frees_its_lane(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 8)
        first = await busy(queue, ask)
        gone = ask.job("gone", gone=lambda: True)
        last = ask.job("last")
        assert queue.put(gone)
        assert queue.put(last)
        ask.hold.set()
        await first.done
        assert await code(gone) == "request_abandoned"
        assert (await last.done)[0] == b"last"
        queue.stop()

    run(scenario)


def test_a_client_that_goes_in_the_middle_of_many_texts_ends_the_run(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 8)
        looks: list[bool] = []

        def gone() -> bool:
            looks.append(True)
            return len(looks) > 3

        job = ask.job("is", gone=gone, repeated=500)
        assert queue.put(job)
        assert await code(job) == "request_abandoned"
        assert len(looks) == 4
        queue.stop()

    run(scenario)


@pytest.mark.parametrize(("batch", "together"), [(1, BURST), (8, 3)])
def test_batches_are_of_one_tenant_and_a_burst_may_be_anyones(box: Box, batch: int, together: int) -> None:
    async def scenario(ask: Ask) -> None:
        asked = model(box, batch=batch)
        real, groups = asked.answers, []

        def answers(some: object, go_on: object) -> object:
            groups.append(len(some))  # type: ignore[arg-type] # what a queue passes on
            return real(some, go_on)  # type: ignore[arg-type] # as it was called

        asked.answers = answers  # type: ignore[method-assign, assignment] # the real one runs
        queue = Queue(asked, 64)
        first = await busy(queue, ask)
        jobs = [ask.job(str(number), tenant="ab"[number % 2]) for number in range(6)]
        assert all(map(queue.put, jobs))
        ask.hold.set()
        await asyncio.gather(first.done, *(job.done for job in jobs))
        assert groups[:2] == [1, together]
        queue.stop()

    run(scenario)


def test_a_stopped_queue_takes_nothing_and_answers_what_it_has(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 8)
        jobs = [await busy(queue, ask), ask.job("second")]
        assert queue.put(jobs[1])
        queue.stop()
        assert not queue.put(ask.job("third"))
        ask.hold.set()
        assert [(await job.done)[0] for job in jobs] == [b"first", b"second"]
        queue.join(5)
        assert not any(thread.is_alive() for thread in queue._threads)

    run(scenario)


def test_what_goes_wrong_with_one_job_is_no_matter_of_the_next(box: Box) -> None:
    async def scenario(ask: Ask) -> None:
        queue = Queue(model(box), 8)
        refused = ask.job("jane.doe@example.org")
        assert queue.put(refused)
        assert await code(refused) == "denied"
        fine = ask.job("is")
        assert queue.put(fine)
        assert (await fine.done)[0] == b"is"
        queue.stop()

    run(scenario)
