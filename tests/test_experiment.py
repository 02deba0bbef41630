"""The command from data to run folder."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.log_lines import logged_lines
from xgacmn_tf import experiment
from xgacmn_tf.errors import InputError
from xgacmn_tf.model.input_maps import GaussianKernelPCA, Standardize
from xgacmn_tf.runs.checkpoint import load_encoder
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.settings.config import Config
from xgacmn_tf.training.callbacks import board_tag

FLAG_FILES = sorted((Path(__file__).parent.parent / "flags").glob("*.flags"))
# The others differ from these by their data set or by a setting that the ablations have as well.
TRAINED_ALWAYS = ("figure_4_a_softmax", "wikipedia_shallow_2173")
SMALL = {
    "epochs": 2,
    "batch_size": 16,
    "encoder_hidden": (16, 8),
    "code_dim": 6,
    "feature_discriminator_hidden": 12,
    "common_discriminator_hidden": 5,
    "item_hidden": (12,),
    "item_dim": 4,
    "item_members": 2,
    "validation_fraction": 0.2,
}
MEASURES = {"mAP", "mAP@50", "mAP@50/min", "R@1", "R@5", "R@10", "median_rank"}
MEASURES |= {"distinct_first", "coverage@10"}


def read_metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_folder_holds_what_was_promised(finished_run):
    folder, _, _ = finished_run
    for name in ("config.json", "metrics.json", "embeddings.npz", "results.html", "model_card.md"):
        assert (folder / name).is_file(), name
    assert (folder / "checkpoints" / "best.keras").is_file()
    assert any((folder / "tensorboard").glob("events.out.tfevents.*"))
    assert (folder / "tensorboard" / "projector_config.pbtxt").is_file()
    assert not list(folder.rglob("*.partial*"))


def scalar_events(folder):
    """Tag → (step, value) of each scalar in a folder of TensorBoard."""
    board = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    board.Reload()
    events: dict[str, list[tuple[int, float]]] = {}
    for tag in board.Tags()["tensors"]:
        for event in board.Tensors(tag):
            value = tf.make_ndarray(event.tensor_proto)
            # Histograms are matrices.
            if value.ndim == 0 and value.dtype.kind == "f":
                events.setdefault(tag, []).append((event.step, float(value)))
    return events


def test_tensorboard_has_the_test_measures_of_every_similarity(finished_run):
    folder, _, _ = finished_run
    events, metrics = scalar_events(folder / "tensorboard"), read_metrics(folder)
    for similarity, measures in metrics["test"].items():
        for measure, ways in measures.items():
            for way, value in ways.items():
                ((step, written),) = events[
                    board_tag(f"test_by_similarity/{similarity}/{measure}/{way}")
                ]
                assert step == 0 and written == pytest.approx(value, rel=1e-6)
    headline = board_tag("test_by_similarity/posterior/mAP/avg")
    assert events["2 test/mAP/avg"] == events[headline]
    validation = [tag for tag in sorted(events) if "validation/mAP" in tag]
    assert validation and sorted(events)[: len(validation)] == validation


def test_tensorboard_has_the_model_card_and_example_queries(finished_run):
    folder, _, _ = finished_run
    (path,) = (folder / "tensorboard").glob("*.hparams.v2")
    board = EventAccumulator(str(path))
    board.Reload()
    plugins = {plugin: board.PluginTagToContent(plugin) for plugin in ("text", "images")}
    assert list(plugins["text"]) == ["model card"]
    assert set(plugins["images"]) == {
        "example queries/images find texts",
        "example queries/texts find images",
    }
    (card,) = tf.make_ndarray(board.Tensors("model card")[0].tensor_proto).ravel()
    assert card.decode() == (folder / "model_card.md").read_text(encoding="utf-8")
    for tag in plugins["images"]:
        width, height, png = tf.make_ndarray(board.Tensors(tag)[0].tensor_proto)
        assert png.startswith(b"\x89PNG") and int(width) > int(height) > 100


def test_tensorboard_has_the_validation_recall_of_each_epoch_of_the_item_embeddings(finished_run):
    folder, _, _ = finished_run
    recalls = scalar_events(folder / "tensorboard" / "items")["1 validation/own_item_R@10"]
    assert [step for step, _ in recalls] == list(range(1, len(recalls) + 1)) != []
    found = read_metrics(folder)["item_embedding"]
    assert recalls[found["epochs"] - 1][1] == pytest.approx(found["validation_R@10"])


def test_the_table_has_a_line_for_each_similarity(finished_run):
    folder, _, log = finished_run
    metrics = read_metrics(folder)
    lines = {line.split()[0]: line.split()[1:] for line in log.splitlines() if line.split()}
    assert lines["similarity"] == [
        "mAP",
        "i2t",
        "mAP",
        "t2i",
        "mAP",
        "R@1",
        "R@10",
        "MedR",
        "coverage",
    ]
    for name in ("posterior*", "cosine", "dot", "item"):
        measures = metrics["test"][name.rstrip("*")]
        columns = [f"{measures['mAP'][way]:.3f}" for way in ("i2t", "t2i", "avg")]
        columns += [f"{measures[recall]['avg']:.3f}" for recall in ("R@1", "R@10")]
        columns += [f"{measures['median_rank']['avg']:.1f}"]
        assert lines[name] == [*columns, f"{measures['coverage@10']['avg']:.3f}"]
    assert lines["chance"][-1] == "–"
    assert lines["Searches"] == ["rank", "by", "item."]


def test_metrics_name_every_similarity_measure_and_direction(finished_run):
    metrics = read_metrics(finished_run[0])
    assert set(metrics["test"]) == {"posterior", "cosine", "dot", "item"}
    for measures in metrics["test"].values():
        assert set(measures) == MEASURES
        for ways in measures.values():
            assert set(ways) == {"i2t", "t2i", "avg"}
            assert ways["avg"] == pytest.approx((ways["i2t"] + ways["t2i"]) / 2)
    assert metrics["headline_similarity"] == "posterior"
    assert metrics["normalizer"]["mAP@50"] == "hits"
    assert metrics["splits"] == {"train": 72, "validation": 18, "test": 30}
    assert metrics["refit"] == {"pairs": 90, "epochs": metrics["best_epoch"]}
    assert set(metrics["calibration"]) == {"image", "text"}
    assert metrics["seed"] == 0
    assert {"python", "tensorflow", "keras", "numpy"} <= set(metrics["versions"])
    assert metrics["settings"]["margin"] == 5
    # A checkout without git's own files, or without git, has no commit to tell.
    assert metrics["git_commit"] is None or re.fullmatch(
        "[0-9a-f]{40}(-dirty)?", metrics["git_commit"]
    )
    assert metrics["examples_per_second"] > 0 and metrics["wall_time_s"] > 0
    # R = 10 of N = 30: (H_30 (1 − 9/29) + 30 · 9/29) / 30, with H_30 = 3.99499.
    assert metrics["chance"]["mAP"]["avg"] == pytest.approx(0.402184, abs=1e-5)


def test_embeddings_give_the_reported_map(finished_run):
    """The files agree with each other: mAP computed here from embeddings.npz is metrics.json's."""
    metrics = read_metrics(finished_run[0])
    with np.load(finished_run[0] / "embeddings.npz") as arrays:
        arrays = dict(arrays)
    factors = {m: float(arrays.pop(f"calibration_{m}")) for m in ("image", "text")}
    assert factors == metrics["calibration"]
    names = {"image", "text"}
    assert set(arrays) == {"label", "id"}.union(
        names, *({f"{name}_posterior", f"search_{name}"} for name in names)
    )
    assert all(len(values) == 30 for values in arrays.values())
    relevant = arrays["label"][:, None] == arrays["label"][None, :]
    scores = arrays["image_posterior"].astype(float) @ arrays["text_posterior"].astype(float).T
    precisions = []
    for row, rel in zip(scores, relevant, strict=True):
        ranked = rel[np.argsort(-row, kind="stable")]
        precisions.append(np.mean((np.cumsum(ranked) / np.arange(1, 31))[ranked]))
    expected = metrics["test"]["posterior"]["mAP"]["i2t"]
    assert np.mean(precisions) == pytest.approx(expected, abs=1e-6)


