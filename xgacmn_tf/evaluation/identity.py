"""Identity of items: a query's own pairs, and images with the same content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from xgacmn_tf.errors import InputError
from xgacmn_tf.groups import content_keys, first_rows, too_large
from xgacmn_tf.names import OTHER


@dataclass(frozen=True, eq=False)
class Identity:
    """The groups of n pairs, and their identical images and texts.

    A gallery item counts as a query's own pair if it belongs to the query's group or if its content
    is identical to that of the query's partner. An image with five captions thus has five correct
    texts, of which the first in the ranking counts, as is usual for data sets with several captions
    per image (for example Karpathy and Fei-Fei, CVPR 2015).

    Attributes:
        group: (n,) int64, equal within a group.
        image: (n,) int64, equal for identical images.
        text: (n,) int64, equal for identical texts.
    """

    group: np.ndarray
    image: np.ndarray
    text: np.ndarray

    @classmethod
    def of(
        cls, image: np.ndarray, text: np.ndarray, group: Any = None, rows: int | None = None
    ) -> Identity:
        """Return the identity of pairs by their content.

        Args:
            image: (n, d) features or, where there are none, embeddings of the images.
            text: (n, e) likewise of the texts. In both, rows with equal values are identical,
                unless so many are equal that the features are constant, see `groups.too_large`.
                Within a group, images with equal values are identical however many there are.
            group: (n,) values that are equal within a group; None for identical images.
            rows: number of pairs of the whole data set, if these are a part of it.

        Raises:
            InputError: `group` has another length or is no vector.
        """
        pairs: np.ndarray = np.arange(len(image))
        groups = pairs
        if group is not None:
            values = np.asarray(group)
            if values.shape != (len(image),):
                raise InputError(
                    f"group has shape {values.shape}; give one value a pair, ({len(image)},)"
                )
            groups = first_rows(values)
        same_image, same_text = (first_rows(content_keys(values)) for values in (image, text))
        within_group = first_rows(groups * len(image) + same_image)
        same_image = np.where(too_large(same_image, rows), within_group, same_image)
        same_text = np.where(too_large(same_text, rows), pairs, same_text)
        return cls(same_image if group is None else groups, same_image, same_text)

    def __len__(self) -> int:
        return len(self.group)

    def take(self, rows: np.ndarray) -> Identity:
        """Return the identity of the pairs at `rows`, (m,) int64, alone."""
        numbers = (self.group, self.image, self.text)
        return Identity(*(first_rows(values[rows]) for values in numbers))


class Members:
    """Index from a number to its rows.

    Args:
        numbers: (n,) int64.
    """

    def __init__(self, numbers: np.ndarray):
        self._order = np.argsort(numbers, kind="stable")
        self._sorted = numbers[self._order]

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """Return (..., m) int64 rows of each number, the last repeated up to the largest count m.

        Args:
            numbers: any shape; each is an element of the vector of the constructor.
        """
        first = np.searchsorted(self._sorted, numbers, "left")
        last = np.searchsorted(self._sorted, numbers, "right") - 1
        places = first[..., np.newaxis] + np.arange(int((last - first).max(initial=0)) + 1)
        return self._order[np.minimum(places, last[..., np.newaxis])]


class Direction:
    """Queries of one modality and a gallery of the other.

    Args:
        identity: of the pairs.
        query: "image" or "text".
        deduplicated: see `directions`.

    Attributes:
        query: (q,) int64, a pair of each query. gallery: (n,) int64, likewise.
        image_place: (pairs,) int64, where each pair's image stands among the images of the
            direction.
    """

    def __init__(self, identity: Identity, query: str, deduplicated: bool):
        pairs: np.ndarray = np.arange(len(identity))
        content = {"image": first_rows(identity.image), "text": first_rows(identity.text)}
        images = np.unique(content["image"]) if deduplicated else pairs
        self.image_place = np.searchsorted(images, content["image"]) if deduplicated else pairs
        self.query: np.ndarray = images if query == "image" else pairs
        self.gallery: np.ndarray = pairs if query == "image" else images
        self._group = identity.group
        self._content = content[OTHER[query]]
        self._by_group, self._by_content = Members(self._group), Members(self._content)
        # An item that stands for several pairs has the partners and groups of all of them.
        self._place = pairs if query == "image" else self.image_place
        self._pairs = Members(self.image_place if query == "image" else pairs)

    def own(self, rows: slice | np.ndarray) -> np.ndarray:
        """Return (b, m) places in the gallery that count as the own pair of the queries at `rows`.

        A place may stand in a row several times.
        """
        pairs = self._pairs.of(np.arange(len(self.query))[rows])
        own = (self._by_group.of(self._group[pairs]), self._by_content.of(self._content[pairs]))
        return self._place[np.concatenate([each.reshape(len(pairs), -1) for each in own], axis=1)]

    def own_count(self, on_progress: Callable[[int], Any] = lambda queries: None) -> np.ndarray:
        """Return (q,) the number of items that count as each query's own pair.

        Args:
            on_progress: called with the number of queries after each block of them.
        """
        counts = []
        # Few at a time: a group may hold a large part of the gallery.
        for first in range(0, len(self.query), 64):
            own = np.sort(self.own(slice(first, first + 64)), axis=1)
            counts.append(1 + np.count_nonzero(np.diff(own, axis=1), axis=1))
            on_progress(len(own))
        return np.concatenate(counts)


def directions(identity: Identity, deduplicated: bool) -> dict[str, Direction]:
    """Return the two directions of retrieval, "i2t" and "t2i".

    Args:
        identity: of the pairs.
        deduplicated: each image is a query once and stands in the gallery once, with the labels and
            captions of all its pairs; otherwise it is and does so in each of its pairs.
    """
    return {
        "i2t": Direction(identity, "image", deduplicated),
        "t2i": Direction(identity, "text", deduplicated),
    }
