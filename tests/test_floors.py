"""The house keeps its floors: who may import whom, and how large a room may be."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "owlsocket_sync"

WORDS = {
    "errors",
    "advice",
    "options",
    "clock",
    "deadline",
    "delegation",
    "green_threads",
    "locks",
    "urls",
    "places",
    "callables",
    "handshake_fields",
    "states",
    "values",
    "html_repr",
    "fork",
    "reentrant",
}
CORE = {"protocol", "core", "connection"}
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(WORDS - {"errors", "html_repr", "fork", "reentrant"}, WORDS),
    "html_repr": set(),
    "fork": {"reentrant"},
    "reentrant": set(),
    "errors": {"html_repr", "lazy"},
    "protocol": WORDS | {"protocol", "version"},
    "redis": WORDS | {"redis"},
    "sqlite": WORDS | {"sqlite"},
    "stores": WORDS | {"lazy", "protocol", "redis", "sqlite", "stores"},
    "transport": WORDS | {"transport"},
    "core": WORDS | {"protocol", "stores", "core"},
    "connection": WORDS | {"protocol", "core"},
    "runtime": WORDS | {"protocol", "transport", "runtime"},
    "inherited": {"core", "protocol", "runtime"},
    "client_options": WORDS | {"protocol", "transport", "stores", "connection"},
    "connector": WORDS | {"client_options", "protocol", "transport", "runtime"},
    "queue_setup": {"core", "runtime", "stores"},
    "client": WORDS | CORE | {"stores", "client_options", "connector", "inherited", "queue_setup", "runtime"},
    "auth": WORDS | {"runtime", "lazy", "redis", "auth"},
    "context": WORDS | CORE | {"client_options", "client", "lazy", "runtime", "auth", "context"},
    "contracts": WORDS | CORE | {"lazy", "contracts"},
    "hub": WORDS | CORE | {"lazy", "redis", "runtime", "sqlite", "hub"},
    "server": WORDS
    | CORE
    | {"contracts", "stores", "inherited", "lazy", "queue_setup", "transport", "runtime", "hub", "server", "version"},
    "cli": {
        "__init__",
        "advice",
        "client",
        "client_options",
        "urls",
        "places",
        "handshake_fields",
        "clock",
        "deadline",
        "transport",
        "auth",
        "server",
        "contrib",
        "stores",
        "cli",
        "contracts",
        "hub",
    },
    "testing": WORDS | CORE | {"__init__", "inherited", "server", "lazy", "testing"},
    "contrib": WORDS
    | CORE
    | {
        "__init__",
        "client",
        "client_options",
        "context",
        "contracts",
        "lazy",
        "runtime",
        "transport",
        "hub",
        "server",
        "stores",
        "testing",
        "contrib",
    },
    "__main__": {"cli"},
    "__init__": WORDS | CORE | {"client_options", "client", "lazy", "version"},
    "lazy": set(),
    "version": set(),
}
ROOMS = {
    "websocket": {"transport"},
    "websockets": {"server"},
    "orjson": {"protocol"},
    "sqlite3": {"sqlite", "stores", "hub"},
    "fcntl": {"sqlite"},
    "socket": {"transport", "server", "testing"},
    "select": {"transport", "sqlite"},
    "selectors": {"transport", "testing"},
    "pytest": {"testing"},
    "click": {"cli", "contrib"},
    "rich": {"cli"},
    "django": {"contrib"},
    "flask": {"contrib"},
    "flask_sock": {"contrib"},
    "IPython": {"contrib"},
    "ipywidgets": {"contrib"},
    "matplotlib": {"contrib"},
    "opentelemetry": {"contrib"},
    "pandas": {"contrib"},
    "prometheus_client": {"contrib"},
    "tqdm": {"contrib", "core"},
    "redis": {"redis"},
    "requests": {"auth", "transport"},
    "python_socks": {"transport"},
    "dataclasses_json": {"auth"},
    "cryptography": {"auth"},
    "Crypto": {"auth"},
    "base58": {"auth"},
    "rfc8785": {"auth"},
}
THREADS_START_IN = {"hub", "stores", "runtime", "client", "server", "cli", "testing"}
FACADE = "connection"
MODULES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The floor's folder or file that a module belongs to."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imported(tree: ast.Module, path: Path) -> Iterator[tuple[str, bool]]:
    """What a module imports: the first word, and whether it is ours."""
    depth_of_file = len(path.relative_to(PACKAGE).parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], False
        elif isinstance(node, ast.ImportFrom):
            if node.level == 0:
                yield (node.module or "").split(".")[0], False
            elif node.level < depth_of_file:
                yield room_of(path), True
            elif node.module:
                yield node.module.split(".")[0], True
            else:
                for alias in node.names:
                    yield alias.name if (PACKAGE / f"{alias.name}.py").exists() else "__init__", True


def offences(source: str, path: Path) -> list[str]:
    """What is wrong with a module."""
    tree = ast.parse(source)
    room = room_of(path)
    found = []
    for name, ours in imported(tree, path):
        name = "__init__" if name == "owlsocket_sync" else name
        if (ours or name == "__init__") and name != room and name not in MAY_IMPORT[room]:
            found.append(f"{room} imports {name}, which is not below it")
        if not ours and name in ROOMS and room not in ROOMS[name]:
            found.append(f"{name} is imported outside of {ROOMS[name] or 'any room'}")
    if "Thread(" in source and room not in THREADS_START_IN:
        found.append(f"{room} starts a thread")
    if not ast.get_docstring(tree):
        found.append("it does not say what it is")
    if room == FACADE:
        return [*found, *more_than_delegation(tree)]
    if source.count("\n") > 350:
        found.append("it has more than 350 lines")
    return [*found, *sizes(tree)]


def more_than_delegation(tree: ast.Module) -> Iterator[str]:
    """Find methods of the facade that do more than check an argument and delegate.

    The facade documents each public method once, in one place where users find it: so its length is that of its
    documentation, and not bounded.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            statements = [
                each for each in node.body if not isinstance(each, ast.Expr) or isinstance(each.value, ast.Call)
            ]
            if len(statements) > 4:
                yield f"{node.name} has {len(statements)} statements"


