"""The service as its users start it: a process of its own, on a free port."""

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import requests

READY = re.compile(r"serving: (?P<url>http://\S+)\n")
# Far beyond what an end takes; only a service that hangs meets it.
END_SECONDS = 60


class RunningService:
    """A service that answers at `url`."""

    def __init__(self, process: subprocess.Popen, url: str):
        self.process, self.url = process, url

    def get(self, path: str, **keywords) -> requests.Response:
        return requests.get(self.url + path, timeout=END_SECONDS, **keywords)

    def post(self, path: str, **keywords) -> requests.Response:
        return requests.post(self.url + path, timeout=END_SECONDS, **keywords)

    def until(self, condition) -> None:
        """Return once the condition holds."""
        end = time.monotonic() + END_SECONDS
        while not condition():
            assert time.monotonic() < end
            time.sleep(0.02)


@contextlib.contextmanager
def running_service(run: Path, *flags: str, end: str = "terminate") -> Iterator[RunningService]:
    """Start `xgacmn serve` and end it: by SIGTERM, and then it must end cleanly, or "kill".

    Raises:
      AssertionError: it did not start, or did not end cleanly.
    """
    command = [sys.executable, "-m", "xgacmn_tf", "serve", f"--run={run}", "--port=0", *flags]
    log = run / "service.log"
    with log.open("a") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ
        )
    assert process.stdout is not None
    try:
        ready = READY.fullmatch(process.stdout.readline())
        assert ready, log.read_text()
        yield RunningService(process, ready["url"])
        getattr(process, end)()
        status = process.wait(END_SECONDS)
        assert end == "kill" or status == 0, log.read_text()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
