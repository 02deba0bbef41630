"""The catalog guide, command by command, from the first training to a switch of models."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from xgacmn_tf.features.registry import image_extractor, text_extractor

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "catalog.md"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator["Shop"]:
    shop = Shop(tmp_path)
    yield shop
    shop.close()


class Shop:
    """Runs the guide's commands in a folder, and keeps the service that one of them starts."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seconds: list[tuple[str, float]] = []
        self.service: subprocess.Popen[str] | None = None
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
        (folder / "bin").mkdir()
        for name, arguments in (("xgacmn", "-m xgacmn_tf "), ("python", "")):
            command = folder / "bin" / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n')
            command.chmod(0o755)
        (folder / "examples").symlink_to(ROOT / "examples")

    def run(self, script: str, statuses: tuple[int, ...] = (0,)) -> str:
        """Run a block of the guide; one that starts the service returns when it is ready."""
        script = script.replace(":8080", f":{self.port}").replace("=8080", f"={self.port}")
        # Without the optional weights, extractors that are learned stand in.
        for extractor, learned in (
            (image_extractor("efficientnet_lite0"), "sift"),
            (text_extractor("minilm"), "bow"),
        ):
            if extractor.missing():
                script = script.replace(extractor.name, learned)
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "XDG_CACHE_HOME": str(self.folder / "cache")}
        start = time.perf_counter()
        arguments = ["bash", "-euc", script]
        if "xgacmn serve" in script:
            arguments[-1] = "exec " + script
            self.service = subprocess.Popen(
                arguments, cwd=self.folder, env=environment, stdout=subprocess.PIPE, text=True
            )
            assert self.service.stdout is not None
            output = next(line for line in self.service.stdout if "serving: " in line)
        else:
            done = subprocess.run(
                arguments, cwd=self.folder, env=environment, capture_output=True, text=True
            )
            assert done.returncode in statuses, done.stdout + done.stderr
            output = done.stdout
        self.seconds.append((" ".join(script.split()[:2]), time.perf_counter() - start))
        return output

    def close(self) -> None:
        if self.service is not None:
            self.service.terminate()
            self.service.communicate()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the guide uses curl, which is missing")
def test_the_story(shop: Shop) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    catalog, train, gallery, serve, search, add, single, again, compare, switch = blocks
    assert shop.run(catalog) == "catalog/products.csv: 374 rows, 300 images\n"
    assert "sku, price" in shop.run(train)
    shop.run(gallery)
    shop.run(serve)
    answer = json.loads(shop.run(search))
    assert len(answer["hits"]) == 3 and answer["model_version"] == 1

    output = shop.run(add)
    rows = int(re.search(r"(\d+) rows, 360 images", output)[1])
    assert "300 of 360 images" in output
    assert json.loads(output.splitlines()[-1])["items"] == rows

    assert '"NEW-1"' in shop.run(single)

    shop.run(again)
    # Whether the gate opens is a matter of the data, and not of the guide.
    assert "gate item/R@10" in shop.run(compare, statuses=(0, 1))
    shop.run(switch)
    assert json.loads(shop.run(search))["model_version"] == 2
    print(*(f"{seconds:6.1f} s  {command}" for command, seconds in shop.seconds), sep="\n")
