"""`extract_features`: what comes out, what the cache spares, what bad pictures do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.mean_colour import MeanColour
from xgacmn_tf.datasets import feature_file
from xgacmn_tf.datasets.extraction import (
    cache,
    extract,
    extract_features,
    extractor_files,
    feature_store,
)
from xgacmn_tf.datasets.raw import RawPairs
from xgacmn_tf.errors import InputError
from xgacmn_tf.features import shards
from xgacmn_tf.features.words import BagOfWords
from xgacmn_tf.settings.command_line import configure_logging
from xgacmn_tf.settings.sections import FeatureSpec


@pytest.fixture(autouse=True)
def mean_colour(monkeypatch):
    """Stands for every image extractor. Its `version` is set to change the settings."""
    made = MeanColour()
    monkeypatch.setattr(extract, "image_extractor", lambda *arguments: made)
    real = cache.load_extractor
    monkeypatch.setattr(
        cache,
        "load_extractor",
        lambda folder: MeanColour() if "image-mean" in str(folder) else real(folder),
    )
    return made


@pytest.fixture
def opened(monkeypatch):
    """The pictures that are opened, by name."""
    names = []
    real = shards.open_image

    def spy(path):
        names.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(shards, "open_image", spy)
    return names


def run(pairs: RawPairs, folder: Path, on_bad_image: str = "refuse", **settings):
    spec = FeatureSpec(
        image_features="mean",
        text_features="bow",
        cache_dir=str(folder),
        on_bad_image=on_bad_image,
    )
    return extract_features(pairs, spec, show_progress=False, **settings)


def test_rows_are_those_of_the_pairs(raw_pairs, tmp_path):
    dataset = run(raw_pairs, tmp_path, batch_size=5)
    assert dataset.name == "shapes" and dataset.label_names == ("disc", "square", "stripes")
    for part, split in dataset.splits():
        pairs = raw_pairs.splits()[part]
        expected = [MeanColour().prepare(shards.open_image(pair.image)) for pair in pairs]
        np.testing.assert_array_equal(split.image, expected)
        assert split.id.tolist() == [pair.id for pair in pairs]
        assert split.label.tolist() == [pair.label for pair in pairs]
        assert split.title.tolist() == [pair.text for pair in pairs]
        assert all(picture[8:12] == b"WEBP" for picture in split.thumbnail)
    bag = BagOfWords()
    bag.fit([pair.text for pair in raw_pairs.train])
    np.testing.assert_array_equal(
        dataset.test.text, bag.encode([pair.text for pair in raw_pairs.test])
    )


def test_the_vocabulary_is_that_of_the_training_split(raw_pairs, tmp_path):
    run(raw_pairs, tmp_path)
    (found,) = tmp_path.glob("text-bow-*/extractor/vocabulary.json")
    words = found.read_text()
    assert "train0" in words and "test0" not in words


def test_several_labels_become_multi_hot(raw_pairs, tmp_path):
    several = [(0,), (1, 2), (2,)]

    def relabel(pairs):
        return tuple(replace(pair, label=several[pair.label]) for pair in pairs)

    pairs = replace(raw_pairs, train=relabel(raw_pairs.train), test=relabel(raw_pairs.test))
    dataset = run(pairs, tmp_path)
    assert dataset.test.label[:3].tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]


def test_a_second_time_opens_no_picture(raw_pairs, tmp_path, opened):
    first = run(raw_pairs, tmp_path)
    assert len(opened) == 18
    opened.clear()
    assert run(raw_pairs, tmp_path).fingerprint == first.fingerprint
    assert opened == []


def test_other_texts_open_no_picture(raw_pairs, tmp_path, opened):
    run(raw_pairs, tmp_path)
    opened.clear()
    pairs = replace(raw_pairs, test=tuple(replace(p, text="navy") for p in raw_pairs.test))
    assert set(run(pairs, tmp_path).test.title) == {"navy"}
    assert opened == []


def test_an_interrupted_one_goes_on(raw_pairs, tmp_path, opened, monkeypatch):
    monkeypatch.setattr(feature_store, "PART", 4)
    whole = run(raw_pairs, tmp_path / "whole")
    opened.clear()
    monkeypatch.setattr(MeanColour, "batch_size", 4)
    real, calls = MeanColour.encode, []

    def stops(self, prepared):
        calls.append(len(prepared))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(self, prepared)

    monkeypatch.setattr(MeanColour, "encode", stops)
    with pytest.raises(KeyboardInterrupt):
        run(raw_pairs, tmp_path / "stopped")
    opened.clear()
    again = run(raw_pairs, tmp_path / "stopped")
    # Two parts of four were written, so that 18 − 8 images are left.
    assert len(opened) == 10
    assert again.fingerprint == whole.fingerprint


@pytest.mark.parametrize("suffix", ["npz", "json"])
def test_a_damaged_part_is_extracted_again(raw_pairs, tmp_path, opened, suffix):
    first = run(raw_pairs, tmp_path)
    opened.clear()
    (part,) = tmp_path.glob(f"image-*/features/*.{suffix}")
    part.write_bytes(part.read_bytes()[:-100])
    assert run(raw_pairs, tmp_path).fingerprint == first.fingerprint
    assert len(opened) == 18


def test_a_part_with_other_features_is_extracted_again(raw_pairs, tmp_path):
    first = run(raw_pairs, tmp_path)
    (part,) = tmp_path.glob("image-*/features/*.npz")
    shard = shards.Shard.load(part, 18)
    with np.load(part) as arrays:
        flipped = {**arrays, "feature": arrays["feature"] + 1}
    np.savez(part, **flipped)
    # The checksum is right, so that these numbers are believed; damage is not.
    assert run(raw_pairs, tmp_path).fingerprint != first.fingerprint
    shard.save(part)
    content = bytearray(part.read_bytes())
    content[content.index(shard.feature.tobytes())] ^= 1
    part.write_bytes(content)
    assert run(raw_pairs, tmp_path).fingerprint == first.fingerprint


def test_rows_that_are_added_are_all_that_is_extracted(raw_pairs, tmp_path, opened):
    first = run(replace(raw_pairs, train=raw_pairs.train[3:], test=raw_pairs.test[2:]), tmp_path)
    assert len(opened) == 13
    opened.clear()
    # The others move to other rows, to another split, and to another data set.
    moved = (raw_pairs.test[5], *raw_pairs.train)
    grown = replace(raw_pairs, name="grown", train=moved, test=raw_pairs.test[:5])
    dataset = run(grown, tmp_path)
    new = {f"train-{row}.png" for row in range(3)} | {"test-0.png", "test-1.png"}
    assert sorted(opened) == sorted(new)
    np.testing.assert_array_equal(dataset.train.image[4:], first.train.image)
    np.testing.assert_array_equal(dataset.train.image[0], first.test.image[3])
    assert dataset.test.thumbnail[2:] == first.test.thumbnail[:3]


def test_the_log_tells_what_the_cache_spares(raw_pairs, tmp_path, caplog):
    caplog.set_level("INFO")
    run(replace(raw_pairs, train=raw_pairs.train[3:]), tmp_path)
    run(raw_pairs, tmp_path)
    assert "0 of 15 images are in the feature cache" in caplog.text
    assert "15 of 18 images are in the feature cache" in caplog.text


def test_incomplete_training_pairs(raw_pairs, tmp_path):
    first, second, third, *others = raw_pairs.train
    train = (
        replace(first, image=None),
        replace(second, text=None),
        replace(third, label=None),
        *others,
    )
    dataset = run(replace(raw_pairs, train=train), tmp_path)
    whole = run(raw_pairs, tmp_path / "whole")
    split = dataset.train
    assert split.has_image.tolist() == [False] + [True] * 11
    assert split.has_text.tolist() == [True, False] + [True] * 10
    assert split.label[:4].tolist() == [0, 1, -1, 0]
    assert not split.image[0].any() and not split.text[1].any()
    np.testing.assert_array_equal(split.image[1:], whole.train.image[1:])
    assert split.thumbnail == (b"", *whole.train.thumbnail[1:]) and split.title[1] == ""
    assert dataset.test.has_image is None and dataset.test.has_text is None
    extractor_files.write_feature_file(dataset, tmp_path / "f.npz")
    read = feature_file.load(tmp_path / "f.npz")
    np.testing.assert_array_equal(read.train.has_text, split.has_text)


def test_a_bad_image_is_named_as_the_data_set_names_it(raw_pairs, tmp_path):
    raw_pairs.test[1].image.write_bytes(b"no image")
    run(raw_pairs, tmp_path, on_bad_image="skip")
    other = raw_pairs.test[1].image.with_name("other.png")
    raw_pairs.test[1].image.rename(other)
    test = (raw_pairs.test[0], replace(raw_pairs.test[1], image=other))
    with pytest.raises(InputError) as raised:
        run(replace(raw_pairs, test=test), tmp_path)
    assert str(raised.value).startswith(f"{other}: cannot be read")
    assert "test-1.png" not in str(raised.value)


def test_what_changes_features_changes_the_folder(raw_pairs, tmp_path, mean_colour, opened):
    run(raw_pairs, tmp_path)
    opened.clear()
    mean_colour.version = 2
    run(raw_pairs, tmp_path)
    assert len(opened) == 18, "other settings"
    opened.clear()
    with open(raw_pairs.train[0].image, "ab") as file:
        file.write(b"more")
    run(raw_pairs, tmp_path)
    assert opened == ["train-0.png"], "another file"
    assert len(list(tmp_path.glob("image-mean-*"))) == 2


def test_a_bad_picture_is_refused_by_name(raw_pairs, tmp_path):
    raw_pairs.test[1].image.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"test-1\.png: cannot be read .*on_bad_image=skip"):
        run(raw_pairs, tmp_path)


def test_bad_images_are_skipped_and_reported(raw_pairs, tmp_path, capsys):
    configure_logging()
    raw_pairs.test[1].image.write_bytes(b"no picture")
    raw_pairs.train[4].image.unlink()
    dataset = run(raw_pairs, tmp_path, on_bad_image="skip")
    assert (len(dataset.train), len(dataset.test)) == (11, 5)
    assert "test-1" not in dataset.test.id and "train-4" not in dataset.train.id
    np.testing.assert_array_equal(dataset.train.label, [0, 1, 2, 0, 2, 0, 1, 2, 0, 1, 2])
    texts = [pair.text for pair in raw_pairs.test if pair.id != "test-1"]
    assert dataset.test.title.tolist() == texts
    (report,) = tmp_path.glob("shapes-*/left_out.txt")
    assert [line.split(":")[0].rsplit("/")[-1] for line in report.read_text().splitlines()] == [
        "train-4.png",
        "test-1.png",
    ]
    assert "2 of 18 images cannot be used, and their pairs are left out" in capsys.readouterr().out
    # The same cache under the other policy: what was skipped is refused.
    with pytest.raises(InputError, match=r"train-4\.png: there is no such file"):
        run(raw_pairs, tmp_path, on_bad_image="refuse")


def test_a_split_of_bad_pictures_only(raw_pairs, tmp_path):
    for pair in raw_pairs.test:
        pair.image.write_bytes(f"no picture: {pair.id}".encode())
    with pytest.raises(InputError, match="test: none of the images of its 6 pairs can be used"):
        run(raw_pairs, tmp_path, on_bad_image="skip")


def repeated(pairs: RawPairs, folder: Path) -> RawPairs:
    """A second pair for each image, by its path or by a copy, the last one in the other split."""

    def twice(split):
        copies = []
        for number, pair in enumerate(split):
            copy = folder / f"copy of {pair.image.name}"
            copy.write_bytes(pair.image.read_bytes())
            image = copy if number % 2 else pair.image
            copies.append(replace(pair, id=f"{pair.id}#2", image=image, text=f"again {pair.text}"))
        return (*split, *copies)

    train, test = twice(pairs.train), twice(pairs.test)
    return replace(pairs, train=train, test=(replace(train[-1], id="in both"), *test))


def test_an_image_of_several_pairs_is_extracted_once(raw_pairs, tmp_path, opened):
    once = run(raw_pairs, tmp_path / "once")
    opened.clear()
    pairs = repeated(raw_pairs, tmp_path)
    dataset = run(pairs, tmp_path / "twice")
    assert len(opened) == 18 and len(set(opened)) == 18
    for part, split in dataset.splits():
        given = pairs.splits()[part]
        assert split.id.tolist() == [pair.id for pair in given]
        assert split.title.tolist() == [pair.text for pair in given]
        expected = [MeanColour().prepare(shards.open_image(pair.image)) for pair in given]
        np.testing.assert_array_equal(split.image, expected)
    np.testing.assert_array_equal(dataset.train.image[:12], once.train.image)
    assert dataset.test.thumbnail[1:7] == once.test.thumbnail == dataset.test.thumbnail[7:]
    assert dataset.test.thumbnail[0] == dataset.train.thumbnail[11]


def test_all_pairs_of_a_bad_image_are_left_out(raw_pairs, tmp_path, capsys):
    configure_logging()
    pairs = repeated(raw_pairs, tmp_path)
    for pair in pairs.train:
        if pair.id.removesuffix("#2") in ("train-3", "train-11"):
            pair.image.write_bytes(b"no picture")
    dataset = run(pairs, tmp_path / "cache", on_bad_image="skip")
    assert {"train-3", "train-11"} == {pair.id for pair in raw_pairs.train} - set(dataset.train.id)
    assert (len(dataset.train), len(dataset.test)) == (20, 12)
    assert "in both" not in dataset.test.id
    assert "1 of 17 images cannot be used" in capsys.readouterr().out


def test_groups_reach_the_data_set_and_its_feature_file(raw_pairs, tmp_path):
    def grouped(split):
        return tuple(replace(pair, group=f"g{number // 2}") for number, pair in enumerate(split))

    pairs = replace(raw_pairs, train=grouped(raw_pairs.train), test=grouped(raw_pairs.test))
    dataset = run(pairs, tmp_path)
    assert dataset.train.group.tolist() == [f"g{number // 2}" for number in range(12)]
    extractor_files.write_feature_file(dataset, tmp_path / "f.npz")
    read = feature_file.load(tmp_path / "f.npz")
    for part, split in dataset.splits():
        np.testing.assert_array_equal(read.groups[part], dataset.groups[part])
        assert dict(read.splits())[part].group.tolist() == split.group.tolist()


def test_an_unknown_policy(raw_pairs, tmp_path):
    with pytest.raises(InputError, match="--on_bad_image=ignore: expected one of refuse, skip"):
        run(raw_pairs, tmp_path, on_bad_image="ignore")


def test_a_cache_that_cannot_be_written(raw_pairs, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cache_dir=.*file: cannot be written"):
        run(raw_pairs, tmp_path / "file")


def test_extractors_are_kept_with_a_run(raw_pairs, tmp_path):
    dataset = run(raw_pairs, tmp_path / "cache")
    assert extractor_files.saved_extractors(dataset) == Path(dataset.source)
    assert extractor_files.keep_extractors(dataset, tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["image", "text"]
    assert (tmp_path / "run" / "text" / "vocabulary.json").is_file()
    assert not extractor_files.keep_extractors(replace(dataset, source=""), tmp_path / "none")


def test_titles_are_one_short_line():
    assert extract.title(" two\n lines ") == "two lines"
    long = extract.title("word " * 100)
    assert len(long) <= 122 and long.endswith("word …")


def test_a_shard_survives_its_file(tmp_path):
    shard = shards.Shard(
        np.ones((2, 3), np.float32), np.array([0, 2], np.int32), (b"a", b"bcd"), ("1: broken",)
    )
    shard.save(tmp_path / "a.npz")
    again = shards.Shard.load(tmp_path / "a.npz", items=3)
    np.testing.assert_array_equal(again.feature, shard.feature)
    np.testing.assert_array_equal(again.row, shard.row)
    assert (again.thumbnail, again.bad) == (shard.thumbnail, shard.bad)
