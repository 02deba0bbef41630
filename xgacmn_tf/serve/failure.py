"""How a request fails: gRPC's status codes, and the HTTP statuses that TensorFlow Serving gives."""

import re

import grpc

Code = grpc.StatusCode

HTTP_STATUS = {
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.FAILED_PRECONDITION: 400,
    Code.OUT_OF_RANGE: 400,
    Code.UNAUTHENTICATED: 401,
    Code.PERMISSION_DENIED: 403,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.ABORTED: 409,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.DEADLINE_EXCEEDED: 504,
}
OTHER_HTTP_STATUS = 500
# gRPC sends messages in a header, and headers are small.
LONGEST_MESSAGE = 1000

_BY_NUMBER = {code.value[0]: code for code in Code}
# Around its own words TensorFlow's message tells which node of the graph failed, and where in the
# exporter's source the node was made: nothing for a client.
_NOISE = re.compile(
    r"Graph execution error:|Detected at node .*|<stack traces unavailable>|\s*File \".*"
    r"|\[\[.*?\]\]|\[Op:[^\]]*\]|\d+ root error\(s\) found\.|\(\d+\) [A-Z_]+:"
)


class RequestError(Exception):
    """A request that gets no answer.

    Attributes:
      code: what gRPC answers.
      message: one line for the person who sent it.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        super().__init__(message)
        self.code = code
        self.message = " ".join(message.split())[:LONGEST_MESSAGE]

    @property
    def http_status(self) -> int:
        return HTTP_STATUS.get(self.code, OTHER_HTTP_STATUS)


def invalid(message: str) -> RequestError:
    """The client's mistake."""
    return RequestError(Code.INVALID_ARGUMENT, message)


def from_model(error: Exception) -> RequestError:
    """What running a model raised. TensorFlow numbers its errors as gRPC does."""
    if isinstance(error, RequestError):
        return error
    message, number = getattr(error, "message", None), getattr(error, "error_code", None)
    if not isinstance(message, str) or number not in _BY_NUMBER:
        return RequestError(Code.INTERNAL, f"The model failed: {type(error).__name__} {error}")
    words = " ".join(_NOISE.sub(" ", message).split())
    # What the model asserts of its inputs is written for whoever sent them.
    asserted = re.fullmatch(r"assertion failed: \[(.*)\]", words)
    return RequestError(_BY_NUMBER[number], asserted[1] if asserted else words)
