"""``%load_ext owlsocket_sync.contrib.jupyter``: errors that are raised in a cell say what to do, in a card.

Works where IPython runs; a terminal gets the traceback alone, as ever.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...errors import ResilientError
from .libraries import library

FORGOTTEN = r"connection .* was forgotten while it was open"


def load_ipython_extension(shell: Any) -> None:
    """Show a card beneath the traceback of each error of a connection, and warn of connections that were forgotten."""
    warnings.filterwarnings("default", FORGOTTEN, ResourceWarning)
    shell.set_custom_exc((ResilientError,), _show)


def unload_ipython_extension(shell: Any) -> None:
    """Show tracebacks as IPython does, and keep quiet about connections that were forgotten."""
    shell.set_custom_exc((), None)
    warnings.filterwarnings("ignore", FORGOTTEN, ResourceWarning)


def _show(shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int | None = None) -> Any:
    shown = shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    if isinstance(error, ResilientError) and "text/html" in shell.display_formatter.active_types:
        display = library("IPython.display")
        display.display(display.HTML(error._repr_html_()))
    return shown
