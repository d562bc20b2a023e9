"""The page in a real browser: it needs no network, draws segments in their colours, answers clicks, and bears large graphs."""

from __future__ import annotations

import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import pytest
import tensorflow as tf
from PIL import Image

from explanation.browser import chromium, needs_browser
from explanation.models import body_of, chain, explained, looped, short
from tfgraphopt.cli import main
from tfgraphopt.explanation import Explanation, View, ViewNode, write_page
from tfgraphopt.explanation.page import VENDORED, page

pytestmark = needs_browser()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as driver:
        yield driver


@pytest.fixture(scope="module")
def two_engines() -> Explanation:
    """Softmax, which the precision plugin keeps in float32, in two engines, with an op between them that has none."""
    return explained(chain([7, 6], step=tf.nn.softmax), precision="fp16")


@pytest.fixture(scope="module")
def reason(two_engines: Explanation) -> str:
    """Why the op between them stays in TensorFlow."""
    verdict = two_engines.report.verdicts["run_1/between"]
    assert verdict.status in ("refused", "no converter")
    return verdict.reason


@pytest.fixture(scope="module")
def small(two_engines: Explanation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their page."""
    path = tmp_path_factory.mktemp("page") / "small.html"
    write_page(two_engines, path, "two engines <&>")
    return path


def opened(browser: Any, path: Path, seconds: float = 60) -> Any:
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(path.as_uri())
    done = "return document.body.dataset.ready || document.body.dataset.failed"
    assert WebDriverWait(browser, seconds).until(lambda b: b.execute_script(done)) == "yes"
    return browser


def drawn(browser: Any) -> npt.NDArray[np.uint8]:
    """What is on the graph's stage, as RGB, after the next two frames."""
    browser.execute_script("document.querySelector('.stage').scrollIntoView({block: 'end', behavior: 'instant'})")
    browser.execute_async_script("const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(done))")
    png = browser.find_element("css selector", ".stage").screenshot_as_png
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def share(image: npt.NDArray[np.uint8], colour: str) -> float:
    """The part of the pixels that have (nearly) a colour."""
    wanted = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)])
    return float((np.abs(image.astype(int) - wanted).max(axis=2) < 6).mean())


BLUE, GREEN, RED, ORANGE = "#3b82f6", "#10b981", "#ef4444", "#f97316"


def test_the_page_shows_engines_and_blockers_in_their_colours(browser: Any, small: Path) -> None:
    image = drawn(opened(browser, small))
    assert share(image, BLUE) > 0.002  # seven nodes of the first engine
    assert share(image, GREEN) > 0.002
    assert share(image, RED) + share(image, ORANGE) > 0.0005  # the op that no engine computes
    assert browser.title == "two engines <&> · tfgraphopt explain"
    assert "Lgamma at run_1/between splits the graph" in browser.find_element("id", "advice").text


def test_nothing_is_fetched_and_nothing_fails(browser: Any, small: Path) -> None:
    opened(browser, small)
    browser.get_log("performance")
    opened(browser, small)
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"}
    assert {url.partition(":")[0] for url in asked} <= {"file", "blob", "data"}
    assert {url for url in asked if url.startswith("file:")} == {small.as_uri()}
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    text = small.read_text()
    assert not re.findall(r"(?:src|href)=[\"']?https?:", text)


def test_before_and_after_and_layers(browser: Any, small: Path) -> None:
    opened(browser, small)
    tabs = browser.find_elements("css selector", "#views button")
    tabs[1].click()
    assert "Optimised graph · 5 nodes" in browser.find_element("id", "count").text
    image = drawn(browser)
    assert share(image, BLUE) > 0.005
    assert share(image, GREEN) > 0.005
    browser.execute_script("tfgraphopt.openView(2)")
    assert "TRTEngineOp_000_000" in browser.find_element("id", "count").text
    assert "softmax 7" in browser.find_element("id", "legend").text


def test_search_finds_and_shows_a_node_with_its_reason(browser: Any, small: Path, reason: str) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    opened(browser, small)
    search = browser.find_element("id", "search")
    search.send_keys("lgamma between")
    assert "1 node" in browser.find_element("id", "found").text
    search.send_keys(Keys.ENTER)
    panel = browser.find_element("id", "panel")
    WebDriverWait(browser, 20).until(lambda _: "run_1/between" in panel.text)
    assert reason in panel.text
    assert "infer-types: changed Lgamma run_1/between" in panel.text
    neighbour = next(b for b in panel.find_elements("css selector", "button.link") if b.text == "run_0/Softmax_6")
    neighbour.click()
    assert "TRTEngineOp_000_000" in browser.find_element("id", "panel").text


def test_hovering_and_clicking_hit_boxes_where_they_are(browser: Any, small: Path, reason: str) -> None:
    from selenium.webdriver import ActionChains

    opened(browser, small)
    drawn(browser)
    stage = browser.find_element("id", "canvas")
    place = "const i = tfgraphopt.state.view.index.get('run_1/between'), v = tfgraphopt.state.view;"
    place += "return tfgraphopt.renderer.graphToViewport({x: v.x[i] + 0.8, y: -v.y[i]})"
    at = browser.execute_script(place)
    left, top = at["x"] - stage.size["width"] / 2, at["y"] - stage.size["height"] / 2
    ActionChains(browser).move_to_element_with_offset(stage, left - 3, top).move_by_offset(3, 0).perform()
    tip = browser.find_element("id", "tip").text
    assert "run_1/between" in tip
    assert reason in tip
    ActionChains(browser).click().perform()
    assert "Lgamma" in browser.find_element("id", "panel").text


