"""Record of the pairs of a run, by which another run can be compared with it.

`pairs.npz` in the run folder tells which test pairs are the same items, and which groups of pairs
the run was trained on, without the data set, which may have grown since.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping

import numpy as np

from xgacmn_tf.datasets.paired import PairedDataset
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Identity


@dataclasses.dataclass(frozen=True, eq=False)
class TestPairs:
    """The n test pairs of a run, and the groups that it was trained on.

    Attributes:
        group: (n,) uint64, hashes of the pairs' groups, equal in all runs.
        identity: of the pairs.
        fine_label: (n,) str, or None.
        trained_groups: (m,) uint64, hashes of the groups of training and validation pairs.
    """

    # Not a class of tests.
    __test__ = False

    group: np.ndarray
    identity: Identity
    fine_label: np.ndarray | None
    trained_groups: np.ndarray

    @classmethod
    def of(cls, dataset: PairedDataset, identity: Identity) -> TestPairs:
        """Return the record of a data set and the identity of its test pairs."""
        groups = {name: _hashes(split.group_keys) for name, split in dataset.splits()}
        trained = [values for name, values in groups.items() if name != "test"]
        return cls(
            groups["test"],
            identity,
            dataset.test.fine_label,
            np.unique(np.concatenate(trained)),
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the content of pairs.npz."""
        fine = {} if self.fine_label is None else {"fine_label": self.fine_label}
        identity = {f"identity_{f.name}": getattr(self.identity, f.name) for f in _FIELDS}
        return {"group": self.group, "trained_groups": self.trained_groups, **identity, **fine}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray], rows: int) -> TestPairs:
        """Return the record in the arrays of pairs.npz.

        Args:
            arrays: by name.
            rows: number of test pairs that the run has.

        Raises:
            InputError: an array is missing, or has another type or length.
        """
        kinds = {"group": "u", "trained_groups": "u"}
        kinds |= {f"identity_{field.name}": "i" for field in _FIELDS}
        kinds |= {"fine_label": "U"} if "fine_label" in arrays else {}
        for name, kind in kinds.items():
            values = arrays.get(name)
            if values is None or values.dtype.kind != kind or values.ndim != 1:
                raise InputError(f"{name} is missing or has another shape or type than was written")
            if name != "trained_groups" and len(values) != rows:
                raise InputError(f"{name} has {len(values)} values, expected {rows}")
        identity = Identity(
            *(arrays[f"identity_{field.name}"].astype(np.int64) for field in _FIELDS)
        )
        return cls(arrays["group"], identity, arrays.get("fine_label"), arrays["trained_groups"])


_FIELDS = dataclasses.fields(Identity)


def _hashes(keys: np.ndarray) -> np.ndarray:
    """Return (n,) uint64 hashes of strings."""
    unique, place = np.unique(np.asarray(keys).astype(str), return_inverse=True)
    digests = [hashlib.blake2b(key.encode(), digest_size=8).digest() for key in unique.tolist()]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)[place]
