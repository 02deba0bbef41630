"""Files that nobody vouches for: damaged at random, and made to do harm.

Each of the readers gives its data or an `InputError`, whatever bytes it meets, and soon. What a
file may do to a reader otherwise (objects, links, declared sizes) is in the readers' own tests;
here are the ones that nobody thought of.
"""

import dataclasses
import json
import os
import random
import re
import shutil
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xgacmn_tf import datasets, gallery
from xgacmn_tf.config import Config
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.encoders import load_encoder
from xgacmn_tf.errors import InputError
from xgacmn_tf.experiment import run as run_experiment
from xgacmn_tf.progress import Checkpoints, Progress
from xgacmn_tf.run_folder import RunFolder
from xgacmn_tf.training import build_model

# Damaged files a reader. XGACMN_FUZZ multiplies them for a longer look.
FILES = 60 * int(os.environ.get("XGACMN_FUZZ", "1"))
SECONDS = 5.0


def arrays(rows=12):
    generator = np.random.default_rng(0)
    found = {"label_names": np.array(["cat", "dog", "bird"])}
    for part in ("train", "test"):
        found[f"image_{part}"] = generator.normal(size=(rows, 4)).astype(np.float32)
        found[f"text_{part}"] = generator.normal(size=(rows, 3)).astype(np.float32)
        found[f"label_{part}"] = np.arange(rows) % 3
        found[f"id_{part}"] = np.array([f"{part}-{row}" for row in range(rows)])
    return found


def write_npz(path):
    np.savez(path, **arrays())


def write_compressed(path):
    np.savez_compressed(path, **arrays())


def write_matlab(path):
    scipy.io.savemat(path, arrays())


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        for name, values in arrays().items():
            if values.dtype.kind != "U":
                file[name] = values.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")


def write_gallery(path):
    made = {"text": np.ones((5, 3), np.float32), "id": np.arange(5).astype(str)}
    np.savez(
        path, **made, thumbnail=np.zeros(9, np.uint8), thumbnail_offset=np.array([0] * 5 + [9])
    )


def read_gallery(path):
    return gallery.from_file(path, {"text": 3})


def write_record(path):
    record = {"settings": Config().as_dict(), "data_fingerprint": "ab"}
    path.write_text(json.dumps(record, indent=2))


def read_record(path):
    return RunFolder(path.parent).recorded_config()


def read_features(path):
    return datasets.load(str(path))


# Kind → the file's name, who writes and who reads it.
READERS = {
    "npz": ("pairs.npz", write_npz, read_features),
    "compressed npz": ("pairs.npz", write_compressed, read_features),
    "mat v5": ("pairs.mat", write_matlab, read_features),
    "mat v7.3": ("pairs.mat", write_hdf5, read_features),
    "gallery": ("gallery.npz", write_gallery, read_gallery),
    "config.json": ("config.json", write_record, read_record),
}


def damaged(content: bytes, draw: random.Random) -> bytes:
    """Some of: cut off, bits flipped, bytes overwritten, a piece repeated, removed or zeroed."""
    found = bytearray(content)
    for _ in range(draw.choice((1, 1, 2, 8))):
        at = draw.randrange(len(found) + 1)
        size = draw.choice((1, 2, 4, 8, 64, 512))
        match draw.randrange(6):
            case 0:
                del found[at:]
            case 1 if at < len(found):
                found[at] ^= 1 << draw.randrange(8)
            case 2:
                found[at : at + size] = draw.randbytes(size)
            case 3:
                found[at:at] = found[at : at + size]
            case 4:
                del found[at : at + size]
            case _:
                found[at : at + size] = draw.choice((b"\0", b"\xff")) * size
    return bytes(found)


