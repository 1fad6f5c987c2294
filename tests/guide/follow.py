"""Follows docs/WRITING-A-TRANSFORMER.md word by word: files are written, commands run, and answers compared.

    python3.11 tests/guide/follow.py          # in an empty folder of its own; needs the debug build of the binary

A block is a file where the line before it names one in backticks and ends with a colon. `sh` blocks run in one shell, in order;
a `json` block is what the last of their commands must have answered. Dependencies come from target/, in the same versions.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs/WRITING-A-TRANSFORMER.md"
BLOCK = re.compile(r"(?:^`(?P<file>[^`\n]+)`:\n\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
PORTS = ("8080", "8081", "8000", "8001")
MARK = "--- block "


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(s.getsockname()[1]) for s in sockets]
    for s in sockets:
        s.close()
    return ports


def script(blocks):
    """One shell script of all blocks; a mark goes before the output of each."""
    lines = ["set -euo pipefail"]
    for number, block in enumerate(blocks):
        lines.append(f"printf '\\n{MARK}%s\\n' {number}")
        if block["file"]:
            lines.append(f"mkdir -p $(dirname {block['file']})")
            lines.append(f"printf %s {shlex.quote(block['text'])} > {block['file']}")
        elif block["language"] == "sh":
            lines.append(block["text"])
    return "\n".join(lines)


def same(found, expected):
    """Equal JSON, but for the sixth digit of numbers: processors sum in different orders."""
    if isinstance(expected, float):
        return isinstance(found, float) and math.isclose(found, expected, abs_tol=1e-5)
    if isinstance(expected, dict):
        return isinstance(found, dict) and list(found) == list(expected) and all(same(found[k], expected[k]) for k in expected)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


def cargo_settings(folder):
    """The profile of this project, so that its dependencies need not be built again; the library is built as here."""
    settings = folder / ".cargo/config.toml"
    settings.parent.mkdir()
    settings.write_text(
        '[profile.dev]\ndebug = "line-tables-only"\n[profile.dev.package.facequality-transformer]\nopt-level = 0\n'
    )


def main():
    text = GUIDE.read_text()
    ports = dict(zip(PORTS, free_ports(len(PORTS))))
    blocks = [block.groupdict() for block in BLOCK.finditer(text)]
    assert [block["file"] for block in blocks if block["file"]], "the guide names no files any more"
    for block in blocks:
        if block["language"] == "sh":
            block["text"] = re.sub(r"\b80(?:80|81|00|01)\b", lambda port: ports[port[0]], block["text"])
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    environment = os.environ | {
        "CARGO_TARGET_DIR": target,
        "PATH": f"{target}/debug:{os.environ['PATH']}",
    }
    # Outside the repository, and the same each time: cargo tells packages apart by their paths.
    folder = pathlib.Path(tempfile.gettempdir()) / f"guide-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "facequality-transformer").symlink_to(ROOT)
    cargo_settings(folder)
    kept = folder / "output"
    # A session of its own, so that the servers in its background end with it.
    with kept.open("w") as stdout:
        shell = subprocess.Popen(
            ["bash", "-c", script(blocks)], cwd=folder, env=environment, stdin=subprocess.DEVNULL,
            stdout=stdout, start_new_session=True,
        )
    try:
        shell.wait()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)
    output = kept.read_text()
    shutil.rmtree(folder)
    if shell.returncode != 0:
        print(output)
        sys.exit(f"the guide's commands ended with {shell.returncode}")
    answers = dict(re.findall(rf"^{MARK}(\d+)\n(.*?)(?=\n{MARK}|\Z)", output, re.MULTILINE | re.DOTALL))
    compared = 0
    for number, block in enumerate(blocks):
        if block["language"] == "json":
            found = json.loads(answers[str(number - 1)].strip().splitlines()[-1])
            if not same(found, json.loads(block["text"])):
                sys.exit(f"the guide shows\n{block['text']}but the answer was\n{json.dumps(found)}")
            compared += 1
    print(f"the guide holds: {len(blocks)} blocks, {compared} answers compared")


if __name__ == "__main__":
    main()
