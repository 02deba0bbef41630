"""FAISS, which is optional. Its own type stubs lack half of it, so that it counts as untyped."""

import importlib
from typing import Any

from xgacmn_tf.errors import InputError


def import_faiss() -> Any:
    """The module. Raises an `InputError` that says how to install it."""
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise InputError(
            'flat, IVF and HNSW indexes need FAISS: pip install "xgacmn_tf[faiss]"; '
            "--index=exact needs nothing"
        ) from error
