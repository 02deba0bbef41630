"""The files of export/serving/: valid by their schemas, and consistent with each other."""

import json
import re
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import requests
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.config.model_server_config_pb2 import ModelServerConfig

from tests.tf_serving.config_messages import BatchingParameters, MonitoringConfig
from tests.tf_serving.running import REPOSITORY, SERVING, models_config, running_server

yaml = pytest.importorskip("yaml", reason="reads the compose file")
# Fixed between the service, Prometheus and the dashboard.
METRICS = {
    "xgacmn_requests_total": {"route", "status"},
    "xgacmn_request_seconds_bucket": {"route", "le"},
    "xgacmn_items": set(),
    "xgacmn_model_version": set(),
    "xgacmn_index_errors_total": set(),
    "xgacmn_reloads_total": {"result"},
}


def parsed(name, message):
    return text_format.Parse((SERVING / name).read_text(), message)


@pytest.fixture(scope="module")
def services():
    return yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]


def test_models_config():
    (model,) = parsed("models.config", ModelServerConfig()).model_config_list.config
    assert (model.name, model.base_path) == ("xgacmn", "/models/xgacmn")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.WhichOneof("policy_choice") == "all"
    # At the first start there is one version only, and both labels must be answered.
    assert dict(model.version_labels) == {"stable": 1, "canary": 1}


def test_batching_config(services):
    batching = parsed("batching.config", BatchingParameters())
    assert batching.max_batch_size.value == 64 and not batching.allowed_batch_sizes
    assert 0 < batching.batch_timeout_micros.value <= 2000, "requests take milliseconds"
    threads = batching.num_batch_threads.value
    serving = services["tensorflow-serving"]
    assert serving["cpus"] == threads
    assert f"--tensorflow_intra_op_parallelism={threads}" in serving["command"]


def test_prometheus_finds_the_metrics(services):
    monitoring = parsed("monitoring.config", MonitoringConfig()).prometheus_config
    jobs = yaml.safe_load((SERVING / "prometheus.yml").read_text())["scrape_configs"]
    assert [job["metrics_path"] for job in jobs] == ["/metrics", monitoring.path]
    assert monitoring.enable
    for job in jobs:
        host, port = job["static_configs"][0]["targets"][0].split(":")
        assert any(published.endswith(f":{port}") for published in services[host]["ports"])


def test_the_compose_file_by_the_official_schema(services):
    builtin = pytest.importorskip("check_jsonschema.builtin_schemas", reason="has the schema")
    schema = Path(builtin.__file__).parent / "vendor" / "compose-spec.json"
    content = yaml.safe_load((SERVING / "compose.yaml").read_text())
    jsonschema.validate(content, json.loads(schema.read_text()))
    for service in services.values():
        for name in service.get("depends_on", ()):
            assert name in services
        for volume in service.get("volumes", ()):
            source = volume.removesuffix(":ro").rpartition(":")[0]
            known = source in content["volumes"] or source.startswith("${RUN:?")
            assert known or (SERVING / source).exists(), volume


def test_only_this_host_reaches_the_ports(services):
    for name, service in services.items():
        for port in service.get("ports", ()):
            assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), (name, port)


def test_images_are_pinned_and_limited(services):
    for service in services.values():
        image = service.get("image", "built here:1.0.0")
        assert re.fullmatch(r".*:(v?\d+\.\d+\.\d+|RELEASE\.[\dTZ-]+)", image)
        assert "mem_limit" in service and "no-new-privileges:true" in service["security_opt"]
    # An older server may not read what a newer TensorFlow writes.
    release = services["tensorflow-serving"]["image"].partition(":")[2]
    bounds = (REPOSITORY / "setup.cfg").read_text()
    assert f"tensorflow >={release.rpartition('.')[0]}," in bounds


def flags_of_the_service():
    options = pytest.importorskip("xgacmn_tf.serve.options", reason="the service")
    return set(options.ServiceOptions.__dataclass_fields__)


