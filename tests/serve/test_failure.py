"""What clients read when a model fails."""

import grpc
import pytest
import tensorflow as tf

from xgacmn_tf.serve.failure import RequestError, from_model, invalid

Code = grpc.StatusCode


@pytest.mark.parametrize(
    "message, shown",
    [
        ("Unknown format. [[{{node decode}}]] [Op:__inference_1]", "Unknown format."),
        (
            "Graph execution error:\n\nDetected at node decode defined at (most recent call "
            "last):\n<stack traces unavailable>\nToo\tlarge\n\t [[{{node a/b}}]] [Op:__f_2]",
            "Too large",
        ),
        ("assertion failed: [x[0]: no picture] [[{{node Assert}}]]", "x[0]: no picture"),
    ],
)
def test_only_tensorflows_words_about_the_request_are_shown(message, shown):
    error = from_model(tf.errors.InvalidArgumentError(None, None, message))
    assert (error.code, error.message) == (Code.INVALID_ARGUMENT, shown)


def test_codes():
    for kind, code, status in [
        (tf.errors.ResourceExhaustedError, Code.RESOURCE_EXHAUSTED, 429),
        (tf.errors.UnimplementedError, Code.UNIMPLEMENTED, 501),
        (tf.errors.FailedPreconditionError, Code.FAILED_PRECONDITION, 400),
        (tf.errors.DataLossError, Code.DATA_LOSS, 500),
    ]:
        error = from_model(kind(None, None, "why"))
        assert (error.code, error.http_status, error.message) == (code, status, "why")
    error = from_model(ZeroDivisionError("by zero"))
    assert (error.code, error.http_status) == (Code.INTERNAL, 500)
    assert from_model(error) is error


def test_messages_fit_a_header():
    assert invalid("a\nb").message == "a b"
    assert len(RequestError(Code.INTERNAL, "long " * 1000).message) == 1000
