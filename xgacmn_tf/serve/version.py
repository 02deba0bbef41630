"""One version of a model on its way from START through AVAILABLE to END."""

import asyncio
import contextlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path

from tensorflow_serving.apis import get_model_status_pb2

from xgacmn_tf.serve.failure import Code, RequestError
from xgacmn_tf.serve.servable import Servable

State = get_model_status_pb2.ModelVersionStatus.State
LARGEST_VERSION = 2**63 - 1

log = logging.getLogger(__name__)


class Version:
    """A version that is to be served.

    Args:
      model: its name.
      number: its number.
      folder: where it lies.

    Attributes:
      state: as `GetModelStatus` reports it.
      error: why it could not be loaded; "" if it could, or was not yet.
    """

    def __init__(self, model: str, number: int, folder: Path):
        self.model, self.number, self.folder = model, number, folder
        self.state, self.error = State.START, ""
        self._servable: Servable | None = None
        self._users = 0
        self._unused = asyncio.Event()
        self._content: object = None

    async def load(self) -> None:
        """Loads the version on another thread; `state` and `error` tell how that went."""
        self.state = State.LOADING
        self._content = _content(self.folder)
        try:
            self._servable = await asyncio.to_thread(Servable, self.model, self.folder)
        except Exception as error:  # whatever is wrong with a folder, the server lives on
            self.state, self.error = State.END, str(error) or type(error).__name__
            log.error("model %s, version %d: %s", self.model, self.number, self.error)
        else:
            self.state = State.AVAILABLE
            log.info("model %s, version %d is loaded", self.model, self.number)

    async def unload(self) -> None:
        """Lets nobody in any more, waits for those who are, and frees the memory."""
        self.state = State.UNLOADING
        while self._users:
            self._unused.clear()
            await self._unused.wait()
        self.state, self._servable = State.END, None
        log.info("model %s, version %d is unloaded", self.model, self.number)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[Servable]:
        """Yields what was loaded, which stays so for the block.

        Raises:
          RequestError: the version is not available.
        """
        if self.state != State.AVAILABLE or self._servable is None:
            going = self.state == State.UNLOADING
            raise RequestError(
                Code.UNAVAILABLE if going else Code.NOT_FOUND,
                f"Servable not found for request: Specific({self.model}, {self.number})"
                + (", which is being unloaded" if going else ""),
            )
        self._users += 1
        try:
            yield self._servable
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    def is_worth_loading(self, folder: Path) -> bool:
        """Whether loading it from this folder can have another outcome than it had."""
        if self.state == State.AVAILABLE:
            return False
        return not self.error or self._content != _content(folder)


def versions_in(base_path: Path) -> dict[int, Path]:
    """The versions in a model's folder and where they lie.

    Raises:
      OSError: the folder cannot be read.
    """
    return {
        int(path.name): path
        for path in base_path.iterdir()
        # Not 007, which would be the same version as 7.
        if re.fullmatch("0|[1-9][0-9]{0,18}", path.name)
        and int(path.name) <= LARGEST_VERSION
        and path.is_dir()
    }


def _content(folder: Path) -> object:
    """Equal for the same content: places, sizes and times of all files below a folder."""
    files = [Path(place, name) for place, _, names in os.walk(folder) for name in names]
    with contextlib.suppress(OSError):  # a file that went meanwhile: the next look differs
        return folder, {file: (file.stat().st_size, file.stat().st_mtime_ns) for file in files}
    return None
