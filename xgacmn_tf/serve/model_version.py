"""An exported version on disk: its signatures, and what its export recorded."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow_serving.apis import get_model_metadata_pb2

from xgacmn_tf.errors import InputError
from xgacmn_tf.export.versions import EXPORT_AGAIN
from xgacmn_tf.io.files import read_json
from xgacmn_tf.serve.saved_model_check import read_checked

# The inputs of a signature by name.
Inputs = Mapping[str, tf.TensorSpec]


def described(inputs: Inputs) -> str:
    """Return names, dtypes and shapes of inputs for messages."""
    return ", ".join(f"{name}: {each.dtype.name} {each.shape}" for name, each in inputs.items())


class ModelVersion:
    """A version that `xgacmn export` wrote.

    Args:
      folder: `<base>/<name>/<version>`.

    Attributes:
      folder: the same.
      name, number: the last two parts of its path.
      record: the content of run.json.
      fingerprint: differs between versions with different encoders.
      signatures: the inputs of each.
      signature_def: the same as TensorFlow Serving describes it.
      gallery_file: the gallery that was exported with the version.

    Raises:
      InputError: the version is damaged, holds operations that a server does not run, or was
        written by an earlier version of this package.
    """

    def __init__(self, folder: Path):
        self.folder, self.name, self.number = folder, folder.parent.name, int(folder.name)
        self.signature_def = get_model_metadata_pb2.SignatureDefMap()
        self.signatures: dict[str, Inputs] = {}
        for name, signature in read_checked(folder).meta_graphs[0].signature_def.items():
            if name.startswith("__"):
                continue
            self.signature_def.signature_def[name].CopyFrom(signature)
            self.signatures[name] = {
                key: tf.TensorSpec(tf.TensorShape(info.tensor_shape), info.dtype, key)
                for key, info in sorted(signature.inputs.items())
            }
        extra = folder / "assets.extra"
        try:
            self.record: dict[str, Any] = read_json(extra / "run.json")
            if not isinstance(self.record["encoder"], dict) or "similarity" not in self.record:
                raise ValueError("it does not describe the encoder")
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise InputError(
                f"{extra / 'run.json'}: not a record of this version's encoder; {EXPORT_AGAIN}"
            ) from error
        digest = hashlib.sha256((extra / "run.json").read_bytes())
        if (folder / "fingerprint.pb").is_file():
            digest.update((folder / "fingerprint.pb").read_bytes())
        self.fingerprint = digest.hexdigest()[:16]
        self.gallery_file = extra / "gallery.npz"
