"""A training split that stays in its files: the same pairs, batches of each epoch, whole runs."""

import hashlib
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tests.log_lines import logged_lines
from xgacmn_tf import datasets, experiment
from xgacmn_tf.datasets import streamed
from xgacmn_tf.datasets.paired import give_back, hold_out
from xgacmn_tf.errors import InputError
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.runs.xgacmn import train_model as train
from xgacmn_tf.settings.config import Config

F = tfds.features
ROWS = 150


def columns(rows, seed, multi_hot):
    generator = np.random.default_rng(seed)
    label = generator.integers(3, size=rows)
    centre = np.random.default_rng(9).normal(size=(3, 9))
    noise = generator.normal(size=(rows, 9))
    both = (centre[label] + noise).astype(np.float32)
    return {
        "image": both[:, :5],
        "text": both[:, 5:],
        "label": np.eye(3, dtype=np.uint8)[label] if multi_hot else label,
        "id": [f"{seed}-{row}" for row in range(rows)],
    }


def write(folder, change=None, multi_hot=False, grouped=False, **kwargs):
    """Writes a TFDS data set called `pairs`, in six files, and returns its folder."""
    splits = {"train": columns(ROWS, 1, multi_hot), "test": columns(40, 2, multi_hot)}
    if change:
        change(splits)
    label = F.Tensor(shape=(3,), dtype=np.uint8) if multi_hot else F.ClassLabel(num_classes=3)
    tfds.dataset_builders.store_as_tfds_dataset(
        name="pairs",
        version="1.0.0",
        data_dir=str(folder),
        features=F.FeaturesDict(
            {
                "image": F.Tensor(shape=(5,), dtype=np.float32),
                "text": F.Tensor(shape=(4,), dtype=np.float32),
                "label": label,
                "id": F.Text(),
                **({"group": F.Text()} if grouped else {}),
            }
        ),
        split_datasets={
            part: tf.data.Dataset.from_tensor_slices(content) for part, content in splits.items()
        },
        download_config=tfds.download.DownloadConfig(num_shards=6),
        disable_shuffling=True,
        **kwargs,
    )
    return str(folder)


@pytest.fixture(scope="module", params=[False, True], ids=["single_labels", "multi_hot"])
def data_dir(request, tmp_path_factory):
    return write(tmp_path_factory.mktemp("tfds"), multi_hot=request.param)


# Above the batches, whose tests are quick, both forms of labels are trained on alike.
trained_on_single_labels = pytest.mark.parametrize(
    "data_dir", [False, pytest.param(True, marks=pytest.mark.slow)],
    ids=["single_labels", "multi_hot"], indirect=True,
)  # fmt: skip


@pytest.fixture
def split(data_dir):
    return datasets.load("pairs", data_dir, streaming=True).train


def settings(data_dir, **more):
    return Config.of(
        dataset="pairs", data_dir=data_dir, streaming=True, epochs=4, batch_size=16,
        encoder_hidden=(16, 8), code_dim=6, feature_discriminator_hidden=12,
        common_discriminator_hidden=5, generator_learning_rate=3e-3, item_hidden=(12,), item_dim=4,
        validation_fraction=0.2, **more,
    )  # fmt: skip


def test_all_rows_are_those_in_memory(data_dir, split):
    whole = datasets.load("pairs", data_dir).train
    assert len(split) == ROWS
    order = {value: row for row, value in enumerate(whole.id.tolist())}
    rows = np.array([order[value] for value in split.id.tolist()])
    read = split.in_memory()
    assert len(split.shards.files) == 6
    for field in ("image", "text", "label", "id"):
        np.testing.assert_array_equal(getattr(read, field), getattr(whole, field)[rows])


