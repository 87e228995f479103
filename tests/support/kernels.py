"""A real kernel, as a notebook has one: cells that run, can be interrupted, and whose widgets can be looked at."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from jupyter_client.manager import KernelManager

from support.helpers import scaled

ROOT = Path(__file__).parents[2]
SECONDS = 30.0
AGAIN = 8.0
"""Seconds before an interrupt is repeated. IPython shows no error that is interrupted while it is being shown."""


@dataclass
class Ran:
    """What came of a cell.

    Attributes:
        error: the name of what it raised, or ``""``.
        shown: its outputs, by their kinds of data.
        printed: what it printed, and what it complained of.
    """

    error: str = ""
    shown: list[dict[str, Any]] = field(default_factory=list)
    printed: str = ""

    @property
    def text(self) -> str:
        """The value of its last expression."""
        return str(self.shown[-1]["text/plain"])


class Kernel:
    """A kernel in a process of its own; a context manager.

    Attributes:
        widgets: the state of each widget, as a page would have it.
    """

    def __init__(self) -> None:
        self.widgets: dict[str, dict[str, Any]] = {}
        self._manager = KernelManager(kernel_name="python3")

    def __enter__(self) -> Kernel:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        self._manager.start_kernel(env=environment, stderr=subprocess.DEVNULL)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=scaled(SECONDS))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)
        self._manager.cleanup_resources()
        self._manager.context.destroy()

    def run(self, source: str) -> Ran:
        """Run a cell to its end, which must not be an error."""
        ran = self.finish(self.start(source))
        assert ran.error == "", ran
        return ran

    def start(self, source: str) -> str:
        """Begin to run a cell."""
        return str(self._client.execute(source, stop_on_error=False))

    def finish(self, cell: str, ran: Ran | None = None, seconds: float = SECONDS) -> Ran:
        """Wait for the end of a cell, of which so much came already; `queue.Empty` when nothing comes for so long."""
        ran = Ran() if ran is None else ran
        while True:
            message = self._client.get_iopub_msg(timeout=scaled(seconds))
            kind, content = message["header"]["msg_type"], message["content"]
            if kind.startswith("comm_"):
                self._note_widget(content)
            if message["parent_header"].get("msg_id") != cell:
                continue
            if kind in ("execute_result", "display_data"):
                ran.shown.append(content["data"])
            elif kind == "stream":
                ran.printed += content["text"]
            elif kind == "error":
                ran.error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return ran

    def _note_widget(self, content: Any) -> None:
        self.widgets.setdefault(content["comm_id"], {}).update(content["data"].get("state", {}))

    def view(self, ran: Ran) -> list[str]:
        """The ids of the widgets within the one that a cell showed."""
        shown = ran.shown[0]["application/vnd.jupyter.widget-view+json"]["model_id"]
        return [child.removeprefix("IPY_MODEL_") for child in self.widgets[shown]["children"]]

    def click(self, button: str) -> None:
        """Press the button with this id, as a page does."""
        pressed = {"method": "custom", "content": {"event": "click"}}
        message = self._client.session.msg("comm_msg", {"comm_id": button, "data": pressed})
        self._client.shell_channel.send(message)

    def interrupt(self, cell: str) -> Ran:
        """Press the button with the square until the cell ends; what came of it.

        An interrupt that comes a moment before Python begins to wait for a lock waits with it; it is pressed again.
        """
        ran = Ran()
        for _ in range(int(SECONDS / AGAIN)):
            self._manager.interrupt_kernel()
            with contextlib.suppress(queue.Empty):
                return self.finish(cell, ran, AGAIN)
        raise AssertionError(f"the cell did not end: {ran}")
