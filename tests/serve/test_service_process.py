"""The service as a process: start, signals, SIGKILL, a remote encoder, and the guide's commands."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest
import requests

from tests.conftest import REPOSITORY
from tests.serve.conftest import image_file, publish
from tests.serve.running import running_service
from xgacmn_tf.commands import serve as command


@pytest.mark.slow
def test_no_acknowledged_write_is_lost_by_sigkill(run):
    acknowledged: dict[str, bool] = {}
    for seed in range(2):
        with running_service(run, end="kill") as service:
            for key, is_there in acknowledged.items():
                assert (service.get(f"/items/{key}").status_code == 200) == is_there, key
            texts = service.post("/search", json={"text": "blue", "find": "text", "k": 1000})
            hits = {hit["id"] for hit in texts.json()["hits"]}
            assert {key for key, is_there in acknowledged.items() if is_there} <= hits
            writers = [
                threading.Thread(target=write, args=(service.url, f"{seed}-{n}", acknowledged))
                for n in range(3)
            ]
            for writer in writers:
                writer.start()
            time.sleep(random.Random(seed).uniform(0.3, 0.8))
            service.process.kill()
            for writer in writers:
                writer.join()
    assert len(acknowledged) > 10


def write(url: str, prefix: str, acknowledged: dict[str, bool]) -> None:
    """Write and delete items until the service is gone."""
    with requests.Session() as session:
        for number in range(10_000):
            key = f"{prefix}-{number}"
            try:
                body = {"id": key, "text": "blue"}
                assert session.post(f"{url}/items", json=body, timeout=60).status_code == 201
                acknowledged[key] = True
                if number % 3 == 0:
                    del acknowledged[key]  # Not known until the answer.
                    assert session.delete(f"{url}/items/{key}", timeout=60).status_code == 200
                    acknowledged[key] = False
            except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
                return


def test_signals_logs_and_a_second_service(run, versions):
    with running_service(run) as service:
        publish(versions, run, 2)
        service.process.send_signal(signal.SIGHUP)
        service.until(lambda: service.get("/ready").json()["model_version"] == 2)
        done = subprocess.run(
            [sys.executable, "-m", "xgacmn_tf", "serve", f"--run={run}", "--port=0"],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 2 and "another service uses" in done.stderr.splitlines()[-1]
        forged = {"X-Forwarded-For": "203.0.113.9"}
        service.post("/search", json={"text": "red secret"}, headers=forged)
    assert (run / "items" / "items.db").stat().st_mode & 0o077 == 0
    lines = [
        json.loads(line)
        for line in (run / "service.log").read_text().splitlines()
        if line.startswith("{")
    ]
    assert {(line["route"], line["status"]) for line in lines} >= {
        ("/ready", 200),
        ("/search", 200),
    }
    assert not any("secret" in str(line) or "203.0.113.9" in str(line) for line in lines)


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--host=0.0.0.0"], "--host=0.0.0.0: other computers may reach it, so an API key"),
        (["--index=milvus"], "--index=milvus needs --milvus_uri"),
        (["--encoder=localhost:8500"], "--encoder=localhost:8500: expected grpc://HOST:PORT/NAME"),
        (["--gallery=none.npz"], "none.npz"),
        (["--api_key_file=none"], "--api_key_file=none: cannot be read"),
        (["--encoder=http://127.0.0.1:9/xgacmn"], "http://127.0.0.1:9 does not answer"),
        (["--port=70000"], "--port=70000"),
    ],
)
def test_bad_flags_end_in_one_line(run, call, flags, message, monkeypatch):
    monkeypatch.delenv("XGACMN_API_KEY", raising=False)
    done = call(command.main, f"--run={run}", "--port=0", *flags)
    assert done.returncode == 2 and message in done.stderr, done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


@pytest.mark.parametrize("link", ["items", "items/items.db"])
def test_items_linked_out_of_the_run_are_rejected(run, call, tmp_path, link):
    (tmp_path / "elsewhere").mkdir()
    (run / link).parent.mkdir(exist_ok=True)
    (run / link).symlink_to(tmp_path / "elsewhere")
    done = call(command.main, f"--run={run}", "--port=0")
    assert done.returncode == 2 and "outside the run folder; delete the link" in done.stderr
    assert not any((tmp_path / "elsewhere").iterdir())


def test_a_wrong_run_folder_ends_in_one_line_and_is_not_created(call, tmp_path):
    done = call(command.main, f"--run={tmp_path / 'typo'}", "--port=0")
    assert done.returncode == 2 and "typo: there is no such folder; name a run" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_key_that_no_header_can_hold_ends_in_one_line(run, call, monkeypatch):
    monkeypatch.setenv("XGACMN_API_KEY", "ü" * 16)
    done = call(command.main, f"--run={run}", "--port=0")
    assert done.returncode == 2 and "XGACMN_API_KEY: the key has" in done.stderr
    assert done.stderr.count("\n") == 1


def test_versions_of_earlier_exports_end_in_one_line(run, call):
    record = run / "models" / "xgacmn" / "1" / "assets.extra" / "run.json"
    record.write_text('{"similarity": "item"}')
    done = call(command.main, f"--run={run}", "--port=0")
    assert done.returncode == 2 and "export the run again: xgacmn export" in done.stderr


@pytest.mark.slow
def test_encoding_by_tensorflow_servings_rest_api(run, serve):
    """The service itself answers that API."""
    local = serve(run)
    with running_service(run, f"--items_dir={run / 'other'}") as service:
        remote = serve(run, encoder=f"{service.url}/xgacmn", items_dir=str(run / "third"))
        for query in ({"text": "red whale"}, {"image_features": [1, 2, 3]}):
            assert (
                remote.post("/search", json=query).json()["hits"]
                == local.post("/search", json=query).json()["hits"]
            )
        answer = remote.post("/items", files={"image": image_file()}, data={"id": "a"})
        assert answer.json()["searchable"]
        assert remote.post("/search", json={"image": "QUJD"}).status_code == 400
    answer = remote.post("/search", json={"text": "red"})
    assert answer.status_code == 503
    assert answer.json()["error"] == "the encoder does not answer; the log has the reason"


def test_the_former_server_names_its_replacement():
    done = subprocess.run(
        [sys.executable, "-m", "xgacmn_tf.serve", "--model_base_path=x"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "xgacmn serve --run=RUN" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_commands_of_the_guide(run):
    guide = (REPOSITORY / "docs" / "service.md").read_text(encoding="utf-8")
    (run / "photo.png").write_bytes(image_file())
    commands = re.findall(r"^(curl .*)$", guide, re.MULTILINE)
    assert len(commands) > 6
    with running_service(run) as service:
        for line in commands:
            line = line.replace("http://127.0.0.1:8080", service.url).replace("curl ", "curl -sSf ")
            done = subprocess.run(
                line, shell=True, cwd=run, capture_output=True, text=True, env=os.environ
            )
            assert done.returncode == 0, (line, done.stderr)
