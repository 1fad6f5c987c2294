"""The README's commands and programs run as they stand there, and its two languages say the same."""

import contextlib
import re
import shlex
import subprocess
import time

import cv2
import numpy as np
import pytest

import images
import processes

README = (processes.ROOT / "README.md").read_text()
CHINESE = (processes.ROOT / "README.zh-CN.md").read_text()
RUN_WITHIN_SECONDS = 120


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text):
    """The text without its code blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def tables(text):
    """The tables, each a list of rows, each a list of cells; headings are rows too."""
    found = re.findall(r"(?:^\|.*\|\n)+", prose(text), re.MULTILINE)
    rows = lambda table: [re.split(r" ?(?<!\\)\| ?", line)[1:-1] for line in table.splitlines()]
    return [rows(table) for table in found]


def code(text):
    """The code spans, which no language changes."""
    return sorted(re.findall(r"`([^`]+)`", text))


# --- Two languages ---------------------------------------------------------------------------------------------------


def test_code_blocks_are_the_same_in_both_languages():
    assert blocks(CHINESE, r"\w*") == blocks(README, r"\w*")


def test_headings_are_of_the_same_levels():
    levels = lambda text: re.findall(r"^(#+) ", prose(text), re.MULTILINE)
    assert levels(CHINESE) == levels(README)


def test_tables_have_the_same_rows():
    english, chinese = tables(README), tables(CHINESE)
    shape = lambda found: [[len(row) for row in table] for table in found]
    assert shape(chinese) == shape(english)
    for ours, theirs in zip(english, chinese):
        # The first column names what the row is about: a status, a flag, a command.
        first = lambda table: [(code(row[0]), re.findall(r"\d+", row[0])) for row in table]
        assert first(theirs) == first(ours)
        assert [code("|".join(row)) for row in theirs] == [code("|".join(row)) for row in ours]


def test_flags_names_and_links_are_the_same():
    assert code(prose(CHINESE)) == code(prose(README))
    links = lambda text: sorted(set(re.findall(r"\]\(([^)]+)\)", text)) - {"README.md", "README.zh-CN.md"})
    assert links(CHINESE) == links(README)


# --- Commands --------------------------------------------------------------------------------------------------------


class Ports:
    """Free ports in place of those in a text."""

    def __init__(self, **known):
        self.free = dict(zip(("8080", "8081", "8000", "8001"), map(str, processes.free_ports(4)))) | known

    def replaced(self, text):
        return re.sub(r"(?<=:)80(?:80|81|00|01)\b", lambda port: self.free[port[0]], text)

    def started(self, words, wait_path="/v2/health/ready"):
        """A server of this program, with the ports that it has by default replaced."""
        http_port, grpc_port = ("8000", "8001") if words[:1] == ["predictor"] else ("8080", "8081")
        http_port, grpc_port = self.free[http_port], self.free[grpc_port]
        command = [processes.binary(), *words, "--http_port", http_port, "--grpc_port", grpc_port]
        return processes.started(command, int(http_port), int(grpc_port), wait_path=wait_path)


def program(line):
    """The arguments of a line that runs this program."""
    match = re.match(r"(?:cargo run --release(?: --)?|facequality-transformer)(?: |$)(.*)", line)
    return shlex.split(match[1]) if match else None


def is_server(words):
    return not words or words[0].startswith("--") or words[0] in ("serve", "predictor")


@pytest.mark.parametrize("block", blocks(README, "sh"))
def test_commands_run(block, embedded):
    ports = Ports(**{"8080": str(embedded.http_port)} if block.startswith("curl") else {})
    with contextlib.ExitStack() as stack:
        for line in map(ports.replaced, block.splitlines()):
            words = program(line)
            if line.startswith("docker build "):
                assert line in (processes.ROOT / "Dockerfile").read_text()
            if line.startswith("docker "):
                continue
            if words is not None and is_server(words):
                # A Triton of this name is not here.
                wait_path = "/v2/health/live" if "triton:" in line else "/v2/health/ready"
                stack.enter_context(ports.started(words, wait_path))
                continue
            if words is not None and words[0] == "loadtest":
                words += ["--url", f"http://{embedded.http}"]
            assert words is not None or line.startswith("curl "), f"nobody runs {line!r}"
            command = shlex.split(line) if words is None else [processes.binary(), *words]
            run = subprocess.run(
                command, capture_output=True, text=True, cwd=processes.ROOT, timeout=RUN_WITHIN_SECONDS
            )
            assert run.returncode == 0, run.stderr
            if line.startswith("curl "):
                shown = blocks(README, "json")[0]
                # The pixels are the same on every processor; the model's sums may differ.
                assert images.scores(run.stdout) == pytest.approx(images.scores(shown), abs=1e-5)
                assert run.stdout.encode() == images.answer(images.scores(run.stdout))


@pytest.mark.parametrize("text", blocks(README, "python"))
def test_programs_run(text, embedded):
    # The two SDKs register the same protobuf names, so each has an environment of its own.
    environment = "triton" if "tritonclient" in text else "kserve"
    python = processes.ROOT / f"target/venvs/{environment}/bin/python"
    assert "127.0.0.1:8080" in text
    run = subprocess.run(
        [str(python), "-"], input=text.replace("127.0.0.1:8080", embedded.http), capture_output=True, text=True,
        cwd=processes.ROOT, timeout=RUN_WITHIN_SECONDS,
    )
    assert run.returncode == 0, run.stderr
    found = [float(score) for score in re.findall(r"\d\.\d{6,}", run.stdout)]
    scores = [images.scores(embedded.post("/v1/models/facequality:predict", images.read(name))[2])[0]
              for name in ("face.png", "face_dark.jpg")]
    assert found == pytest.approx(scores, abs=1e-5)
    if "README.md" in text:
        assert "unrecognised image format" in run.stdout


def test_scores_are_those_that_the_readme_names(embedded):
    face = cv2.imdecode(np.frombuffer(images.read("face.png"), np.uint8), cv2.IMREAD_COLOR)
    bars = cv2.copyMakeBorder(face, 0, 0, 250, 250, cv2.BORDER_CONSTANT)
    png = lambda pixels: cv2.imencode(".png", pixels)[1].tobytes()
    sent = [png(np.full_like(face, 255)), png(face), images.read("astronaut.jpg"), png(bars)]
    _, _, answer = embedded.post("/v1/models/facequality:predict", images.body(*sent))
    for text in (README, CHINESE):
        meaning = text.split("\n## ")[1]
        named = [float(score) for score in re.findall(r"0\.\d\d", meaning)]
        assert named == pytest.approx(images.scores(answer), abs=0.01)


# --- Errors on purpose -----------------------------------------------------------------------------------------------


def rows_of_errors():
    table = next(table for table in tables(README) if table[0][:2] == ["status", "predictor"])
    return [[cell.strip("`") for cell in row] for row in table[2:]]


@pytest.mark.parametrize("status, predictor, service, request_", rows_of_errors())
def test_errors_come_when_they_are_provoked(status, predictor, service, request_):
    ports = Ports()
    with contextlib.ExitStack() as stack:
        if predictor != "–":
            stack.enter_context(ports.started(shlex.split(predictor)))
        reachable = "/v2/health/live" if predictor == "–" else "/v2/health/ready"
        server = stack.enter_context(ports.started(shlex.split(ports.replaced(service)), reachable))
        body = images.body(images.read("face.png"))
        if request_ == "two at once":
            first = subprocess.Popen(
                ["curl", "-s", f"http://{server.http}/v1/models/facequality:predict", "-d", "@-"],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, cwd=processes.ROOT,
            )
            stack.callback(first.wait)
            first.stdin.write(body)
            first.stdin.close()
            until = time.monotonic() + processes.READY_WITHIN_SECONDS
            while b"facequality_images_in_flight 1" not in server.get("/metrics")[2]:
                assert time.monotonic() < until, "the first request never began"
        assert server.post("/v1/models/facequality:predict", body)[0] == int(status)
