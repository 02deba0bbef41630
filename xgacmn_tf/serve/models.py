"""Which models are served: folders are watched, new versions loaded, then old ones unloaded."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from tensorflow_serving.apis import model_pb2

from xgacmn_tf.serve.config_files import ModelConfig
from xgacmn_tf.serve.failure import Code, RequestError, invalid
from xgacmn_tf.serve.monitoring import Metrics
from xgacmn_tf.serve.version import State, Version, versions_in

log = logging.getLogger(__name__)


class ModelManager:
    """The models that are served. All methods are for the event loop's thread.

    Args:
      allow_any_label: whether a new label may stand for a version that is not loaded.
      metrics: is told what is loaded.
    """

    def __init__(self, allow_any_label: bool, metrics: Metrics):
        self._allow_any_label = allow_any_label
        self._metrics = metrics
        self._configs: Mapping[str, ModelConfig] = {}
        self._versions: dict[str, dict[int, Version]] = {}
        self._changing = asyncio.Lock()
        self._unloading: set[asyncio.Task[None]] = set()

    async def configure(self, configs: Mapping[str, ModelConfig]) -> None:
        """Serves these models instead of those served so far, once their versions are loaded.

        Raises:
          RequestError: a label stands for a version that is not loaded, or a version is served
            from another folder. What has been served so far is served on.
        """
        async with self._changing:
            wanted = {name: await self._load_new(config) for name, config in configs.items()}
            for config in configs.values():
                self._check_labels(config, wanted[config.name])
            self._configs = configs
            self._unload_others(wanted)
        for name in wanted.keys() - {name for name, versions in self.served().items() if versions}:
            log.warning("model %s: no version in %s yet", name, configs[name].base_path)

    async def poll(self) -> None:
        """Looks once for new versions."""
        async with self._changing:
            wanted = {name: await self._load_new(c) for name, c in self._configs.items()}
            self._unload_others(wanted)

    async def watch(self, seconds: float) -> None:
        """Polls for ever."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.poll()
            except Exception:  # one poll that fails must not be the last
                log.exception("looking for new versions failed")

    def find(self, spec: model_pb2.ModelSpec) -> Version:
        """The version that a client names, or the highest that answers.

        Raises:
          RequestError: there is no such model, version or label.
        """
        versions = self._versions.get(spec.name, {})
        number = self._number(spec)
        if number is None:
            number = max(self._available(spec.name), default=max(versions, default=None))
        if number not in versions:
            asked = f"Latest({spec.name})" if number is None else f"Specific({spec.name}, {number})"
            raise RequestError(Code.NOT_FOUND, f"Servable not found for request: {asked}")
        return versions[number]

    def status(self, spec: model_pb2.ModelSpec) -> list[Version]:
        """The versions that a client asks about, the highest first.

        Raises:
          RequestError: there are none.
        """
        versions = self._versions.get(spec.name, {})
        number = self._number(spec)
        found = [v for n, v in sorted(versions.items(), reverse=True) if number in (None, n)]
        if not found:
            what = "any versions" if number is None else f"version {number}"
            raise RequestError(Code.NOT_FOUND, f"Could not find {what} of model {spec.name}")
        return found

    def served(self) -> dict[str, dict[int, Path]]:
        """Name → version → folder of what answers now."""
        return {
            name: {n: versions[n].folder for n in self._available(name)}
            for name, versions in self._versions.items()
        }

    def _available(self, name: str) -> set[int]:
        versions = self._versions.get(name, {})
        return {n for n, version in versions.items() if version.state == State.AVAILABLE}

    def _number(self, spec: model_pb2.ModelSpec) -> int | None:
        if not spec.name:
            raise invalid("The request names no model.")
        if spec.WhichOneof("version_choice") != "version_label":
            return spec.version.value if spec.HasField("version") else None
        config = self._configs.get(spec.name)
        if config is None or spec.version_label not in config.labels:
            raise invalid(f"Unrecognized servable version label: {spec.version_label}")
        return config.labels[spec.version_label]

    def _check_labels(self, config: ModelConfig, wanted: set[int]) -> None:
        before = self._configs[config.name].labels if config.name in self._configs else {}
        for label, number in config.labels.items():
            may_wait = self._allow_any_label and before.get(label, number) == number
            if not may_wait and number not in self._available(config.name) & wanted:
                raise RequestError(
                    Code.FAILED_PRECONDITION,
                    f"Label {label!r} of model {config.name!r} stands for version {number}, which "
                    "is not loaded; --allow_version_labels_for_unavailable_models permits it for "
                    "a new label",
                )

    async def _load_new(self, config: ModelConfig) -> set[int]:
        """Loads what the model's folder has and is not loaded; returns the versions wanted."""
        try:
            found = await asyncio.to_thread(versions_in, config.base_path)
        except OSError as error:
            log.error("model %s: %s cannot be read: %s", config.name, config.base_path, error)
            return set()
        wanted = config.policy.choose(set(found))
        versions = self._versions.setdefault(config.name, {})
        for number in sorted(wanted):
            old, folder = versions.get(number), found[number]
            if old is not None and old.state == State.AVAILABLE and old.folder != folder:
                raise RequestError(
                    Code.FAILED_PRECONDITION,
                    f"Version {number} of model {config.name!r} is served from {old.folder}; give "
                    f"the one in {folder} another number, or take the model out first",
                )
            if old is None or old.is_worth_loading(folder):
                versions[number] = Version(config.name, number, folder)
                await versions[number].load()
                if versions[number].state == State.AVAILABLE:
                    self._metrics.loaded(config.name, number)
        return wanted

    def _unload_others(self, wanted: Mapping[str, set[int]]) -> None:
        """Unloads what is not wanted, but keeps the last that answers until another does."""
        for name, versions in self._versions.items():
            available = self._available(name)
            if name in wanted and not available & wanted[name]:
                continue
            for number in available - wanted.get(name, set()):
                self._metrics.unloaded(name, number)
                self._unload(versions[number])

    def _unload(self, version: Version) -> None:
        task = asyncio.create_task(version.unload())
        self._unloading.add(task)
        task.add_done_callback(self._unloading.discard)
