"""The search page in a real browser, against the real server."""

import base64
import io
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no chromium", allow_module_level=True)
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
BY_PICTURE = "search_texts_by_image_bytes"
DECODED_WIDTHS = "all => Promise.all(all.map((i) => i.decode().then(() => i.naturalWidth)))"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page with everything that it asked for and complained of."""

    page: playwright.Page
    model: str
    requests: list[playwright.Request] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        self.page.on("request", lambda request: self.requests.append(request))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda said: said.type in ("error", "warning") and self.complaints.append(said.text),
        )

    def ask(self, text: str) -> None:
        self.page.get_by_label("A word or a sentence").fill(text)
        self.page.keyboard.press("Enter")
        self.wait_for(f"Pictures for “{text}”")

    def wait_for(self, heading: str) -> None:
        self.page.get_by_role("heading", name=heading, exact=True).wait_for()

    def hits(self) -> list[tuple[str, str]]:
        """(id, score) of each result as shown, from the first to the last."""
        hits = self.page.locator("#hits > li").all()
        return [(hit.get_attribute("data-id"), hit.locator(".score").inner_text()) for hit in hits]

    def facts(self) -> str:
        return self.page.locator("#facts").inner_text()


@pytest.fixture
def visit(browser, site):
    """Opens the page at the given address; at the end nothing may have gone wrong meanwhile."""
    opened = []

    def visit(query: str = "", model: str = "colours", allowed: str | None = None) -> Visit:
        visit = Visit(browser.new_page(), model)
        visit.page.set_default_timeout(10_000)
        opened.append((visit, allowed))
        visit.listen()
        visit.page.goto(f"{site}/?model={model}{query}")
        visit.page.locator("main[aria-busy=false]").wait_for()
        return visit

    yield visit
    for visited, allowed in opened:
        assert [c for c in visited.complaints if allowed is None or allowed not in c] == []
        foreign = [r.url for r in visited.requests if not r.url.startswith(f"{site}/")]
        assert not foreign
        visited.page.close()


@pytest.fixture(scope="module")
def signatures(base):
    """The served SavedModel itself, loaded without a server."""
    return tf.saved_model.load(str(base / "colours" / "1")).signatures


def answer(signatures, signature: str, **inputs) -> list[tuple[str, str]]:
    outputs = signatures[signature](**{key: tf.constant([v]) for key, v in inputs.items()})
    ids, scores = (outputs[key][0].numpy() for key in ("ids", "scores"))
    return [(key.decode(), f"{score:.3f}") for key, score in zip(ids, scores, strict=True)]


def test_a_sentence_finds_pictures_as_the_model_ranks_them(visit, signatures, items):
    page = visit()
    page.ask("Red and green")
    found = page.hits()
    assert found == answer(signatures, "search_images_by_raw_text", text="Red and green")
    # By hand: cosines of (1, 1, 0) and the colours.
    query = np.array([1, 1, 0]) / np.sqrt(2)
    cosine = {i.id: query @ i.colour / np.linalg.norm(i.colour) for i in items}
    assert [key for key, _ in found] == sorted(cosine, key=cosine.get, reverse=True)
    assert page.facts().startswith("Best 5 of 5 items by cosine similarity · ")
    assert page.facts().endswith(" ms · 2 known words")
    assert page.page.get_by_role("status").inner_text().startswith("Pictures for “Red and green”")


def test_each_result_has_its_picture_title_and_category(visit, items):
    page = visit()
    page.ask("blue")
    order = [key for key, _ in page.hits()]
    assert set(order) == {item.id for item in items}
    for item in items:
        hit = page.page.locator("#hits > li").nth(order.index(item.id))
        # Markup in a title or a category is shown as it is written.
        assert hit.locator(".title").inner_text() == item.title
        assert hit.locator(".category").inner_text() == item.category
        widths = hit.locator("img").evaluate_all(DECODED_WIDTHS)
        assert widths == ([] if item.kind is None else [8])
    assert page.page.locator("#hits b").count() == 0


def test_categories_have_their_posteriors_and_poor_matches_are_marked(visit, items):
    page = visit(model="sure")
    page.ask("blue")
    note = page.page.locator("#note")
    assert note.is_hidden()
    assert page.facts().endswith("most probable category: <i>food</i>, 25%")
    by_id = {
        hit.get_attribute("data-id"): hit.locator(".category").inner_text()
        for hit in page.page.locator("#hits > li").all()
    }
    assert by_id == {
        "sky": "nature 90%", "apple": "food 80%", "leaf": "nature 70%",
        "a/ä ?&#": "food · nature? 60%", "fire": "<b>heat</b> 51%",
    }  # fmt: skip
    page.ask("green")
    assert note.inner_text() == "No good match: the nearest items are shown."
    assert len(page.hits()) == len(items)
    page.ask("blue")
    assert note.is_hidden()
    assert page.page.locator("#hits .grade").count() == 0  # Nobody knows what is right.


def test_hits_of_the_gallerys_own_items_are_graded(visit):
    page = visit(model="sure")
    page.page.get_by_role("button", name="red apple", exact=True).click()
    page.wait_for("Pictures for “red apple”")
    grades = {
        hit.get_attribute("data-id"): hit.locator(".grade").all_inner_texts()
        for hit in page.page.locator("#hits > li").all()
    }
    assert grades == {
        "apple": ["the item itself"], "a/ä ?&#": ["same fine label: fruit"],
        "sky": [], "leaf": [], "fire": [],
    }  # fmt: skip
    page.page.get_by_role("button", name="picture of blue sky").click()
    page.wait_for("Texts for “blue sky”")
    assert page.page.locator("#hits .grade").all_inner_texts() == [
        "the item itself",
        "same category",
    ]
    page.ask("red apple")  # The same words, typed.
    assert page.page.locator("#hits .grade").count() == 0


def test_small_pictures_are_not_enlarged(visit):
    page = visit(model="sure")
    page.ask("blue")
    fits = page.page.locator("#hits img").evaluate_all(
        "all => all.map((i) => [i.clientHeight, getComputedStyle(i).objectFit])"
    )
    assert fits and all(fit == "scale-down" and height >= 143 for height, fit in fits)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_chosen_picture_is_sent_as_it_is(visit, signatures, kind):
    page = visit()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    # What a file is called and said to be does not matter.
    chosen = {"name": "noise.gif", "mimeType": "image/gif", "buffer": file.getvalue()}
    page.page.get_by_label("Choose a picture").set_input_files(chosen)
    page.wait_for("Texts for noise.gif")
    assert sent_picture(page) == file.getvalue()
    assert page.hits() == answer(signatures, BY_PICTURE, image_bytes=file.getvalue())


@pytest.mark.parametrize("kind", ["WEBP", "GIF"])
def test_a_dropped_picture_of_another_format_becomes_png_on_white(visit, kind):
    page = visit()
    file = io.BytesIO()
    picture = Image.new("RGBA", (30, 20), (10, 200, 10, 255))
    picture.paste((0, 0, 0, 0), (0, 0, 5, 5))
    picture.save(file, kind, **({"lossless": True} if kind == "WEBP" else {}))
    drop(page, file.getvalue(), f"grass.{kind.lower()}")
    page.wait_for(f"Texts for grass.{kind.lower()}")
    sent = Image.open(io.BytesIO(sent_picture(page)))
    assert (sent.format, sent.size) == ("PNG", (30, 20))
    assert [sent.getpixel(place) for place in ((4, 4), (5, 5))] == [
        (255, 255, 255, 255),
        (10, 200, 10, 255),
    ]
    assert page.hits()[0][0] == "leaf"


def test_a_large_picture_is_scaled_down(visit, encode_picture):
    page = visit()
    drop(page, encode_picture((0, 0, 250), "PNG", (3000, 1500)), "large.png")
    page.wait_for("Texts for large.png")
    sent = Image.open(io.BytesIO(sent_picture(page)))
    assert (sent.format, sent.size) == ("JPEG", (1024, 512))
    assert page.hits()[0][0] == "sky"


def test_a_file_that_is_no_picture_is_refused_in_words(visit):
    page = visit()
    drop(page, b"not a picture", "<i>notes</i>.txt")
    alert = page.page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("<i>notes</i>.txt is no picture that this browser can")
    assert not sent(page, BY_PICTURE)
    page.ask("red")  # and the page lives on
    assert alert.is_hidden()


def test_what_the_server_refuses_is_shown_in_its_words(visit):
    page = visit(allowed="400 (Bad Request)")  # The browser itself logs such answers.
    page.page.get_by_label("A word or a sentence").fill("red " * 60)
    page.page.keyboard.press("Enter")
    alert = page.page.get_by_role("alert")
    alert.wait_for()
    assert "a text is longer than <b>this</b> model reads" in alert.inner_text()
    assert page.page.locator("#hits").is_hidden()


def test_a_server_that_went_away_is_said(visit):
    page = visit(allowed="ERR_INTERNET_DISCONNECTED")
    page.page.context.set_offline(True)
    page.page.get_by_label("A word or a sentence").fill("red")
    page.page.get_by_role("button", name="Search").click()
    page.page.get_by_role("alert").filter(has_text="The server does not answer").wait_for()


def test_words_that_the_model_does_not_know_are_said(visit):
    page = visit()
    page.ask("zebra")
    assert page.facts().startswith("The model knows none of these words")
    assert page.hits() == []


def test_a_search_can_be_shared_and_gone_back_to(visit):
    page = visit("&q=green")
    page.wait_for("Pictures for “green”")
    page.ask("red & blue")
    assert page.page.url.endswith("q=red+%26+blue")
    page.page.go_back()
    page.wait_for("Pictures for “green”")
    assert page.page.get_by_label("A word or a sentence").input_value() == "green"
    again = visit("&q=red+%26+blue")
    again.wait_for("Pictures for “red & blue”")
    assert again.hits()[0][0] == "apple"


def test_examples_come_from_the_gallery(visit):
    page = visit()
    # Half of each of these titles is in the vocabulary; one stands for each category.
    page.page.get_by_role("button", name="red apple", exact=True).click()
    page.wait_for("Pictures for “red apple”")
    page.page.get_by_role("button", name="picture of blue sky").click()
    page.wait_for("Texts for “blue sky”")
    assert page.hits()[0][0] == "sky"


def test_what_a_model_cannot_do_is_explained_and_not_offered(visit, encode_picture):
    page = visit(model="words")
    why = page.page.locator("#why-picture")
    assert why.inner_text().startswith(f"This model has no signature {BY_PICTURE}: ")
    assert page.page.get_by_label("Choose a picture").is_hidden()
    drop(page, encode_picture((0, 0, 9), "PNG", (4, 4)), "dropped.png")
    page.page.get_by_role("alert").filter(has_text=BY_PICTURE).wait_for()


def test_a_version_without_a_gallery_still_answers(visit):
    page = visit(model="bare", allowed="404 (Not Found)")
    page.ask("red")
    assert page.hits()[0][0] == "apple"
    assert page.page.locator("#hits .title").first.inner_text() == "red apple"
    assert page.facts().startswith("Best 5 · ")


def test_another_model_can_be_chosen(visit):
    page = visit("&q=red")
    page.page.get_by_label("Model").select_option("words, version 1")
    page.page.wait_for_url("**/?model=words&q=red&version=1")
    page.wait_for("Pictures for “red”")


def test_what_is_not_served_is_said_with_the_reason(visit):
    page = visit(model="broken")
    alert = page.page.get_by_role("alert").inner_text()
    assert alert.startswith("What this page's address asks for is not served. Model broken, versi")
    assert "holds no saved_model.pb" in alert
    assert page.page.get_by_label("A word or a sentence").is_hidden()
    page.page.get_by_label("Model").select_option("colours, version 1")
    page.page.wait_for_url("**/?model=colours&version=1")
    page.ask("red")


def drop(visit: Visit, content: bytes, name: str) -> None:
    transfer = visit.page.evaluate_handle(
        """([content, name]) => {
          const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
          const transfer = new DataTransfer();
          transfer.items.add(new File([bytes], name));
          return transfer;
        }""",
        [base64.b64encode(content).decode(), name],
    )
    visit.page.dispatch_event("h1", "drop", {"dataTransfer": transfer})


def sent(visit: Visit, signature: str) -> list[dict]:
    """The bodies of all requests for a signature."""
    bodies = [r.post_data_json for r in visit.requests if r.url.endswith(":predict")]
    return [body for body in bodies if body["signature_name"] == signature]


def sent_picture(visit: Visit) -> bytes:
    """The picture that was searched with last."""
    return base64.b64decode(sent(visit, BY_PICTURE)[-1]["inputs"]["image_bytes"][0]["b64"])