@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind, tmp_path, record_property):
    name, write, read = READERS[kind]
    write(tmp_path / name)
    read(tmp_path / name)  # whole, it is readable
    content = (tmp_path / name).read_bytes()
    draw, refused = random.Random(kind), 0
    for number in range(FILES):
        (tmp_path / name).write_bytes(damaged(content, draw))
        started = time.monotonic()
        try:
            read(tmp_path / name)
        except InputError as error:
            refused += 1
            assert str(error).strip(), number
        assert time.monotonic() - started < SECONDS, number
    record_property("damaged files", FILES)
    assert refused > FILES / 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder and settings: small networks on a small file."""
    folder = tmp_path_factory.mktemp("trained")
    write_npz(folder / "pairs.npz")
    config = Config(
        dataset=str(folder / "pairs.npz"), output_dir=str(folder / "run"), epochs=2, batch_size=4,
        encoder_hidden=(4, 3), code_dim=2, feature_discriminator_hidden=3,
        common_discriminator_hidden=2, export=False,
    )  # fmt: skip
    run_experiment(config, say=lambda text: None)
    return folder / "run", config


def test_damaged_checkpoints_are_read_or_refused(trained, tmp_path, record_property):
    content = (trained[0] / "checkpoints" / "best.keras").read_bytes()
    path, draw, refused = tmp_path / "best.keras", random.Random(0), 0
    for number in range(FILES):
        path.write_bytes(damaged(content, draw))
        started = time.monotonic()
        try:
            load_encoder(path)
        except InputError:
            refused += 1
        assert time.monotonic() - started < SECONDS, number
    record_property("damaged files", FILES)
    assert refused > FILES / 4


def test_damaged_states_of_training_are_restored_or_refused(trained, tmp_path, record_property):
    folder, config = trained
    dataset: PairedDataset = datasets.for_config(config)
    model = build_model(config, dataset)
    draw, refused = random.Random(0), 0
    for _ in range(FILES // 3):
        shutil.rmtree(tmp_path / "resume", ignore_errors=True)
        shutil.copytree(folder / "checkpoints" / "resume", tmp_path / "resume")
        path = draw.choice(sorted((tmp_path / "resume").iterdir()))
        path.write_bytes(damaged(path.read_bytes(), draw))
        try:
            Checkpoints(model, Progress(), tmp_path / "resume", writes=False).restore()
        except InputError as error:
            assert "cannot be restored" in str(error)
            refused += 1
    record_property("damaged files", FILES // 3)
    assert refused > FILES / 12


def rewritten(source: Path, target: Path, change) -> None:
    """A copy of a .keras file whose config.json went through `change(text)`."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, change(content.decode()) if name == "config.json" else content)


@pytest.mark.parametrize(
    "hostile",
    [
        {"module": "os", "class_name": "system", "config": "touch {mark}", "registered_name": None},
        {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "f"},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "{mark}"]}},
        {
            "module": "keras.layers", "class_name": "Lambda", "registered_name": None,
            "config": {"name": "l", "function": {"class_name": "__lambda__", "config": {
                "code": "4wAAAAA=", "defaults": None, "closure": None}}},
        },
        {"module": "keras.utils", "class_name": "get_file", "config": {"origin": "file:///x"}},
    ],
    ids=["os.system", "exec", "Popen", "Lambda", "get_file"],
)  # fmt: skip
def test_checkpoints_that_name_other_code_are_refused(trained, tmp_path, hostile):
    mark = tmp_path / "mark"
    hostile = json.loads(json.dumps(hostile).replace("{mark}", str(mark)))

    def change(text):
        config = json.loads(text)
        config["config"]["image_encoder"] = hostile
        return json.dumps(config)

    rewritten(trained[0] / "checkpoints" / "best.keras", tmp_path / "best.keras", change)
    with pytest.raises(InputError, match=r"best\.keras cannot be read as a checkpoint"):
        load_encoder(tmp_path / "best.keras")
    assert not mark.exists()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.binary(max_size=9), st.lists(st.integers(), max_size=3), st.tuples(st.integers()),
    st.tuples(st.text(max_size=3)),
)  # fmt: skip
NAMES = [field.name for field in dataclasses.fields(Config)]


@settings(max_examples=5 * FILES, deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_settings_of_any_kind_make_a_config_or_an_input_error(values):
    try:
        config = Config(**values)
    except InputError as error:
        assert re.match(r"--\w+", str(error)), error
    else:
        assert config.fingerprint() == dataclasses.replace(config).fingerprint()


@settings(
    max_examples=2 * FILES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            st.builds("--{}={}".format, st.sampled_from(NAMES), st.text(max_size=10)),
            st.builds("--no{}".format, st.sampled_from(NAMES)),
        ),
        max_size=5,
    )
)
def test_flag_files_of_any_content_make_a_config_or_an_error(parse, tmp_path, lines):
    path = tmp_path / "any.flags"
    # A flag file that names another one is the user's own doing.
    text = "\n".join(line for line in lines if "flagfile" not in line)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        parse(f"--flagfile={path}")
    except (InputError, flags.Error, UnicodeDecodeError):
        pass


def test_events_of_tensorboard_are_not_read_back(trained):
    """A run that goes on replaces its own event files, whatever stands in them."""
    folder, config = trained
    (folder / "metrics.json").unlink()
    for path in (folder / "tensorboard").glob("events*"):
        path.write_bytes(b"nothing that anybody wrote")
    run_experiment(config, say=lambda text: None)
    assert (folder / "metrics.json").exists()
