"""Type checkers know what a stub, and a call, return: mypy, pyright and tsc, on programs that are right and wrong."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.contracts import describe, python_stub, typescript_stub
from owlsocket_sync.testing import pair
from support.contracts import CONTRACT, register
from support.helpers import scaled

pytestmark = [pytest.mark.slow, pytest.mark.target]

ROOT = Path(__file__).parents[2]
UNUSED = ("reportUnusedVariable", "reportUnusedExpression")
QUIET = ("--no-error-summary", "--hide-error-context", "--follow-imports", "silent")
"""Of what is imported, mypy tells nothing: where it finds the package by its path, that would be the package, too."""
WRONG = re.compile(r"# wrong: (.*)$|// wrong$")

PROGRAM = """
from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID

from shop_contract import EVENTS, Article, Methods, PageArticle, Shop, Size
from typing_extensions import assert_type

from owlsocket_sync import CallFuture, Connection
from owlsocket_sync.contrib.django import client
from owlsocket_sync.contrib.flask import OwlSocket


@dataclass
class User:
    name: str


class Users(Protocol):
    def rename(self, user: User, name: str) -> User: ...


def parse(value: Any) -> bytes:
    return b""


def contract(conn: Connection) -> None:
    shop = conn.proxy(Shop, prefix="shop.")
    assert_type(shop, Shop)
    assert_type(shop.find(7), Article | None)
    assert_type(shop.find(7, Size.SMALL), Article | None)
    assert_type(shop.place({"name": "lantern", "price": Decimal(1)}, date(2024, 2, 29), "a", "b"), UUID)
    assert_type(shop.list({}), PageArticle)
    assert_type(shop.move((1.0, 2.0)), tuple[int, str])
    conn.proxy(Methods).echo(1, "two")
    conn.observe("tick", print, payload_type=EVENTS["tick"])
    shop.find("seven")  # wrong: int
    shop.find()  # wrong: number
    shop.found(7)  # wrong: found
    shop.place({"name": "lantern"})  # wrong: price
    shop.list({"kind": "odd"})  # wrong: odd
    shop.find(7).name  # wrong: None


def calls(conn: Connection, owl: OwlSocket) -> None:
    assert_type(conn.proxy(Users), Users)
    assert_type(owl.proxy(Users), Users)
    assert_type(client.proxy(Users), Users)
    assert_type(conn.call("m", result_type=User), User)
    assert_type(conn.call("m", result_type=list[User]), list[User])
    assert_type(conn.call("m", result_type=parse), bytes)
    assert_type(conn.call("m", result_type=User | None), User | None)
    assert_type(conn.call("m", result_type=Literal["a", "b"]), Literal["a", "b"])
    assert_type(conn.submit("m", result_type=User | int), CallFuture[User | int])
    assert_type([each for each in conn.stream(1, payload_type=User | None)], list[User | None])
    assert_type(owl.call("m", result_type=User | None), User | None)
    assert_type(client.call("m", result_type=list[User] | None), list[User] | None)
    assert_type(owl.call("m", result_type=User), User)
    assert_type(owl["other"].call("m", result_type=User), User)
    assert_type(client.call("m", result_type=User), User)
    assert_type(conn.submit("m", result_type=User).result(), User)
    assert_type(owl.submit("m", result_type=User).result(), User)
    assert_type(client.submit("m", result_type=User).result(), User)
    user: int = conn.call("m", result_type=User)  # wrong: int
    conn.proxy(Users).forget()  # wrong: forget
    owl.call(5)  # wrong: "call"
    client.call("m", result_type=User).email  # wrong: email
"""

TYPESCRIPT = """
import { TypedConnection, Article } from "./shop";

// As @owlmeans/socket declares its connection.
interface EventMessage<T> { type: string; event: string; payload: T; id?: string }
interface Connection {
  observe: <T>(event: string, handler: (event: EventMessage<T>) => Promise<void>) => () => void;
  call: <R, T extends any[]>(method: string, ...payload: T) => Promise<R>;
}

async function main(connection: Connection): Promise<void> {
  const typed: TypedConnection = connection;
  const found: Article | null = await typed.call("shop.find", 7, "small");
  const id: string = await typed.call("shop.place", { name: "lantern", price: "15.90" }, "2024-02-29", "a", "b");
  const moved: [number, string] = await typed.call("shop.move", [1, 2]);
  typed.observe("tick", async ({ payload }) => { const at: string = payload.at; console.log(at, found, id, moved); });
  await typed.call("shop.find", "seven"); // wrong
  await typed.call("shop.found", 7); // wrong
  await typed.call("shop.find", 7, "huge"); // wrong
  typed.observe("tock", async () => {}); // wrong
  const text: string = await typed.call("shop.find", 7); // wrong
  console.log(text);
}

