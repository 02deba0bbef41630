"""Requests that are joined, split and padded, and one that spoils a batch.

One thread runs batches and a gate holds it, so that what is sent meanwhile must wait together.
"""

import asyncio
import itertools
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import grpc
import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.serve.batching import Batcher
from xgacmn_tf.serve.config_files import Batching
from xgacmn_tf.serve.monitoring import Metrics

Code = grpc.StatusCode
ONE_THREAD = {"num_batch_threads": 1}


@pytest.fixture
def batches(publish, start, gate):
    """Starts a server that joins requests, and clients; keywords are those of `Batching`."""
    publish(1)

    def batches(**limits):
        return Batches(start(batching=Batching(**{**ONE_THREAD, **limits})), gate)

    return batches


class Batches:
    def __init__(self, server, gate):
        self.server, self.gate = server, gate
        self._clients = ThreadPoolExecutor(32)

    def occupy(self):
        """Sends a request that keeps the only thread until the gate opens."""
        blocker = self.send(self.server.request("wide", x=np.zeros((1, 1), np.float32)))
        assert self.gate.reached.acquire(timeout=60)
        return blocker

    def send(self, request):
        return self._clients.submit(self.server.predict, request)

    def wait_for(self, rows, signature="serving_default"):
        """Returns once so many rows are in the queue."""
        name, labels = "xgacmn_serving_queued_rows", {"model": "toy", "signature": signature}
        self.server.until(lambda: self.server.metric(name, **labels) == rows)

    def run(self, signature="serving_default"):
        """Number of batches that were run, and their rows in all."""
        labels = {"model": "toy", "signature": signature}
        return tuple(
            self.server.metric(f"xgacmn_serving_batch_rows_{what}", **labels)
            for what in ("count", "sum")
        )

    def open(self):
        self.gate.open()


def rows(first: int, count: int = 1) -> np.ndarray:
    """Rows of 3 equal numbers, ascending from row to row."""
    return np.repeat(np.arange(first, first + count, dtype=np.float32)[:, None], 3, axis=1)


def test_requests_that_wait_together_run_together(batches):
    it = batches(max_batch_size=100)
    blocker = it.occupy()
    answers = [it.send(it.server.request(x=rows(10 * n, n))) for n in (1, 2, 3, 4)]
    it.wait_for(10)
    assert it.run() == (0, 0)
    it.open()
    for n, answer in zip((1, 2, 3, 4), answers, strict=True):
        np.testing.assert_array_equal(answer.result()["y"], 2 * rows(10 * n, n) + 1)
    assert blocker.result()["y"] == [[1]]
    assert it.run() == (1, 10)
    it.wait_for(0)


def test_a_batch_has_at_most_so_many_rows(batches):
    it = batches(max_batch_size=4)
    it.occupy()
    answers = [it.send(it.server.request(x=rows(n, 3))) for n in range(3)]
    it.wait_for(9)
    it.open()
    for n, answer in enumerate(answers):
        np.testing.assert_array_equal(answer.result()["y"], 2 * rows(n, 3) + 1)
    assert it.run() == (3, 9)  # no two of 3 rows fit into 4


def test_a_large_request_is_split(batches):
    it = batches(max_batch_size=10, max_execution_batch_size=4)
    it.open()
    answer = it.send(it.server.request(x=rows(0, 10)))
    np.testing.assert_array_equal(answer.result()["y"], 2 * rows(0, 10) + 1)
    assert it.run() == (3, 10)
    with pytest.raises(grpc.RpcError) as caught:
        it.server.predict(it.server.request(x=rows(0, 11)))
    assert caught.value.code() == Code.INVALID_ARGUMENT
    assert caught.value.details() == "Task size 11 is larger than maximum input batch size 10"


def test_the_culprit_fails_alone(batches):
    it = batches()
    it.occupy()
    picture = tf.io.encode_png(tf.zeros([7, 1, 3], tf.uint8)).numpy()
    good = [it.send(it.server.request("measure", image_bytes=[picture] * n)) for n in (1, 2)]
    bad = it.send(it.server.request("measure", image_bytes=[picture, b"no picture"]))
    it.wait_for(5, "measure")
    it.open()
    assert [answer.result()["height"].tolist() for answer in good] == [[7], [7, 7]]
    with pytest.raises(grpc.RpcError) as caught:
        bad.result()
    assert caught.value.code() == Code.INVALID_ARGUMENT
    assert it.run("measure") == (1, 5)


def test_a_bad_text_never_reaches_a_batch(batches):
    it = batches()
    it.occupy()
    good = it.send(it.server.request("shout", text=["a"]))
    it.wait_for(1, "shout")
    with pytest.raises(grpc.RpcError) as caught:
        it.server.predict(it.server.request("shout", text=[b"\xff"]))
    assert caught.value.code() == Code.INVALID_ARGUMENT
    it.open()
    assert good.result()["upper"].tolist() == [b"A"]


