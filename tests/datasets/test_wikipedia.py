"""The Wikipedia reader: on a small copy of the distribution's layout, and on the real files."""

import numpy as np
import pytest
import scipy.io

from xgacmn_tf.datasets import load
from xgacmn_tf.errors import InputError

TRAIN, TEST = "trainset_txt_img_cat.list", "testset_txt_img_cat.list"


@pytest.fixture
def folder(tmp_path):
    """Three categories; 140, 150, 160 training pairs and 10, 5, 2 test pairs, in mixed order."""
    generator = np.random.default_rng(0)
    arrays = {}
    for path, short, counts in ((TRAIN, "tr", (140, 150, 160)), (TEST, "te", (10, 5, 2))):
        labels = generator.permutation(np.repeat([1, 2, 3], counts))
        lines = [f"text{short}{k}-2.1\timage{short}{k}\t{c}\n" for k, c in enumerate(labels)]
        (tmp_path / path).write_text("".join(lines))
        # The features tell the row and the category, so that a test can see any mix-up.
        arrays[f"I_{short}"] = np.stack([np.arange(len(labels)), labels], axis=1).astype(float)
        arrays[f"T_{short}"] = -arrays[f"I_{short}"]
    scipy.io.savemat(tmp_path / "raw_features.mat", arrays)
    (tmp_path / "categories.list").write_text("art\nbiology\nsport\n")
    return tmp_path


def test_shipped_split(folder):
    dataset = load("wikipedia", str(folder), "2173")
    assert (len(dataset.train), len(dataset.test)) == (450, 17)
    assert dataset.validation is None
    assert dataset.label_names == ("art", "biology", "sport")
    for short, split in (("tr", dataset.train), ("te", dataset.test)):
        np.testing.assert_array_equal(split.image[:, 0], np.arange(len(split)))
        np.testing.assert_array_equal(split.image[:, 1], split.label + 1)  # files count from 1
        np.testing.assert_array_equal(split.text, -split.image)
        assert split.id[3] == f"text{short}3-2.1"
        assert split.title is None


def test_drawn_split_has_130_of_each_category_and_loses_no_pair(folder):
    dataset = load("wikipedia", str(folder), "1300", seed=5)
    assert np.bincount(dataset.train.label).tolist() == [130, 130, 130]
    assert np.bincount(dataset.test.label).tolist() == [20, 25, 32]  # 150, 155, 162 less 130
    shipped = load("wikipedia", str(folder), "2173")
    pool = dict(zip(shipped.train.id, shipped.train.image, strict=True))
    pool |= dict(zip(shipped.test.id, shipped.test.image, strict=True))
    for split in (dataset.train, dataset.test):
        for name, image, text, label in zip(
            split.id, split.image, split.text, split.label, strict=True
        ):
            np.testing.assert_array_equal(image, pool.pop(name))
            np.testing.assert_array_equal(text, -image)
            assert label + 1 == image[1]
    assert not pool


def test_only_the_drawn_split_depends_on_the_seed(folder):
    def prints(protocol):
        return [load("wikipedia", str(folder), protocol, seed).fingerprint for seed in (0, 0, 1)]

    assert len(set(prints("2173"))) == 1
    first, again, other = prints("1300")
    assert first == again != other


def test_files_one_level_down(folder):
    below = folder / "wikipedia_dataset"
    below.mkdir()
    for path in list(folder.iterdir()):
        if path.is_file():
            path.rename(below / path.name)
    assert len(load("wikipedia", str(folder)).train) == 450


def test_all_missing_files_are_named_at_once(folder):
    (folder / TEST).unlink()
    (folder / "raw_features.mat").unlink()
    with pytest.raises(InputError) as caught:
        load("wikipedia", str(folder))
    message = str(caught.value)
    assert message.startswith(f"Missing in {folder}: raw_features.mat, {TEST}. ")
    assert "Rasiwasia et al. 2010" in message and "cannot be downloaded by a program" in message


def test_a_missing_folder_and_none_at_all(tmp_path):
    with pytest.raises(InputError, match="--data_dir=.*nowhere: there is no such folder"):
        load("wikipedia", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="needs data_dir.*raw_features.mat"):
        load("wikipedia", None)


