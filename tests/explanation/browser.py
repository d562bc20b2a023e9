"""A headless Chromium for pages, with software drawing, and without any of its own business on the network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-dev-shm-usage", "--window-size=1400,1000",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)  # fmt: skip


def needs_browser() -> Any:
    """Skips tests where there is no Chromium, unless the environment says that there must be one (as CI does)."""
    missing = CHROMIUM is None or DRIVER is None
    required = os.environ.get("TFGRAPHOPT_TEST_BROWSER") == "required"
    return pytest.mark.skipif(
        missing and not required, reason="no chromium and chromedriver here (apt-get install chromium chromium-driver)"
    )


@contextmanager
def chromium() -> Iterator[Any]:
    """A driver of a new browser."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    assert CHROMIUM is not None, "TFGRAPHOPT_TEST_BROWSER=required, and there is no chromium"
    assert DRIVER is not None, "TFGRAPHOPT_TEST_BROWSER=required, and there is no chromedriver"
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in _FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()
