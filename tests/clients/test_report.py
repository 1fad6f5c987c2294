"""The load test's page as a browser shows it: Chromium without a window draws it, and the plots are there."""

import subprocess

import numpy as np
import pytest
from PIL import Image

import browser
import processes

WIDTH, HEIGHT = 1300, 3600


@pytest.fixture(scope="module")
def page(embedded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    image = folder / "face.jpg"
    image.write_bytes((processes.ROOT / "data/images/face.jpg").read_bytes())
    report = folder / "report.html"
    command = [processes.binary(), "loadtest", "--url", f"http://{embedded.http}", "--images", image, "--report", report]
    command += ["--rate", "10..30", "--steps", "3", "--duration", "2s", "--warmup", "0s"]
    subprocess.run(command, check=True, timeout=120, capture_output=True)
    return report


def shown(page, folder):
    """The page's pixels."""
    image = folder / "page.png"
    flags = [*browser.FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={image}"]
    subprocess.run([browser.program(), *flags, page.as_uri()], check=True, timeout=120, capture_output=True)
    return np.asarray(Image.open(image).convert("RGB")).astype(int)


def coloured_rows(pixels):
    """Of each row of pixels, how many are neither grey nor faint: text and paper are not counted, lines of plots are."""
    return ((pixels.max(axis=2) - pixels.min(axis=2)) > 60).sum(axis=1)


def test_the_browser_draws_the_plots(page, tmp_path):
    rows = coloured_rows(shown(page, tmp_path))
    assert rows.sum() > 3000, f"{rows.sum()} coloured pixels"
    plots = page.read_text().count("<svg")
    assert plots >= 4

    empty = tmp_path / "empty.html"
    text = page.read_text()
    while "<svg" in text:
        start = text.index("<svg")
        text = text[:start] + text[text.index("</svg>", start) + len("</svg>"):]
    empty.write_text(text)
    without = coloured_rows(shown(empty, tmp_path)).sum()
    assert rows.sum() > 3 * without, f"{rows.sum()} coloured pixels with plots, {without} without"


def test_the_page_needs_no_network(page):
    text = page.read_text()
    for word in ["src=", "href=", "@import", "url("]:
        for place in text.split(word)[1:]:
            assert place.lstrip("\"'").startswith(("#", "data:")), f"{word}{place[:80]}"
