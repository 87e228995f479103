"""``%load_ext owlsocket_sync.contrib.jupyter``: shows a card with hints below the traceback of an error.

Works in any IPython; a terminal shows the traceback only.
"""

from __future__ import annotations

import warnings
from typing import Any

from ...errors import ResilientError
from .libraries import library

FORGOTTEN = r"connection .* was forgotten while it was open"


def load_ipython_extension(shell: Any) -> None:
    """Show a card below the traceback of each error of a connection, and warn about connections never closed."""
    # IPython shows a ResourceWarning only if a filter asks for it: Python ignores that category by default.
    warnings.filterwarnings("default", FORGOTTEN, ResourceWarning)
    shell.set_custom_exc((ResilientError,), _show)


def unload_ipython_extension(shell: Any) -> None:
    """Restore the tracebacks of IPython, and ignore connections never closed."""
    shell.set_custom_exc((), None)
    warnings.filterwarnings("ignore", FORGOTTEN, ResourceWarning)


def _show(shell: Any, kind: type[BaseException], error: BaseException, trace: Any, tb_offset: int | None = None) -> Any:
    traceback = shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    # A console cannot show HTML, and would print the repr of the card below the traceback.
    if isinstance(error, ResilientError) and "text/html" in shell.display_formatter.active_types:
        display = library("IPython.display")
        display.display(display.HTML(error._repr_html_()))
    return traceback  # IPython stores this value with the cell
