"""What runs in the recorded sandboxes: interpreters that take snippets, and a browser that is driven.

Each has `start` (once, the large one) and `work` (one tool call when somebody wakes the sandbox); both
block until the answer is there. What the interpreters run is in python.txt and node.txt: first the
start, then the tool calls. Contents are Debian's own package records: text anybody has.
"""

from __future__ import annotations

import http.server
import itertools
import json
import os
import random
import shutil
import subprocess
import tempfile
import threading
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any, ClassVar

STATUS = Path("/var/lib/dpkg/status")

PYTHON_SERVER = """
import json, sys
space = {}
print("ready", flush=True)
for line in sys.stdin:
    try:
        exec(json.loads(line), space)
        print("ok", flush=True)
    except Exception as error:
        print("error", repr(error).replace("\\n", " "), flush=True)
"""
NODE_SERVER = """
const vm = require('vm');
globalThis.require = require;
const lines = require('readline').createInterface({input: process.stdin});
console.log('ready');
lines.on('line', async line => {
  try { await vm.runInThisContext(JSON.parse(line)); console.log('ok'); }
  catch (error) { console.log('error ' + String(error).replace(/\\n/g, ' ')); }
});
"""


class Interpreter:
    """A process that reads one JSON text a line, runs it, and says so."""

    def __init__(self, command: list[str], snippets: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 - a fixed command
        self._start, *self._work = (Path(__file__).parent / snippets).read_text().split("\n----\n")
        self._answer()

    def start(self) -> None:
        """Import the tools and load the data."""
        self._run(self._start)

    def work(self, rng: random.Random) -> None:
        """Run one snippet."""
        self._run(rng.choice(self._work))

    def close(self) -> None:
        """End it."""
        self.process.stdin.close()
        self.process.wait(10)

    def _run(self, code: str) -> None:
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()
        self._answer()

    def _answer(self) -> None:
        line = self.process.stdout.readline().strip()
        if line not in ("ready", "ok"):
            raise RuntimeError(f"the sandbox answered {line!r}")


def python() -> Interpreter:
    """Debian's Python with numpy, pandas, matplotlib and scipy, as code interpreters have them."""
    return Interpreter(["/usr/bin/python3", "-c", PYTHON_SERVER], "python.txt")


def node() -> Interpreter:
    """Node with the TypeScript compiler as its tool (NODE_PATH must know it)."""
    return Interpreter(["node", "-e", NODE_SERVER], "node.txt")


class Browser:
    """Headless Chromium, driven through its pipe; pages come from a server on localhost."""

    FLAGS: ClassVar[list[str]] = [
        "--headless",
        "--no-sandbox",
        "--no-zygote",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--remote-debugging-pipe",
    ]

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="browser-")
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        (to_read, self._to), (self._from, to_write) = os.pipe(), os.pipe()

        def pipes() -> None:
            a, b = os.dup(to_read), os.dup(to_write)
            os.dup2(a, 3)
            os.dup2(b, 4)

        program = next(
            p for p in (Path("/usr/lib/chromium/chromium"), Path("/usr/bin/chromium")) if p.exists()
        )
        self.process = subprocess.Popen(  # noqa: S603 - a fixed command
            [str(program), *self.FLAGS, f"--user-data-dir={self._folder}", "about:blank"],
            preexec_fn=pipes,  # noqa: PLW1509 - the server's thread waits for requests
            close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_read)
        os.close(to_write)
        self._number, self._buffer, self._session = itertools.count(1), b"", None
        targets = self._ask("Target.getTargets")["targetInfos"]
        target = next(t["targetId"] for t in targets if t["type"] == "page")
        self._session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._ask("Page.enable")

    def start(self) -> None:
        """Open the first page: code and fonts come in, the heap grows."""
        self._open("/list/0")
        self._ask("Page.captureScreenshot")

    def work(self, rng: random.Random) -> None:
        """One tool call: look, click on, fill in, or read."""
        kind = rng.randrange(4)
        if kind == 0:
            self._open(f"/list/{rng.randrange(len(records()) // 300 + 1)}")
        elif kind == 1:
            self._open(f"/item/{rng.randrange(len(records()))}")
            self._ask("Runtime.evaluate", expression="document.body.innerText", returnByValue=True)
        elif kind == 2:
            self._ask("Runtime.evaluate", expression="window.filter && filter('lib'); scrollTo(0, 1e4)")
            self._ask("Page.captureScreenshot")
        else:
            self._ask("Accessibility.getFullAXTree")

    def close(self) -> None:
        """End it and remove its folder."""
        self._session = None
        self._ask("Browser.close")
        self.process.wait(10)
        self._server.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _open(self, path: str) -> None:
        self._ask("Page.navigate", url=f"http://127.0.0.1:{self._server.server_address[1]}{path}")
        self._until("Page.loadEventFired")

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._number)
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != number:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _until(self, event: str) -> None:
        while self._message().get("method") != event:
            pass

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            got = os.read(self._from, 1 << 16)
            if not got:
                raise RuntimeError("the browser has ended")
            self._buffer += got
        text, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(text)


@lru_cache
def records() -> list[str]:
    """Debian's package records."""
    return STATUS.read_text(errors="replace").strip().split("\n\n")


SCRIPT = """
const data = JSON.parse(document.getElementById('data').textContent);
const index = new Map();
for (const r of data) for (const w of r.split(/\\W+/)) {
  if (!index.has(w)) index.set(w, []);
  index.get(w).push(r);
}
function filter(word) {
  for (const tr of document.querySelectorAll('tr')) tr.hidden = !tr.textContent.includes(word);
}
const c = document.querySelector('canvas').getContext('2d');
data.forEach((r, i) => {
  c.fillStyle = `hsl(${r.length % 360},60%,50%)`;
  c.fillRect(i % 800, 0, 1, r.length / 8);
});
"""


class Pages(http.server.BaseHTTPRequestHandler):
    """A list of 300 packages with an index and a chart, or one package."""

    def do_GET(self) -> None:
        """Answer with a page."""
        kind, _, number = self.path.strip("/").partition("/")
        at = int(number) if number.isdigit() else 0
        shown = records()[at * 300 : at * 300 + 300] if kind == "list" else [records()[at % len(records())]]
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(line)}</td>" for line in record.splitlines()[:12]) + "</tr>"
            for record in shown
        )
        data = json.dumps(shown).replace("<", "\\u003c")
        body = (
            f"<!doctype html><title>{kind}</title><h1>{kind} {at}</h1>"
            "<canvas width=800 height=200></canvas>"
            f"<table>{rows}</table><script id=data type=application/json>{data}</script>"
            f"<script>{SCRIPT}</script>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


SANDBOXES = {"browser": Browser, "python": python, "node": node}
