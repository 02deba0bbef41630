"""The three configuration files that TensorFlow Serving reads, in protocol buffers' text format.

A field that TensorFlow Serving does not know is an error, as it is there. `models.config` is a
`ModelServerConfig`, `batching.config` a `BatchingParameters`, `monitoring.config` a
`MonitoringConfig`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.config_messages import BatchingParameters, MonitoringConfig

LARGEST_FILE_BYTES = 2**20
DEFAULT_METRICS_PATH = "/monitoring/prometheus/metrics"


@dataclass(frozen=True)
class VersionPolicy:
    """Which of the versions in a model's folder are to be served.

    Attributes:
      latest: how many, counted from the highest; None for all.
      specific: these versions; goes before `latest` unless empty.
    """

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def choose(self, found: set[int]) -> set[int]:
        if self.specific:
            return found & self.specific
        return set(sorted(found)[-self.latest :]) if self.latest is not None else found


@dataclass(frozen=True)
class ModelConfig:
    """One model: `base_path` holds its versions, a label stands for one of them."""

    name: str
    base_path: Path
    policy: VersionPolicy
    labels: Mapping[str, int]


@dataclass(frozen=True)
class Batching:
    """How requests are joined; the defaults are TensorFlow Serving's.

    Attributes:
      max_batch_size: rows of a request; one with more is refused.
      max_execution_batch_size: rows of a batch; a request with more is split. None: requests are
        not split, and a batch has up to `max_batch_size` rows.
      batch_timeout: seconds that a request waits for others at most.
      max_enqueued_batches: full batches that may wait for a thread.
      num_batch_threads: batches that run at the same time.
      allowed_batch_sizes: rows that a batch is padded to; as many as it has if empty.
    """

    max_batch_size: int = 1000
    max_execution_batch_size: int | None = None
    batch_timeout: float = 0.0
    max_enqueued_batches: int = 10
    num_batch_threads: int = os.cpu_count() or 1
    allowed_batch_sizes: tuple[int, ...] = ()

    @property
    def full(self) -> int:
        """Rows of a full batch."""
        return self.max_execution_batch_size or self.max_batch_size


def read_models(path: Path) -> dict[str, ModelConfig]:
    """Reads `models.config`: the models by name.

    Raises:
      InputError: the file cannot be read or says something that cannot be served.
    """
    config = _read(path, model_server_config_pb2.ModelServerConfig())
    try:
        models = models_of(config)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    if not models:
        raise InputError(f"{path}: no models; expected model_config_list {{ config {{ … }} }}")
    return models


def models_of(config: model_server_config_pb2.ModelServerConfig) -> dict[str, ModelConfig]:
    """Checks a parsed configuration; raises an `InputError` that does not name a file."""
    if config.WhichOneof("config") != "model_config_list":
        raise InputError("expected a model_config_list")
    models: dict[str, ModelConfig] = {}
    for each in config.model_config_list.config:
        if each.name in models:
            raise InputError(f"model {each.name!r} is listed twice")
        models[each.name] = _model(each)
    return models


def model(
    name: str, base_path: str, policy: VersionPolicy, labels: Mapping[str, int]
) -> ModelConfig:
    """A `ModelConfig`, checked."""
    if not re.fullmatch("[^/:]+", name):
        raise InputError(f"model name {name!r}: expected some characters, none of them '/' or ':'")
    folder = Path(base_path).absolute()
    if not base_path or not folder.is_dir():
        raise InputError(f"model {name!r}: its base path {base_path!r} is not a folder")
    return ModelConfig(name, folder, policy, labels)


def read_batching(path: Path) -> Batching:
    """Reads `batching.config`.

    Raises:
      InputError: the file cannot be read, or a value is out of range.
    """
    given = _read(path, BatchingParameters())
    names = ["max_batch_size", "max_enqueued_batches", "num_batch_threads"]
    if given.enable_large_batch_splitting.value:
        names.append("max_execution_batch_size")
    values = {name: getattr(given, name).value for name in names if given.HasField(name)}
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{path}: {name} is {value}; expected at least 1")
    if given.batch_timeout_micros.value < 0:
        raise InputError(f"{path}: batch_timeout_micros is negative; expected 0 or more")
    if given.pad_variable_length_inputs:
        raise InputError(f"{path}: pad_variable_length_inputs: this server does not pad; leave out")
    sizes = tuple(given.allowed_batch_sizes)
    timeout = given.batch_timeout_micros.value / 1e6
    batching = Batching(**values, batch_timeout=timeout, allowed_batch_sizes=sizes)
    if batching.full > batching.max_batch_size:
        raise InputError(
            f"{path}: max_execution_batch_size is {batching.full}; expected at most "
            f"max_batch_size, {batching.max_batch_size}"
        )
    if sizes and (list(sizes) != sorted({*sizes}) or sizes[0] < 1 or sizes[-1] != batching.full):
        raise InputError(
            f"{path}: allowed_batch_sizes is {list(sizes)}; TensorFlow Serving expects ascending "
            f"sizes that end with the largest batch, {batching.full}"
        )
    return batching


def read_monitoring(path: Path) -> str | None:
    """Reads `monitoring.config`: the address of the metrics' page, None if there shall be none.

    Raises:
      InputError: the file cannot be read, or the address is taken.
    """
    prometheus = _read(path, MonitoringConfig()).prometheus_config
    address = prometheus.path or DEFAULT_METRICS_PATH
    if not re.fullmatch(r"(/[\w.~-]+)+", address) or address.lower().startswith("/v1/"):
        raise InputError(
            f"{path}: path {address!r}: expected one such as {DEFAULT_METRICS_PATH}, not below /v1/"
        )
    return address if prometheus.enable else None


def _model(given: model_server_config_pb2.ModelConfig) -> ModelConfig:
    platform = given.model_platform
    if platform != "tensorflow":
        raise InputError(
            f"model {given.name!r}: model_platform is {platform!r}; expected 'tensorflow'"
        )
    policy, kind = (
        given.model_version_policy,
        given.model_version_policy.WhichOneof("policy_choice"),
    )
    chosen = VersionPolicy()
    if kind == "all":
        chosen = VersionPolicy(latest=None)
    elif kind == "latest":
        chosen = VersionPolicy(latest=policy.latest.num_versions or 1)
    elif kind == "specific":
        chosen = VersionPolicy(specific=frozenset(policy.specific.versions))
        if not chosen.specific:
            raise InputError(f"model {given.name!r}: its policy is specific, but lists no versions")
    return model(given.name, given.base_path, chosen, dict(given.version_labels))


def _read(path: Path, message: Any) -> Any:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > LARGEST_FILE_BYTES:
        raise InputError(f"{path} is larger than {LARGEST_FILE_BYTES:,} bytes")
    try:
        return text_format.Parse(text.decode(), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        name = message.DESCRIPTOR.name
        raise InputError(f"{path} is not a {name} in text format: {error}") from error
