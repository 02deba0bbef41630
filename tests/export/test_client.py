"""export/client.py against servers: every answer, every refusal, over gRPC and REST.

The development server is always tested. A TensorFlow Serving is tested as well where three
variables name it:

    python export/export_savedmodel.py --run=RUN --output=models              # 1, of the clip art
    python export/export_savedmodel.py --run=RUN --output=models --depth=5    # 2
    MODELS=$PWD/models docker compose -f export/serving/compose.yaml up --detach --wait
    python export/move_label.py canary=2
    XGACMN_SERVING_GRPC=localhost:8500 XGACMN_SERVING_REST=http://localhost:8501 \
        XGACMN_SERVING_MODELS=$PWD/models python -m pytest tests/export/test_client.py

Answers are compared with those of the same SavedModels in this process.
"""

import importlib
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from xgacmn_tf.export import export_run

sys.path.append(str(Path(__file__).parent))
served_model = importlib.import_module("served_model")
client, made_up = served_model.client, served_model.made_up
assert_answers, inputs_for, refused, specs_of = (
    getattr(served_model, name) for name in ("assert_answers", "inputs_for", "refused", "specs_of")
)
LARGEST_REQUEST = served_model.LARGEST_REQUEST

SIGNATURES = [
    "serving_default",
    "encode_image",
    "encode_text",
    "encode_raw_text",
    "search_images_by_text",
    "search_texts_by_image",
    "search_images_by_raw_text",
]


@pytest.fixture(scope="module")
def exported(make_clip_art_run, tmp_path_factory):
    """Two versions of encoders for the clip art; the second one's searches find 5 items."""
    path = tmp_path_factory.mktemp("served")
    folder, _ = make_clip_art_run(path / "run")
    shutil.rmtree(folder.extractors / "image")  # see test_client_pictures.py
    export_run(folder.path, path / "models")
    export_run(folder.path, path / "models", depth=5)
    return path / "models" / "xgacmn"


@pytest.fixture(scope="module")
def development_server(exported):
    with served_model.development_server(exported) as server:
        yield server


@pytest.fixture(scope="module", params=served_model.SERVERS)
def server(request):
    if request.param == "development server":
        return request.getfixturevalue("development_server")
    return served_model.tensorflow_serving()


@pytest.fixture(scope="module")
def in_process(server):
    return {version: server.in_process(version) for version in (1, 2)}


@pytest.fixture(scope="module", params=served_model.PROTOCOLS)
def served(request, server):
    with server.client(request.param) as each:
        yield each


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("signature", SIGNATURES)
def test_answers_are_those_of_the_model(served, in_process, signature, rows):
    inputs = inputs_for(in_process[1][signature], rows)
    answer = served.predict(inputs, signature, version=1)
    assert_answers(answer, in_process[1][signature], inputs)


def test_the_signature_without_a_name_is_encode_image(served, in_process):
    inputs = inputs_for(in_process[1]["encode_image"], 2)
    answer = served.predict(inputs, version=1)
    assert_answers(answer, in_process[1]["encode_image"], inputs)


@pytest.mark.parametrize(
    "whom, version",
    [
        ({"version": 1}, 1),
        ({"version": 2}, 2),
        ({"label": "stable"}, 1),
        ({"label": "canary"}, 2),
        ({}, 2),
    ],
)
def test_versions_and_labels(served, in_process, whom, version):
    function = in_process[version]["search_images_by_text"]
    inputs = inputs_for(function, 2)
    answer = served.predict(inputs, "search_images_by_text", **whom)
    assert_answers(answer, function, inputs)
    assert answer["ids"].shape == (2, {1: 10, 2: 5}[version])


def test_status(served):
    assert served.status() == [(2, "AVAILABLE", ""), (1, "AVAILABLE", "")]


@pytest.mark.parametrize("whom, version", [({"version": 1}, 1), ({"label": "canary"}, 2), ({}, 2)])
def test_metadata(served, in_process, whom, version):
    found = served.metadata(**whom)
    found.pop("__saved_model_init_op", None)
    assert found == {
        name: client.Signature(
            specs_of(function.structured_input_signature[1]),
            specs_of(function.structured_outputs),
        )
        for name, function in in_process[version].items()
    }


def test_texts_of_any_script(served, in_process):
    inputs = {"text": ["Ein grüner Apfel", "", "リンゴ", 'a "red"\\apple\n', b"caf\xc3\xa9"]}
    answer = served.predict(inputs, "search_images_by_raw_text", version=1)
    assert_answers(answer, in_process[1]["search_images_by_raw_text"], inputs)


