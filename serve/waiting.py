"""What stands before each model that was asked: a queue with its lanes, and places for answers where it generates."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from serve.admission import Busy
from serve.places import Places
from serve.queue import Queue
from toolkit.model import Model
from toolkit.settings import ServeSettings

__all__ = ["Waiting"]


class Waiting:
    """Belongs to the thread of the event loop."""

    def __init__(self) -> None:
        self._queues: dict[int, Queue] = {}
        self._places: dict[int, Places] = {}
        self._left: list[Places] = []  # of models that are served no more, with answers that are not at their end

    @property
    def queues(self) -> Collection[Queue]:
        return self._queues.values()

    @property
    def places(self) -> Collection[Places]:
        return self._places.values()

    def queue(self, model: Model, limits: ServeSettings) -> Queue:
        queue = self._queues.get(id(model))
        if queue is None:
            queue = self._queues[id(model)] = Queue(model)
        queue.capacity = limits.queue
        return queue

    def places_of(self, model: Model, limits: ServeSettings) -> Places:
        places = self._places.get(id(model))
        if places is None:
            places = self._places[id(model)] = Places(model, limits.answers)
        places.capacity, places.most = limits.queue, limits.tokens
        return places

    def busy(self, servable: Iterable[Model | None]) -> Busy | None:
        """What a request is told where none of these models has a place left; None stands for one that rests."""
        before: list[Queue | Places] = [*self._queues.values(), *self._places.values()]
        full = {id(one.model): one for one in before if one.full}
        if not full or any(id(model) not in full for model in servable):
            return None
        return min((one.busy() for one in full.values()), key=lambda busy: busy.retry_after_s)

    def leave(self, model: Model) -> None:
        """Take no more for a model; what waits for it is answered."""
        queue, places = self._queues.pop(id(model), None), self._places.pop(id(model), None)
        if queue is not None:
            queue.stop()
        if places is not None:
            places.stop()
            self._left = [*(one for one in self._left if one.running), places]

    def close(self) -> None:
        """Let the lanes finish what they run, and end the answers that are not at their end."""
        for queue in [*self._queues.values()]:
            queue.stop()
        for places in [*self._places.values(), *self._left]:
            places.close()
