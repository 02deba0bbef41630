"""Files of NUS-WIDE in its documented layout; in any other layout they are found by name.

A matrix with a row for each image is one file, or a training and a test half.
"""

from typing import NamedTuple

from xgacmn_tf.datasets.distribution import Files

IMAGE_LIST = "ImageList/Imagelist.txt"
HALF_LISTS = ("ImageList/TrainImagelist.txt", "ImageList/TestImagelist.txt")
CONCEPT_LIST = "ConceptsList/Concepts81.txt"
NUM_CONCEPTS = 81
TAG_LIST = "NUS_WID_Tags/TagList1k.txt"
NUM_TAGS = 1000
ALL_TAGS = "NUS_WID_Tags/All_Tags.txt"
IMAGES = "Flickr"


class Source(NamedTuple):
    """A matrix: its file, the files of its halves, its number of columns and its values."""

    whole: str
    halves: tuple[str, str]
    columns: int
    binary: bool

    def found(self, files: Files) -> tuple[str, ...]:
        """Return the whole file, or else both halves, or nothing."""
        if files.has(self.whole):
            return (self.whole,)
        return self.halves if all(map(files.has, self.halves)) else ()


def _low_level(name: str, columns: int) -> Source:
    folder = "Low_Level_Features"
    halves = (f"{folder}/Train_Normalized_{name}.dat", f"{folder}/Test_Normalized_{name}.dat")
    return Source(f"{folder}/Normalized_{name}.dat", halves, columns, binary=False)


TAGS = Source(
    "NUS_WID_Tags/AllTags1k.txt",
    ("NUS_WID_Tags/Train_Tags1k.dat", "NUS_WID_Tags/Test_Tags1k.dat"),
    NUM_TAGS,
    binary=True,
)
# Color histogram, color correlogram, edge directions, wavelet texture, color moments of 5 × 5
# blocks, and a bag of 500 SIFT words.
LOW_LEVEL = {
    "ch": _low_level("CH", 64),
    "corr": _low_level("CORR", 144),
    "edh": _low_level("EDH", 73),
    "wt": _low_level("WT", 128),
    "cm55": _low_level("CM55", 225),
    "bow500": Source(
        "Low_Level_Features/BoW_int.dat",
        ("Low_Level_Features/BoW_Train_int.dat", "Low_Level_Features/BoW_Test_int.dat"),
        500,
        binary=False,
    ),
}


def label_source(concept: str) -> Source:
    """Return the labels of one concept, one 0 or 1 a line."""
    folder = "Groundtruth/TrainTestLabels"
    return Source(
        f"Groundtruth/AllLabels/Labels_{concept}.txt",
        (f"{folder}/Labels_{concept}_Train.txt", f"{folder}/Labels_{concept}_Test.txt"),
        1,
        binary=True,
    )
