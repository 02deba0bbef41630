"""Dynamic batching: requests that wait at the same time are run as one batch.

Everything but running a model happens on the event loop's thread, so nothing is locked.
"""

import asyncio
import itertools
from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from xgacmn_tf.serve.config_files import Batching
from xgacmn_tf.serve.failure import Code, RequestError, from_model, invalid
from xgacmn_tf.serve.monitoring import Metrics
from xgacmn_tf.serve.servable import Servable, Signature

Arrays = Mapping[str, np.ndarray]
# Requests that may wait for a thread where they are not joined.
MOST_WAITING = 1000


@dataclass(frozen=True)
class _Part:
    """A request, or a piece of one that is larger than a batch."""

    inputs: Arrays
    rows: int
    due: float  # on the event loop's clock
    outputs: asyncio.Future[Arrays]


class _Queue:
    """Parts that can be joined: of the same servable and signature, with rows of the same shape."""

    def __init__(self, servable: Servable, signature: str, sizes: Sequence[int]):
        self.servable, self.signature = servable, signature
        self.sizes = sizes  # that a batch may have; any if empty
        self.parts: deque[_Part] = deque()
        self.rows = 0

    def put(self, part: _Part) -> None:
        self.parts.append(part)
        self.rows += part.rows

    def take(self, most_rows: int) -> list[_Part]:
        """Removes as many of the first parts as fit into a batch, at least one."""
        taken = [self.parts.popleft()]
        self.rows -= taken[0].rows
        room = most_rows - taken[0].rows
        while self.parts and self.parts[0].rows <= room:
            taken.append(self.parts.popleft())
            self.rows -= taken[-1].rows
            room -= taken[-1].rows
        return taken


class Batcher:
    """Runs models on a few threads.

    Args:
      batching: how requests are joined; None if each is to be run by itself.
      metrics: counts batches and what waits.
    """

    def __init__(self, batching: Batching | None, metrics: Metrics):
        self._joins = batching is not None
        self._limits = batching or Batching()
        self._metrics = metrics
        self._threads = ThreadPoolExecutor(self._limits.num_batch_threads, "batch")
        self._queues: dict[Hashable, _Queue] = {}  # none is empty; the first is served next
        self._batches: set[asyncio.Task[None]] = set()  # that run now

    async def run(
        self, servable: Servable, signature: Signature, inputs: Arrays, rows: int
    ) -> Arrays:
        """Runs checked inputs, together with those of other requests where they fit.

        Raises:
          RequestError: too much is waiting already, or the model fails on these inputs.
        """
        loop = asyncio.get_running_loop()
        if self._joins and signature.is_batched:
            if rows > self._limits.max_batch_size:
                raise invalid(
                    f"Task size {rows} is larger than maximum input batch size "
                    f"{self._limits.max_batch_size}"
                )
            key: Hashable = (servable, signature.name, *(a.shape[1:] for a in inputs.values()))
            pieces = _split(inputs, rows, self._limits.full)
            due, sizes = loop.time() + self._limits.batch_timeout, self._limits.allowed_batch_sizes
        else:
            key, pieces, due, sizes = object(), [(inputs, rows)], loop.time(), ()
        self._admit(key, rows)
        queue = self._queues.setdefault(key, _Queue(servable, signature.name, sizes))
        parts = [_Part(piece, size, due, loop.create_future()) for piece, size in pieces]
        for part in parts:
            queue.put(part)
        self._metrics.queued(queue.servable.model, queue.signature, rows)
        # One reading of the clock: between two, a request could fall due without being started.
        now = loop.time()
        self._start_batches(now)
        if due > now:
            loop.call_at(due, self._start_batches, due)
        outputs = await asyncio.gather(*(part.outputs for part in parts))
        if len(outputs) == 1:
            return outputs[0]
        return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}

    async def close(self) -> None:
        """Waits for the batches that run."""
        await asyncio.gather(*self._batches)
        self._threads.shutdown()

    def _admit(self, key: Hashable, rows: int) -> None:
        most_rows = self._limits.max_enqueued_batches * self._limits.full
        waiting = self._queues[key].rows if key in self._queues else 0
        if len(self._queues) >= MOST_WAITING or (waiting and waiting + rows > most_rows):
            raise RequestError(Code.UNAVAILABLE, "The queue of requests is full; try again later.")

    def _start_batches(self, now: float) -> None:
        """Starts batches while a thread is free and some queue is full or has waited enough."""
        full = self._limits.full
        while len(self._batches) < self._limits.num_batch_threads:
            ready = (
                key
                for key, queue in self._queues.items()
                if queue.rows >= full or queue.parts[0].due <= now
            )
            key = next(ready, None)
            if key is None:
                return
            queue = self._queues.pop(key)
            parts = queue.take(full)
            if queue.parts:
                self._queues[key] = queue  # behind all others
            self._metrics.queued(queue.servable.model, queue.signature, -sum(p.rows for p in parts))
            # Whoever waited for a cancelled one has gone.
            wanted = [part for part in parts if not part.outputs.done()]
            if wanted:
                batch = asyncio.create_task(self._run(queue, wanted))
                self._batches.add(batch)
                batch.add_done_callback(self._ended)

    async def _run(self, queue: _Queue, parts: Sequence[_Part]) -> None:
        rows = [part.rows for part in parts]
        self._metrics.batch(queue.servable.model, queue.signature, sum(rows))
        outcomes = await asyncio.get_running_loop().run_in_executor(
            self._threads,
            _outcomes,
            queue,
            [part.inputs for part in parts],
            rows,
        )
        for part, outcome in zip(parts, outcomes, strict=True):
            if part.outputs.done():
                continue
            if isinstance(outcome, RequestError):
                part.outputs.set_exception(outcome)
            else:
                part.outputs.set_result(outcome)

    def _ended(self, batch: asyncio.Task[None]) -> None:
        self._batches.remove(batch)
        self._start_batches(asyncio.get_running_loop().time())


