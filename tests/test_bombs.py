"""Small files that unpack to much more: each is refused before the memory is taken."""

import io
import struct
import subprocess
import sys
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io

from tests.readers import level_5, matlab_element
from xgacmn_tf.io.array_budget import MAX_BYTES, _max_bytes

# What a reader may take beside Python and its libraries; every bomb holds twice as much.
MEMORY = 256 * 2**20
MEBIBYTES = 2 * MEMORY // 2**20
READ = """
import resource, sys
from pathlib import Path
from xgacmn_tf.io import array_files
from xgacmn_tf.errors import InputError
from xgacmn_tf.features.image_files import open_image

path = Path(sys.argv[1])
taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[2]),) * 2)
try:
    open_image(path) if path.suffix == ".png" else array_files.read(path)
except InputError as error:
    print(error)
"""


def packed(*parts: bytes) -> bytes:
    """`parts`, and more zeros than may be unpacked."""
    packer = zlib.compressobj(1)
    blocks = [packer.compress(part) for part in (*parts, *[bytes(2**20)] * MEBIBYTES)]
    return b"".join((*blocks, packer.flush()))


def npz(path, start: bytes, filler: bytes, listed_size: int | None = None) -> None:
    """An archive of one member: `start` and as many mebibytes of `filler` as a bomb has."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("image_train.npy", "w", force_zip64=True) as member:
            member.write(start)
            for _ in range(MEBIBYTES):
                member.write(filler * 2**20)
        if listed_size is not None:
            archive.getinfo("image_train.npy").file_size = listed_size


def npy_header(values: int) -> bytes:
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (values,)}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


def long_header(path):
    npz(path, b"\x93NUMPY\x02\0" + struct.pack("<I", 2 * MEMORY), b" ")


def more_than_listed(path):
    npz(path, npy_header(2), b"\0", len(npy_header(2)) + 16)


def zeros(path):
    npz(path, npy_header(2 * MEMORY // 8), b"\0")


def matlab(path):
    """One number by its shape, half a gibibyte by its size."""
    head = matlab_element(6, struct.pack("<II", 6, 0)) + matlab_element(5, struct.pack("<ii", 1, 1))
    head += matlab_element(1, b"image_train") + struct.pack("<II", 9, 2 * MEMORY)
    content = packed(struct.pack("<II", 14, len(head) + 2 * MEMORY), head)
    path.write_bytes(level_5() + struct.pack("<II", 15, len(content)) + content)


def hdf5(path):
    """Four numbers, kept as a corner of a piece of half a gibibyte."""
    with h5py.File(path, "w") as file:
        data = file.create_dataset(
            "image_train", (2, 2), "f8", maxshape=(None, None), chunks=(8000, 8000),
            compression="gzip", compression_opts=1,
        )  # fmt: skip
        data[...] = 1
        data.attrs["MATLAB_class"] = np.bytes_("double")


def unwritten(path):
    """Chunks that were never written, under a filter other than deflate."""
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("image_train", (2**40,), "f8", chunks=(1024,), shuffle=True)


def linked(path):
    """A thousand links to a group that has a thousand links, three times."""
    with h5py.File(path, "w") as file:
        groups = [file, *(file.create_group(f"group {number}") for number in range(3))]
        for group, target in zip(groups, groups[1:], strict=False):
            for number in range(1000):
                group[f"link {number}"] = target


def without_width(path):
    """Empty strings, each of which takes four bytes after a conversion."""
    with zipfile.ZipFile(path, "w") as archive, archive.open("id.npy", "w") as member:
        header = {"descr": "<U0", "fortran_order": False, "shape": (2**42,)}
        np.lib.format.write_array_header_1_0(member, header)


def cells(path):
    """One long string among empty ones, to each of which NumPy gives the same space."""
    texts = np.full(5000, "", object)
    texts[0] = "a" * 1_000_000
    scipy.io.savemat(path, {"id": texts}, do_compression=True)


def png(path):
    size = struct.pack(">IIBBBBB", 65_536, 65_536, 1, 0, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", size), (b"IDAT", packed()), (b"IEND", b"")):
        checksum = zlib.crc32(kind + data)
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
    path.write_bytes(content)


def test_arrays_never_take_more_than_the_container_has(tmp_path):
    without = _max_bytes(tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    assert _max_bytes(tmp_path) == without >= MAX_BYTES
    (tmp_path / "memory.max").write_text("1048576\n")
    assert _max_bytes(tmp_path) == 1048576


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npz", long_header, "damaged, or not a .npz file"),
        ("a.npz", more_than_listed, "Bad CRC-32"),
        ("a.npz", zeros, "more memory than there is"),
        ("a.mat", matlab, "decompresses to more than its shape (1, 1) needs"),
        ("a.mat", hdf5, "chunks larger than itself"),
        ("a.h5", unwritten, "the arrays of one file may take"),
        ("a.mat", linked, ""),
        ("a.npz", without_width, "the arrays of one file may take"),
        ("a.mat", cells, "id declares shape (5000, 1000000), 20000000000 bytes"),
        ("a.png", png, "decompression bomb"),
    ],
)
def test_bombs_are_refused_in_little_memory(name, write, message, tmp_path, tried):
    path = tmp_path / name
    write(path)
    assert path.stat().st_size < MEMORY / 50
    done = subprocess.run(
        [sys.executable, "-c", READ, path, str(MEMORY)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert message in done.stdout
    tried["bombs"] += 1
