"""The epoch loop: batches, the best epoch, resuming, determinism."""

import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.run_metrics import metrics_without_times
from xgacmn_tf import datasets, experiment
from xgacmn_tf.datasets.paired import give_back
from xgacmn_tf.devices import Devices
from xgacmn_tf.errors import DivergenceError, InputError
from xgacmn_tf.model.xgacmn import GENERATOR_LEARNING_RATE
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.runs.xgacmn import build_model, check_evaluations
from xgacmn_tf.runs.xgacmn import train_model as train
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training import loop
from xgacmn_tf.training.automatic import generator_learning_rate, max_epochs, patience
from xgacmn_tf.training.callbacks import StopOnNonFinite
from xgacmn_tf.training.progress import Progress
from xgacmn_tf.training.validation import Validation


def make_small_config(feature_file):
    return Config.of(
        dataset=str(feature_file), epochs=5, batch_size=16, encoder_hidden=(16, 8), code_dim=6,
        feature_discriminator_hidden=12, common_discriminator_hidden=5, validation_fraction=0.2,
        generator_learning_rate=3e-3, item_hidden=(12,), item_dim=4,
    )  # fmt: skip


@pytest.fixture
def small_config(feature_file):
    """Seconds of training on 90 made-up pairs; dropout on, so that random state matters."""
    return make_small_config(feature_file)


@pytest.fixture(scope="module")
def trained(feature_file, tmp_path_factory):
    """The progress and the folder of a whole training with `small_config`, to be read only."""
    config = make_small_config(feature_file)
    folder = folder_for(config, tmp_path_factory.mktemp("trained") / "run")
    return train(config, datasets.for_config(config), folder), folder


def folder_for(config, path):
    folder = RunFolder(path)
    folder.claim(config, "data")
    return folder


