"""The search page in a real browser, against the real service."""

import base64
import io
import shutil
from dataclasses import dataclass, field

import numpy as np
import pytest
import requests
from PIL import Image

from tests.serve.conftest import ITEMS, image_file, publish, write_version
from tests.serve.running import running_service

playwright = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("there is no chromium", allow_module_level=True)
# Chromium does not tell a test the files of a form.
KEEP_SENT = """const original = window.fetch;
window.fetch = (address, options) => {
  window.sent = options?.body?.get?.("image") ?? window.sent;
  return original(address, options);
};"""
SENT_BYTES = "async () => Array.from(new Uint8Array(await window.sent.arrayBuffer()))"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def site(versions, tmp_path_factory):
    """The address of a service of version 1."""
    run = tmp_path_factory.mktemp("page")
    publish(versions, run, 1)
    with running_service(run) as service:
        yield service.url


@dataclass
class Visit:
    """A page with all its requests and complaints."""

    page: playwright.Page
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
        self.wait_for(f"Images for “{text}”")

    def wait_for(self, heading: str) -> None:
        self.page.get_by_role("heading", name=heading, exact=True).wait_for()

    def hits(self) -> list[str]:
        return [hit.get_attribute("data-id") for hit in self.page.locator("#hits > li").all()]

    def facts(self) -> str:
        return self.page.locator("#facts").inner_text()

    def sent_image(self) -> Image.Image:
        """The image of the last search."""
        return Image.open(io.BytesIO(bytes(self.page.evaluate(SENT_BYTES))))

    def drop(self, content: bytes, name: str) -> None:
        transfer = self.page.evaluate_handle(
            """([content, name]) => {
              const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
              const transfer = new DataTransfer();
              transfer.items.add(new File([bytes], name));
              return transfer;
            }""",
            [base64.b64encode(content).decode(), name],
        )
        self.page.dispatch_event("h1", "drop", {"dataTransfer": transfer})


@pytest.fixture
def visit(browser, site):
    """Opens the page at an address; at the end nothing may have gone wrong meanwhile."""
    opened = []

    def visit(query: str = "", allowed: str | None = None, address: str = site) -> Visit:
        visit = Visit(browser.new_page())
        visit.page.set_default_timeout(20_000)
        opened.append((visit, allowed, address))
        visit.listen()
        visit.page.add_init_script(KEEP_SENT)
        visit.page.goto(f"{address}/{query}")
        visit.page.locator("main[aria-busy=false]").wait_for()
        return visit

    yield visit
    for visited, allowed, address in opened:
        assert [c for c in visited.complaints if allowed is None or allowed not in c] == []
        urls = [r.url for r in visited.requests]
        assert all(url.startswith((f"{address}/", "blob:")) for url in urls), urls
        visited.page.close()


def test_a_text_finds_images_with_titles_categories_and_thumbnails(visit, site):
    page = visit()
    page.ask("blue whale")
    answer = requests.post(f"{site}/search", json={"text": "blue whale"}, timeout=60).json()
    assert page.hits() == [hit["id"] for hit in answer["hits"]]
    assert page.facts().startswith("Best 5 of 5 items · ")
    assert page.facts().endswith("most probable category: sea, 100%")
    note = page.page.locator("#note").inner_text()
    assert note == "No good match: the nearest items are shown. Unknown: whale."
    for place, hit in enumerate(answer["hits"]):
        shown = page.page.locator("#hits > li").nth(place)
        # Markup in a title or a category is shown as it is written.
        assert shown.locator(".title").inner_text() == ITEMS[hit["id"]][0]
        assert shown.locator(".category").inner_text().startswith(ITEMS[hit["id"]][1])
        widths = shown.locator("img").evaluate_all(
            "all => Promise.all(all.map((i) => i.decode().then(() => i.naturalWidth)))"
        )
        assert widths == ([8] if hit["thumbnail"] else [])
    assert page.page.locator("#hits b").count() == 0


def test_a_click_on_an_image_finds_similar_images(visit):
    page = visit()
    page.ask("red")
    page.page.get_by_role("button", name="Find images like blue sky").click()
    page.wait_for("Images like “blue sky”")
    assert page.hits()[0] == "sky"
    assert page.page.locator("#shown canvas").count() == 1


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_chosen_image_is_sent_unchanged(visit, kind):
    page = visit()
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    chosen = {"name": "noise.gif", "mimeType": "image/gif", "buffer": file.getvalue()}
    page.page.get_by_label("Choose an image").set_input_files(chosen)
    page.wait_for("Texts for noise.gif")
    assert page.sent_image().format == kind and page.hits()


def test_a_dropped_image_of_another_format_becomes_png_and_a_large_one_smaller(visit):
    page = visit()
    page.drop(image_file((10, 200, 10), "WEBP", (30, 20)), "grass.webp")
    page.wait_for("Texts for grass.webp")
    assert (page.sent_image().format, page.sent_image().size) == ("PNG", (30, 20))
    assert page.hits()[0] == "leaf"
    page.drop(image_file((0, 0, 250), "PNG", (3000, 1500)), "large.png")
    page.wait_for("Texts for large.png")
    assert (page.sent_image().format, page.sent_image().size) == ("JPEG", (1024, 512))


def test_errors_are_shown_as_text(visit):
    page = visit(allowed="ERR_INTERNET_DISCONNECTED")
    page.drop(b"not an image", "<i>notes</i>.txt")
    alert = page.page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text().startswith("<i>notes</i>.txt is not an image that this browser can")
    page.ask("whale")
    assert page.facts().startswith("The model knows none of these words") and not page.hits()
    page.page.context.set_offline(True)
    page.page.get_by_label("A word or a sentence").fill("red")
    page.page.get_by_role("button", name="Search").click()
    alert.filter(has_text="The service does not answer").wait_for()


def test_a_search_can_be_shared_and_examples_are_offered(visit):
    page = visit("?q=green")
    page.wait_for("Images for “green”")
    page.ask("red & blue")
    assert page.page.url.endswith("q=red+%26+blue")
    page.page.go_back()
    page.wait_for("Images for “green”")
    page.page.get_by_role("button", name="red apple", exact=True).click()
    page.wait_for("Images for “red apple”")
    assert page.hits()[0] == "apple"


def test_the_key_is_asked_for_and_missing_extractors_are_explained(browser, visit, tmp_path):
    write_version(tmp_path / "models" / "xgacmn" / "1", raw=False)
    (tmp_path / "key").write_text("0123456789abcdef")
    with running_service(tmp_path, f"--api_key_file={tmp_path / 'key'}") as service:
        credentials = {"username": "", "password": "0123456789abcdef"}
        page = browser.new_page(http_credentials=credentials)
        page.goto(service.url)
        page.locator("main[aria-busy=false]").wait_for()
        assert page.locator("#why-text").inner_text().startswith("The model takes no texts")
        assert page.locator("#hits > li").count() == 5
        page.close()
