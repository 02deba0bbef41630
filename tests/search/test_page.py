"""The page of answers: all that was found, nothing fetched, nothing executed, same bytes."""

import html.parser
import io
import re

import pytest
from PIL import Image

from xgacmn_tf.errors import InputError
from xgacmn_tf.search.page import write_answers_page
from xgacmn_tf.search.searcher import Answer, Hit, Query

HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def picture(kind: str = "PNG") -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (4, 4), "red").save(data, kind)
    return data.getvalue()


HITS = (
    Hit(1, 0.75, "a.png", "Apple", "fruit", picture()),
    Hit(2, -0.25, "b", HOSTILE, HOSTILE, b"<svg onload=alert(1)>"),
)
ANSWERS = [
    Answer(Query("text", "red <apple>", None), HITS, ("mauve",)),
    Answer(Query("text", "mauve", None), (), ("mauve",), understood=False),
    Answer(Query("image", "photo.jpg", None, picture("JPEG")), HITS[:1]),
    Answer(Query("text", "nothing", None), ()),
]


@pytest.fixture
def page(tmp_path):
    """Writes a page and returns its text."""

    def make(answers=ANSWERS, **changes):
        settings = {
            "run": "run-1",
            "gallery": HOSTILE,
            "sizes": {"image": 1234, "text": 1},
            "similarity": "cosine",
            "facts": ["P@10 0.5"],
        }
        write_answers_page(tmp_path / "page.html", answers, **(settings | changes))
        return (tmp_path / "page.html").read_text(encoding="utf-8")

    return make


class Elements(html.parser.HTMLParser):
    """Every element with its attributes, and the text of the page."""

    def __init__(self, text):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data


def test_everything_that_was_found_is_shown(page):
    text = " ".join(Elements(page()).text.split())
    for shown in (
        "of 1,234 images to each text, and of 1 text to each image",
        "red <apple>",
        "Apple",
    ):
        assert shown in text
    for shown in ("fruit", "0.750", "-0.250", "P@10 0.5", "photo.jpg", "run-1"):
        assert shown in text
    assert text.count("passed over: “mauve”") == 1
    assert text.count("The run knows no word of this query") == 1
    # Of the query that nothing was found for, not of the one that was not understood.
    assert text.count("Nothing in the gallery fits") == 1


def test_posteriors_and_poor_matches_are_shown(page):
    sure = Hit(1, 0.75, "a", "Apple", "fruit", b"", 0.915)
    predicted = Hit(2, 0.5, "b", "Bus", "cars", b"", 0.25, category_known=False)
    query = Query("text", "pear", None)
    text = page([Answer(query, (sure, predicted), (), True, HOSTILE, 0.5, True)])
    assert HOSTILE not in text
    shown = " ".join(Elements(text).text.split())
    assert "most probable category: " in shown and "50%" in shown
    assert "No good match: the nearest items are shown." in shown
    assert "fruit 92%" in shown and "cars? 25%" in shown
    matched = page([Answer(query, (sure,), no_good_match=False)])
    assert "No good match" not in matched and "most probable" not in matched


def test_nothing_is_executed_and_nothing_is_fetched(page):
    elements = Elements(page()).found
    assert not {tag for tag, _ in elements} & {"script", "iframe", "link", "object", "svg", "form"}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    sources = [attributes["src"] for tag, attributes in elements if tag == "img"]
    # A picture in two answers and the query's own; what is no picture is not shown.
    assert len(sources) == 3
    assert all(re.match("data:image/(png|jpeg|webp);base64,", source) for source in sources)
    policy = [a for tag, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert "default-src 'none'" in policy[0]["content"]


def test_found_pictures_are_linked_where_they_are(page, tmp_path):
    (tmp_path / "a.png").write_bytes(picture())
    text = page(folder=tmp_path)
    links = [attributes["href"] for tag, attributes in Elements(text).found if tag == "a"]
    assert links == [(tmp_path / "a.png").as_uri()] * 2
    assert "file:" not in page(folder=None)


def test_one_query_names_the_window(page):
    assert "<title>red &lt;apple&gt; · " in page(ANSWERS[:1], sizes={"image": 1})
    assert "<title>4 queries · " in page()


def test_the_same_answers_give_the_same_bytes(page):
    assert page() == page()


def test_a_page_that_cannot_be_written(tmp_path):
    with pytest.raises(InputError, match="--page=.*cannot be written"):
        write_answers_page(
            tmp_path / "no" / "page.html",
            ANSWERS,
            run="run",
            gallery="test",
            sizes={"image": 1},
            similarity="dot",
        )
