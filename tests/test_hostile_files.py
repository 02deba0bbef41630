"""Files that nobody vouches for: damaged at random, and made to do harm.

Each of the readers gives its data or an `InputError`, whatever bytes it meets, and soon. What a
file may do to a reader otherwise (objects, links, declared sizes) is in the readers' own tests;
here are the ones that nobody thought of.
"""

import json
import os
import random
import re
import shutil
import time
import zipfile
from pathlib import Path

import pytest
from absl import flags
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.test_streamed import write as write_tfds
from tests.readers import READERS, damaged, write_npz
from xgacmn_tf import datasets
from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.experiment import run as run_experiment
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.xgacmn import build_model
from xgacmn_tf.serve.errors import RequestError
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.fields import leaves
from xgacmn_tf.training.progress import Checkpoints, Progress

# XGACMN_FUZZ multiplies the number of damaged files and settings for a longer search.
FUZZ = int(os.environ.get("XGACMN_FUZZ", "1"))
SECONDS = 5.0  # of computing, which a busy machine does not lengthen
each_number_of_files = pytest.mark.parametrize(
    "files", [8 * FUZZ, pytest.param(40 * FUZZ, marks=pytest.mark.slow)]
)


@each_number_of_files
@pytest.mark.parametrize("kind", READERS)
def test_damaged_files_are_read_or_refused(kind, files, tmp_path, tried):
    name, write, read = READERS[kind]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    read(path)  # whole, it is readable
    content = path.read_bytes()
    # Of few files the share that is refused varies with the seed; with these it is above a quarter.
    draw, refused = random.Random(f"{kind}/{files}"), 0
    for number in range(files):
        path.write_bytes(damaged(content, draw))
        started = time.process_time()
        try:
            read(path)
        except (InputError, RequestError) as error:
            refused += 1
            assert str(error).strip(), number
        assert time.process_time() - started < SECONDS, number
        tried[kind] += 1
    assert refused > files / 4


@each_number_of_files
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("part", ["train.tfrecord-00000", "dataset_info.json", "features.json"])
def test_damaged_tfds_data_sets_are_read_or_refused(part, streaming, files, tmp_path, tried):
    write_tfds(tmp_path)
    (path,) = (p for p in (tmp_path / "pairs" / "1.0.0").iterdir() if part in p.name)
    content, draw, refused = path.read_bytes(), random.Random(part), 0
    for _ in range(files):
        path.write_bytes(damaged(content, draw))
        try:
            datasets.load("pairs", str(tmp_path), streaming=streaming)
        except InputError:
            refused += 1
        tried["TFDS " + part.split("-")[0]] += 1
    assert refused > files / 4


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder and settings: small networks on a small file."""
    folder = tmp_path_factory.mktemp("trained")
    write_npz(folder / "pairs.npz")
    config = Config.of(
        dataset=str(folder / "pairs.npz"), output_dir=str(folder / "run"), epochs=2, batch_size=4,
        encoder_hidden=(4, 3), code_dim=2, feature_discriminator_hidden=3,
        common_discriminator_hidden=2, item_hidden=(3,), item_dim=2, item_members=2, export=False,
        validation_fraction=0.2,
    )  # fmt: skip
    run_experiment(config)
    return folder / "run", config


@each_number_of_files
def test_damaged_checkpoints_are_read_or_refused(trained, files, tmp_path, tried):
    content = (trained[0] / "checkpoints" / "best.keras").read_bytes()
    path, draw, refused = tmp_path / "best.keras", random.Random(0), 0
    for number in range(files):
        path.write_bytes(damaged(content, draw))
        started = time.process_time()
        try:
            load_encoder(path)
        except InputError:
            refused += 1
        assert time.process_time() - started < SECONDS, number
        tried["checkpoint"] += 1
    assert refused > files / 4


@each_number_of_files
def test_damaged_states_of_training_are_restored_or_refused(trained, files, tmp_path, tried):
    folder, config = trained
    dataset: PairedDataset = datasets.for_config(config)
    model = build_model(config, dataset)
    draw, refused = random.Random(0), 0
    for _ in range(files):
        shutil.rmtree(tmp_path / "resume", ignore_errors=True)
        shutil.copytree(folder / "checkpoints" / "resume", tmp_path / "resume")
        path = draw.choice(sorted((tmp_path / "resume").iterdir()))
        path.write_bytes(damaged(path.read_bytes(), draw))
        try:
            Checkpoints(model, Progress(), tmp_path / "resume", writes=False).restore()
        except InputError as error:
            assert "cannot be restored" in str(error)
            refused += 1
        tried["state of training"] += 1
    assert refused > files / 4


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
    with pytest.raises(
        InputError, match=r"best\.keras (cannot be read as a checkpoint|holds a layer Popen)"
    ):
        load_encoder(tmp_path / "best.keras")
    assert not mark.exists()


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20),
    st.binary(max_size=9), st.lists(st.integers(), max_size=3), st.tuples(st.integers()),
    st.tuples(st.text(max_size=3)),
)  # fmt: skip
NAMES = [leaf.name for leaf in leaves(Config)]


@settings(max_examples=200 * FUZZ, deadline=None)
@given(values=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4))
def test_settings_of_any_kind_make_a_config_or_an_input_error(tried, values):
    tried["settings"] += 1
    try:
        config = Config.of(**values)
    except InputError as error:
        assert re.match(r"--\w+", str(error)), error
    else:
        assert config.fingerprint() == config.replace().fingerprint()


@settings(
    max_examples=80 * FUZZ,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    lines=st.lists(
        st.one_of(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
            st.builds("--{}={}".format, st.sampled_from(NAMES), st.text(max_size=10)),
            st.builds("--no{}".format, st.sampled_from(NAMES)),
        ),
        max_size=5,
    )
)
def test_flag_files_of_any_content_make_a_config_or_an_error(parse, tmp_path, tried, lines):
    tried["flag file"] += 1
    path = tmp_path / "any.flags"
    # A flag file that names another one is the user's own doing.
    text = "\n".join(line for line in lines if "flagfile" not in line)
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    try:
        parse(f"--flagfile={path}")
    except (InputError, flags.Error, UnicodeDecodeError):
        pass


@pytest.mark.slow
def test_events_of_tensorboard_are_not_read_back(trained):
    """A run that goes on replaces its own event files, whatever stands in them."""
    folder, config = trained
    (folder / "metrics.json").unlink()
    for path in (folder / "tensorboard").glob("events*"):
        path.write_bytes(b"nothing that anybody wrote")
    run_experiment(config)
    assert (folder / "metrics.json").exists()
