"""CLIP and SigLIP through KerasHub, on tiny random presets."""

import json

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.datasets.extraction import extract_features
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import image_extractor, load_extractor, text_extractor
from xgacmn_tf.settings.sections import FeatureSpec

keras_hub = pytest.importorskip("keras_hub", reason="pip install xgacmn_tf[hub]")


@pytest.fixture(scope="module")
def clip_preset(tmp_path_factory) -> str:
    """A CLIP of 16 × 16 pictures and 8-D codes, random weights, ten tokens."""
    models = keras_hub.models
    tokens = ["a", "b", "c", "d</w>", "ab", "abc", "abcd</w>", "e</w>"]
    vocabulary = {token: number + 1 for number, token in enumerate(tokens)}
    vocabulary |= {"<|startoftext|>": 9, "<|endoftext|>": 10}
    tokenizer = models.CLIPTokenizer(vocabulary=vocabulary, merges=["a b", "ab c", "abc d</w>"])
    converter = keras_hub.layers.CLIPImageConverter(image_size=(16, 16), scale=1 / 255)
    backbone = models.CLIPBackbone(
        models.CLIPVisionEncoder(8, 12, 1, 2, 16, image_shape=(16, 16, 3)),
        models.CLIPTextEncoder(11, 12, 12, 1, 2, 16, max_sequence_length=6),
        projection_dim=8,
    )
    folder = tmp_path_factory.mktemp("preset") / "tiny"
    backbone.save_to_preset(str(folder))
    models.CLIPPreprocessor(tokenizer, converter, sequence_length=6).save_to_preset(str(folder))
    return str(folder)


def test_clip_gives_both_modalities_from_one_preset(tmp_path, raw_pairs, clip_preset):
    spec = FeatureSpec(
        image_features="clip",
        text_features="clip",
        cache_dir=str(tmp_path),
        image_weights=clip_preset,
    )
    dataset = extract_features(raw_pairs, spec, batch_size=5)
    assert (dataset.image_dim, dataset.text_dim, len(dataset.train)) == (8, 8, 12)
    for features in (dataset.train.image, dataset.test.text):
        np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    assert len(np.unique(dataset.train.image.round(4), axis=0)) == 12


def test_clip_images_are_those_of_kerashub(clip_preset):
    picture = Image.effect_noise((40, 16), 80).convert("RGB")
    extractor = image_extractor("clip", clip_preset)
    extractor.batch_size = 3
    found = extractor.encode([extractor.prepare(picture)])
    # By hand: CLIP takes the middle, here columns 12 to 28, in [0, 1].
    middle = np.asarray(picture)[None, :, 12:28].astype(np.float32) / 255
    backbone = keras_hub.models.CLIPBackbone.from_preset(clip_preset)
    expected = np.asarray(backbone.get_vision_embeddings(middle))
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_clip_texts_do_not_depend_on_the_batch(clip_preset):
    extractor = text_extractor("clip", clip_preset)
    extractor.batch_size = 2
    texts = ["abcd", "e", "abcd e", "", "ABCD"]
    rows = extractor.encode(texts)
    alone = np.concatenate([extractor.encode([text]) for text in texts])
    np.testing.assert_allclose(rows, alone, atol=1e-6)
    np.testing.assert_allclose(rows[0], rows[4], atol=1e-6)  # CLIP reads lower case
    assert not np.allclose(rows[0], rows[1], atol=1e-3)


@pytest.mark.parametrize("make", [image_extractor, text_extractor])
def test_saved_ones_give_the_same(tmp_path, clip_preset, make):
    extractor = make("clip", clip_preset)
    extractor.save(tmp_path)
    loaded = load_extractor(tmp_path)
    assert loaded.settings() == extractor.settings()
    item = Image.effect_noise((40, 16), 80).convert("RGB")
    item = item if extractor.modality == "image" else "abcd"
    rows = [e.encode([e.prepare(item)]) for e in (extractor, loaded)]
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-6)


def test_siglip(tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    words = tmp_path / "words.txt"
    words.write_text("a red cat sits\nthe blue dog runs\nmany gold stripes\n" * 4)
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(tmp_path / "words"), vocab_size=24, pad_id=0, unk_id=1,
        bos_id=2, eos_id=3, pad_piece="<pad>", unk_piece="<unk>", bos_piece="<s>",
        eos_piece="</s>", minloglevel=2,
    )  # fmt: skip
    models = keras_hub.models
    backbone = models.SigLIPBackbone(
        models.SigLIPVisionEncoder(8, 12, 1, 2, 16, image_shape=(16, 16, 3)),
        models.SigLIPTextEncoder(24, 12, 12, 1, 2, 16, max_sequence_length=8),
    )
    preset = str(tmp_path / "preset")
    backbone.save_to_preset(preset)
    models.SigLIPPreprocessor(
        models.SigLIPTokenizer(str(tmp_path / "words.model")),
        keras_hub.layers.SigLIPImageConverter(image_size=(16, 16), scale=1 / 255),
        sequence_length=8,
    ).save_to_preset(preset)
    rows = text_extractor("siglip", preset).encode(["a red cat", "the blue dog", "A red, cat!"])
    np.testing.assert_allclose(rows[0], rows[2], atol=1e-6)  # SigLIP drops case and points
    assert not np.allclose(rows[0], rows[1], atol=1e-3)
    image = image_extractor("siglip", preset)
    assert image.encode([image.prepare(Image.new("RGB", (20, 30)))]).shape == (1, 12)


def test_a_preset_of_another_model(clip_preset):
    extractor = text_extractor("siglip", clip_preset)
    with pytest.raises(InputError, match="siglip features: the preset '.*' cannot be loaded"):
        extractor.encode(["a"])


def test_a_folder_without_a_preset(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"no": "model"}))
    with pytest.raises(InputError, match="cannot be loaded .*name the folder of such a preset"):
        _ = image_extractor("clip", str(tmp_path)).dim