def test_rows_of_different_shape_are_not_joined(batches):
    it = batches()
    it.occupy()
    answers = [it.send(it.server.request("wide", x=np.ones((1, w), np.float32))) for w in (2, 2, 5)]
    it.wait_for(3, "wide")
    it.open()
    assert [answer.result()["y"].shape for answer in answers] == [(1, 2), (1, 2), (1, 5)]
    assert it.run("wide") == (3, 4)  # the one that occupied the thread, two together, one


def test_batches_are_padded_to_the_allowed_sizes(batches):
    it = batches(max_batch_size=8, allowed_batch_sizes=(2, 8))
    it.open()
    for n in (1, 2, 3, 8):
        answer = it.send(it.server.request(x=rows(5, n)))
        np.testing.assert_array_equal(answer.result()["y"], 2 * rows(5, n) + 1)
    assert it.run() == (4, 14)
    assert it.gate.rows == [(2,), (2,), (8,), (8,)]


def test_a_request_waits_for_others_at_most_so_long(batches):
    it = batches(max_batch_size=3, batch_timeout=0.05)
    it.open()
    assert it.server.ask(1) == 3  # alone, so it waited in vain
    it = batches(max_batch_size=3, batch_timeout=3600)
    it.open()
    first = it.send(it.server.request(x=rows(1)))
    it.wait_for(1)
    second = it.send(it.server.request(x=rows(2, 2)))  # fills the batch
    assert first.result()["y"][0, 0] == 3
    assert second.result()["y"][:, 0].tolist() == [5, 7]
    assert it.run() == (1, 3)


def test_a_full_queue(batches):
    it = batches(max_batch_size=2, max_enqueued_batches=2)
    it.occupy()
    waiting = [it.send(it.server.request(x=rows(n))) for n in range(4)]
    it.wait_for(4)
    with pytest.raises(grpc.RpcError) as caught:
        it.server.ask(1)
    assert caught.value.code() == Code.UNAVAILABLE
    response = it.server.post("/v1/models/toy:predict", json={"instances": [[1, 1, 1]]})
    assert response.status_code == 503
    assert "queue of requests is full" in response.json()["error"]
    it.open()
    assert sorted(answer.result()["y"][0, 0] for answer in waiting) == [1, 3, 5, 7]
    assert it.server.ask(1) == 3


def test_who_has_gone_is_not_computed(batches):
    it = batches()
    it.occupy()
    staying = it.send(it.server.request(x=rows(1)))
    it.wait_for(1)
    with pytest.raises(grpc.RpcError) as caught:
        it.server.predict(it.server.request(x=rows(2, 5)), timeout=0.2)
    assert caught.value.code() == Code.DEADLINE_EXCEEDED
    it.open()
    assert staying.result()["y"][0, 0] == 3
    assert it.run() == (1, 1)


def test_a_signature_whose_outputs_are_no_rows(batches):
    """Joined it cannot be answered, so each of them is answered alone."""
    it = batches()
    it.occupy()
    answers = [it.send(it.server.request("total", x=rows(n))) for n in (1, 2)]
    it.wait_for(2, "total")
    it.open()
    assert [float(answer.result()["total"]) for answer in answers] == [3, 6]


def test_a_signature_without_rows_is_not_joined(batches):
    it = batches(allowed_batch_sizes=(4,), max_batch_size=4)
    it.occupy()
    answers = [it.send(it.server.request("negate", number=np.array(n))) for n in (1.0, 2.0)]
    it.wait_for(2, "negate")
    it.open()
    assert [float(answer.result()["negative"]) for answer in answers] == [-1, -2]
    assert it.run("negate") == (2, 2)


def test_a_request_that_falls_due_between_two_looks_at_the_clock_is_run():
    """The clock moves past the time that a request may wait whenever it is looked at."""

    class Doubling:
        model, version = "toy", 1

        def run(self, signature, inputs):
            return {"y": 2 * inputs["x"]}

    async def run_one():
        loop = asyncio.get_running_loop()
        limits = Batching(**ONE_THREAD, batch_timeout=0.05)
        batcher = Batcher(limits, Metrics())
        real, looks = loop.time, itertools.count()
        # Looks are .6 of a timeout apart: not yet due at the second, overdue at the third.
        loop.time = lambda: real() + next(looks) * 0.6 * limits.batch_timeout
        try:
            answer = await asyncio.wait_for(
                batcher.run(
                    Doubling(), SimpleNamespace(name="s", is_batched=True), {"x": rows(1)}, 1
                ),
                timeout=20,
            )
        finally:
            loop.time = real
        await batcher.close()
        return answer

    np.testing.assert_array_equal(asyncio.run(run_one())["y"], 2 * rows(1))
