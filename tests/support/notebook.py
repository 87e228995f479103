"""Runs ``samples/notebook.ipynb`` in a kernel of its own, and keeps what it showed.

``PYTHONPATH=tests python -m support.notebook`` writes its outputs into the notebook, and its pictures for the docs to
``docs/images``; with ``--to PATH`` it writes the notebook there, and nothing else. Cards and views are pictured by
``chromium``, in a light and in a dark page; where there is none, those pictures stay as they are.
"""

from __future__ import annotations

import argparse
import base64
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "samples" / "notebook.ipynb"
IMAGES = ROOT / "docs" / "images"
SECONDS = 60
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
PAGE = """<!doctype html><meta charset="utf-8"><style>
body {{ margin: 0; display: flex; font: 13px system-ui, sans-serif }}
div.half {{ width: {width}px; padding: 12px; box-sizing: border-box }}
div.half > div {{ margin-bottom: 10px }}
.light {{ background: #fff; color: #1f1f1f }} .dark {{ background: #111; color: #e4e4e4 }}
table {{ border-collapse: collapse }} pre {{ font-size: 12px }}
</style>{halves}"""
WIDTH, HEIGHT = 460, 900

# What each picture shows: the beginnings of the cells, whose outputs it is made of.
PLOTS = {
    "notebook-prices.png": "ax = prices.plot",
    "notebook-latency.png": "from owlsocket_sync.contrib.jupyter import lat",
}
CARDS = {
    "notebook-cards.png": ["from math import sin", "conn.submit("],
    "notebook-live.png": [
        "from owlsocket_sync.contrib.jupyter import watch",
        "from owlsocket_sync.contrib.jupyter import h",
    ],
}


def execute() -> tuple[Any, dict[str, str]]:
    """The notebook, as it is after all its cells ran; and what views of connections showed while these were open."""
    import nbformat
    from nbclient import NotebookClient

    os.environ.update(PYTHONPATH=str(ROOT), PYDEVD_DISABLE_FILE_VALIDATION="1")
    notebook = nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]
    live: dict[str, str] = {}

    def look(**_: Any) -> None:
        for id, state in client.widget_state.items():
            if "(open)" in str(state.get("value")):
                live[id] = state["value"]

    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", record_timing=False, on_cell_executed=look
    )
    client.execute()
    language = notebook.metadata.language_info
    notebook.metadata.language_info = {"name": language.name}
    return notebook, live


def kinds(notebook: Any) -> list[list[str]]:
    """For each cell with code, what it showed: the kinds of its outputs, and of the data that they have."""
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    return [
        [" ".join([output["output_type"], *sorted(output.get("data", ()))]) for output in cell["outputs"]]
        for cell in cells
    ]


def output(notebook: Any, beginning: str) -> Any:
    """The data that a cell showed last."""
    [cell] = [cell for cell in notebook["cells"] if cell["source"].startswith(beginning)]
    return cell["outputs"][-1]["data"]


def html_of(notebook: Any, live: dict[str, str], data: Any) -> str:
    """What an output looks like: its HTML, or that of the page within a view."""
    if VIEW not in data:
        return str(data["text/html"])
    states = notebook["metadata"]["widgets"][WIDGETS]["state"]
    children = states[data[VIEW]["model_id"]]["state"]["children"]
    page = children[0].removeprefix("IPY_MODEL_")
    return live.get(page) or str(states[page]["state"]["value"])


def draw(notebook: Any, live: dict[str, str]) -> None:
    """Write the pictures."""
    IMAGES.mkdir(exist_ok=True)
    for name, beginning in PLOTS.items():
        (IMAGES / name).write_bytes(base64.b64decode(output(notebook, beginning)["image/png"]))
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    for name, beginnings in CARDS.items():
        if browser is not None:
            shown = [html_of(notebook, live, output(notebook, beginning)) for beginning in beginnings]
            _photograph(browser, _page(shown), IMAGES / name)


def _page(shown: list[str]) -> str:
    inner = "".join(f"<div>{html}</div>" for html in shown)
    halves = "".join(f'<div class="half {theme}">{inner}</div>' for theme in ("light", "dark"))
    return PAGE.format(width=WIDTH, halves=halves)


def _photograph(browser: str, page: str, to: Path) -> None:
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        source, picture = Path(folder, "page.html"), Path(folder, "page.png")
        source.write_text(page, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={2 * WIDTH},{HEIGHT}"]
        options += [f"--user-data-dir={folder}/profile", f"--screenshot={picture}", source.as_uri()]
        subprocess.run([browser, *options], check=True, capture_output=True, timeout=SECONDS)
        with Image.open(picture) as image:
            _trimmed(image.convert("RGB")).quantize(256).save(to, optimize=True)


def _trimmed(image: Any) -> Any:
    """Without the empty rows at its end: those in which both halves are what their backgrounds are."""
    width, height = image.size
    empty = image.crop((0, height - 1, width, height)).tobytes()
    last = max(row for row in range(height) if image.crop((0, row, width, row + 1)).tobytes() != empty)
    return image.crop((0, 0, width, min(height, last + 14)))


def main() -> None:
    """Run it, and write what it showed."""
    parser = argparse.ArgumentParser(description="run the notebook among the samples")
    parser.add_argument("--to", type=Path, help="write the notebook there, and no pictures")
    to = parser.parse_args().to
    notebook, live = execute()
    import nbformat

    text = nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    (to or NOTEBOOK).write_text(re.sub(r"\s*$", "\n", text), encoding="utf-8")
    if to is None:
        draw(notebook, live)


if __name__ == "__main__":
    sys.exit(main())
