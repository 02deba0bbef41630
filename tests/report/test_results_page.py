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
from xgacmn_tf.report.curves import draw_charts
from xgacmn_tf.report.examples import retrieve, sample_rows
from xgacmn_tf.report.pictures import data_uri, picture_type
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


def hit_classes(page: str, way: str) -> list[list[str]]:
    """For each query of a direction, the classes of its hits in order."""
    section = page.split(f'<section id="{way}"')[1].split("</section>")[0]
    return [
        [re.sub(r"\s+", " ", found) for found in re.findall(r'<li class="(hit [^"]*)"', article)]
        for article in section.split("<article")[1:]
    ]


def test_ranking_marks_average_precision_and_own_pair_by_hand():
    targets = np.eye(2)[[0, 0, 1, 1]]
    first, last = retrieve(IMAGE, TEXT, targets, [0, 3], 3, direction(4))
    # Image 0 (a cat, +1) orders texts by value, the equal 1 and 3 by row: 0, 2, 1, 3.
    assert [hit.row for hit in first.hits] == [0, 2, 1]
    assert [hit.right for hit in first.hits] == [True, False, True]
    assert [hit.own for hit in first.hits] == [True, False, False]
    # Cats at ranks 1 and 3: (1/1 + 2/3) / 2.
    assert first.average_precision == pytest.approx((1 + 2 / 3) / 2)
    assert first.own_rank == 1
    # Image 3 (a dog, −1) turns the values round: −1, −1, −2, −3, so 1, 3, 2, 0.
    assert [hit.row for hit in last.hits] == [1, 3, 2]
    # Dogs at ranks 2 and 3: (1/2 + 2/3) / 2.
    assert last.average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert last.own_rank == 2


def test_query_that_shares_no_label_with_the_gallery_has_average_precision_zero():
    # Only with other people's targets can that happen: a pair shares its own labels.
    targets = np.array([[0, 0], [1, 0]])
    (example,) = retrieve(np.ones((2, 1)), np.ones((2, 1)), targets, [0], 2, direction(2))
    assert example.average_precision == 0.0 and example.relevant == 0


def test_examples_agree_with_the_reported_numbers_on_near_ties():
    # Image 0 scores the texts 1, 1 + 1e-9 and 1 + 2e-9, which are equal in single precision, so
    # that the order is by row; in double precision it would be 2, 1, 0.
    image = np.array([[1.0, 1e-9], [1.0, 1.0], [0.0, 1.0]])
    text = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 2.0]])
    targets = np.eye(2)[[0, 1, 1]]
    (first,) = retrieve(image, text, targets, [0], 3, direction(3))
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
        examples = retrieve(query, gallery, targets, rows, 5, same[way])
        assert [e.average_precision for e in examples] == list(result.per_query[way]["AP"][rows])
        assert [e.own_rank for e in examples] == list(result.per_query[way]["rank"][rows])
        assert [e.relevant for e in examples] == [int((targets @ targets[r]).sum()) for r in rows]


def test_no_query_gives_no_example():
    assert retrieve(IMAGE, TEXT, np.eye(2)[[0, 0, 1, 1]], [], 3, direction(4)) == []


def test_page_marks_agree_with_the_ranking(tmp_path):
    page = write(tmp_path / "r.html", queries=4, depth=4)
    shown = hit_classes(page, "i2t")
    # From the test above; images 1 and 2 rank like image 0, and theirs are texts 1 and 2.
    right, wrong = "hit right", "hit wrong"
    assert sorted(shown) == sorted(
        [
            [right + " own", wrong, right, wrong],
            [right, wrong, right + " own", wrong],
            [wrong, right + " own", wrong, right],
            [wrong, right + " own", right, wrong],
        ]
    )
    # More than colour: a sign and a word for each hit (and each sign once in the legend).
    section = page.split('<section id="i2t"')[1].split("</section>")[0]
    assert section.count("✓") == 8 + 1 and section.count("✗") == 8 + 1
    assert section.count(">right<") == section.count(">wrong<") == 8
    assert "AP 0.833" in Elements(page).text and "AP 0.583" in Elements(page).text


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
        assert picture_type(data) == kind.lower()
        address = data_uri(data)
        assert base64.b64decode(address.removeprefix(f"data:image/{kind.lower()};base64,")) == data
    assert picture_type(b"<svg xmlns='x'/>") is None and picture_type(b"") is None
    assert "onload" not in write(tmp_path / "r.html")


