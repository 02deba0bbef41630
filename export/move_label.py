"""Moves a label of a running server to another version: promotes a canary, or rolls back.

    python export/move_label.py canary=2      requests for the label canary go to version 2
    python export/move_label.py stable=2      version 2 is promoted
    python export/move_label.py stable=1      and rolled back
    python export/move_label.py stable=2 --address=host:8500 --config=models.config

The version must be loaded. The server gets the whole new configuration, because that is what it
takes, and then the file is rewritten, so that a restart finds the same.
"""

import argparse
import re
import sys
from pathlib import Path

from client import GrpcClient, Parser, ServingError
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from xgacmn_tf.errors import InputError
from xgacmn_tf.io.files import atomic_path

RELOAD_SECONDS = 60
CONFIG = Path(__file__).parent / "serving" / "models.config"


def relabelled(text: str, model: str, label: str, version: int) -> str:
    """The text of a models.config with one label moved; its comments and layout stay.

    Raises:
      InputError: it cannot be parsed, or gives that model no such label.
    """
    try:
        wanted = text_format.Parse(text, ModelServerConfig())
    except text_format.ParseError as error:
        raise InputError(f"--config: not a ModelServerConfig: {error}") from error
    configs = [c for c in wanted.model_config_list.config if c.name == model]
    if not configs or label not in configs[0].version_labels:
        raise InputError(
            f"--config: model {model} has no label {label}; add a line to it: "
            f'version_labels {{ key: "{label}" value: {version} }}'
        )
    configs[0].version_labels[label] = version
    # Several models may have the label: the right place is where the outcome is the wanted one.
    pattern = rf"(version_labels\s*\{{\s*key:\s*[\"']{re.escape(label)}[\"']\s*value:\s*)\d+"
    for place in re.finditer(pattern, text):
        changed = f"{text[: place.start()]}{place[1]}{version}{text[place.end() :]}"
        if text_format.Parse(changed, ModelServerConfig()) == wanted:
            return changed
    raise InputError(f"--config: found no version_labels {{ key: … value: … }} for {label} to edit")


def move(address: str, config: Path, model: str, label: str, version: int) -> None:
    """Checks that the version is loaded, tells the server, and rewrites the file.

    Raises:
      InputError: the file or the version will not do.
      ServingError: the server is not there or refuses.
    """
    try:
        text = relabelled(config.read_text(encoding="utf-8"), model, label, version)
    except OSError as error:
        raise InputError(f"--config={config}: {error.strerror}") from error
    with GrpcClient(address) as client:
        # The server would take an unloaded version where it may have labels for those.
        loaded = [v.version for v in client.status(model) if v.state == "AVAILABLE"]
        if version not in loaded:
            raise InputError(f"version {version} of {model} is not loaded; loaded are {loaded}")
        message = text_format.Parse(text, ModelServerConfig())
        client.reload_config(message.SerializeToString(), RELOAD_SECONDS)
    with atomic_path(config) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(argv: list[str] | None = None) -> int:
    layout = argparse.RawDescriptionHelpFormatter
    parser = Parser(description=__doc__, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("move", metavar="LABEL=VERSION", help="such as stable=2")
    parser.add_argument("--address", default="localhost:8500", help="gRPC (default: %(default)s)")
    parser.add_argument("--config", type=Path, default=CONFIG, help="default: %(default)s")
    parser.add_argument("--model", default="xgacmn", help="name (default: %(default)s)")
    arguments = parser.parse_args(argv)
    found = re.fullmatch(r"([\w.-]+)=(\d+)", arguments.move)
    if not found:
        parser.error(f"{arguments.move!r} is not LABEL=VERSION, such as stable=2")
    label, version = found[1], int(found[2])
    try:
        move(arguments.address, arguments.config, arguments.model, label, version)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ServingError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"{arguments.model}: {label} is version {version}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
