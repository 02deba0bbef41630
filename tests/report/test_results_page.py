"""The results page: right numbers and marks, nothing fetched, nothing executed, same bytes."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from xgacmn_tf.datasets.paired import Split
from xgacmn_tf.errors import InputError
from xgacmn_tf.evaluation.identity import Direction, Identity, directions
from xgacmn_tf.evaluation.retrieval import evaluate_retrieval
from xgacmn_tf.report.curves import COLORS, draw_charts
from xgacmn_tf.report.examples import (
    GRADE_NAMES,
    GRADES,
    examples_by_rank,
    retrieve,
    rows_at_quantiles,
)
from xgacmn_tf.report.images import data_uri, image_type
from xgacmn_tf.report.results_page import write_results_page

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'
NAMES = ("cats", "dogs")

# Four pairs: 0 and 1 are cats, 2 and 3 dogs. Representations are one number each, so that the
# ranking can be read off: a positive query prefers large gallery values, a negative one small ones.
IMAGE = np.array([[1.0], [1.0], [1.0], [-1.0]], np.float32)
TEXT = np.array([[3.0], [1.0], [2.0], [1.0]], np.float32)


def picture(kind: str, colour: str = "red") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), colour).save(data, kind)
    return data.getvalue()


def split(**changes) -> Split:
    fields = {
        "image": np.zeros((4, 2), np.float32),
        "text": np.zeros((4, 2), np.float32),
        "label": np.array([0, 0, 1, 1], np.int32),
        "id": np.array(["a", "b", "c", "d"]),
        "title": np.array([HOSTILE, "a tabby", "a collie", "a pug"]),
        "thumbnail": (picture("PNG"), picture("JPEG"), picture("WEBP"), b"<svg onload=alert(1)>"),
    }
    return Split(**(fields | changes))


METRICS = {
    "dataset": "pets <b>",
    "test": {
        "cosine": {
            "mAP": {"i2t": 0.25, "t2i": 0.5, "avg": 0.375},
            "median_rank": {"i2t": 7.0, "t2i": 9.0, "avg": 8.0},
        },
        "posterior": {
            "mAP": {"i2t": 0.75, "t2i": 0.5, "avg": 0.625},
            "median_rank": {"i2t": 6.5, "t2i": 11.0, "avg": 8.75},
        },
    },
    "chance": {"mAP": {"i2t": 0.125, "t2i": 0.125, "avg": 0.125}},
    "headline_similarity": "posterior",
    "normalizer": {"mAP": "relevant"},
    "queries_without_relevant": {"i2t": 3, "t2i": 0},
    "versions": {"keras": "3.15.1"},
    "data_fingerprint": "f00d",
    "best_epoch": 2,
}
HISTORY = [
    {"epoch": 1.0, "G/loss": 9.0, "D/image_accuracy": 0.5, "validation/mAP/i2t": 0.2},
    {"epoch": 2.0, "G/loss": 4.0, "D/image_accuracy": 0.6, "validation/mAP/i2t": 0.3},
]


def all_different(items: int) -> Identity:
    return Identity(np.arange(items), np.arange(items), np.arange(items))


def direction(items: int, way: str = "i2t") -> Direction:
    return directions(all_different(items), deduplicated=False)[way]


def write(path, **changes) -> str:
    arguments = {
        "settings": {"lambda_1": 10.0, "data_dir": None},
        "metrics": METRICS,
        "history": HISTORY,
        "split": split(),
        "label_names": NAMES,
        "image_representation": IMAGE,
        "text_representation": TEXT,
        "identity": all_different(len(IMAGE)),
    }
    write_results_page(path, **(arguments | changes))
    return path.read_text(encoding="utf-8")


class Elements(html.parser.HTMLParser):
    """Collects (tag, attributes) and the text of the page, and checks that tags are balanced."""

    VOID = {"meta", "img", "br", "input"}

    def __init__(self, page: str):
        super().__init__()
        self.found: list[tuple[str, dict]] = []
        self.stack: list[str] = []
        self.words: list[str] = []
        self.feed(page)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "style" not in self.stack:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def shown_grades(page: str, way: str) -> list[list[str]]:
    """For each query of a direction, the grades of its hits in order."""
    section = page.split(f'<section id="{way}"')[1].split("</section>")[0]
    return [
        re.findall(r'<li class="hit frame ([^"]*)"', article)
        for article in section.split("<article")[1:]
    ]


def test_ranking_grades_average_precision_and_own_rank_by_hand():
    targets = np.eye(2)[[0, 0, 1, 1]]
    first, last = retrieve(IMAGE, TEXT, targets, None, {0: 0.0, 3: 1.0}, 3, direction(4))
    # Image 0 (a cat, +1) orders texts by value, the equal 1 and 3 by row: 0, 2, 1, 3.
    assert [hit.row for hit in first.hits] == [0, 2, 1]
    assert [hit.grade for hit in first.hits] == ["own", "none", "category"]
    # Cats at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert first.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert first.own_rank == 1 and first.quantile == 0.0
    # Image 3 (a dog, −1) turns the values round: −1, −1, −2, −3, so 1, 3, 2, 0.
    assert [hit.row for hit in last.hits] == [1, 3, 2]
    assert [hit.grade for hit in last.hits] == ["none", "own", "category"]
    # Dogs at ranks 2 and 3: (1/2 + 2/3) / 2.
    assert last.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert last.own_rank == 2 and last.quantile == 1.0


def test_a_shared_fine_label_is_a_grade_where_it_says_more_than_the_category():
    targets = np.eye(2)[[0, 0, 0, 0, 1]]
    fine, rows = np.array([3, 3, 4, -1, 3]), {row: 0.5 for row in (0, 3)}
    # All texts tie, so that their order is that of the rows.
    first, last = retrieve(np.ones((5, 1)), np.ones((5, 1)), targets, fine, rows, 5, direction(5))
    # Text 4 has the fine label and another category.
    assert [hit.grade for hit in first.hits] == ["own", "fine", "category", "category", "none"]
    # Image 3 has no label finer than its category.
    assert [hit.grade for hit in last.hits] == ["category"] * 3 + ["own", "none"]


def test_examples_are_graded_by_the_labels_of_the_split():
    # "cats" is the category itself, and "dogs" are all of their category.
    fine = np.array(["cats", "tabby", "tabby", "dogs"])
    of_split = split(fine_label=fine, label=np.array([0, 0, 0, 1]))
    ones = np.ones((4, 1))
    examples = examples_by_rank(ones, ones, of_split, ("Cats", "pets"), all_different(4))
    grades = {example.row: [hit.grade for hit in example.hits] for example in examples["i2t"]}
    assert grades == {
        0: ["own", "category", "category", "none"],
        1: ["category", "own", "fine", "none"],
        2: ["category", "fine", "own", "none"],
        3: ["none", "none", "none", "own"],
    }


def test_members_of_a_group_and_identical_items_are_the_own_item():
    text = np.array([[1.0], [1.0], [2.0], [3.0]])
    identity = Identity.of(np.arange(4.0)[:, np.newaxis], text, np.array(["a", "b", "c", "a"]))
    found = directions(identity, deduplicated=False)["i2t"]
    (example,) = retrieve(np.ones((4, 1)), text, np.eye(4), None, {0: 0.5}, 4, found)
    # Text 3 is of the group, text 1 equals the own text 0.
    assert [(h.row, h.grade) for h in example.hits] == [
        (3, "own"), (2, "none"), (0, "own"), (1, "own"),
    ]  # fmt: skip
    assert example.own_rank == 1


def test_queries_stand_at_the_quantiles_of_the_own_rank():
    ranks = np.arange(1, 101)
    rows = rows_at_quantiles(ranks, np.ones((100, 1)), np.random.default_rng(0))
    assert {ranks[row]: quantile for row, quantile in rows.items()} == {
        1: 0.0, 10: 0.1, 25: 0.25, 50: 0.5, 75: 0.75, 90: 0.9, 100: 1.0,
    }  # fmt: skip


def test_ties_are_broken_by_category_and_then_by_the_seed():
    label = np.repeat(np.arange(7), 30)
    draws = set()
    for seed in range(4):
        # All own items have one rank.
        rows = list(
            rows_at_quantiles(np.ones(210, int), np.eye(7)[label], np.random.default_rng(seed))
        )
        assert sorted(label[rows]) == list(range(7))
        draws.add(tuple(rows))
    assert len(draws) == 4


def test_a_split_of_few_pairs_shows_each_query_once():
    rows = rows_at_quantiles(np.array([2, 1, 2]), np.eye(3), np.random.default_rng(0))
    assert sorted(rows) == [0, 1, 2] and rows[1] == 0.0
    # Rank 2 is that of the quantiles from 0.5 on; two queries have it, the worst is one of them.
    assert sorted(rows.values()) == [0.0, 0.5, 1.0]


def test_query_that_shares_no_label_with_the_gallery_has_average_precision_zero():
    # Only with other people's targets can that happen: a pair shares its own labels.
    targets = np.array([[0, 0], [1, 0]])
    (example,) = retrieve(
        np.ones((2, 1)), np.ones((2, 1)), targets, None, {0: 0.0}, 2, direction(2)
    )
    assert example.average_precision == 0.0
    assert [hit.grade for hit in example.hits] == ["own", "none"]


def test_examples_agree_with_the_reported_numbers_on_near_ties():
    # Image 0 scores the texts 1, 1 + 1e-9 and 1 + 2e-9, which are equal in single precision, so
    # that the order is by row; in double precision it would be 2, 1, 0.
    image = np.array([[1.0, 1e-9], [1.0, 1.0], [0.0, 1.0]])
    text = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    targets = np.eye(2)[[0, 1, 1]]
    (first,) = retrieve(image, text, targets, None, {0: 0.0}, 3, direction(3))
    assert [hit.row for hit in first.hits] == [0, 1, 2]
    assert first.own_rank == 1 and first.average_precision == 1.0
    # Whole splits with many ties and near-ties: the very numbers of the evaluation.
    generator = np.random.default_rng(0)
    image, text = generator.integers(-2, 3, (2, 40, 3)).astype(np.float32)
    text += generator.normal(scale=1e-8, size=text.shape)
    targets = np.eye(4)[generator.integers(0, 4, 40)]
    # Also where items repeat, whichever of them is found first.
    identity = Identity.of(image, text.round())
    assert len(np.unique(identity.image)) < 40 > len(np.unique(identity.text))
    same = directions(identity, deduplicated=False)
    result = evaluate_retrieval(image, text, targets, identity=identity)
    for way, query, gallery in (("i2t", image, text), ("t2i", text, image)):
        rows = [31, 2, 17, 0, 39]
        shown = dict.fromkeys(rows, 0.5)
        examples = retrieve(query, gallery, targets, None, shown, 5, same[way])
        assert [e.average_precision for e in examples] == list(result.per_query[way]["AP"][rows])
        assert [e.own_rank for e in examples] == list(result.per_query[way]["rank"][rows])


def test_no_query_gives_no_example():
    assert retrieve(IMAGE, TEXT, np.eye(2)[[0, 0, 1, 1]], None, {}, 3, direction(4)) == []


def test_page_marks_agree_with_the_ranking(tmp_path):
    page = write(tmp_path / "r.html", depth=4)
    shown = shown_grades(page, "i2t")
    # Ranked as above; images 1 and 2 rank like image 0, and theirs are texts 1 and 2. Own ranks are
    # 1, 3, 2 and 2, so that the quantiles 0, 0.5, 0.75 and 1 have one each.
    assert sorted(shown) == sorted(
        [
            ["own", "none", "category", "none"],
            ["category", "none", "own", "none"],
            ["none", "own", "none", "category"],
            ["none", "own", "category", "none"],
        ]
    )
    # More than color: a sign and a word for each hit.
    section = page.split('<section id="i2t"')[1].split("</section>")[0]
    heads = re.findall(r'<div class="head">(.*?)</div>', section, re.DOTALL)
    for head, grade in zip(heads, [grade for grades in shown for grade in grades], strict=True):
        assert f">{GRADES[grade]}<" in head and f">{GRADE_NAMES[grade]}<" in head
    assert GRADES["fine"] not in section
    text = Elements(page).text
    assert "AP by category 0.833" in text and "AP by category 0.583" in text


def test_page_states_the_rule_and_each_rank_and_quantile(tmp_path):
    text = Elements(write(tmp_path / "r.html", seed=7)).text
    assert "All 4 queries of the test split are ordered by the rank of their own item" in text
    assert "0, 10, 25, 50, 75, 90 and 100 % quantiles" in text and "seed 7 decides" in text
    assert "Own item at rank 1 0 % quantile · best" in text
    # Own ranks of the images: 1, 3, 2, 2.
    assert "Own item at rank 2 50 % quantile · typical" in text
    assert "Own item at rank 2 75 % quantile" in text
    assert "Own item at rank 3 100 % quantile · worst" in text


def test_fine_labels_are_shown_and_marked(tmp_path):
    fine = np.array(["cats", "cats/tabby", "collie", "pug"])
    page = write(tmp_path / "r.html", split=split(fine_label=fine))
    text = Elements(page).text
    assert "same fine label" in text
    # The category is named unless the fine label starts with it.
    assert "cats/\u200btabby" in text and "dogs, collie" in text


def test_texts_are_escaped_and_nothing_can_run_or_be_fetched(tmp_path):
    page = write(
        tmp_path / "r.html",
        settings={"dataset": HOSTILE},
        label_names=("<i>cats", "dogs"),
        metrics=METRICS | {"versions": {"<u>": HOSTILE}},
    )
    elements = Elements(page)
    assert not {tag for tag, _ in elements.found} & {"script", "u", "link", "iframe", "object"}
    assert HOSTILE in elements.text
    assert "pets <b>" in elements.text
    for tag, attributes in elements.found:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value.startswith(("data:image/", "#")), (tag, value)
    assert not re.search(r"https?:|//[a-z]|@import|url\((?!#)", page.replace("<!--", ""))
    assert "default-src 'none'" in page


def test_pictures_are_told_by_their_bytes(tmp_path):
    for kind in ("PNG", "JPEG", "WEBP"):
        data = picture(kind)
        assert image_type(data) == kind.lower()
        address = data_uri(data)
        assert base64.b64decode(address.removeprefix(f"data:image/{kind.lower()};base64,")) == data
    assert image_type(b"<svg xmlns='x'/>") is None and image_type(b"") is None
    assert "onload" not in write(tmp_path / "r.html")


def test_same_arguments_give_the_same_bytes_and_another_seed_other_queries(tmp_path):
    write(tmp_path / "one.html")
    write(tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    pages = {write(tmp_path / "seed.html", seed=seed) for seed in range(8)}
    assert len({re.sub(r"seed \d", "", page) for page in pages}) > 1


def test_numbers_with_chance_normalizer_and_best(tmp_path):
    page = write(tmp_path / "r.html")
    text = Elements(page).text
    assert "0.625" in text and "chance 0.125 · 5.0 × chance" in text
    assert "whole ranking, ÷ relevant items in the gallery" in text
    assert "i2t: 3 queries have nothing relevant" in text and "t2i: 0" not in text
    best = re.findall(r"<td[^>]*><b>([\d.]+)</b>", page)
    # mAP: posterior wins i2t and avg, t2i is equal. Median rank: the lower wins.
    assert best == ["0.750", "0.625", "6.5", "9.0", "8.0"]
    for fact in ("f00d", "3.15.1", "lambda_1"):
        assert fact in text


def test_the_page_of_a_compared_system_names_it(tmp_path):
    assert "<title>" in (page := write(tmp_path / "own.html")) and "X-GACMN results" in page
    page = write(tmp_path / "cca.html", metrics=METRICS | {"model": "cca"})
    assert "cca results" in page and "X-GACMN" not in page


def test_only_numbers_no_titles_no_pictures_several_labels(tmp_path):
    label = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], np.uint8)
    page = write(
        tmp_path / "r.html",
        split=split(title=None, thumbnail=None, label=label),
        history=[],
        metrics={"test": METRICS["test"], "headline_similarity": "posterior"},
    )
    elements = Elements(page)
    assert "img" not in {tag for tag, _ in elements.found}
    assert "svg" not in {tag for tag, _ in elements.found}
    assert "cats, dogs" in elements.text
    # Image 0 (cats) finds texts 0, 2, 1, 3; text 1 has both labels, so it is right.
    assert ["own", "none", "category", "none"] in shown_grades(page, "i2t")
    # Image 1 has both labels: everything is right.
    assert any("none" not in grades for grades in shown_grades(page, "i2t"))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"image_representation": IMAGE[:3]}, r"image_representation has shape \(3, 1\)"),
        ({"text_representation": TEXT * np.nan}, "text_representation.*finite"),
        ({"text_representation": np.ones((4, 2), np.float32)}, r"\(4, 1\).*\(4, 2\)"),
        ({"metrics": {}}, "no 'test' results"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        write(tmp_path / "r.html", **changes)
    assert list(tmp_path.iterdir()) == []


def test_charts_skip_what_is_missing_or_not_finite():
    history = [
        {"epoch": 1.0, "G/loss": 5.0, "G/pair": float("nan"), "angle/image": 80.0},
        {"epoch": 2.0, "G/loss": 4.0, "angle/image": 70.0, "validation/mAP/avg": 0.25},
    ]
    charts = {chart.title: chart for chart in draw_charts(history, best_epoch=2)}
    assert list(charts) == ["Validation mAP", "Angle to own class", "Generator losses"]
    assert [series.key for series in charts["Generator losses"].series] == ["G/loss"]
    assert "total: 5 at epoch 1, 4 at epoch 2" in charts["Generator losses"].description
    assert draw_charts([]) == []


def contrast(color: str, other: str) -> float:
    """The contrast ratio of WCAG 2."""

    def luminance(code: str) -> float:
        channels = [int(code[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(color), luminance(other)])
    return (high + 0.05) / (low + 0.05)


def test_charts_are_small_images_that_repeat():
    history = [
        {"epoch": float(e), "G/loss": 200.0 / e, "G/pair": 0.1, "angle/image": 90.0 - e / 10}
        for e in range(1, 301)
    ]
    charts = draw_charts(history)
    assert charts == draw_charts(history) and len(charts) == 2
    for chart in charts:
        scheme, _, content = chart.uri.partition(",")
        assert scheme == "data:image/svg+xml;base64"
        svg = base64.b64decode(content).decode()
        assert len(svg) < 40_000 and COLORS[chart.series[0].color] in svg


@pytest.mark.parametrize("background", ["#ffffff", "#171e26"])
def test_lines_are_readable_on_light_and_dark_pages(background):
    assert all(contrast(color, background) >= 3 for color in COLORS.values())


def category(number: int, **changes) -> dict:
    entry = {
        "name": f"category {number}",
        "train_pairs": 10 * number,
        "queries": {"i2t": number + 1, "t2i": number + 1},
        "mAP": {"i2t": 1 / (number + 1), "t2i": number / 2000},
        "confused_with": {"i2t": {"name": "dogs", "share": 0.25}, "t2i": None},
    }
    return entry | changes


def test_scores_per_category_can_be_sorted_without_a_script(tmp_path):
    table = [category(k) for k in range(300)]
    table[7]["name"] = HOSTILE
    page = write(tmp_path / "page.html", metrics=METRICS | {"categories": table})
    elements = Elements(page)
    styles = [a.get("style") or "" for tag, a in elements.found if tag == "tr"]
    rows = [
        dict(re.findall(r"--(\w+)-place: (\d+)", style)) for style in styles if "place" in style
    ]
    assert len(rows) == 300
    # Most queries first, the lowest scores first.
    assert [rows[k]["queries"] for k in (0, 299)] == ["299", "0"]
    assert [rows[k]["i2t"] for k in (0, 299)] == ["299", "0"]
    assert [rows[k]["t2i"] for k in (0, 299)] == ["0", "299"]
    chosen = {a["id"] for tag, a in elements.found if tag == "input"}
    assert chosen == {"by-names", "by-queries", "by-pairs", "by-i2t", "by-t2i"}
    for name in chosen - {"by-names"}:
        assert f"body:has(#{name}:checked)" in page
    assert "dogs" in elements.words and "25 %" in elements.words
    assert HOSTILE not in page


def test_a_thousand_categories_are_shown_at_most(tmp_path):
    table = [category(k) for k in range(1200)]
    page = write(tmp_path / "page.html", metrics=METRICS | {"categories": table})
    assert page.count("-place: 0;") == 4
    assert ">category 1199<" in page and ">category 199<" not in page
    assert "metrics.json has all 1200" in page


def test_the_data_report_and_warnings_are_shown(tmp_path):
    report = {
        "splits": {"train": {"pairs": 3, "images": None}, "test": {"pairs": 4, "images": 2}},
        "notes": ["two <b>texts</b> are empty"],
        "warnings": [],
    }
    unseen = {
        "pairs": {"fern": 3},
        "queries": {"i2t": 3, "t2i": 3},
        "mAP": {"posterior": {"seen": {"avg": 0.987}, "unseen": {"avg": 0.217}}},
    }
    metrics = METRICS | {
        "data_report": report,
        "unseen_categories": unseen,
        "warnings": ["all text features are constant"],
        "categories": [category(1)],
    }
    words = Elements(write(tmp_path / "page.html", metrics=metrics)).words
    text = " ".join(words)
    assert "two <b>texts</b> are empty" in text and "all text features are constant" in text
    assert "The category fern has no training pair" in text
    assert "reach 0.217, all others 0.987" in text
