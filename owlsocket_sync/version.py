"""The version of the installed distribution, from its metadata."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("owlsocket-sync")
# A checkout or a copied folder on the path has no metadata.
except PackageNotFoundError:
    __version__ = "0+unknown"
