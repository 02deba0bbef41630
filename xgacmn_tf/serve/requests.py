"""One request, whichever protocol brought it: find the version, check the inputs, run, count."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from tensorflow_serving.apis import model_pb2

from xgacmn_tf.serve.batching import Batcher
from xgacmn_tf.serve.checks import check_inputs
from xgacmn_tf.serve.failure import Code, RequestError, invalid
from xgacmn_tf.serve.models import ModelManager
from xgacmn_tf.serve.monitoring import Metrics
from xgacmn_tf.serve.servable import Servable, Signature

DEFAULT_SIGNATURE = "serving_default"


@dataclass(frozen=True)
class Answer:
    """What a version answered.

    Attributes:
      spec: the model, the version that answered and the signature.
      outputs: by name; dimension 0 is the batch's.
    """

    spec: model_pb2.ModelSpec
    outputs: dict[str, np.ndarray]


class Predictor:
    """Answers prediction requests.

    Args:
      models: what is loaded.
      batcher: runs it.
      metrics: counts it.
      most_rows: of one request.
      timeout: seconds after which a request is given up.
    """

    def __init__(
        self,
        models: ModelManager,
        batcher: Batcher,
        metrics: Metrics,
        most_rows: int,
        timeout: float,
    ):
        self._models, self._batcher, self._metrics = models, batcher, metrics
        self._most_rows, self._timeout = most_rows, timeout

    async def predict(
        self,
        spec: model_pb2.ModelSpec,
        decode: Callable[[Signature], Mapping[str, np.ndarray]],
        protocol: str,
        output_filter: Collection[str] = (),
    ) -> Answer:
        """Answers one request.

        Args:
          spec: model, version or label, signature as the client named them.
          decode: makes the inputs' arrays; it checks their names and dtypes.
          protocol: "grpc" or "rest", for the metrics.
          output_filter: names of the outputs that the client wants; all if empty.

        Raises:
          RequestError: there is no answer.
        """
        start, code = time.perf_counter(), Code.CANCELLED
        known: tuple[str, str] = ("", "")  # made-up names must not become metrics
        try:
            async with asyncio.timeout(self._timeout):
                version = self._models.find(spec)
                with version.in_use() as servable:
                    signature = _signature(servable, spec.signature_name)
                    known = (spec.name, signature.name)
                    names = _output_names(signature, output_filter)
                    inputs = decode(signature)
                    rows = check_inputs(signature, inputs, self._most_rows)
                    outputs = await self._batcher.run(servable, signature, inputs, rows)
            code = Code.OK
        except RequestError as error:
            code = error.code
            raise
        except TimeoutError as error:
            code = Code.DEADLINE_EXCEEDED
            message = f"The server gave the request up after {self._timeout:g} s."
            raise RequestError(code, message) from error
        except Exception:
            code = Code.INTERNAL
            raise
        finally:
            self._metrics.request(*known, protocol, code.name, time.perf_counter() - start)
        answered = model_pb2.ModelSpec(name=spec.name, signature_name=signature.name)
        answered.version.value = version.number
        return Answer(answered, {name: outputs[name] for name in names})


def _signature(servable: Servable, name: str) -> Signature:
    name = name or DEFAULT_SIGNATURE
    if name not in servable.signatures:
        known = ", ".join(sorted(servable.signatures))
        raise RequestError(
            Code.FAILED_PRECONDITION,
            f"Serving signature key {name!r} not found; expected: {known}.",
        )
    return servable.signatures[name]


def _output_names(signature: Signature, wanted: Collection[str]) -> Collection[str]:
    for name in wanted:
        if name not in signature.outputs:
            expected = ", ".join(signature.outputs)
            raise invalid(f"Output {name!r} is not in signature {signature.name!r}: {expected}.")
    if len(set(wanted)) < len(wanted):
        raise invalid(f"The output filter names an output twice: {', '.join(wanted)}.")
    return wanted or signature.outputs