def test_each_client_gets_its_own_rows(served, in_process):
    """Requests that a server joins must not be mixed up."""
    function = in_process[1]["search_images_by_text"]
    batches = made_up.batches(specs_of(function.structured_input_signature[1]), 3)

    def ask(inputs):
        return served.predict(inputs, "search_images_by_text", version=1)

    with ThreadPoolExecutor(len(batches)) as pool:
        for inputs, answer in zip(batches, pool.map(ask, batches), strict=True):
            assert_answers(answer, function, inputs)


WRONG_INPUTS = {
    "dimension": ("encode_text", {"text_features": np.ones((1, 7), np.float32)}, "1000|7"),
    "dimensions": ("encode_text", {"text_features": np.ones(1000, np.float32)}, "1000|rank|shape"),
    "strings for numbers": ("encode_text", {"text_features": [["a"] * 1000]}, "float|string"),
    "numbers for strings": ("encode_raw_text", {"text": [1.0]}, "string|float"),
    "name": ("encode_raw_text", {"words": ["a"]}, "words|text"),
    "no input": ("encode_raw_text", {}, "text"),
    "not UTF-8": ("encode_raw_text", {"text": [b"caf\xe9"]}, "UTF-8|Invalid"),
}


def assert_alive(served, in_process):
    inputs = {"text": ["a red apple"]}
    answer = served.predict(inputs, "encode_raw_text", version=1)
    assert_answers(answer, in_process[1]["encode_raw_text"], inputs)


@pytest.mark.parametrize("case", WRONG_INPUTS)
def test_wrong_inputs(served, in_process, case):
    signature, inputs, message = WRONG_INPUTS[case]
    error = refused(served, inputs, signature)
    assert error.code == "INVALID_ARGUMENT"
    assert re.search(message, error.message), error
    assert f"signature {signature} of model xgacmn, version 1: INVALID_ARGUMENT: " in str(error)
    assert_alive(served, in_process)


def test_float64_is_refused_over_grpc_and_read_over_rest(served, in_process):
    inputs = inputs_for(in_process[1]["encode_text"], 1)
    doubles = {name: value.astype(np.float64) for name, value in inputs.items()}
    if isinstance(served, client.GrpcClient):
        assert refused(served, doubles, "encode_text").code == "INVALID_ARGUMENT"
    else:  # JSON has one kind of number
        answer = served.predict(doubles, "encode_text", version=1)
        assert_answers(answer, in_process[1]["encode_text"], inputs)


@pytest.mark.parametrize(
    "whom, signature, code, message",
    [
        ({"version": 99}, "encode_text", "NOT_FOUND", r"Specific\(xgacmn, 99\)"),
        ({"model": "other", "version": None}, "encode_text", "NOT_FOUND", r"Latest\(other\)"),
        ({"label": "none", "version": None}, "encode_text", "INVALID_ARGUMENT", "label: none"),
        ({}, "encode", "FAILED_PRECONDITION", "encode"),
    ],
    ids=["version", "model", "label", "signature"],
)
def test_what_is_not_there(served, in_process, whom, signature, code, message):
    inputs = {"text_features": np.ones((1, 1000), np.float32)}
    error = refused(served, inputs, signature, **whom)
    if isinstance(served, client.RestClient) and code == "FAILED_PRECONDITION":
        code = "INVALID_ARGUMENT"  # both are HTTP's 400
    assert error.code == code
    assert re.search(message, error.message), error
    assert_alive(served, in_process)


def test_status_and_metadata_of_what_is_not_there(served):
    for ask in (served.status, served.metadata):
        with pytest.raises(client.ServingError, match="of model other: NOT_FOUND: .*other"):
            ask("other")
    with pytest.raises(client.ServingError, match="version 99: NOT_FOUND"):
        served.metadata(version=99)


def test_empty_batches_and_nan(served, server, in_process):
    if not server.development:
        pytest.skip("TensorFlow Serving has answers for them, which mean nothing")
    for rows in (np.ones((0, 1000)), np.full((1, 1000), np.nan)):
        inputs = {"text_features": rows.astype(np.float32)}
        assert refused(served, inputs, "encode_text").code == "INVALID_ARGUMENT"
    assert_alive(served, in_process)


