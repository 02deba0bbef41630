"""Every reader of files that nobody vouches for, with a small whole file for each, and damage.

`READERS`: kind → the file's name, who writes it (and what must lie beside it), and who reads it.
"""

import json
import random
import shutil
import struct
from pathlib import Path

import h5py
import numpy as np
import scipy.io
import tensorflow as tf
from PIL import Image

from tests.datasets.table_files import FORMATS, write_embedding_pair, write_table
from xgacmn_tf import datasets, gallery
from xgacmn_tf.datasets import load, load_raw
from xgacmn_tf.features.extractor import MANIFEST
from xgacmn_tf.features.image_files import open_image
from xgacmn_tf.features.registry import load_extractor
from xgacmn_tf.features.sift import VisualWords
from xgacmn_tf.features.words import BagOfWords, Topics
from xgacmn_tf.paper.scores import read_codes
from xgacmn_tf.runs.folder import RunFolder
from xgacmn_tf.search import load_index, make_index
from xgacmn_tf.search.sources import table_in, texts_in
from xgacmn_tf.serve import json_tensors
from xgacmn_tf.serve.runners import load_checked
from xgacmn_tf.settings.config import Config

DATASETS = Path(datasets.__file__).parent
TEXTS = ("a red cat", "the blue dog", "green birds sing", "cats and dogs")


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


def write_compressed_matlab(path):
    scipy.io.savemat(path, arrays(), do_compression=True)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        for name, values in arrays().items():
            if values.dtype.kind != "U":
                file[name] = values.T
                file[name].attrs["MATLAB_class"] = np.bytes_("double")


def write_plain_hdf5(path):
    with h5py.File(path, "w") as file:
        for name, values in arrays().items():
            file[name] = values.astype(object) if values.dtype.kind == "U" else values


def read_features(path):
    return datasets.load(str(path))


def write_gallery(path):
    made = {"text": np.ones((5, 3), np.float32), "id": np.arange(5).astype(str)}
    np.savez(
        path, **made, thumbnail=np.zeros(9, np.uint8), thumbnail_offset=np.array([0] * 5 + [9])
    )


def read_gallery(path):
    return gallery.from_file(path, {"text": 3})


def write_record(path):
    record = {"settings": Config().flat(), "data_fingerprint": "ab"}
    path.write_text(json.dumps(record, indent=2))


def read_record(path):
    return RunFolder(path.parent).recorded_config()


def write_metrics(path):
    path.write_text(json.dumps({"test": {"cosine": {"mAP": {"i2t": 0.5}}}, "seed": 0}, indent=2))


def read_metrics(path):
    return RunFolder(path.parent).read_metrics()


def write_per_query(path):
    scores = {f"cosine_{way}": np.linspace(0, 1, 5) for way in ("i2t", "t2i")}
    RunFolder(path.parent).write_per_query(np.arange(5).astype(str), scores)


def read_per_query(path):
    return RunFolder(path.parent).read_per_query("cosine")


def write_embeddings(path):
    both = {name: np.ones((5, 3), np.float32) for name in ("image", "text")}
    ids = {"label": np.arange(5) % 2, "id": np.arange(5).astype(str)}
    RunFolder(path.parent).write_embeddings(both | ids)


def read_embeddings(path):
    return read_codes(RunFolder(path.parent)).targets()


def write_picture(path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(path)


def write_texts(path):
    path.write_text("".join(f"{text}, été\n" for text in TEXTS), encoding="utf-8")


def write_items(path):
    path.write_text("id,text\n" + "".join(f"{n},{text}\n" for n, text in enumerate(TEXTS)))


def copy_of(name):
    def write(path):
        source = DATASETS / name / "dummy_data"
        (found,) = source.rglob(path.name)
        root = path.parents[len(found.relative_to(source).parts) - 1]
        shutil.copytree(source, root, dirs_exist_ok=True)

    return write


def write_index(kind):
    def write(path):
        index = make_index(kind)
        index.index(np.random.default_rng(0).normal(size=(50, 4)))
        index.save(path.parent)

    return write


def read_index(path):
    return load_index(path.parent).query(np.ones((1, 4)), 3)


def write_words(path):
    words = BagOfWords()
    words.fit(TEXTS)
    words.save(path.parent)


def write_topics(path):
    topics = Topics(topics=2)
    topics.fit(TEXTS)
    topics.save(path.parent)


def read_words(path):
    return load_extractor(path.parent).encode(TEXTS)


def write_visual_words(path):
    words = VisualWords(size=3)
    words.words = np.ones((3, 128), np.float32)
    words.save(path.parent)


def read_visual_words(path):
    return load_extractor(path.parent).encode([np.ones((2, 128), np.float32)])


INPUTS = {
    "number": tf.TensorSpec([None, 2], tf.float32, "number"),
    "text": tf.TensorSpec([None], tf.string, "text"),
}


def write_request(path):
    rows = [{"number": [0.5, 1], "text": "été"}, {"number": [2, 3e3], "text": {"b64": "YQ=="}}]
    path.write_text(json.dumps({"instances": rows}, ensure_ascii=False), encoding="utf-8")


def read_request(path):
    return json_tensors.arrays_of(json_tensors.parse(path.read_bytes()), INPUTS)


class Total(tf.Module):
    def __init__(self):
        super().__init__()
        self.weight = tf.Variable(tf.ones([3, 2]))

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="number")])
    def total(self, number):
        return {"out": number @ self.weight}