def sizes(tree: ast.Module) -> Iterator[str]:
    """Functions and classes that are too large, and errors that are swallowed whole.

    A signature does not count: it is as long as what callers may choose.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            documented = ast.get_docstring(node)
            lines = (node.end_lineno or 0) - node.body[0].lineno + 1 - len((documented or "").splitlines())
            if lines > 50:
                yield f"{node.name} has {lines} lines"
        elif isinstance(node, ast.ClassDef):
            methods = [child for child in node.body if isinstance(child, ast.FunctionDef)]
            if (node.end_lineno or 0) - node.lineno > 300:
                yield f"{node.name} has more than 300 lines"
            if len(methods) > 30:
                yield f"{node.name} has {len(methods)} methods"
        elif isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"line {node.lineno}: an except without a class"


def test_a_module_stands_on_lower_floors_only() -> None:
    """It imports what is below it, keeps libraries in their rooms, and is small enough to be read."""
    assert not [
        f"{path.relative_to(PACKAGE)}: {offence}"
        for path in MODULES
        for offence in offences(path.read_text(encoding="utf-8"), path)
    ]


def test_an_offending_module_is_found() -> None:
    """The checks above can fail."""
    source = "import orjson, threading\nfrom ..protocol import rpc\nfrom ..connection import Connection\n"
    source += (
        "def long():\n" + "    x = 1\n" * 60 + "threading.Thread(target=long)\ntry:\n    pass\nexcept:\n    pass\n"
    )
    found = offences(source, PACKAGE / "transport" / "wire.py")
    assert len(found) == 7, found


def test_every_room_is_on_a_floor() -> None:
    """Nothing is built beside the plan."""
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT)