@pytest.mark.parametrize("signature", ["encode_text", "search_images_by_text"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_features_that_mean_nothing_are_refused_by_name(served, in_process, signature, value):
    """TensorFlow Serving answers so too: the model itself rejects them."""
    rows = np.ones((2, 1000), np.float32)
    rows[1] = value
    error = refused(served, {"text_features": rows}, signature)
    assert error.code == "INVALID_ARGUMENT" and "text_features" in error.message, error
    assert_alive(served, in_process)


def test_a_query_of_zeros_finds_nothing(served):
    inputs = {"text_features": np.zeros((1, 1000), np.float32)}
    found = served.predict(inputs, "search_images_by_text", version=1)
    assert found["ids"].tolist() == found["titles"].tolist() == [[""] * 10]
    assert found["scores"].tolist() == [[0] * 10]


def test_an_oversized_request(served, server, in_process):
    if not server.development:
        pytest.skip("tests the development server's own limit")
    inputs = {"text": ["x" * 2 * LARGEST_REQUEST]}
    assert refused(served, inputs, "encode_raw_text").code == "RESOURCE_EXHAUSTED"
    assert_alive(served, in_process)


def test_a_version_and_a_label(served):
    with pytest.raises(client.ServingError, match="INVALID_ARGUMENT: give a version or a label"):
        served.predict({"text": ["a"]}, version=1, label="stable")


@pytest.fixture(params=["--address", "--rest"])
def command(request, server, capsys):
    """Runs the command line over one of the protocols; returns status, output and errors."""
    address = server.grpc if request.param == "--address" else server.rest

    def run(*arguments):
        status = client.main([f"{request.param}={address}", *arguments])
        return status, *capsys.readouterr()

    return run


def test_command_search(command, in_process):
    found = in_process[1]["search_images_by_raw_text"](text=tf.constant(["a red apple"]))
    status, output, _ = command("--search=a red apple", "--label=stable")
    lines = output.splitlines()
    assert status == 0 and len(lines) == 10
    for rank, line in enumerate(lines):
        number, score, item, title = line.split(maxsplit=3)
        assert (int(number), item) == (rank + 1, found["ids"][0, rank].numpy().decode())
        assert float(score) == pytest.approx(float(found["scores"][0, rank]), abs=1e-4)
        assert title == found["titles"][0, rank].numpy().decode()
    status, output, _ = command("--search=xyzzy", "--version=1")
    assert (status, output) == (0, "none of the words is known to the model: nothing is found\n")


def test_answers_of_older_and_of_newer_models_are_printed(capsys):
    """They had arbitrary items for a text without a known word, and named no categories."""
    hits = {"ids": np.array([["a"]]), "titles": np.array([["A"]]), "scores": np.array([[0.5]])}
    client._print_found(hits | {"known_words": np.array([0])})
    assert capsys.readouterr().out.splitlines() == [
        "none of the words is known to the model: nothing is found"
    ]
    client._print_found(hits | {"known_words": np.array([1])})
    assert capsys.readouterr().out == "  1  0.5000  a  A\n"
    client._print_found(hits | {"no_good_match": np.array([False])})
    assert capsys.readouterr().out == "  1  0.5000  a  A\n"
    client._print_found(
        hits
        | {
            "category": np.array([["food"]]),
            "category_posterior": np.array([[0.914]]),
            "query_category": np.array(["tools"]),
            "query_category_posterior": np.array([0.5]),
            "no_good_match": np.array([True]),
        }
    )
    assert capsys.readouterr().out.splitlines() == [
        "most probable category: tools (0.50)",
        "No good match: the nearest items are shown.",
        "  1  0.5000  a  A  food (0.91)",
    ]
    client._print_found({name: np.array([[""]]) for name in hits})
    assert capsys.readouterr().out == "all features of the query are zero: nothing is found\n"


def test_command_status_and_metadata(command):
    assert command("--status") == (0, "2 AVAILABLE\n1 AVAILABLE\n", "")
    status, output, _ = command("--metadata", "--label=stable")
    assert status == 0
    expected = "encode_text\n  input text_features: float32 (n, 1000)\n  output embedding: float32"
    assert expected in output
    status, output, errors = command("--status", "--model=other")
    assert (status, output, errors.count("\n")) == (1, "", 1)
    assert errors.startswith("error: ") and "status of model other: NOT_FOUND: " in errors


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "one of the arguments --search --image --status --metadata is required"),
        (["--image=none.jpg"], "No such file or directory: 'none.jpg'"),
        (["--status", "--rest=localhost:8501"], "'localhost:8501' is no URL of a server, such as"),
        (["--status", "--version=1", "--label=a"], "not allowed with argument --version"),
    ],
)
def test_command_bad_use(arguments, message, capsys):
    try:
        status = client.main(arguments)
    except SystemExit as end:
        status = end.code
    errors = capsys.readouterr().err
    assert status == 2 and errors.startswith("error: ") and errors.count("\n") == 1
    assert message in errors
