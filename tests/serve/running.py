"""The server as its users start it: a process of its own, on free ports.

with running_server("--model_name=xgacmn", f"--model_base_path={folder}") as server:
    requests.get(f"{server.rest_url}/v1/models/xgacmn")
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

READY = re.compile(r"serving: gRPC on (?P<grpc>\S+), REST on (?P<rest>\S+)\n")
# Far beyond what a start or an end takes; only a server that hangs meets them.
START_SECONDS = 120
END_SECONDS = 60


@dataclass(frozen=True)
class RunningServer:
    """A server that answers: `grpc_address` is host:port, `rest_url` http://host:port."""

    grpc_address: str
    rest_url: str
    process: subprocess.Popen


@contextlib.contextmanager
def running_server(*flags: str) -> Iterator[RunningServer]:
    """Starts `python -m xgacmn_tf.serve` with these flags and ends it with SIGTERM.

    Raises:
      AssertionError: it did not start, or ended otherwise than cleanly; with what it printed.
    """
    command = [sys.executable, "-m", "xgacmn_tf.serve", "--port=0", "--rest_api_port=0", *flags]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        try:
            ready = READY.fullmatch(process.stdout.readline())
            assert ready, f"the server did not start: {_ended(process, errors)}"
            yield RunningServer(ready["grpc"], ready["rest"], process)
            process.terminate()
            assert process.wait(END_SECONDS) == 0, _ended(process, errors)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _ended(process: subprocess.Popen, errors) -> str:
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)
    errors.seek(0)
    return f"status {process.returncode}, {errors.read()}"