def test_the_service_has_the_flags_of_the_compose_file(services):
    flags = [flag.removeprefix("--").partition("=")[0] for flag in services["service"]["command"]]
    assert set(flags) <= flags_of_the_service()


def test_kubernetes_by_the_official_schema(services):
    validate = pytest.importorskip("kubernetes_validate", reason="has the schemas")
    resources = list(yaml.safe_load_all((SERVING / "kubernetes.yaml").read_text()))
    for resource in resources:
        validate.validate(resource, validate.latest_version(), strict=True)
    # The same images and arguments as in the compose file.
    pods = [r["spec"]["template"]["spec"] for r in resources if r["kind"] == "Deployment"]
    (serving,), (service,) = (pod["containers"] for pod in pods)
    of_compose = services["tensorflow-serving"]
    assert serving["image"] == of_compose["image"]
    assert set(serving["args"]) <= set(of_compose["command"])
    flags = [flag.replace("/run/secrets/", "/secrets/") for flag in services["service"]["command"]]
    assert service["args"] == flags


def test_the_dashboard_shows_metrics_that_exist():
    (path,) = (SERVING / "grafana" / "dashboards").iterdir()
    dashboard = json.loads(path.read_text())
    expressions = [t["expr"] for panel in dashboard["panels"] for t in panel["targets"]]
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for expression in expressions:
        for name in re.findall(r"\bxgacmn_\w+", expression):
            grouped = re.findall(r"by \(([\w, ]+)\)", expression)
            labels = {label for group in grouped for label in group.split(", ")}
            labels |= set(re.findall(r"[{,](\w+)=", expression))
            assert labels <= METRICS[name], expression
    assert {name for text in expressions for name in re.findall(r"xgacmn_\w+", text)} == set(
        METRICS
    )
    sources = yaml.safe_load((SERVING / "grafana" / "datasource.yml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {sources[0]["uid"]}


@pytest.mark.parametrize("path", ["serving/Dockerfile.service", "training/Dockerfile"])
def test_dockerfiles_copy_what_exists_and_install_extras_that_exist(path):
    text = (REPOSITORY / "export" / path).read_text()
    for line in re.findall(r"^COPY (.*)", text, flags=re.MULTILINE):
        assert all((REPOSITORY / source).exists() for source in line.split()[:-1]), line
    (extras,) = re.findall(r'"/src\[([\w,]+)\]"', text)
    setup = (REPOSITORY / "setup.cfg").read_text()
    assert all(f"\n{extra} =\n" in setup for extra in extras.split(","))
    assert re.search(r"^USER \w+", text, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with version 1 of a very small model."""
    module = tf.Module()
    module.double = tf.function(
        lambda x: {"y": 2 * x}, input_signature=[tf.TensorSpec([None, 1], tf.float32, "x")]
    )
    base = tmp_path_factory.mktemp("models")
    signatures = {"serving_default": module.double.get_concrete_function()}
    tf.saved_model.save(module, str(base / "xgacmn" / "1"), signatures)
    return base


def test_a_server_starts_with_models_config_and_is_healthy(services, models):
    how, *check = services["tensorflow-serving"]["healthcheck"]["test"]
    assert how == "CMD"
    with running_server(models_config(models / "xgacmn"), models) as (_, url):
        predict = {"inputs": [[3.0]]}
        answer = requests.post(f"{url}/v1/models/xgacmn/labels/canary:predict", json=predict)
        np.testing.assert_array_equal(answer.json()["outputs"], [[6]])

        def healthy(port, model="xgacmn"):
            command = [
                part.replace("/127.0.0.1/8501", f"/127.0.0.1/{port}").replace("xgacmn", model)
                for part in check
            ]
            assert command != check
            return subprocess.run(command, capture_output=True).returncode == 0

        port = url.rpartition(":")[2]
        assert healthy(port)
        assert not healthy(1)
        assert not healthy(port, "other"), "another model's absence is not health"