def test_dark_is_dark_and_tables_are_there(browser: Any, small: Path) -> None:
    opened(browser, small)
    light = drawn(browser).mean()
    browser.find_element("id", "theme").click()
    assert drawn(browser).mean() < light / 3
    browser.find_element("id", "theme").click()
    for section in ("engines", "reasons", "boundaries", "passes", "nodes", "details"):
        assert browser.find_elements("css selector", f"#{section} td"), section


def test_functions_are_chosen_coloured_and_searched(browser: Any, tmp_path: Path) -> None:
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import Select, WebDriverWait

    blocked = explained(looped(blocked=True))
    write_page(blocked, tmp_path / "page.html", "loop")
    opened(browser, tmp_path / "page.html")
    body = body_of(blocked, "before", "blocker")
    chooser = Select(browser.find_element("id", "layers"))
    labels = [g.get_attribute("label") for g in browser.find_elements("css selector", "#layers optgroup")]
    assert labels == ["layers of an engine", "functions of the original graph", "functions of the optimised graph"]
    chooser.select_by_visible_text(body.title)
    assert body.title in browser.find_element("id", "count").text
    assert share(drawn(browser), BLUE) > 0.002
    assert browser.find_element("css selector", "#views button[aria-selected=true]").text == "Original"
    search = browser.find_element("id", "search")
    search.send_keys("blocker", Keys.ENTER)
    panel = browser.find_element("id", "panel")
    WebDriverWait(browser, 20).until(lambda _: "blocker" in panel.text)
    verdict = next(n.verdict for n in body.nodes if short(n.name) == "blocker")
    assert verdict is not None
    assert verdict.reason in panel.text
    browser.execute_script("tfgraphopt.openView(0)")
    browser.find_element("id", "search").send_keys("blocker")
    elsewhere = browser.find_elements("css selector", "#found .elsewhere")
    next(b for b in elsewhere if b.text.endswith(f"in {body.title}")).click()
    WebDriverWait(browser, 20).until(lambda b: body.title in b.find_element("id", "count").text)
    at_the_loop = "const v = tfgraphopt.data.views[0]; tfgraphopt.openView(0);"
    at_the_loop += "tfgraphopt.select(v.op.findIndex((k) => /While/.test(tfgraphopt.data.texts[k])))"
    browser.execute_script(at_the_loop)
    runs = [b for b in browser.find_elements("css selector", "#panel button.link") if b.text == body.function]
    runs[0].click()
    assert body.title in browser.find_element("id", "count").text
    reasons = [row.text for row in browser.find_elements("css selector", "#reasons tr")]
    assert any("Lgamma" in text and f"in {body.function}" in text for text in reasons)


def test_tens_of_thousands_of_nodes_are_drawn_and_searched(browser: Any, tmp_path: Path) -> None:
    rng = random.Random(0)
    count = 20_000
    nodes = [
        ViewNode(
            f"layer_{i // 9}/op_{i}", rng.choice(["MatMul", "Relu", "AddV2"]), ("f32[?,64]",),
            tuple({max(0, i - rng.choice([1, 1, 2, 7])) for _ in range(rng.choice([1, 1, 2]))} - {i}),
        )
        for i in range(count)
    ]  # fmt: skip
    found = attrs.evolve(explained(chain([3])), views=(View("before", "Original graph", "before", tuple(nodes)),) * 2)
    path = tmp_path / "large.html"
    write_page(found, path, "large")
    assert path.stat().st_size < 3_000_000
    opened(browser, path, seconds=120)
    assert "20,000 nodes" in browser.find_element("id", "count").text
    assert share(drawn(browser), "#98a3b3") > 0.01  # nodes without a verdict
    browser.find_element("id", "search").send_keys("op_19999")
    assert "1 node" in browser.find_element("id", "found").text


def test_the_command_writes_pages_of_plans_and_of_results(tmp_path: Path, browser: Any) -> None:
    model = tmp_path / "model.pb"
    model.write_bytes(chain([5, 5]).SerializeToString())
    assert main(["explain", str(model), "--max-batch-size", "4", "--html", str(tmp_path / "plan.html")]) == 0
    opened(browser, tmp_path / "plan.html")
    assert "none built" in browser.find_element("id", "cards").text
    asked = ["--max-batch-size", "4", "-o", str(tmp_path / "out.pb"), "--html", str(tmp_path / "done.html")]
    assert main(["optimize", str(model), *asked]) == 0
    opened(browser, tmp_path / "done.html")
    assert "2 built" in browser.find_element("id", "cards").text


def test_libraries_and_their_licences_are_in_the_page() -> None:
    text = page(explained(chain([3])), "x")
    assert "graphology" in text
    assert "sigma.js 3.0.3 and graphology 0.26.0 (MIT)" in text
    assert "sourceMappingURL" not in text
    assert {"graphology-0.26.0.umd.min.js", "sigma-3.0.3.min.js"} == set(VENDORED)
