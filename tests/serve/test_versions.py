"""Versions that come and go while clients ask, labels, and models changed at run time."""

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.serve.config_files import Batching, VersionPolicy

Code = grpc.StatusCode
LOADED = "AVAILABLE"


def reload(server, **models):
    """Asks the server to serve these models: name=dict(base_path=…, versions=…, labels=…)."""
    request = model_management_pb2.ReloadConfigRequest()
    request.config.model_config_list.SetInParent()
    for name, given in models.items():
        config = request.config.model_config_list.config.add(
            name=name, base_path=str(given["base_path"]), model_platform="tensorflow"
        )
        if "versions" in given:
            config.model_version_policy.specific.versions.extend(given["versions"])
        config.version_labels.update(given.get("labels", {}))
    return server.model.HandleReloadConfigRequest(request)


def test_the_latest_version_is_found_and_the_old_one_goes(publish, start):
    publish(1)
    server = start()
    assert (server.ask(1), server.states()) == (3, {"1": LOADED})
    publish(2)
    server.until(lambda: server.states() == {"1": "END", "2": LOADED})
    assert server.ask(1) == 4
    request = server.request(x=np.ones((1, 3), np.float32))
    request.model_spec.version.value = 1
    with pytest.raises(grpc.RpcError) as caught:
        server.predict(request)
    assert caught.value.code() == Code.NOT_FOUND


@pytest.mark.parametrize("batching", [None, Batching()])
def test_no_request_is_lost_while_versions_change(publish, start, batching):
    publish(1)
    server = start(batching=batching)
    stop, clients = threading.Event(), 4

    answered = threading.Barrier(clients + 1)

    def ask_on():
        answers = [server.ask(1)]  # raises on any error
        answered.wait(60)
        while not stop.is_set():
            answers.append(server.ask(1))
        return [*answers, server.ask(1)]

    with ThreadPoolExecutor(clients) as pool:
        asking = [pool.submit(ask_on) for _ in range(clients)]
        try:
            answered.wait(60)
            for version in (2, 3):
                publish(version)
                server.until(lambda v=version: server.states().get(str(v)) == LOADED)
            server.until(lambda: server.states() == {"1": "END", "2": "END", "3": LOADED})
        finally:
            stop.set()
        for answers in (each.result() for each in asking):
            assert answers == sorted(answers)  # never back to an older version
            assert set(answers) <= {3, 4, 5}
            assert {answers[0], answers[-1]} == {3, 5}


def test_requests_under_way_are_waited_for(publish, start, gate):
    publish(1)
    server = start()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.ask, 1)
        assert gate.reached.acquire(timeout=60)
        publish(2)
        server.until(lambda: server.states() == {"1": "UNLOADING", "2": LOADED})
        request = server.request(x=np.ones((1, 3), np.float32))
        request.model_spec.version.value = 1
        with pytest.raises(grpc.RpcError) as caught:
            server.predict(request)
        assert caught.value.code() == Code.UNAVAILABLE
        response = server.post("/v1/models/toy/versions/1:predict", json={"inputs": [[1, 1, 1]]})
        assert response.status_code == 503
        gate.open()
        assert waiting.result() == 3
    server.until(lambda: server.states() == {"1": "END", "2": LOADED})
    assert server.ask(1) == 4


def test_a_broken_version_is_reported_and_the_old_one_serves_on(publish, start, base_path):
    publish(1)
    server = start()
    (base_path / "2").mkdir()
    server.until(lambda: server.states() == {"1": LOADED, "2": "END"})
    status = server.get("/v1/models/toy/versions/2").json()["model_version_status"][0]["status"]
    assert status["error_code"] == "INVALID_ARGUMENT"
    assert "holds no saved_model.pb" in status["error_message"]
    assert server.ask(1) == 3
    shutil.rmtree(base_path / "2")
    publish(2)  # the same number, whole now
    server.until(lambda: server.states() == {"1": "END", "2": LOADED})
    assert server.ask(1) == 4


def test_the_last_version_stays_when_its_folder_goes(publish, start, base_path):
    publish(1)
    server = start()
    shutil.rmtree(base_path / "1")
    publish(3)
    server.until(lambda: server.states() == {"1": "END", "3": LOADED})
    shutil.rmtree(base_path)
    (base_path / "9").mkdir(parents=True)  # once it has been seen, the lack of 3 was, too
    server.until(lambda: server.states().get("9") == "END")
    assert (server.states()["3"], server.ask(1)) == (LOADED, 5)


def test_a_server_may_start_before_the_first_version(publish, start):
    server = start()
    assert server.get("/v1/models/toy").status_code == 404
    with pytest.raises(grpc.RpcError) as caught:
        server.ask(1)
    assert caught.value.code() == Code.NOT_FOUND
    publish(2)
    server.until(lambda: server.states() == {"2": LOADED})
    assert server.ask(1) == 4