class Interrupt(keras.callbacks.Callback):
    """Stops training after an epoch, as a kill between two epochs would."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise KeyboardInterrupt


class Record(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append((epoch + 1, logs))


def weights_of(path):
    return [keras.ops.convert_to_numpy(w) for w in load_encoder(path).weights]


def assert_same_encoders(our_path, their_path):
    for a, b in zip(weights_of(our_path), weights_of(their_path), strict=True):
        np.testing.assert_array_equal(a, b)


def assert_same_run(ours, theirs, our_folder, their_folder):
    assert ours.history == theirs.history
    assert (ours.best_epoch, ours.best_score) == (theirs.best_epoch, theirs.best_score)
    for a, b in zip(
        weights_of(our_folder.selected), weights_of(their_folder.selected), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_batches_are_a_shuffle_that_depends_on_seed_and_epoch_alone(small_config):
    dataset = datasets.for_config(small_config)
    model = build_model(small_config, dataset)

    def order(seed, epoch):
        return dataset.train.batches(16, seed).rows(model, Devices()).begin(epoch).numpy()

    orders = {(seed, epoch): order(seed, epoch) for seed in (0, 1) for epoch in (1, 2)}
    for rows in orders.values():
        assert rows.shape == (len(dataset.train) // 16, 16)
        assert len(np.unique(rows)) == rows.size  # no row twice in an epoch
    assert len({rows.tobytes() for rows in orders.values()}) == 4
    np.testing.assert_array_equal(order(0, 2), orders[0, 2])


def test_split_smaller_than_a_batch_is_one_batch(small_config):
    dataset = datasets.for_config(small_config)
    rows = dataset.train.batches(1000).rows(build_model(small_config, dataset), Devices())
    assert (rows.steps, rows.batch_size) == (1, len(dataset.train))


@pytest.mark.slow
def test_steps_per_call_does_not_change_the_numbers(small_config, tmp_path):
    results = []
    for calls in (1, 100):
        config = small_config.replace(steps_per_call=calls, epochs=2)
        folder = folder_for(config, tmp_path / str(calls))
        results.append((train(config, datasets.for_config(config), folder), folder))
    (ours, our_folder), (theirs, their_folder) = results
    for a, b in zip(ours.history, theirs.history, strict=True):
        assert a == pytest.approx(b, rel=1e-6)
    for a, b in zip(
        weights_of(our_folder.selected), weights_of(their_folder.selected), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_same_seed_same_numbers_and_other_seed_others(small_config, trained, tmp_path):
    dataset = datasets.for_config(small_config)
    first, first_folder = trained
    folder = folder_for(small_config, tmp_path / "same")
    assert_same_run(first, train(small_config, dataset, folder), first_folder, folder)
    other = small_config.replace(seed=1)
    assert train(other, dataset, folder_for(other, tmp_path / "other")).history != first.history


@pytest.mark.parametrize("stop_at", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_interrupted_run_ends_with_the_same_numbers(
    small_config, trained, tmp_path, monkeypatch, stop_at
):
    monkeypatch.setattr("xgacmn_tf.training.progress.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr("xgacmn_tf.training.progress.SAVES_BETWEEN_CHECKPOINTS", 0.0)
    dataset = datasets.for_config(small_config)
    expected, whole = trained
    broken = folder_for(small_config, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        train(small_config, dataset, broken, [Interrupt(stop_at)])
    record = Record()
    assert_same_run(expected, train(small_config, dataset, broken, [record]), whole, broken)
    # Curves are whole: the epochs before the interruption are replayed to the callbacks.
    assert [epoch for epoch, _ in record.epochs] == [1, 2, 3, 4, 5]


def test_finished_training_trains_no_further(small_config, trained):
    first, folder = trained
    written = folder.selected.stat().st_mtime_ns
    assert train(small_config, datasets.for_config(small_config), folder).history == first.history
    assert folder.selected.stat().st_mtime_ns == written


def test_best_epoch_has_the_highest_validation_map(trained):
    progress, _ = trained
    scores = [record["validation/mAP/avg"] for record in progress.history]
    means = [np.mean(scores[: epoch + 1][-5:]) for epoch in range(5)]
    assert progress.best_epoch == 1 + int(np.argmax(means))
    assert progress.best_score == pytest.approx(max(means))


def history_of(*scores):
    """One record for each epoch; None: the epoch was not evaluated."""
    return [{} if score is None else {"validation/mAP/avg": score} for score in scores]


def test_the_progress_bar_shows_a_best_epoch_only_where_there_is_one():
    progress = Progress(history_of(0.1))
    assert loop._summary(progress) == "validation mAP 0.100"
    progress.note_best("best", is_last=False)
    assert loop._summary(progress) == "validation mAP 0.100, best 0.100"


def test_the_newest_epoch_is_kept_where_its_window_is_the_best():
    history = history_of(0.1, None, 0.2, 0.3, None, 0.0)
    kept = {n: Progress(history[:n]).note_best("best", is_last=False) for n in range(1, 7)}
    assert [n for n, best in kept.items() if best] == [1, 3, 4]
    progress = Progress(history[:4])
    progress.note_best("best", is_last=False)
    assert (progress.best_epoch, progress.best_score) == (4, pytest.approx(0.2))
    # The last epoch is kept where nothing chooses.
    for progress, rule in ((Progress(history), "last"), (Progress([{}, {}]), "best")):
        assert not progress.note_best(rule, is_last=False)
        assert progress.note_best(rule, is_last=True)
        assert progress.best_epoch == progress.epoch


def test_evaluation_every_few_epochs_includes_the_last(small_config, tmp_path):
    config = small_config.replace(evaluate_every=2)
    folder = folder_for(config, tmp_path / "run")
    progress = train(config, datasets.for_config(config), folder)
    evaluated = [r["epoch"] for r in progress.history if "validation/mAP/avg" in r]
    assert evaluated == [2, 4, 5]


def test_without_validation_the_last_epoch_is_kept(small_config, tmp_path):
    config = small_config.replace(validation_fraction=0.0)
    dataset = datasets.for_config(config)
    assert dataset.validation is None
    folder = folder_for(config, tmp_path / "run")
    progress = train(config, dataset, folder)
    assert progress.best_epoch == 5 and folder.selected.exists()


def test_epochs_and_patience_follow_the_size_of_the_data_unless_given():
    def epochs(steps, pairs=1_000, dim=257, chooses=True, given=None):
        return max_epochs(given, steps, pairs, dim, chooses)

    assert (epochs(10), epochs(3), epochs(125)) == (100, 334, 24)  # 1,000 steps, at least 24 epochs
    assert epochs(10, dim=1, chooses=False) == 100
    # Few pairs take fewer steps only where no validation split chooses the epoch.
    assert epochs(10, pairs=249, chooses=False) == 30
    assert epochs(10, pairs=250, chooses=False) == epochs(10, pairs=249) == 100
    assert epochs(10, pairs=249, chooses=False, given=3) == epochs(10, given=3) == 3
    # Patience is 400 steps, and at least 10 evaluations.
    assert [patience(None, steps, every=1) for steps in (4, 30, 40, 125)] == [100, 14, 10, 10]
    assert patience(None, 4, every=2) == 50
    assert patience(3, 4, every=1) == 3


def test_the_learning_rate_follows_the_size_of_the_data_unless_given():
    assert generator_learning_rate(None, pairs=250, dim=256) == 1e-3
    assert generator_learning_rate(None, pairs=249, dim=256) == GENERATOR_LEARNING_RATE
    assert generator_learning_rate(None, pairs=250, dim=257) == GENERATOR_LEARNING_RATE
    assert generator_learning_rate(2e-4, pairs=250, dim=256) == 2e-4


def test_training_is_over_when_no_evaluation_is_better_for_long():
    progress = Progress(history_of(0.1, 0.2, 0.3, 0.4, 0.1, 0.1, 0.1))
    assert progress.is_over(epochs=20, patience=3)
    assert not progress.is_over(epochs=20, patience=4)
    assert progress.is_over(epochs=7, patience=99)
    # Without a validation split nothing is better or worse.
    assert not Progress([{}] * 7).is_over(epochs=20, patience=3)


def test_patience_counts_evaluations_and_not_epochs():
    waiting = [None] * 19
    assert not Progress(history_of(*waiting, 0.3, *waiting)).is_over(epochs=60, patience=1)
    assert not Progress(history_of(*waiting, 0.3, *waiting, 0.4)).is_over(epochs=60, patience=1)
    assert Progress(history_of(*waiting, 0.3, *waiting, 0.2)).is_over(epochs=61, patience=1)


def test_a_score_that_still_rises_is_trained_on_between_rare_evaluations(small_config, tmp_path):
    """The patience of 10 once counted epochs, and 12 lie between these two evaluations."""
    config = small_config.replace(epochs=24, evaluate_every=12)
    progress = train(config, datasets.for_config(config), folder_for(config, tmp_path / "run"))
    assert [r["epoch"] for r in progress.history if "validation/mAP/avg" in r] == [12, 24]
    assert (progress.epoch, progress.planned) == (24, 24)


@pytest.mark.slow
def test_last_epoch_is_kept_whatever_the_validation_pairs_say(small_config, tmp_path):
    config = small_config.replace(choose_epoch="last")
    dataset = datasets.for_config(config)
    progress = train(config, dataset, folder_for(config, tmp_path / "run"))
    assert len(progress.scores) == 5 and progress.best_epoch == 5
    # Evaluations do not touch the training: the kept encoders are those of no evaluation at all.
    config = config.replace(evaluate_every=5)
    rare = folder_for(config, tmp_path / "rare")
    assert train(config, dataset, rare).best_epoch == 5
    assert_same_encoders(rare.selected, RunFolder(tmp_path / "run").selected)


@pytest.mark.parametrize("given", [{"epochs": 16, "evaluate_every": 16}, {"evaluate_every": 999}])
def test_a_single_evaluation_of_several_epochs_is_rejected(given, small_config, tmp_path):
    settings = {"epochs": None, "output_dir": str(tmp_path / "run")} | given
    config = small_config.replace(**settings)
    with pytest.raises(InputError) as error:
        experiment.run(config)
    epochs = given.get("epochs", 250)  # 72 pairs are four batches, and 1,000 steps the default
    expected = f"--evaluate_every={given['evaluate_every']} evaluates {epochs} epochs once"
    assert str(error.value).startswith(expected) and "--choose_epoch=last" in str(error.value)
    assert not (tmp_path / "run").exists()
    # Nothing is chosen, so one evaluation is enough.
    for harmless in ({"epochs": 1}, {"choose_epoch": "last"}, {"validation_fraction": 0.0}):
        allowed = config.replace(**harmless)
        check_evaluations(allowed, datasets.for_config(allowed), Devices())


def test_early_stop_keeps_the_best_epoch_and_stays_stopped(small_config, tmp_path):
    config = small_config.replace(epochs=60, patience=4)
    dataset, folder = datasets.for_config(config), folder_for(config, tmp_path / "run")
    progress = train(config, dataset, folder)
    assert progress.epoch == progress.best_epoch + 4 < 60
    assert progress.planned == 60
    written = folder.selected.stat().st_mtime_ns
    assert train(config, dataset, folder).history == progress.history
    assert folder.selected.stat().st_mtime_ns == written


def test_refit_learns_from_all_pairs_for_as_many_epochs(small_config, tmp_path):
    dataset, folder = datasets.for_config(small_config), folder_for(small_config, tmp_path / "run")
    progress = train(small_config, dataset, folder)
    chosen = folder.selected.stat().st_mtime_ns
    whole = give_back(dataset)
    assert len(whole.train) == 90 and whole.validation is None  # 72 pairs gave the number
    again = train(small_config, whole, folder, refit_epochs=3)
    # 72 pairs are 4 batches of 16, 90 are 5.
    assert (progress.history[-1]["step"], again.epoch, again.history[-1]["step"]) == (20, 3, 15)
    assert folder.refitted.exists()
    assert not any("validation/mAP/avg" in record for record in again.history)
    # The training that found the number stays as it was.
    assert train(small_config, dataset, folder).history == progress.history
    assert folder.selected.stat().st_mtime_ns == chosen


@pytest.mark.slow
def test_interrupted_refit_ends_with_the_same_numbers(small_config, tmp_path, monkeypatch):
    monkeypatch.setattr("xgacmn_tf.training.progress.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr("xgacmn_tf.training.progress.SAVES_BETWEEN_CHECKPOINTS", 0.0)
    whole = give_back(datasets.for_config(small_config))
    plain, broken = (folder_for(small_config, tmp_path / name) for name in ("plain", "broken"))
    expected = train(small_config, whole, plain, refit_epochs=5)
    with pytest.raises(KeyboardInterrupt):
        train(small_config, whole, broken, [Interrupt(3)], refit_epochs=5)
    assert train(small_config, whole, broken, refit_epochs=5).history == expected.history
    assert_same_encoders(plain.refitted, broken.refitted)


def test_divergence_stops_before_anything_of_that_epoch_is_kept(small_config, tmp_path):
    config = small_config.replace(lambda_3=1e38, epochs=2)
    folder = folder_for(config, tmp_path / "run")
    with pytest.raises(DivergenceError):
        train(config, datasets.for_config(config), folder, [StopOnNonFinite()])
    assert not folder.selected.exists()
    assert tf.train.latest_checkpoint(str(folder.resume)) is None


@pytest.mark.parametrize("steps_per_call", [1, 2, 100])
def test_divergence_names_the_step_and_the_terms(small_config, tmp_path, steps_per_call):
    """From a step's huge update on, the next one's terms are not finite; epochs have five steps."""
    config = small_config.replace(
        generator_learning_rate=1e38, validation_fraction=0.0,
        steps_per_call=steps_per_call, code_activation="linear",
    )  # fmt: skip
    with pytest.raises(
        DivergenceError, match=r"^epoch 1, step 2: D/image_loss is nan \(and .*G/pair"
    ):
        train(config, datasets.for_config(config), folder_for(config, tmp_path / "run"))


@pytest.mark.slow
def test_spread_is_none_where_all_codes_point_the_same_way(small_config, tmp_path):
    config = small_config.replace(lambda_1=1e6, lambda_2=0.0, lambda_3=0.0, epochs=60)
    dataset = datasets.for_config(config)
    history = train(config, dataset, folder_for(config, tmp_path / "run")).history
    first, last = (history[k]["validation/spread/image"] for k in (0, -1))
    assert 0.1 < first < 1.0
    assert last < first
    model = build_model(config, dataset)
    for dense in model.averaged.image_encoder.dense:
        dense.kernel.assign(tf.zeros_like(dense.kernel))
        dense.bias.assign(tf.ones_like(dense.bias))
    scores = Validation(model, dataset.validation, "cosine")()
    assert scores["spread/image"] == pytest.approx(0.0, abs=1e-6)
    assert scores["spread/text"] > 0.1


@pytest.mark.slow
def test_xla_trains_too(small_config, trained, tmp_path):
    plain, _ = trained
    config = small_config.replace(jit_compile=True)
    compiled = train(config, datasets.for_config(config), folder_for(config, tmp_path / "run"))
    # XLA orders sums differently, and draws dropout differently, so only the course agrees.
    assert compiled.history[-1]["G/loss"] == pytest.approx(plain.history[-1]["G/loss"], rel=0.2)


@pytest.mark.slow
@pytest.mark.parametrize("code_dim", [16, 64])
def test_same_seed_same_bits_where_slices_share_memory(small_config, tmp_path, code_dim):
    """Rows of a multiple of 16 floats are cut out of a tensor without a copy of them."""
    config = small_config.replace(code_dim=code_dim, validation_fraction=0.0, epochs=2)
    dataset = datasets.for_config(config)
    runs = [train(config, dataset, folder_for(config, tmp_path / str(i))) for i in range(4)]
    assert all(run.history == runs[0].history for run in runs)


@pytest.mark.slow
def test_bfloat16_trains_the_networks_alone(small_config, tmp_path):
    """The course of float32 within three digits; everything that is kept stays in float32."""
    dataset = datasets.for_config(small_config)
    # bfloat16 draws dropout differently.
    theirs = small_config.replace(image_dropout=0.0, text_dropout=0.0)
    ours = theirs.replace(precision="bfloat16")
    plain = train(theirs, dataset, folder_for(theirs, tmp_path / "plain"))
    folder = folder_for(ours, tmp_path / "run")
    mixed = train(ours, dataset, folder)
    for term, value in plain.history[-1].items():
        if term.startswith("G/"):
            assert mixed.history[-1][term] == pytest.approx(value, rel=0.02), term
    assert mixed.history != plain.history  # it is read
    model = build_model(ours, dataset)
    networks = [
        model.encoder.image_encoder, model.encoder.text_encoder, model.image_decoder,
        model.text_decoder, model.image_discriminator, model.common_discriminator,
    ]  # fmt: skip
    assert {network.compute_dtype for network in networks} == {"bfloat16"}
    kept = load_encoder(folder.selected)
    parts = [model.encoder.class_layer, *kept.trained_layers()]
    assert {part.compute_dtype for part in parts} == {"float32"}
    assert {str(weight.dtype) for weight in (*model.weights, *kept.weights)} <= {
        "float32", "int64", "int32", "uint32",
    }  # fmt: skip


@pytest.mark.slow
def test_bfloat16_resumes_to_the_same_numbers(small_config, tmp_path):
    config = small_config.replace(precision="bfloat16")
    dataset = datasets.for_config(config)
    whole, parts = (folder_for(config, tmp_path / name) for name in ("whole", "parts"))
    once = train(config, dataset, whole)
    with pytest.raises(KeyboardInterrupt):
        train(config, dataset, parts, [Interrupt(2)])
    assert_same_run(train(config, dataset, parts), once, parts, whole)


@pytest.mark.slow
def test_run_killed_at_random_moments_ends_with_the_same_numbers(feature_file, tmp_path):
    """SIGKILL on the real command, again and again, then once to the end."""

    def start(folder):
        return subprocess.Popen(
            [
                sys.executable, "-m", "xgacmn_tf.main", f"--dataset={feature_file}",
                "--epochs=400", f"--output_dir={folder}", "--batch_size=8",
                "--validation_fraction=0.2",
            ],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert start(whole).wait() == 0
    rng = np.random.default_rng(0)
    for _ in range(4):
        process = start(killed)
        time.sleep(rng.uniform(8, 16))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(killed).wait() == 0
    assert metrics_without_times(killed) == metrics_without_times(whole)
    with np.load(whole / "embeddings.npz") as a, np.load(killed / "embeddings.npz") as b:
        assert set(a.files) == set(b.files)
        for name in a.files:
            np.testing.assert_array_equal(a[name], b[name])
