"""Development server: speaks TensorFlow Serving's gRPC and REST over exported models.

    python -m xgacmn_tf.serve --model_name=xgacmn --model_base_path=RUN/models/xgacmn
        serves the highest version in the folder, and later ones as they come.
    python -m xgacmn_tf.serve --model_config_file=export/serving/models.config --enable_batching
        several models, versions and labels, as TensorFlow Serving's file says.

Prints one line when it answers: `serving: gRPC on HOST:PORT, REST on http://HOST:PORT`.
Flags that tensorflow_model_server has, too, mean the same there.
"""

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from xgacmn_tf.errors import InputError
from xgacmn_tf.settings.command_line import parse, stop

if TYPE_CHECKING:
    from xgacmn_tf.serve.server import Settings

VALUES = flags.FlagValues()
INTERRUPTED = 130


flags.DEFINE_string(
    "model_base_path", None, "folder of one model, holding its versions", flag_values=VALUES
)
flags.DEFINE_string("model_name", "default", "what clients call that model", flag_values=VALUES)
flags.DEFINE_string(
    "model_config_file", None, "several models instead: a ModelServerConfig", flag_values=VALUES
)
flags.DEFINE_float(
    "file_system_poll_wait_seconds",
    1,
    "how often new versions are looked for; 0: only at the start",
    lower_bound=0,
    flag_values=VALUES,
)
flags.DEFINE_bool(
    "allow_version_labels_for_unavailable_models",
    False,
    "a new label may stand for a version that is not loaded",
    flag_values=VALUES,
)
flags.DEFINE_bool(
    "enable_batching", False, "join requests that wait at the same time", flag_values=VALUES
)
flags.DEFINE_string(
    "batching_parameters_file", None, "how: a BatchingParameters", flag_values=VALUES
)
flags.DEFINE_string(
    "monitoring_config_file",
    None,
    "a MonitoringConfig; without it there are no metrics",
    flag_values=VALUES,
)
flags.DEFINE_string(
    "host",
    "127.0.0.1",
    "address to listen at; the default cannot be reached from other computers",
    flag_values=VALUES,
)
flags.DEFINE_integer(
    "port",
    8500,
    "gRPC's port; 0 takes any that is free",
    lower_bound=0,
    upper_bound=65535,
    flag_values=VALUES,
)
flags.DEFINE_integer(
    "rest_api_port",
    8501,
    "REST's port; 0 takes any that is free",
    lower_bound=0,
    upper_bound=65535,
    flag_values=VALUES,
)
flags.DEFINE_integer(
    "max_request_bytes", 64 * 2**20, "size of a request", lower_bound=1024, flag_values=VALUES
)
flags.DEFINE_integer("max_batch", 1024, "rows of a request", lower_bound=1, flag_values=VALUES)
flags.DEFINE_float(
    "request_timeout_seconds",
    30,
    "when a request is given up",
    lower_bound=0.01,
    flag_values=VALUES,
)


def settings() -> "Settings":
    """The parsed flags, checked.

    Raises:
      InputError: flags do not go together, or a file or folder that they name cannot be used.
    """
    if bool(VALUES.model_base_path) == bool(VALUES.model_config_file):
        raise InputError("give --model_base_path=FOLDER or --model_config_file=FILE; see --help")
    if VALUES.batching_parameters_file and not VALUES.enable_batching:
        raise InputError("--batching_parameters_file needs --enable_batching")
    # Imported here: TensorFlow takes seconds to load, and --help need not wait for it.
    try:
        from xgacmn_tf.serve import config_files
        from xgacmn_tf.serve.server import Settings
    except ModuleNotFoundError as error:
        raise InputError(f'{error}; it comes with pip install "xgacmn_tf[serve]"') from error

    if VALUES.model_config_file:
        models = config_files.read_models(Path(VALUES.model_config_file))
    else:
        one = config_files.model(
            VALUES.model_name, VALUES.model_base_path, config_files.VersionPolicy(), {}
        )
        models = {one.name: one}
    batching = config_files.Batching() if VALUES.enable_batching else None
    if VALUES.batching_parameters_file:
        batching = config_files.read_batching(Path(VALUES.batching_parameters_file))
    monitoring = VALUES.monitoring_config_file
    return Settings(
        models=models,
        batching=batching,
        metrics_path=config_files.read_monitoring(Path(monitoring)) if monitoring else None,
        allow_any_label=VALUES.allow_version_labels_for_unavailable_models,
        poll_seconds=VALUES.file_system_poll_wait_seconds,
        host=VALUES.host,
        grpc_port=VALUES.port,
        rest_port=VALUES.rest_api_port,
        largest_bytes=VALUES.max_request_bytes,
        most_rows=VALUES.max_batch,
        timeout=VALUES.request_timeout_seconds,
    )


def main(argv: list[str]) -> None:
    parse(VALUES, argv, __doc__)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    logging.basicConfig(format="%(levelname)s: %(message)s")
    logging.getLogger("xgacmn_tf").setLevel(logging.INFO)
    try:
        _serve(settings())
    except InputError as error:
        stop(str(error))
    except KeyboardInterrupt:
        stop("interrupted", INTERRUPTED)


def _serve(checked: "Settings") -> None:
    from xgacmn_tf.serve.server import serve

    if asyncio.run(serve(checked, _ready)):
        raise KeyboardInterrupt


def _ready(grpc_address: str, rest_url: str) -> None:
    print(f"serving: gRPC on {grpc_address}, REST on {rest_url}", flush=True)


if __name__ == "__main__":
    main(sys.argv)
