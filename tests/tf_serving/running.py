"""A server of exported models for tests: the test server, or a TensorFlow Serving.

The test server is always used. Tests that take a `served` fixture also run against a TensorFlow
Serving where the environment names its addresses and the folder of the model that it serves:

    xgacmn export --run=RUN --output=models              # 1
    xgacmn export --run=RUN --output=models --depth=5    # 2; then `canary` is set to 2
    MODELS=$PWD/models docker compose -f export/serving/compose.yaml up --detach tensorflow-serving
    XGACMN_TF_SERVING=localhost:8500,localhost:8501 XGACMN_TF_SERVING_MODEL=$PWD/models/xgacmn \
        python -m pytest tests/export/test_contract.py
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SERVING = REPOSITORY / "export" / "serving"
SERVERS = ["test server"] + ["TensorFlow Serving"] * ("XGACMN_TF_SERVING" in os.environ)


@dataclass(frozen=True)
class Served:
    """A server of the model `xgacmn`.

    Attributes:
      grpc: host:port.
      rest: http://host:port.
      model: folder of its versions.
    """

    grpc: str
    rest: str
    model: Path


def models_config(model: Path, canary: int = 1) -> str:
    """Return export/serving/models.config with another folder and version of the label canary."""
    text = (SERVING / "models.config").read_text()
    text = text.replace("/models/xgacmn", str(model))
    return text.replace('"canary" value: 1', f'"canary" value: {canary}')


@contextlib.contextmanager
def running_server(config: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Start the test server with the text of a models.config; yield its gRPC and REST addresses."""
    path = folder / "models.config"
    path.write_text(config)
    # -I: neither this repository nor the current folder can be imported.
    command = [sys.executable, "-I", str(Path(__file__).with_name("server.py")), str(path)]
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None
        ready = process.stdout.readline().split()
        assert len(ready) == 2, (folder / "server.log").read_text()
        yield ready[0], f"http://{ready[1]}"
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def serve(kind: str, model: Path) -> Iterator[Served]:
    """Yield a server of one of `SERVERS`; `model` is what the test server serves."""
    if kind == "test server":
        with running_server(models_config(model, canary=2), model.parent) as (grpc, rest):
            yield Served(grpc, rest, model)
    else:
        grpc, rest = os.environ["XGACMN_TF_SERVING"].split(",")
        folder = Path(os.environ["XGACMN_TF_SERVING_MODEL"])
        yield Served(grpc, f"http://{rest}", folder)