@pytest.mark.parametrize(
    "policy, loaded",
    [
        (VersionPolicy(), {"3"}),
        (VersionPolicy(latest=2), {"2", "3"}),
        (VersionPolicy(latest=None), {"1", "2", "3"}),
        (VersionPolicy(specific=frozenset({1, 7})), {"1"}),
    ],
)
def test_policies(toy_versions, start, base_path, policy, loaded):
    for version in ("1", "2", "3"):
        (base_path / version).symlink_to(toy_versions / version)
    for other in ("03", "-1", "4.partial", "x", str(2**63)):
        (base_path / other).mkdir()
    (base_path / "5").write_text("a file")
    server = start(policy=policy, poll_seconds=0)
    assert server.states() == dict.fromkeys(loaded, LOADED)


def test_a_label_needs_a_loaded_version_or_the_flag(publish, start):
    publish(1)
    with pytest.raises(InputError, match="Label 'canary' of model 'toy' stands for version 2"):
        start(labels={"stable": 1, "canary": 2})
    server = start(labels={"stable": 1, "canary": 2}, allow_any_label=True)
    body = {"instances": [[1, 1, 1]]}
    assert server.post("/v1/models/toy/labels/stable:predict", json=body).status_code == 200
    response = server.post("/v1/models/toy/labels/canary:predict", json=body)
    assert response.status_code == 404
    assert "Specific(toy, 2)" in response.json()["error"]


def test_a_reload_moves_labels_and_adds_and_removes_models(publish, start, base_path, toy_versions):
    for version in (1, 2):
        publish(version)
    server = start(policy=VersionPolicy(specific=frozenset({1})), labels={"stable": 1})
    toy = {"base_path": base_path, "versions": [1, 2], "labels": {"stable": 2}}
    reload(server, toy=toy, other={"base_path": toy_versions})
    assert server.states() == {"1": LOADED, "2": LOADED}
    answer = server.post("/v1/models/toy/labels/stable:predict", json={"inputs": [[1, 1, 1]]})
    assert answer.json()["outputs"][0][0] == 4
    answer = server.post("/v1/models/other:predict", json={"inputs": [[1, 1, 1]]})
    assert answer.json()["outputs"][0][0] == 5
    reload(server, other={"base_path": toy_versions})
    server.until(lambda: server.states() == {"1": "END", "2": "END"})
    assert server.post("/v1/models/toy:predict", json={"inputs": [[1, 1, 1]]}).status_code == 404
    reload(server, toy=toy)
    assert server.ask(1) == 4


def test_a_model_moves_to_another_folder_by_way_of_none(publish, start, tmp_path, toy_versions):
    publish(1)
    server = start()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copytree(toy_versions / "3", elsewhere / "1")
    with pytest.raises(grpc.RpcError) as caught:
        reload(server, toy={"base_path": elsewhere})
    assert caught.value.code() == Code.FAILED_PRECONDITION
    assert "take the model out first" in caught.value.details()
    assert server.ask(1) == 3
    reload(server)
    reload(server, toy={"base_path": elsewhere})
    assert server.states() == {"1": LOADED}
    assert server.ask(1) == 5


@pytest.mark.parametrize(
    "change, code, message",
    [
        ({"labels": {"stable": 7}}, Code.FAILED_PRECONDITION, "version 7, which is not loaded"),
        ({"labels": {"stable": 1}}, Code.FAILED_PRECONDITION, "version 1, which is not loaded"),
        ({"base_path": "nowhere"}, Code.INVALID_ARGUMENT, "'nowhere' is not a folder"),
    ],
)
def test_a_reload_that_is_refused_changes_nothing(publish, start, base_path, change, code, message):
    for version in (1, 2):
        publish(version)
    labels = {"stable": 1}
    server = start(policy=VersionPolicy(specific=frozenset({1})), labels=labels)
    with pytest.raises(grpc.RpcError) as caught:
        reload(server, toy={"base_path": base_path, "versions": [2], **change})
    assert caught.value.code() == code
    assert message in caught.value.details()
    server.until(lambda: server.states()["1"] == LOADED and server.states().get("2") != LOADED)
    assert server.get("/v1/models/toy/labels/stable").json()["model_version_status"]
    assert server.ask(1) == 3


def test_a_reload_without_a_list_of_models(publish, start):
    publish(1)
    server = start()
    with pytest.raises(grpc.RpcError) as caught:
        server.model.HandleReloadConfigRequest(model_management_pb2.ReloadConfigRequest())
    assert caught.value.code() == Code.INVALID_ARGUMENT
    assert server.ask(1) == 3


def test_status_wants_a_model(start):
    with pytest.raises(grpc.RpcError) as caught:
        start().model.GetModelStatus(get_model_status_pb2.GetModelStatusRequest())
    assert caught.value.code() == Code.INVALID_ARGUMENT