def test_same_arguments_give_the_same_bytes_and_another_seed_other_queries(tmp_path):
    write(tmp_path / "one.html")
    write(tmp_path / "two.html")
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()
    pages = {write(tmp_path / "seed.html", queries=1, seed=seed) for seed in range(8)}
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


def test_only_numbers_no_titles_no_pictures_several_labels(tmp_path):
    label = np.array([[1, 0], [1, 1], [0, 1], [0, 1]], np.uint8)
    page = write(
        tmp_path / "r.html",
        split=split(title=None, thumbnail=None, label=label),
        history=[],
        metrics={"test": METRICS["test"]},
        queries=4,
    )
    elements = Elements(page)
    assert "img" not in {tag for tag, _ in elements.found}
    assert "svg" not in {tag for tag, _ in elements.found}
    assert "cats, dogs" in elements.text
    # Image 0 (cats) finds texts 0, 2, 1, 3; text 1 has both labels, so it is right.
    assert ["hit right own", "hit wrong", "hit right", "hit wrong"] in hit_classes(page, "i2t")
    # Image 1 has both labels: everything is right.
    assert any(all("right" in hit for hit in hits) for hits in hit_classes(page, "i2t"))


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"image_representation": IMAGE[:3]}, r"image_representation: found shape \(3, 1\)"),
        ({"text_representation": TEXT * np.nan}, "text_representation.*finite"),
        ({"text_representation": np.ones((4, 2), np.float32)}, r"\(4, 1\).*\(4, 2\)"),
        ({"metrics": {}}, "no 'test' results"),
    ],
)
def test_bad_input_is_named_and_leaves_no_file(tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        write(tmp_path / "r.html", **changes)
    assert list(tmp_path.iterdir()) == []


def test_sample_goes_round_the_classes_without_repeats():
    # Class 0 has ten rows, class 1 two, class 2 one, class 3 none.
    label = np.array([0] * 10 + [1] * 2 + [2])
    rows = sample_rows(np.eye(4)[label], 7, np.random.default_rng(3))
    assert len(set(rows)) == 7
    assert sorted(label[rows[:3]]) == [0, 1, 2]
    # Second round: classes 0 and 1 only; then class 0 alone.
    assert sorted(label[rows[3:5]]) == [0, 1] and list(label[rows[5:]]) == [0, 0]
    everything = sample_rows(np.eye(4)[label], 99, np.random.default_rng(3))
    assert sorted(everything) == list(range(13))


def test_sample_of_several_labels_draws_each_row_once():
    rows = sample_rows(np.ones((5, 3)), 5, np.random.default_rng(0))
    assert sorted(rows) == list(range(5))


def test_charts_skip_what_is_missing_or_not_finite():
    history = [
        {"epoch": 1.0, "G/loss": 5.0, "G/pair": float("nan"), "angle/image": 80.0},
        {"epoch": 2.0, "G/loss": 4.0, "angle/image": 70.0, "validation/mAP/avg": 0.25},
    ]
    charts = {chart.title: chart for chart in draw_charts(history, best_epoch=2)}
    assert list(charts) == ["Validation mAP", "Angle to own class", "Generator losses"]
    assert [series.key for series in charts["Generator losses"].series] == ["G/loss"]
    assert "total: 5 at epoch 1, 4 at epoch 2" in charts["Generator losses"].svg
    assert draw_charts([]) == []


def test_charts_are_light_titled_and_share_no_ids():
    history = [
        {"epoch": float(e), "G/loss": 200.0 / e, "G/pair": 0.1, "angle/image": 90.0 - e / 10}
        for e in range(1, 301)
    ]
    charts = draw_charts(history)
    ids = [found for chart in charts for found in re.findall(r' id="([^"]*)"', chart.svg)]
    assert len(ids) == len(set(ids)) > 0
    for chart in charts:
        assert chart.svg.startswith("<svg") and chart.svg.endswith("</svg>")
        assert f">{chart.title}</title>" in chart.svg
        assert len(chart.svg) < 20_000
        # Every colour is the page's, or light and dark could not share the chart.
        assert not re.search(r"#[0-9a-f]{6}", chart.svg)


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


def test_runs_of_before_have_a_page_without_these(tmp_path):
    """Their data report was a list of lines."""
    page = write(tmp_path / "page.html", metrics=METRICS | {"data_report": ["a line"]})
    assert 'id="categories"' not in page and 'id="data"' not in page