def test_codes_are_as_trained_and_posteriors_calibrated(finished_run, feature_file):
    """Codes used to be multiplied by the calibration factor of their modality."""
    folder = RunFolder(finished_run[0])
    refitted, best = load_encoder(folder.refitted), load_encoder(folder.best)
    assert best.calibration == read_metrics(finished_run[0])["calibration"]
    with np.load(feature_file) as arrays, np.load(folder.embeddings) as found:
        features = [arrays[f"{m}_test"].astype(np.float32) for m in ("image", "text")]
        trained = refitted.codes(*features)
        for modality, codes, ours in zip(
            ("image", "text"), trained, best.codes(*features), strict=True
        ):
            np.testing.assert_array_equal(found[modality], codes)
            np.testing.assert_array_equal(ours, codes)
            logits = best.class_layer(codes)
            expected = tf.nn.softmax(best.calibration[modality] * logits)
            np.testing.assert_allclose(found[f"{modality}_posterior"], expected, atol=1e-6)


def test_projector_shows_the_codes_as_trained(finished_run):
    folder = RunFolder(finished_run[0])
    shown = np.loadtxt(folder.tensorboard / "projector_tensors.tsv")
    with np.load(folder.embeddings) as arrays:
        expected = np.concatenate([arrays["image"], arrays["text"]])
    np.testing.assert_allclose(shown, expected, rtol=1e-5)


