"""An exported model in a process that knows TensorFlow and NumPy alone."""

import json
import subprocess
import sys

import numpy as np
import pytest

# Written against the paper's measure, not with this package: AP over the whole ranked gallery,
# divided by the relevant items, ties to the lower row.
SCRIPT = """
import json, sys
import numpy as np, tensorflow as tf
model, features = sys.argv[1:]
signatures = tf.saved_model.load(model).signatures
with np.load(features) as arrays:
    image, text = (tf.constant(arrays[f"{m}_test"], tf.float32) for m in ("image", "text"))
    label = arrays["label_test"]
v = signatures["encode_image"](image_features=image)["posterior"].numpy()
t = signatures["encode_text"](text_features=text)["posterior"].numpy()
def mean_average_precision(queries, gallery):
    scores = []
    for query, own in zip(queries.astype(float), label):
        similarity = (gallery.astype(float) @ query).astype(np.float32)
        relevant = label[np.argsort(-similarity, kind="stable")] == own
        precision = np.cumsum(relevant) / np.arange(1, len(label) + 1)
        scores.append(precision[relevant].mean())
    return np.mean(scores)
print(json.dumps({
    "i2t": mean_average_precision(v, t),
    "t2i": mean_average_precision(t, v),
    "ours": [name for name in sys.modules if name.startswith("xgacmn")],
}))
"""


def test_the_same_map_as_the_run_reported(run, feature_file):
    version = run / "models" / "xgacmn" / "1"
    done = subprocess.run(
        # -I: without the folder at hand, so that this package cannot be picked up by chance.
        [sys.executable, "-I", "-c", SCRIPT, str(version), str(feature_file)],
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ours"] == []
    expected = json.loads((run / "metrics.json").read_text())
    assert expected["headline_similarity"] == "posterior"
    for way in ("i2t", "t2i"):
        assert found[way] == pytest.approx(expected["test"]["posterior"]["mAP"][way], abs=1e-6)
    assert np.isfinite(found["i2t"])
