"""A real browser without a window, driven over the Chrome DevTools Protocol: pages to be typed into and looked at."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import websocket

from support.helpers import eventually, scaled

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = """
--headless --remote-debugging-port=0 --no-first-run --no-default-browser-check --disable-gpu --disable-dev-shm-usage
--disable-extensions --disable-sync --disable-background-networking --disable-component-update --no-proxy-server
--force-color-profile=srgb --hide-scrollbars
""".split()
SIZE = {"width": 960, "height": 480}
START_SECONDS = 30.0
ANSWER_SECONDS = 15.0


def installed() -> str | None:
    """The browser on this machine, where there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Chromium:
    """A browser with an empty profile; a context manager, at whose end it is gone, with all that it started."""

    def __init__(self) -> None:
        program = installed()
        assert program is not None, "no Chromium is installed"
        self._profile = tempfile.TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True)
        flags = [*FLAGS, f"--user-data-dir={self._profile.name}"]
        if os.geteuid() == 0:
            flags.append("--no-sandbox")
        self._errors = Path(self._profile.name, "stderr")
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [program, *flags, "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
        self._numbers = itertools.count(1)
        self._socket: websocket.WebSocket | None = None
        try:
            self._attach()
        except BaseException:
            self.close()
            raise

    def _attach(self) -> None:
        """Connect to the port that it chose, which it writes down once it listens."""
        port_file = Path(self._profile.name, "DevToolsActivePort")

        def listens() -> bool:
            assert self._process.poll() is None, self._errors.read_text(errors="replace")
            return port_file.exists() and port_file.read_text().count("\n") >= 1

        eventually(listens, START_SECONDS)
        port, path = port_file.read_text().splitlines()
        self._socket = websocket.create_connection(
            f"ws://127.0.0.1:{port}{path}", timeout=scaled(ANSWER_SECONDS), suppress_origin=True, http_no_proxy=["*"]
        )

    def command(self, method: str, session: str | None = None, **params: Any) -> Any:
        """Have something done, and return what the browser answers; raises `AssertionError` for an error."""
        assert self._socket is not None
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params, **({"sessionId": session} if session else {})}
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]

    def page(self, url: str) -> Page:
        """Open a page in a tab of its own, and wait until it is loaded."""
        target = self.command("Target.createTarget", url=url, newWindow=True)["targetId"]
        session = self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, target, session)
        page.command("Emulation.setDeviceMetricsOverride", **SIZE, deviceScaleFactor=1, mobile=False)
        page.wait(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")
        return page

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._socket.shutdown()  # type: ignore[no-untyped-call]
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._process.wait(scaled(10))
        self._profile.cleanup()

    def __enter__(self) -> Chromium:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Page:
    """One tab; a context manager that closes it."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self._browser = browser
        self._target = target
        self._session = session

    def command(self, method: str, **params: Any) -> Any:
        """Have something done in this tab."""
        return self._browser.command(method, self._session, **params)

    def evaluate(self, expression: str) -> Any:
        """The value of JavaScript, awaited where it is a promise; raises `AssertionError` for what it throws."""
        reply = self.command(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True, userGesture=True
        )
        assert "exceptionDetails" not in reply, reply["exceptionDetails"]
        return reply["result"].get("value")

    def wait(self, condition: str, seconds: float = 10.0) -> None:
        """Wait until JavaScript is true."""
        try:
            eventually(lambda: self.evaluate(condition), seconds)
        except AssertionError as error:
            shown = self.evaluate("document.body && document.body.innerText")
            raise AssertionError(f"{condition} did not come true; the page shows:\n{shown}") from error

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.evaluate(f"document.querySelector({json.dumps(selector)}).innerText"))

    def write(self, selector: str, text: str) -> None:
        """Type into a field, as a keyboard does, and press Enter."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).focus()")
        self.command("Input.insertText", text=text)
        enter = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13}
        self.command("Input.dispatchKeyEvent", type="keyDown", text="\r", **enter)
        self.command("Input.dispatchKeyEvent", type="keyUp", **enter)

    def click(self, selector: str) -> None:
        """Click on the middle of an element."""
        x, y = self.evaluate(
            f"(box => [box.x + box.width / 2, box.y + box.height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.command("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Write what is seen as a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(self.command("Page.captureScreenshot", format="png")["data"]))

    def close(self) -> None:
        """Close the tab."""
        self._browser.command("Target.closeTarget", targetId=self._target)

    def __enter__(self) -> Page:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