def test_table_shows_both_directions_and_chance(finished_run):
    table = finished_run[2]
    for word in ("posterior*", "cosine", "dot", "chance", "i2t", "t2i", "MedR"):
        assert word in table
    assert max(len(line) for line in table[table.index("similarity") :].splitlines()[:14]) <= 90


@pytest.mark.slow
def test_few_pairs_train_without_a_validation_split(feature_file, tmp_path):
    config = Config.of(
        dataset=str(feature_file), output_dir=str(tmp_path / "run"), export=False, text_map="rank",
        **SMALL | {"epochs": None, "validation_fraction": None},
    )  # fmt: skip
    metrics = experiment.run(config)
    assert metrics["splits"] == {"train": 90, "validation": 0, "test": 30}
    # 300 steps, of which an epoch of 90 pairs has five.
    assert metrics["planned_epochs"] == metrics["trained_epochs"] == metrics["best_epoch"] == 60
    assert not {"refit", "calibration"} & set(metrics)
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert report["notes"] == metrics["data_report"]["notes"]
    assert [note for note in report["notes"] if "too few" in note] == [
        "90 training pairs are too few to hold out a validation split: the number of epochs "
        "follows a fixed rule, and class posteriors are not calibrated"
    ]
    assert metrics["input_maps"]["image"]["rows"] == 90
    assert metrics["input_maps"]["text"] == {"chosen": "rank"}


def test_metrics_have_the_evidence_for_the_input_maps(finished_run):
    folder, _, printed = finished_run
    maps = read_metrics(folder)["input_maps"]
    assert set(maps) == {"image", "text"} and maps["image"] == {"chosen": "zscore"}
    evidence = maps["text"]
    # The validation split chooses no map.
    assert evidence["rows"] == 72 and {"zscore", "rank", "unit"} <= set(evidence["log_loss"])
    # Five features have fewer than twenty pairs each.
    assert evidence["chosen"] == evidence["preferred"] == "rbf"
    encoder = load_encoder(folder / "checkpoints" / "best.keras")
    assert type(encoder.image_map) is Standardize and type(encoder.text_map) is GaussianKernelPCA
    assert "input map of texts: rbf (leave-one-out log-loss: " in printed
    assert "input map of images" not in printed


def test_the_same_command_again_only_reads(finished_run):
    folder, config, _ = finished_run
    before = (folder / "metrics.json").stat().st_mtime_ns
    with logged_lines() as lines:
        assert experiment.run(config) == read_metrics(folder)
    assert "finished" in lines[0] and (folder / "metrics.json").stat().st_mtime_ns == before


def test_other_settings_in_the_same_folder_are_refused_before_data_are_read(
    finished_run, monkeypatch
):
    monkeypatch.setattr(experiment.datasets, "for_config", lambda config: pytest.fail("was read"))
    other = finished_run[1].replace(epochs=3)
    with pytest.raises(InputError, match="holds another run, which differs in: epochs 2 there, 3"):
        experiment.run(other)


def test_other_data_in_the_same_folder_are_refused(finished_run, feature_file, tmp_path):
    with np.load(feature_file) as arrays:
        arrays = dict(arrays)
    arrays["image_train"] = arrays["image_train"] + 1
    changed = tmp_path / "pairs.npz"
    np.savez(changed, **arrays)
    content = feature_file.read_bytes()
    try:
        feature_file.write_bytes(changed.read_bytes())
        with pytest.raises(InputError, match="differs in: the data set's contents"):
            experiment.run(finished_run[1])
    finally:
        feature_file.write_bytes(content)


