"""The Dockerfile without a Docker engine: hadolint, and cargo's own word on what it copies and calls."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from processes import ROOT

TEXT = (ROOT / "Dockerfile").read_text()
# Lines that end in a backslash go on.
LINES = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE)).splitlines()


def instructions(stage):
    """The instructions of a stage and of those that it builds on."""
    stages, current = {}, None
    for line in filter(None, LINES):
        if start := re.match(r"FROM (\S+)(?: AS (\S+))?", line):
            current = stages.setdefault(start[2], list(stages.get(start[1], [])))
        else:
            current.append(line)
    return stages[stage]


def copied(stage):
    """What the stages take from the context, as the files and folders of this checkout."""
    sources = []
    for line in instructions(stage):
        if line.startswith("COPY") and "--from" not in line:
            sources += line.split()[1:-1]
    return sources


def cargo(*args, folder=ROOT):
    return subprocess.run(["cargo", *args], cwd=folder, capture_output=True, text=True, check=False, timeout=300)


def test_hadolint_finds_nothing():
    hadolint = pathlib.Path(sys.executable).parent / "hadolint"
    run = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False, timeout=60)
    assert (run.returncode, run.stdout) == (0, "")


@pytest.mark.parametrize("stage", ["production-build", "demo-build", "runtime"])
def test_what_is_copied_exists_and_is_let_into_the_context(stage):
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    for source in copied(stage):
        assert (ROOT / source).exists(), source
        assert f"!{source}" in allowed


def test_all_that_the_sources_include_is_copied():
    for file in (ROOT / "src").rglob("*.rs"):
        # The last string of what a macro is given; `asset!` is one that includes.
        for included in re.findall(r'(?:include_bytes|include_str|asset)!\([^)]*?"([^"]+)"\s*\)', file.read_text()):
            path = str((file.parent / included).resolve().relative_to(ROOT))
            # Only the demonstration models, which the feature `embedded` brings, are outside src/.
            stage = "demo-build" if path.startswith("data/models/") else "production-build"
            assert any(path == source or path.startswith(f"{source}/") for source in copied(stage)), f"{file}: {path}"


@pytest.mark.parametrize("stage", ["production-build", "demo-build"])
def test_the_empty_files_make_the_package_that_cargo_toml_describes(stage, tmp_path):
    [stubs] = [line.removeprefix("RUN ") for line in instructions(stage) if "mkdir" in line]
    for name in ["Cargo.toml", "Cargo.lock"]:
        shutil.copy(ROOT / name, tmp_path)
    made = stubs.split(" && cargo build")[0]
    subprocess.run(["sh", "-e", "-c", made], cwd=tmp_path, check=True, timeout=60)
    run = cargo("metadata", "--locked", "--no-deps", "--format-version", "1", folder=tmp_path)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("stage", ["production-build", "demo-build"])
def test_the_last_build_is_that_of_the_dependencies(stage):
    """Otherwise they would be compiled again with each change of the sources."""
    commands = re.findall(r"cargo build.*?(?= &&|$)", "\n".join(instructions(stage)), re.MULTILINE)
    assert commands[-1] == commands[-2]
    profile = re.search(r"--profile (\S+)", commands[-1])[1]
    assert f"[profile.{profile}]" in (ROOT / "Cargo.toml").read_text()


@pytest.mark.parametrize("stage, has", [("production-build", False), ("demo-build", True)])
def test_only_the_demonstration_has_models_and_load_test(stage, has):
    [*_, command] = re.findall(r"cargo build.*", "\n".join(instructions(stage)))
    flags = [flag for flag in command.split()[2:] if flag not in ("--profile", "dist")]
    run = cargo("tree", "--edges", "normal", "--prefix", "none", *flags)
    assert run.returncode == 0, run.stderr
    crates = {line.split()[0] for line in run.stdout.splitlines() if line}
    assert crates & {"rten", "plotters"} == ({"rten", "plotters"} if has else set())


@pytest.mark.parametrize("stage", ["production", "demo"])
def test_the_image_fits_the_manifests(stage):
    """They ask for no root, and give the binary its flags."""
    lines = instructions(stage)
    assert 'ENTRYPOINT ["/usr/local/bin/facequality-transformer"]' in lines
    [user] = [line.split()[1] for line in lines if line.startswith("USER")]
    assert all(int(part) > 0 for part in user.split(":"))
    assert lines[-1].split()[-1] == "/usr/local/bin/facequality-transformer"