@pytest.mark.parametrize("explicit", [False, True])
def test_groups_stay_together_in_memory_and_in_files(tmp_path, explicit):
    def repeat(splits):
        for content in splits.values():
            first = np.arange(len(content["image"])) // 3 * 3
            if explicit:
                content["group"] = [f"g{row}" for row in first]
            else:
                content["image"] = content["image"][first]

    folder = write(tmp_path, repeat, grouped=explicit)
    for streaming in (False, True):
        dataset = datasets.load("pairs", folder, streaming=streaming)
        assert (dataset.train.group is not None) == explicit
        assert len(np.unique(dataset.groups["train"])) == ROWS // 3
        held = hold_out(dataset, 0.2, seed=2)
        assert not np.intersect1d(held.groups["train"], held.groups["validation"]).size
        rows = np.array([int(name.split("-")[1]) for name in held.validation.id.tolist()])
        assert np.unique(rows // 3, return_counts=True)[1].tolist() == [3] * (len(rows) // 3)
        assert 24 <= len(rows) <= 36  # A fifth of the groups, whose labels are mixed, is ten.


def test_an_epoch_holds_every_row_once_and_its_own_features(split):
    read = split.in_memory()
    batches = list(split.epoch_batches(seed=0, epoch=1, batch_size=16).as_numpy_iterator())
    rows = np.concatenate([batch["row"] for batch in batches])
    assert [len(batch["row"]) for batch in batches] == [16] * (ROWS // 16)
    assert len(set(rows.tolist())) == len(rows)
    np.testing.assert_array_equal(
        np.concatenate([batch["image"] for batch in batches]), read.image[rows]
    )


def test_order_depends_on_seed_and_epoch_alone(split):
    def order(seed, epoch):
        batches = split.epoch_batches(seed, epoch, batch_size=16).as_numpy_iterator()
        return tuple(np.concatenate([batch["row"] for batch in batches]).tolist())

    orders = {(seed, epoch): order(seed, epoch) for seed in (0, 1) for epoch in (1, 2)}
    assert len(set(orders.values())) == 4
    assert order(0, 2) == orders[0, 2]


def test_threads_do_not_change_a_bit_of_the_batches(split, monkeypatch):
    """Neither those of the input's own pool nor the calls of its stages at a time."""
    found = set()
    for pool, calls in ((0, tf.data.AUTOTUNE), (1, 1), (2, 3), (16, 6)):
        monkeypatch.setattr(tf.data, "AUTOTUNE", calls)
        options, digest = tf.data.Options(), hashlib.sha256()
        options.threading.private_threadpool_size = pool
        for epoch in (1, 2):
            batches = split.epoch_batches(0, epoch, batch_size=16).with_options(options)
            for batch in batches.as_numpy_iterator():
                for name in ("row", "image", "text"):
                    digest.update(batch[name].tobytes())
        found.add(digest.hexdigest())
    assert len(found) == 1


def test_small_buffers_still_mix_files_and_records(split, monkeypatch):
    monkeypatch.setattr(streamed, "SHUFFLE_BYTES", 40 * split.shards.bytes_a_row)
    batches = list(split.epoch_batches(seed=0, epoch=1, batch_size=16).as_numpy_iterator())
    first = np.cumsum([0, *split.shards.lengths])
    files = [np.unique(np.searchsorted(first, b["row"], side="right")) for b in batches]
    assert len(files[0]) > 1
    assert not np.all(np.diff(batches[0]["row"]) == 1)


def test_workers_share_every_batch(split):
    one = [b["row"] for b in split.epoch_batches(3, 1, batch_size=16).as_numpy_iterator()]
    parts = [
        [
            b["row"]
            for b in split.epoch_batches(3, 1, 16, workers=2, worker=worker).as_numpy_iterator()
        ]
        for worker in (0, 1)
    ]
    for whole, first, second in zip(one, *parts, strict=False):
        np.testing.assert_array_equal(np.sort(whole), np.sort([*first, *second]))


def test_part_that_is_held_out_is_read_into_memory_and_given_back(data_dir):
    dataset = datasets.load("pairs", data_dir, streaming=True)
    parted = datasets.hold_out(dataset, 0.2, seed=0)
    assert len(parted.train) + len(parted.validation) == ROWS
    assert not set(parted.train.id) & set(parted.validation.id)
    batches = parted.train.epoch_batches(0, 1, batch_size=16).as_numpy_iterator()
    ids = {dataset.train.all_ids[row] for batch in batches for row in batch["row"]}
    assert ids <= set(parted.train.id)
    assert set(parted.train.to_fit().id) == set(parted.train.id)  # all rows fit in the sample
    assert give_back(parted).train.id.tolist() == dataset.train.id.tolist()
    assert parted.fingerprint != dataset.fingerprint


def test_sample_is_spread_over_the_rows(data_dir, monkeypatch):
    monkeypatch.setattr(streamed, "SAMPLE_BYTES", 10 * 9 * 4)
    split = datasets.load("pairs", data_dir, streaming=True).train
    sample = split.to_fit()
    assert len(sample) == 10
    np.testing.assert_array_equal(sample.image, split.in_memory().image[split.sample_rows])
    assert split.sample_rows[[0, -1]].tolist() == [0, ROWS - 1]


@pytest.mark.slow
@trained_on_single_labels
def test_run_learns_as_one_in_memory_does(data_dir, tmp_path):
    config = settings(data_dir, output_dir=str(tmp_path / "streamed"))
    with logged_lines() as lines:
        metrics = experiment.run(config)
    assert lines[-1].endswith(
        "its searches find items of the test split only: the training split is streamed from files"
    )
    run = TrainedRun(tmp_path / "streamed")
    assert run.searched_split()[0] == "test"
    assert len(run.gallery("test")) == metrics["splits"]["test"]
    with pytest.raises(InputError, match="is streamed from files, so that not all items can be"):
        run.gallery("all")
    in_memory = config.replace(streaming=False, export=False, output_dir=str(tmp_path / "memory"))
    expected = experiment.run(in_memory)
    assert metrics["splits"] == expected["splits"]
    assert metrics["refit"]["pairs"] == ROWS
    # Same pairs in another order.
    assert metrics["test"]["dot"]["mAP"]["avg"] == pytest.approx(
        expected["test"]["dot"]["mAP"]["avg"], abs=0.08
    )
    maps = [load_encoder(tmp_path / name / "checkpoints" / "selected.keras").image_map.get_weights()
            for name in ("streamed", "memory")]  # fmt: skip
    for one, two in zip(*maps, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)


class Interrupt(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
@trained_on_single_labels
def test_interrupted_run_ends_with_the_same_numbers(data_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("xgacmn_tf.training.progress.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr("xgacmn_tf.training.progress.SAVES_BETWEEN_CHECKPOINTS", 0.0)
    config = settings(data_dir)
    dataset = datasets.for_config(config)
    folders = [RunFolder(tmp_path / name) for name in ("whole", "interrupted")]
    for folder in folders:
        folder.claim(config, dataset.fingerprint)
    whole = train(config, dataset, folders[0])
    with pytest.raises(KeyboardInterrupt):
        train(config, dataset, folders[1], [Interrupt()])
    resumed = train(config, datasets.for_config(config), folders[1])
    assert json.dumps(resumed.history) == json.dumps(whole.history)


def test_what_cannot_be_streamed_is_refused(feature_file, tmp_path):
    for name in (str(feature_file), "openclipart", "nuswide"):
        with pytest.raises(InputError, match="--streaming reads the files of TFDS data sets"):
            datasets.load(name, streaming=True)
    with pytest.raises(InputError, match="setting of X-GACMN"):
        Config.of(model="acmr", streaming=True)
    folder = write(tmp_path, file_format="array_record")
    for streaming in (False, True):
        with pytest.raises(InputError, match="stored as array_record, expected tfrecord"):
            datasets.load("pairs", folder, streaming=streaming)


def test_values_that_are_not_finite_are_named(tmp_path):
    def spoil(splits):
        splits["train"]["text"][7, 2] = np.inf

    folder = write(tmp_path, spoil)
    with pytest.raises(InputError, match="text_train is not finite at row 7, column 2"):
        datasets.load("pairs", folder, streaming=True)


def test_damaged_file_is_an_error(tmp_path):
    folder = write(tmp_path)
    (path, *_) = sorted((tmp_path / "pairs" / "1.0.0").glob("*train.tfrecord*"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    for streaming in (False, True):
        with pytest.raises(
            InputError, match="pairs/1.0.0: a file cannot be read .*corrupted record"
        ):
            datasets.load("pairs", folder, streaming=streaming)