def test_folder_with_other_files_is_refused(feature_file, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match="not empty and holds no run"):
        experiment.run(Config.of(dataset=str(feature_file), output_dir=str(tmp_path), **SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.slow
def test_folder_of_a_run_killed_at_its_very_start_is_taken_up(feature_file, tmp_path):
    (tmp_path / ".config.123.partial.json").write_text('{"sett')  # what a kill may leave
    config = Config.of(dataset=str(feature_file), output_dir=str(tmp_path), **SMALL)
    assert experiment.run(config)["seed"] == 0


def test_recorded_settings_come_back_whole_and_strange_ones_are_refused(finished_run, tmp_path):

    folder, config, _ = finished_run
    assert RunFolder(folder).recorded_config() == config
    record = json.loads((folder / "config.json").read_text())
    record["settings"]["momentum"] = 0.9
    (tmp_path / "config.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="settings that this version does not have: momentum"):
        RunFolder(tmp_path).recorded_config()


def test_default_folder_follows_the_settings(feature_file, monkeypatch, tmp_path):
    from xgacmn_tf.runs.folder import RunFolder

    config = Config.of(dataset=str(feature_file))
    assert str(RunFolder.for_config(config).path) == f"runs/pairs-{config.fingerprint()}"


def test_evaluate_only_gives_the_same_numbers(finished_run, call_main, tmp_path):
    folder, _, _ = finished_run
    out = tmp_path / "again"
    done = call_main(
        "--evaluate_only", f"--checkpoint={folder}/checkpoints/best.keras", f"--output_dir={out}"
    )
    assert done.returncode == 0, done.stderr
    assert "posterior*" in done.stdout
    assert read_metrics(out)["test"] == read_metrics(folder)["test"]


def test_checkpoint_of_other_features_is_refused(finished_run, tmp_path):
    folder, config, _ = finished_run
    rng = np.random.default_rng(0)
    arrays = {
        f"{name}_{split}": rng.normal(size=(20, 7)) if name != "label" else np.arange(20) % 2
        for name in ("image", "text", "label")
        for split in ("train", "test")
    }
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(InputError, match="takes image features of dimension 8.* has 7"):
        experiment.evaluate_checkpoint(
            Config.of(dataset=str(tmp_path / "other.npz")), folder / "checkpoints" / "best.keras"
        )


def test_multi_label_data_train_and_evaluate(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, rows in (("train", 60), ("validation", 12), ("test", 20)):
        labels = (rng.random((rows, 4)) < 0.4).astype(np.uint8)
        labels[np.arange(rows), np.arange(rows) % 4] = 1
        arrays[f"label_{split}"] = labels
        arrays[f"image_{split}"] = labels @ rng.normal(size=(4, 9)) + rng.normal(size=(rows, 9))
        arrays[f"text_{split}"] = labels @ rng.normal(size=(4, 5)) + rng.normal(size=(rows, 5))
    np.savez(tmp_path / "multi.npz", **arrays)
    config = Config.of(
        dataset=str(tmp_path / "multi.npz"), output_dir=str(tmp_path / "run"), **SMALL
    )
    metrics = experiment.run(config)
    assert metrics["splits"] == {"train": 60, "validation": 12, "test": 20}
    # A validation split of the data set's own is never trained on.
    assert "refit" not in metrics
    with np.load(tmp_path / "run" / "embeddings.npz") as saved:
        assert saved["label"].shape == (20, 4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"classifier": "none", "similarity": "cosine"},
        {"classifier": "softmax"},
        {"discriminate_codes": False, "discriminate_features": False},
        {"generator_steps": 2, "lambda_1": 0.0, "average_decay": 0.0, "similarity": "dot"},
    ],
    ids=["no class loss", "softmax", "no discriminators", "K = 2"],
)
def test_ablations_run_to_the_end(feature_file, tmp_path, settings):
    config = Config.of(
        dataset=str(feature_file),
        output_dir=str(tmp_path / "run"),
        **SMALL | {"epochs": 1} | settings,
    )
    metrics = experiment.run(config)
    assert ("posterior" in metrics["test"]) == (settings.get("classifier") != "none")
    with np.load(tmp_path / "run" / "embeddings.npz") as arrays:
        assert ("image_posterior" in arrays) == (settings.get("classifier") != "none")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[] if path.stem in TRAINED_ALWAYS else pytest.mark.slow)
        for path in FLAG_FILES
    ],
    ids=lambda path: path.name,
)
def test_flag_file_trains(parse, histogram_file, tmp_path, path):
    config = parse(f"--flagfile={path}").replace(
        dataset=str(histogram_file), protocol=None, epochs=1, output_dir=str(tmp_path / "run"),
        refit=False, export=False, image_features=None, text_features=None,
    )  # fmt: skip
    metrics = experiment.run(config)
    assert metrics["test"][config.headline()]["mAP"]["avg"] > 0