def _outcomes(
    queue: _Queue, requests: Sequence[Arrays], rows: Sequence[int]
) -> Sequence[Arrays | RequestError]:
    """Runs requests as one batch; if it fails, one by one, so that only the culprit fails."""
    try:
        return _joined(queue, requests, rows)
    except Exception as error:  # whatever a kernel raises; a client must not wait for an answer
        if len(requests) == 1:
            return [from_model(error)]
    alone = (_outcomes(queue, [r], [n]) for r, n in zip(requests, rows, strict=True))
    return list(itertools.chain.from_iterable(alone))


def _joined(queue: _Queue, requests: Sequence[Arrays], rows: Sequence[int]) -> Sequence[Arrays]:
    total = sum(rows)
    size = next((size for size in queue.sizes if size >= total), total)
    if len(requests) == 1 and size == total:
        return [queue.servable.run(queue.signature, requests[0])]
    batch = {
        # As TensorFlow Serving pads: more of the first row, which is known to be sound.
        name: np.concatenate([*(r[name] for r in requests), *[first[:1]] * (size - total)])
        for name, first in requests[0].items()
    }
    outputs = queue.servable.run(queue.signature, batch)
    for name, array in outputs.items():
        if array.shape[:1] != (size,):
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f"Output {name!r} has not one row for each row of the inputs, so that this "
                "signature cannot be batched.",
            )
    ends = list(itertools.accumulate(rows))
    return [_slice(outputs, end - size, end) for end, size in zip(ends, rows, strict=True)]


def _split(inputs: Arrays, rows: int, most: int) -> list[tuple[Arrays, int]]:
    """Pieces of at most so many rows, and their rows."""
    starts = range(0, rows, most)
    return [(_slice(inputs, start, start + most), min(most, rows - start)) for start in starts]


def _slice(arrays: Arrays, start: int, end: int) -> Arrays:
    return {name: array[start:end] for name, array in arrays.items()}
