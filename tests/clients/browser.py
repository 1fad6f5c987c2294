"""Chromium without a window, driven through its DevTools protocol: pages, their requests, keys and pixels."""

import asyncio
import base64
import contextlib
import itertools
import json
import pathlib
import shutil
import subprocess
import tempfile
import time

import aiohttp

WITHIN_SECONDS = 60
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"]
FLAGS += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
KEYS = {"Tab": 9, "Enter": 13, " ": 32, "ArrowLeft": 37, "ArrowRight": 39}


def program():
    """Absent, this fails: `.ci/run` installs it."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert found, "no Chromium is installed"
    return found


class Page:
    """One tab. What it asked the network for is in `requests`, what it wrote to its console as errors in `errors`."""

    def __init__(self, loop, socket):
        self.loop, self.socket = loop, socket
        self.ids = itertools.count(1)
        self.requests, self.errors = [], []

    def send(self, method, **parameters):
        return self.loop.run_until_complete(self._send(method, parameters))

    async def _send(self, method, parameters):
        call = next(self.ids)
        await self.socket.send_json({"id": call, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self.socket.receive(), WITHIN_SECONDS)
            answer = json.loads(message.data)
            if answer.get("id") == call:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer["method"], answer["params"])

    def _note(self, method, event):
        if method in ("Network.requestWillBeSent", "Network.webSocketCreated"):
            self.requests.append(event.get("request", event)["url"])
        elif method == "Runtime.exceptionThrown":
            self.errors.append(event["exceptionDetails"])
        elif method == "Log.entryAdded" and event["entry"]["level"] == "error":
            self.errors.append(event["entry"])

    def evaluate(self, script):
        """The value of a script, a promise's once it is there."""
        result = self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait(self, script):
        """Until a script's value counts as true."""
        deadline = time.monotonic() + WITHIN_SECONDS
        while not self.evaluate(f"Boolean({script})"):
            assert time.monotonic() < deadline, f"never true: {script}; errors: {self.errors}"
            time.sleep(0.05)

    def open(self, url):
        self.send("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def press(self, key, modifiers=0):
        """A key as a person presses it; modifiers: 8 is Shift."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        parts = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": KEYS[key], "modifiers": modifiers}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **parts)
        self.send("Input.dispatchKeyEvent", type="keyUp", **parts)

    def emulate(self, scheme="light", language=None, width=1240, height=900):
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        if language:
            agent = self.evaluate("navigator.userAgent")
            self.send("Emulation.setUserAgentOverride", userAgent=agent, acceptLanguage=language)

    def screenshot(self, whole=True):
        """A PNG of the page."""
        clip = {}
        if whole:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"captureBeyondViewport": True, "clip": {**size, "scale": 1}}
        return base64.b64decode(self.send("Page.captureScreenshot", **clip)["data"])


@contextlib.contextmanager
def page(**emulated):
    """A tab of a browser of its own, without a history."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        process = subprocess.Popen(
            [program(), *FLAGS, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )

        @stack.callback
        def _():
            process.terminate()
            process.wait(timeout=30)

        port_file = pathlib.Path(folder) / "DevToolsActivePort"
        deadline = time.monotonic() + WITHIN_SECONDS
        while not (port_file.exists() and port_file.read_text().count("\n")):
            assert process.poll() is None and time.monotonic() < deadline, "Chromium opens no port"
            time.sleep(0.05)
        port = port_file.read_text().splitlines()[0]
        loop = asyncio.new_event_loop()
        stack.callback(loop.close)
        session, socket = loop.run_until_complete(_connect(port))
        stack.callback(lambda: loop.run_until_complete(session.close()))
        tab = Page(loop, socket)
        for domain in ("Page", "Runtime", "Network", "Log"):
            tab.send(f"{domain}.enable")
        # As a window in front of all others: the clipboard wants that.
        tab.send("Emulation.setFocusEmulationEnabled", enabled=True)
        tab.emulate(**emulated)
        yield tab


async def _connect(port):
    session = aiohttp.ClientSession()
    async with session.get(f"http://127.0.0.1:{port}/json") as answer:
        targets = await answer.json()
    target = next(target for target in targets if target["type"] == "page")
    return session, await session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0)
