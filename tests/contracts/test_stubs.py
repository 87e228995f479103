"""Stubs for callers: typed, the same each time, and without a line that a server wrote."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from datetime import date, datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, get_type_hints
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owlsocket_sync import connect
from owlsocket_sync.contracts import describe, python_stub, typescript_stub
from owlsocket_sync.server import serve
from owlsocket_sync.testing import pair
from support.contracts import CONTRACT, Shop, register
from support.helpers import examples, scaled

HOSTILE = [
    '"""\nimport os\nos.system("hoot")\n"""',
    'x"] = 1; import os #',
    "a\nimport os",
    "*/ declare const x: any /*",
    "\\",
    '"',
    "class",
    "__import__",
    "\u202etac",
    "\uff4c\uff49\uff53\uff54",
    "mro",
    "",
    "a" * 5000,
    "\ud800",
    "list",
    "Any",
    "str",
    "self",
    "date",
    "number",
]


@pytest.fixture
def description() -> Iterator[dict[str, Any]]:
    """Describe the server of `support.contracts`."""
    left, right = pair()
    with left, right:
        register(right, None)  # type: ignore[arg-type]
        yield describe(right, CONTRACT)


def imported(source: str, name: str = "stub_of_the_shop") -> Any:
    """Return the module of a stub."""
    module = types.ModuleType(name)
    sys.modules[name] = module  # where the annotations of its TypedDicts are looked up
    exec(compile(source, name, "exec", dont_inherit=True), vars(module))
    return module


def test_a_proxy_of_the_stub_calls_the_server(description: dict[str, Any]) -> None:
    """Arguments and results are converted, as with an interface that is written by hand."""
    stub = imported(python_stub(description))
    with serve(register) as server, connect(server.url) as conn:
        shop = conn.proxy(stub.Shop, prefix="shop.")
        found = shop.find(7)
        assert found == {
            "name": "lantern",
            "price": Decimal("15.90"),
            "size": stub.Size.LARGE,
            "tags": [],
            "parent": None,
        }
        assert shop.find(8) is None
        assert shop.list({"since": datetime(2024, 2, 29, tzinfo=timezone.utc)}) == {
            "items": [{**found, "size": stub.Size.SMALL}],
            "next": None,
        }
        assert shop.place(found, date(2024, 2, 29), "in a box", "today") == UUID(int=7)
        assert shop.move((1.0, 2.0)) == (1, "moved")
        assert conn.proxy(stub.Methods).echo(1, 2) == [1, 2]


def test_events_have_their_types(description: dict[str, Any]) -> None:
    """They are passed to `observe`."""
    stub = imported(python_stub(description))
    left, right = pair()
    with left, right:
        ticks: list[Any] = []
        left.observe("tick", lambda message: ticks.append(message.payload), payload_type=stub.EVENTS["tick"])
        right.notify("tick", {"number": 1, "at": "2024-02-29T12:00:00Z"})
        assert left.wait_idle(scaled(5))
    assert ticks == [{"number": 1, "at": datetime(2024, 2, 29, 12, tzinfo=timezone.utc)}]
    assert set(stub.EVENTS) == {"tick", "moved", "closing"}


def test_names_that_no_attribute_can_have_are_told_in_a_comment(description: dict[str, Any]) -> None:
    """They are called by their name on the wire."""
    assert '# conn.call("get-user.class", id)' in python_stub(description).splitlines()


@pytest.mark.parametrize("write", [python_stub, typescript_stub], ids=["python", "typescript"])
def test_the_output_is_the_same_each_time(description: dict[str, Any], write: Any) -> None:
    """Also from a description whose keys come in another order."""
    shuffled = {**description, "methods": dict(reversed(description["methods"].items()))}
    assert write(description) == write(shuffled) == write(json.loads(json.dumps(description)))


def test_a_python_stub_fits_the_lines_and_is_formatted(description: dict[str, Any], tmp_path: Path) -> None:
    """A formatter with its usual settings, or with longer lines, changes nothing."""
    pytest.importorskip("ruff")
    source = python_stub(description)
    assert max(map(len, source.splitlines())) <= 88
    path = tmp_path / "stub.py"
    path.write_text(source)
    for width in ("88", "120"):
        command = [sys.executable, "-m", "ruff", "format", "--isolated", "--diff", "--line-length", width, str(path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=scaled(30))
        assert (ran.returncode, ran.stdout) == (0, "")


def of(method: dict[str, Any], name: str = "m", types_: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a description with one method."""
    return {"version": 1, "methods": {name: method}, "events": {}, "types": types_ or {}}


