"""What the documents say of flags, commands, answers and links is so."""

import re
import subprocess

import pytest

import images
import processes

README = (processes.ROOT / "README.md").read_text()
FLAGS = (processes.ROOT / "docs/FLAGS.md").read_text()


def flags_of_help():
    """Name and default of each flag that `serve --help` shows."""
    text = subprocess.run(
        [processes.binary(), "serve", "--help"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    flags = {}
    for line in text.splitlines():
        if name := re.match(r"\s+(?:-\w, )?(--\w+)", line):
            current = flags[name[1]] = []
        elif default := re.search(r"\[default: (.*)\]", line):
            current.append(default[1])
    flags.pop("--help")
    return {name: default[0] if default else "–" for name, default in flags.items()}


def flags_of_document():
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \| .* \|$", FLAGS, re.MULTILINE)
    return {name: default for names, default in rows for name in re.findall(r"--\w+", names)}


def test_every_flag_stands_in_the_document_with_its_default():
    assert flags_of_document() == flags_of_help()


def test_every_command_stands_in_the_readme():
    text = subprocess.run([processes.binary(), "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    listed = text.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    commands = {line.split()[0] for line in listed} - {"help"}
    table = README.split("## Commands")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == commands


def test_the_readmes_curl_is_answered_as_it_says(embedded):
    body = (processes.ROOT / "data/requests/face.json").read_bytes()
    # curl's own content type for -d.
    status, _, answer = embedded.post(
        "/v1/models/facequality:predict", body, "application/x-www-form-urlencoded"
    )
    assert status == 200, answer
    shown = next(line for line in README.splitlines() if line.startswith('{"multi_data":[{"data":[{"score":0.92'))
    # The pixels are the same in every build; another processor sums in another order.
    assert images.scores(answer) == pytest.approx(images.scores(shown), abs=1e-5)
    assert answer == images.answer(images.scores(answer))


def test_no_link_of_the_documents_is_broken():
    documents = [*processes.ROOT.glob("*.md"), *processes.ROOT.glob("docs/*.md"), *processes.ROOT.glob("*/*/README.md")]
    missing = [
        f"{document.name}: {link}"
        for document in documents
        if "target" not in document.parts
        for link in re.findall(r"\]\((?!http)([^)#]+)", document.read_text())
        if not (document.parent / link).exists()
    ]
    assert missing == []
