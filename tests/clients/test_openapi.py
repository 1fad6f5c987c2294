"""Every answer is as /openapi.json says: Schemathesis calls each operation with what its schema allows and forbids.

The kinds of answers that need a broken predictor are in the Rust tests; here no answer may be 5xx.
"""

import json
import shutil
import subprocess

import pytest

import processes

PROGRAM = processes.ROOT / "target/venvs/schemathesis/bin/schemathesis"
CONFIG = processes.ROOT / "tests/clients/schemathesis.toml"
LIMIT_SECONDS = 600


@pytest.fixture(scope="module")
def photo_service():
    """All public models, embedded; small, since requests of every allowed size are sent to a debug build."""
    with processes.service("--detect_side", "32", "--max_images", "4") as server:
        yield server


def test_every_answer_fits_the_document(photo_service, tmp_path):
    document = json.loads(photo_service.get("/openapi.json")[2])
    # The document itself is not among those that are called.
    operations = sum(len(methods) for methods in document["paths"].values()) - 1
    command = [
        str(PROGRAM), "--config-file", str(CONFIG), "--no-color", "run",
        f"http://{photo_service.http}/openapi.json", "--report", "junit", "--report-junit-path", str(tmp_path / "junit.xml"),
    ]
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT_SECONDS, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{operations} selected / {operations} total" in run.stdout, run.stdout


def test_the_page_shows_every_operation_and_the_schema_of_the_one_it_is_asked_for(photo_service, tmp_path):
    document = json.loads(photo_service.get("/openapi.json")[2])
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser, "no Chromium is installed"
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--virtual-time-budget=5000"]
    flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync", f"--user-data-dir={tmp_path}"]
    url = f"http://{photo_service.http}/docs#v1_predict_facephoto"
    page = subprocess.run([browser, *flags, "--dump-dom", url], check=True, timeout=120, capture_output=True, text=True).stdout
    for path in document["paths"]:
        assert f"<code>{path}</code>" in page, path
    for key in ("multi_data", "landmarks", "image_errors", "Try it"):
        assert f">{key}<" in page, key