def write_saved_model(path):
    folder = path.parents[len(path.parts) - path.parts.index("7") - 2]
    total = Total()
    tf.saved_model.save(total, str(folder), {"total": total.total})


def read_saved_model(path):
    return load_checked(path.parents[len(path.parts) - path.parts.index("7") - 2])


READERS = {
    "npz": ("pairs.npz", write_npz, read_features),
    "compressed npz": ("pairs.npz", write_compressed, read_features),
    "mat v5": ("pairs.mat", write_matlab, read_features),
    "compressed mat v5": ("pairs.mat", write_compressed_matlab, read_features),
    "mat v7.3": ("pairs.mat", write_hdf5, read_features),
    "hdf5": ("pairs.h5", write_plain_hdf5, read_features),
    "gallery": ("gallery.npz", write_gallery, read_gallery),
    "config.json": ("config.json", write_record, read_record),
    "metrics.json": ("metrics.json", write_metrics, read_metrics),
    "per_query.npz": ("per_query.npz", write_per_query, read_per_query),
    "embeddings.npz": ("embeddings.npz", write_embeddings, read_embeddings),
    **{
        suffix: (f"pairs.{suffix}", write_table, lambda path: load_raw(str(path)))
        for suffix in FORMATS
    },
    "embeddings": ("image.npy", write_embedding_pair, lambda path: load(str(path.parent))),
    **{
        suffix: (f"a.{suffix}", write_picture, open_image)
        for suffix in ("jpg", "png", "webp", "gif", "bmp", "tiff", "ppm")
    },
    "texts": ("texts.txt", write_texts, texts_in),
    "table of items": ("items.csv", write_items, table_in),
    "Wikipedia's list": (
        "trainset_txt_img_cat.list",
        copy_of("wikipedia"),
        lambda path: load_raw("wikipedia", str(path.parent)),
    ),
    "Wikipedia's text": (
        "texts/00a3-1.4.xml",
        copy_of("wikipedia"),
        lambda path: load_raw("wikipedia", str(path.parent.parent)),
    ),
    "Wikipedia's features": (
        "raw_features.mat",
        copy_of("wikipedia"),
        lambda path: load("wikipedia", str(path.parent)),
    ),
    "Pascal's features": (
        "train_img.mat",
        copy_of("pascal_sentence"),
        lambda path: load("pascal_sentence", str(path.parent)),
    ),
    **{
        f"NUS-WIDE's {what}": (
            f"{folder}/{name}",
            copy_of("nuswide"),
            lambda path: load("nuswide", str(path.parent.parent), "full"),
        )
        for what, folder, name in (
            ("list", "ImageList", "TrainImagelist.txt"),
            ("matrix", "Low_Level_Features", "Normalized_CH.dat"),
            ("tags", "NUS_WID_Tags", "AllTags1k.txt"),
            ("names", "NUS_WID_Tags", "TagList1k.txt"),
        )
    },
    **{
        f"{kind} {file}": (file, write_index(kind), read_index)
        for kind, vectors in (("exact", "vectors.npy"), ("ivf", "index.faiss"))
        for file in (vectors, "index.json")
    },
    "extractor": (MANIFEST, write_words, read_words),
    "vocabulary": ("vocabulary.json", write_words, read_words),
    "topics": ("topics.npz", write_topics, read_words),
    "visual words": ("visual_words.npz", write_visual_words, read_visual_words),
    "JSON request": ("request.json", write_request, read_request),
    **{
        f"served {name.split('/')[-1].split('-')[0]}": (
            f"7/{name}",
            write_saved_model,
            read_saved_model,
        )
        for name in (
            "saved_model.pb",
            "variables/variables.index",
            "variables/variables.data-00000-of-00001",
        )
    },
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


def matlab_element(kind: int, content: bytes, order: str = "<") -> bytes:
    """An element of MATLAB's level 5 files, by hand."""
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def level_5(order: str = "<") -> bytes:
    """How MATLAB's level 5 files begin."""
    return bytes(124) + struct.pack(f"{order}H", 0x100) + (b"IM" if order == "<" else b"MI")
