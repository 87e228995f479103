"""What the documentation shows is what happens: every block of code of every page is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers import eventually
from pages import Block, blocks_of, commands_of, fits, printed_by, without_installing
from reader import ROOT, follow

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_NOT_RUN = 12


@pytest.mark.parametrize("page", [page for page in PAGES if any(block.runs for block in blocks_of(page))], ids=str)
@pytest.mark.timeout(180)
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    """Typed from top to bottom in an empty directory: nothing fails, and what is printed is what it says."""
    directory = tmp_path / "empty"
    directory.mkdir()
    follow(list(blocks_of(page)), directory)


def test_few_blocks_are_not_run() -> None:
    """And each says why."""
    reasons = [
        f"{page.name}:{block.line}: {block.reason}" for page in PAGES for block in blocks_of(page) if block.reason
    ]
    assert len(reasons) <= MOST_NOT_RUN, reasons


PAGE = """
Some words.

```python title="greet.py"
print("hello")
```

```sh
python -m pip install 'owlsocket-sync[cli]' && touch there
```

```console
$ python greet.py
hello
$ ls
greet.py
th…
```

<!-- not run: nobody has one -->
```python
connect("wss://elsewhere")
```

```python
number = 1
```

```python
print(number + 1)  # 2
```
"""


def _page(path: Path, text: str) -> list[Block]:
    file = path / "page.md"
    file.write_text(text, encoding="utf-8")
    directory = path / "empty"
    directory.mkdir(exist_ok=True)
    return list(blocks_of(file))


def test_a_page_is_read(tmp_path: Path) -> None:
    """Files, commands, sessions, and blocks that are only shown."""
    blocks = _page(tmp_path, PAGE)
    assert [(block.language, block.title, block.runs) for block in blocks] == [
        ("python", "greet.py", True),
        ("sh", None, True),
        ("console", None, True),
        ("python", None, False),
        ("python", None, True),
        ("python", None, True),
    ]
    assert blocks[3].reason == "nobody has one"
    follow(blocks, tmp_path / "empty")


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("# 2", "# 3"),
        ("number = 1", "number = nothing"),
        ("th…", "nothing"),
        ("&& touch there", "&& false"),
        ('print("hello")', 'print("goodbye")'),
        ("```python\nconnect", "```cobol\nconnect"),
    ],
)
def test_a_page_that_is_wrong_fails(tmp_path: Path, good: str, bad: str) -> None:
    """Whatever it is that does not hold."""
    assert good in PAGE
    with pytest.raises((AssertionError, ValueError)):
        follow(_page(tmp_path, PAGE.replace(good, bad)), tmp_path / "empty")


def test_what_runs_in_the_background_ends_with_its_page(tmp_path: Path) -> None:
    """Nothing is left behind."""
    text = "```sh\nsleep 600 & echo $! > number\n```\n"
    follow(_page(tmp_path, text), tmp_path / "empty")
    number = (tmp_path / "empty" / "number").read_text().strip()
    eventually(lambda: not _lives(number))


def _lives(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_the_words_of_the_rules() -> None:
    """Installing is left out, what follows it is not; comments and dots are what they seem."""
    assert without_installing("python -m pip install '.[cli]' && owlsocket demo\n") == "owlsocket demo\n"
    assert without_installing("python -m pip install owlsocket-sync\nowlsocket demo\n") == "\nowlsocket demo\n"
    assert printed_by("print(1)  # 1\n    print(f(2))  # two\nx = 1  # not this\n") == ["1", "two"]
    assert [one.line for one in commands_of("$ a\n1\n$ b \\\n> c\n")] == ["a", "b \\\nc"]
    assert fits("took … s", "took 1.5 s\n")
    assert not fits("took … s", "took 1.5 ms")
