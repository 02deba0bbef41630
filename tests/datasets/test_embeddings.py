"""Embeddings in folders: clip-retrieval's layout, and pairs of arrays."""

import numpy as np
import pytest

from tests.datasets.table_files import write_parquet
from xgacmn_tf.datasets import load
from xgacmn_tf.errors import InputError
from xgacmn_tf.io import array_budget


def arrays(rows: int, seed: int = 0):
    generator = np.random.default_rng(seed)
    return (
        generator.normal(size=(rows, 8)).astype(np.float16),
        generator.normal(size=(rows, 6)).astype(np.float16),
    )


@pytest.fixture
def clip_retrieval(tmp_path):
    """Twelve parts, so that the order of numbers differs from that of names."""
    for name in ("img_emb", "text_emb", "metadata"):
        (tmp_path / "clip" / name).mkdir(parents=True)
    for part in range(12):
        image, text = arrays(5, part)
        np.save(tmp_path / "clip" / "img_emb" / f"img_emb_{part}.npy", image)
        np.save(tmp_path / "clip" / "text_emb" / f"text_emb_{part}.npy", text)
        rows = [
            {"image_path": f"{part}/{k}.jpg", "caption": f"text {part} {k}", "topic": f"t{k % 3}"}
            for k in range(5)
        ]
        write_parquet(tmp_path / "clip" / "metadata" / f"metadata_{part}.parquet", rows)
    return tmp_path / "clip"


def test_the_layout_of_clip_retrieval(clip_retrieval):
    columns = ["label=topic", "id=image_path", "title=caption"]
    dataset = load(str(clip_retrieval), columns=columns, seed=2)
    assert dataset.name == "clip" and dataset.label_names == ("t0", "t1", "t2")
    assert len(dataset.train) + len(dataset.test) == 60 and len(dataset.test) >= 4
    for _, split in dataset.splits():
        assert split.image.dtype == np.float32
        for row, name in enumerate(split.id):
            part, k = name.removesuffix(".jpg").split("/")
            image, text = arrays(5, int(part))
            np.testing.assert_array_equal(split.image[row], image[int(k)])
            np.testing.assert_array_equal(split.text[row], text[int(k)])
            assert split.label[row] == int(k) % 3 and split.title[row] == f"text {part} {k}"
    with pytest.raises(InputError, match="label is missing; the columns are image_path, caption"):
        load(str(clip_retrieval))
    with pytest.raises(InputError, match="comes with its features and takes no others"):
        load(str(clip_retrieval), columns=columns, image_features="vgg19", text_features="bow")
    (clip_retrieval / "text_emb" / "text_emb_7.npy").unlink()
    with pytest.raises(InputError, match="text_emb_7.npy: there is no such file"):
        load(str(clip_retrieval), columns=columns)


def test_parts_with_different_columns_are_named(clip_retrieval):
    rows = [{"topic": f"t{k % 3}", "split": "train"} for k in range(5)]
    write_parquet(clip_retrieval / "metadata" / "metadata_3.parquet", rows)
    with pytest.raises(InputError, match="metadata_3.parquet and metadata_0.parquet do not both"):
        load(str(clip_retrieval), columns=["label=topic"])


def pair_of_arrays(folder, lines, rows=40):
    image, text = arrays(rows)
    np.save(folder / "image.npy", image)
    np.save(folder / "text.npy", text)
    (folder / "metadata.csv").write_text("\n".join(lines))


def test_a_pair_of_arrays(tmp_path):
    lines = [f"{'cat|pet' if k % 2 else 'cup'},{'test' if k > 30 else 'train'}" for k in range(39)]
    pair_of_arrays(tmp_path, ["label,split", ",train", *lines])
    dataset = load(str(tmp_path))
    assert dataset.label_names == ("cat", "cup", "pet")
    assert (len(dataset.train), len(dataset.test)) == (32, 8)
    assert dataset.train.label[:3].tolist() == [[0, 0, 0], [0, 1, 0], [1, 0, 1]]
    assert dataset.train.id[:2].tolist() == ["0", "1"]


def test_one_long_id_does_not_make_all_ids_long(tmp_path, monkeypatch):
    pair_of_arrays(tmp_path, ["id,label", f"{'a' * 5000},a", *(f"{k},b" for k in range(39))])
    monkeypatch.setattr(array_budget, "MAX_BYTES", 500_000)
    with pytest.raises(InputError, match=r"id declares shape \(40, 5000\), 800000 bytes"):
        load(str(tmp_path))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: pair_of_arrays(f, ["label", *["a"] * 39]), "40 image embeddings, but 39 rows"),
        (lambda f: (f / "metadata.csv").unlink(), "metadata.parquet: there is no such file"),
        (lambda f: (f / "text.npy").write_bytes(b"no"), "text.npy: cannot be read as an .npy file"),
        (
            lambda f: np.save(f / "text.npy", np.array([{}])),
            "text.npy: cannot be read as an .npy file",
        ),
        (lambda f: np.save(f / "text.npy", np.ones(40)), "text.npy: expected an array"),
    ],
)
def test_damaged_embeddings(tmp_path, damage, message):
    pair_of_arrays(tmp_path, ["label", *["a", "b"] * 20])
    damage(tmp_path)
    with pytest.raises(InputError, match=message):
        load(str(tmp_path))