export { main };
"""


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    """Describe the server of `support.contracts`."""
    left, right = pair()
    with left, right:
        register(right, None)  # type: ignore[arg-type]
        return describe(right, CONTRACT)


@pytest.fixture
def program(description: dict[str, Any], tmp_path: Path) -> Path:
    """Write a stub and a program that uses it."""
    (tmp_path / "shop_contract.py").write_text(python_stub(description))
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


def wrong_lines(source: str) -> dict[int, str]:
    """Return what a checker has to say on which line."""
    found = ((number, WRONG.search(line)) for number, line in enumerate(source.splitlines(), 1))
    return {number: match[1] or "" for number, match in found if match}


def check(found: dict[int, list[str]], source: str) -> None:
    """Check that there are errors on the wrong lines, and nowhere else."""
    expected = wrong_lines(source)
    assert set(found) == set(expected), {line: found.get(line) for line in set(found) ^ set(expected)}
    for line, word in expected.items():
        assert any(word in message for message in found[line]), (word, found[line])


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed: the extra dev has it")
def test_mypy_knows_the_types(program: Path) -> None:
    """With ``strict``; the stub itself has no error."""
    config = program.parent / "mypy.ini"
    config.write_text("[mypy]\nstrict = true\n[mypy-django.*,flask_sock.*]\nignore_missing_imports = true\n")
    command = [sys.executable, "-m", "mypy", "--config-file", str(config), "--cache-dir", str(program.parent / "cache")]
    ran = subprocess.run(
        [*command, *QUIET, "shop_contract.py", "program.py"],
        cwd=program.parent,
        env={**os.environ, "MYPYPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=scaled(100),
    )
    lines = re.findall(r"^(\S+?):(\d+): error: (.*)$", ran.stdout, re.MULTILINE)
    assert {file for file, _, _ in lines} <= {"program.py"}, ran.stdout + ran.stderr
    found: dict[int, list[str]] = {}
    for _, line, message in lines:
        found.setdefault(int(line), []).append(message)
    check(found, program.read_text())


@pytest.mark.skipif(find_spec("basedpyright") is None, reason="basedpyright is not installed: the extra dev has it")
def test_pyright_knows_the_types(program: Path) -> None:
    """In its mode ``strict``, without the rules that basedpyright adds."""
    (program.parent / "pyrightconfig.json").write_text(
        json.dumps(
            {"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "include": ["."], **dict.fromkeys(UNUSED, False)}
        )
    )
    ran = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--outputjson", "-p", str(program.parent)],
        cwd=program.parent,
        capture_output=True,
        text=True,
        timeout=scaled(100),
    )
    report = json.loads(ran.stdout)
    errors = [each for each in report["generalDiagnostics"] if each["severity"] == "error"]
    strange = [each for each in errors if Path(each["file"]).name != "program.py"]
    assert not strange, strange
    found: dict[int, list[str]] = {}
    for each in errors:
        found.setdefault(each["range"]["start"]["line"] + 1, []).append(each["message"])
    check(found, program.read_text())


@pytest.mark.skipif(shutil.which("tsc") is None, reason="no tsc on this machine: apt-get install node-typescript")
def test_tsc_knows_the_types(description: dict[str, Any], tmp_path: Path) -> None:
    """With ``--strict``."""
    (tmp_path / "shop.d.ts").write_text(typescript_stub(description))
    (tmp_path / "program.ts").write_text(TYPESCRIPT)
    command = ["tsc", "--strict", "--noEmit", "--target", "es2020", "--lib", "es2020,dom", "--pretty", "false"]
    ran = subprocess.run(
        [*command, "shop.d.ts", "program.ts"], cwd=tmp_path, capture_output=True, text=True, timeout=scaled(100)
    )
    lines = re.findall(r"^(\S+?)\((\d+),\d+\): error (.*)$", ran.stdout, re.MULTILINE)
    assert {file for file, _, _ in lines} == {"program.ts"}, ran.stdout
    assert {int(line) for _, line, _ in lines} == set(wrong_lines(TYPESCRIPT)), ran.stdout