def parameter(name: str, **rest: Any) -> dict[str, Any]:
    """Return a parameter of a description."""
    return {"name": name, "schema": {"type": "integer"}, **rest}


@pytest.mark.parametrize(
    ("parameters", "signature"),
    [
        ([parameter("a"), parameter("b", optional=True, default=5)], "self, a: int, b: int = 5"),
        ([parameter("a", optional=True)], "self, *a: int"),
        ([parameter("a", optional=True), parameter("b", optional=True, default=5)], "self, *more: Any"),
        ([parameter("a", optional=True, default=1), parameter("b")], "self, *more: Any"),
        ([parameter("a", variadic=True)], "self, *a: int"),
        ([parameter("class"), parameter("a b"), parameter("x"), parameter("x")],
         "self, arg1: int, arg2: int, x: int, x2: int"),
        ([parameter("self")], "self, self2: int"),
        ([parameter("a", optional=True, default="text")], "self, *a: int"),
        ([{"name": "s", "schema": {"type": "string"}, "optional": True, "default": '"'}], 'self, s: str = "\\""'),
        ([{"name": "d", "schema": {"type": "string", "format": "date"}, "optional": True, "default": "x"}],
         "self, *d: date"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_parameters_have_names_and_defaults_that_python_can_write(
    parameters: list[dict[str, Any]], signature: str
) -> None:
    """A proxy sends the defaults of its interface, so one that is not known is left to the server."""
    assert f"    def m({signature}) -> Any: ...\n" in python_stub(of({"parameters": parameters, "result": {}}))


def test_an_attribute_does_not_hide_the_type_of_its_name() -> None:
    """Type checkers look into the class first."""
    method = {"parameters": [{"name": "a", "schema": {"type": "array", "items": {}}}], "result": {"type": "string"}}
    source = python_stub(of(method, "list"))
    assert "from builtins import list as _list" in source
    assert "def list(self, a: _list[Any]) -> str: ..." in source
    assert get_type_hints(imported(source).Methods.list) == {"a": list[Any], "return": str}


def test_keys_that_are_no_names_are_kept() -> None:
    """A TypedDict can have any key."""
    tree = {
        "type": "object",
        "properties": {"left-child": {"$ref": "#/types/Tree"}, 'a"b': {"type": "integer"}},
        "required": ['a"b'],
    }
    stub = imported(python_stub(of({"parameters": [], "result": {"$ref": "#/types/Tree"}}, types_={"Tree": tree})))
    assert set(get_type_hints(stub.Tree)) == {"left-child", 'a"b'}
    assert stub.Tree.__required_keys__ == {'a"b'}


def test_types_that_would_double_with_each_reference_are_cut() -> None:
    """A hostile description costs no more than it is long."""
    types_ = {
        f"T{number}": {"type": "array", "prefixItems": [{"$ref": f"#/types/T{number + 1}"}] * 10}
        for number in range(60)
    }
    description = of({"parameters": [], "result": {"$ref": "#/types/T0"}}, types_=types_)
    assert len(python_stub(description)) < 10_000
    assert len(typescript_stub(description)) < 10_000


def hostile_description(text: str) -> dict[str, Any]:
    """Return a description with a text in every place."""
    schema = {
        "type": "object",
        "description": text,
        "properties": {text: {"enum": [text], "$ref": text}, "plain": {"type": text, "format": text}},
        "required": [text],
    }
    method = {
        "doc": text,
        "stage": text,
        "parameters": [
            {"name": text, "schema": {"$ref": f"#/types/{text}"}},
            {"name": "b", "schema": {"type": "string"}, "optional": True, "default": text},
        ],
        "result": {"enum": [text, 1, None]},
    }
    enum = {"enum": [text, "b"], "x-enum-varnames": [text, "B"], "description": text}
    names = (text, f"p.{text}", f"{text}.m")
    return {
        "version": 1,
        "methods": dict.fromkeys(names, method),
        "events": {text: {"payload": {"$ref": f"#/types/{text}"}}},
        "types": {text: schema, f"E{text}": enum, f"{text}E": {"anyOf": [{"$ref": f"#/types/{text}E"}, schema]}},
    }


def names_of(tree: ast.AST) -> set[str]:
    """Return what a module of Python calls or looks up, and does."""
    return {type(node).__name__ for node in ast.walk(tree)}


def check_python(source: str) -> None:
    """Check that a stub consists of declarations alone."""
    tree = ast.parse(source)
    for node in tree.body:
        assert isinstance(node, (ast.Expr, ast.ImportFrom, ast.ClassDef, ast.Assign, ast.AnnAssign)), ast.dump(node)
        if isinstance(node, ast.Expr):
            assert isinstance(node.value, ast.Constant)
        if isinstance(node, ast.ImportFrom):
            assert node.module in ("__future__", "builtins", "datetime", "decimal", "enum", "typing", "uuid")
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert {call.id for call in calls if isinstance(call, ast.Name)} <= {"TypedDict", "_TypedDict"}
    assert all(isinstance(call, ast.Name) for call in calls)
    assert not names_of(tree) & {"Import", "Lambda", "Await", "ListComp", "Delete", "Global", "Return"}
    imported(source, "stub_of_a_stranger")


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_a_foreign_server_becomes_code(text: str) -> None:
    """Whatever it is, and wherever it stands."""
    description = hostile_description(text)
    check_python(python_stub(description))
    for line in typescript_stub(description).splitlines():
        # Outside of texts and of comments, which each end on their line.
        bare = re.sub(r'"(?:\\.|[^"\\])*"|/\*\*.*?\*/', "", line)
        assert "declare const" not in bare
        assert line.isprintable()


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(HOSTILE)
KEYS = st.sampled_from(
    "type format properties required enum anyOf items prefixItems additionalProperties $ref description "
    "x-enum-varnames parameters result name schema optional variadic default doc stage payload".split()
)
KINDS = st.sampled_from("object array string integer number boolean null #/types/A #/types/B date".split())
ENTRIES = st.recursive(
    KINDS | SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=25
)


@settings(max_examples=examples(60, 1000), deadline=None)
@given(
    st.fixed_dictionaries(
        {
            part: ENTRIES | st.dictionaries(st.sampled_from([*HOSTILE, "A", "B", "a.b"]), ENTRIES, max_size=4)
            for part in ("methods", "events", "types")
        }
    )
)
def test_any_description_gives_a_stub(description: dict[str, Any]) -> None:
    """What is not in its form is any value."""
    check_python(python_stub({"version": 1, **description}))
    typescript_stub({"version": 1, **description})


def test_the_stub_of_a_typescript_caller(description: dict[str, Any]) -> None:
    """Methods, events and types, and a view of the connection with them."""
    source = typescript_stub(description)
    for line in (
        "export interface Article {",
        "  size?: Size;",
        "  parent?: Article | null;",
        'export type Size = "small" | "large";',
        "  /** Find an article. */",
        '  "shop.find": (number_: number, size?: Size) => Article | null;',
        '  "shop.place": (article: Article, due?: string | null, ...notes: Array<string>) => string;',
        '  "shop.move": (to: [number, number], picture?: string) => [number, string];',
        '  "echo": (...values: Array<unknown>) => unknown;',
        '  "tick": Tick;',
        "export interface TypedConnection {",
    ):
        assert line in source.splitlines(), line


def test_the_interface_and_its_stub_agree(description: dict[str, Any]) -> None:
    """Each public method of the class that is exposed is in the protocol."""
    stub = imported(python_stub(description))
    assert {name for name in vars(Shop) if not name.startswith("_")} == {
        name for name in vars(stub.Shop) if not name.startswith("_")
    }