@pytest.mark.parametrize(
    "line", ["only one field", "a\tb", "a\tb\tc\td", "a\tb\tfirst", "a\tb\t-1", "\tb\t1", ""]
)
def test_malformed_lines_are_named_by_number(folder, line):
    lines = (folder / TRAIN).read_text().split("\n")
    lines[41] = line
    (folder / TRAIN).write_text("\n".join(lines))
    with pytest.raises(InputError, match=f"{TRAIN}, line 42: .*expected"):
        load("wikipedia", str(folder))


@pytest.mark.parametrize("category", ["0", "4", "9" * 5000])
def test_categories_out_of_range(folder, category):
    with (folder / TEST).open("a") as file:
        file.write(f"a\tb\t{category}\n")
    with pytest.raises(InputError, match=f"{TEST}, line 18: category .*expected 1 to 3"):
        load("wikipedia", str(folder))


def test_lists_that_are_no_text(folder):
    (folder / TEST).write_bytes(b"\xff\xfe\t\x00")
    with pytest.raises(InputError, match=f"{TEST} is not UTF-8"):
        load("wikipedia", str(folder))


def test_lists_and_features_must_agree(folder):
    lines = (folder / TEST).read_text().splitlines(keepends=True)
    (folder / TEST).write_text("".join(lines[:-1]))
    with pytest.raises(InputError, match="I_te has 17 rows, testset_txt_img_cat.list lists 16"):
        load("wikipedia", str(folder))


def test_duplicate_text_ids(folder):
    lines = (folder / TEST).read_text().splitlines(keepends=True)
    lines[2] = lines[7].split("\t")[0] + "\t" + lines[2].split("\t", 1)[1]
    (folder / TEST).write_text("".join(lines))
    with pytest.raises(InputError, match="id_test holds 'textte7-2.1' twice"):
        load("wikipedia", str(folder))


def test_broken_and_incomplete_feature_files(folder):
    scipy.io.savemat(folder / "raw_features.mat", {"I_tr": np.ones((3, 2)), "T_te": np.ones(3)})
    with pytest.raises(InputError, match="raw_features.mat lacks T_tr, I_te"):
        load("wikipedia", str(folder))
    (folder / "raw_features.mat").write_bytes(b"not a MATLAB file" * 50)
    with pytest.raises(InputError, match="raw_features.mat: damaged"):
        load("wikipedia", str(folder))


def test_empty_category_name(folder):
    (folder / "categories.list").write_text("art\n\nsport\n")
    with pytest.raises(InputError, match="categories.list, line 2: empty"):
        load("wikipedia", str(folder))


def test_category_too_small_for_the_drawn_split(folder):
    for path in (TRAIN, TEST):
        (folder / path).write_text((folder / path).read_text().replace("\t3\n", "\t2\n"))
    with pytest.raises(InputError, match="'sport' has 0 pairs; protocol 1300 needs more than 130"):
        load("wikipedia", str(folder), "1300")


def test_unknown_protocol(folder):
    with pytest.raises(InputError, match="'5000' for data set 'wikipedia'; .* 2173, 1300"):
        load("wikipedia", str(folder), "5000")


def test_the_real_files(wikipedia_dir):
    """Sizes as the distribution states them; categories counted in its lists."""
    dataset = load("wikipedia", str(wikipedia_dir), "2173")
    assert (len(dataset.train), len(dataset.test)) == (2173, 693)
    assert (dataset.image_dim, dataset.text_dim, dataset.num_classes) == (128, 10, 10)
    assert dataset.label_names[0] == "art" and dataset.label_names[9] == "warfare"
    counts = [138, 272, 244, 248, 202, 178, 186, 144, 214, 347]
    assert np.bincount(dataset.train.label).tolist() == counts
    assert np.bincount(dataset.test.label).tolist() == [34, 88, 96, 85, 65, 58, 51, 41, 71, 104]
    # Histograms and topic proportions: each row sums to 1.
    np.testing.assert_allclose(dataset.train.image.sum(axis=1), 1, atol=1e-4)
    np.testing.assert_allclose(dataset.test.text.sum(axis=1), 1, atol=1e-4)
    assert dataset.train.id[0] == "b3150b0c281960b6a6d33407824fd40a-3"


def test_the_real_files_drawn_anew(wikipedia_dir):
    dataset = load("wikipedia", str(wikipedia_dir), "1300", seed=1)
    assert (len(dataset.train), len(dataset.test)) == (1300, 1566)
    assert np.bincount(dataset.train.label).tolist() == [130] * 10
