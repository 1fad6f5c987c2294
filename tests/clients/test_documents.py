"""What the documents say of flags, commands and links is so. The README's commands: test_readme.py."""

import json
import re
import shlex
import subprocess

import pytest
import yaml

import certificates
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


def anchors(document):
    """Of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_no_link_of_the_documents_is_broken():
    documents = [*processes.ROOT.glob("*.md"), *processes.ROOT.glob("docs/*.md")]
    documents += [*processes.ROOT.glob("*/README.md"), *processes.ROOT.glob("*/*/README.md")]
    documents = [document for document in documents if "target" not in document.parts]
    broken = []
    for document in documents:
        links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]*))?\)", document.read_text())
        links += [(path, "") for path in re.findall(r'src(?:set)?="(?!http)([^"]+)"', document.read_text())]
        for path, anchor in links:
            there = document.parent / path if path else document
            if not there.exists() or (anchor and anchor not in anchors(there)):
                broken.append(f"{document.name}: {path}#{anchor}")
    assert broken == []


def test_the_yaml_of_the_migration_starts_the_binary():
    text = (processes.ROOT / "docs/MIGRATION.md").read_text()
    manifests = [yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]
    before, after = [manifest["transformer"]["containers"][0] for manifest in manifests]
    # A rollback and a hasty edit may leave the old args.
    for args in (before["args"], after["args"]):
        command = [processes.binary(), "config", *args, "--predictor_host", "facequality-predictor.default"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert run.returncode == 0, run.stderr
    version = re.search(r'^version = "(.*)"', (processes.ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    assert after["image"] == f"facequality-transformer:{version}"


def commands_of_documents():
    """The commands of this program in docs/, apart from the README's, which test_readme.py runs."""
    line = r"^ {4,}(?:facequality-transformer )?((?:loadtest|verify|config|predict|predictor|serve) .*?)(?: +#.*)?$"
    span = r"`(loadtest --images [^`]*)`"
    found = set()
    for document in processes.ROOT.glob("docs/*.md"):
        text = re.sub(r"^ *```.*?^ *```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)
        found |= set(re.findall(line, text, re.MULTILINE)) | set(re.findall(span, text))
    return sorted(found)


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    return certificates.Certificates(tmp_path_factory.mktemp("certificates")).authority


@pytest.mark.parametrize("command", commands_of_documents())
def test_the_commands_of_the_documents_are_valid(command, tmp_path, authority):
    """Their flags are there and fit each other. Nobody is at their addresses, so they end at once."""
    words = shlex.split(re.sub(r"\$\(.*?\)", "1", command))
    nowhere = {"http": "http://127.0.0.1:9", "https": "https://127.0.0.1:9", "grpc": "grpc://127.0.0.1:9", "grpcs": "grpcs://127.0.0.1:9"}
    meant = {"TWICE_THE_RATE": "100", **dict.fromkeys(("FOLDER", "IMAGES", "YOUR_IMAGES"), str(images.IMAGES))}
    words = [nowhere[word.split("://")[0]] if "://" in word else meant.get(word, word) for word in words]
    if words[0] == "loadtest" and "--url" not in words:
        words += ["--url", nowhere["http"]]
    if words[0] in ("serve", "config"):
        words[0] = "config"
    assert words[0] != "predictor", "it would serve: see test_readme.py"
    (tmp_path / "data").symlink_to(processes.ROOT / "data")
    (tmp_path / "scores.json").write_text(json.dumps({image.name: 0.5 for image in images.IMAGES.iterdir()}))
    words = [str(authority) if word == "ca.pem" else word for word in words]
    run = subprocess.run([processes.binary(), *words], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert run.returncode in (0, 1), f"{run.returncode}: {run.stderr}"


def test_the_curls_of_the_protocol_are_answered(embedded):
    calls = re.findall(r"^    (curl .*127\.0\.0\.1:8080.*)$", (processes.ROOT / "docs/PROTOCOL.md").read_text(), re.MULTILINE)
    assert calls
    for call in calls:
        command = shlex.split(call.replace("127.0.0.1:8080", embedded.http)) + ["--fail"]
        run = subprocess.run(command, capture_output=True, text=True, cwd=processes.ROOT, timeout=120)
        assert run.returncode == 0, run.stderr
        json.loads(run.stdout)
