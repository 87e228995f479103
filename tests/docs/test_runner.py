"""The runner of pages does what they show, and every way in which a page can be wrong fails."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.blocks import PageError, blocks_of, without_installs
from docs.promises import is_as_promised, printed_by, typed_in
from docs.running import run_page
from support.helpers import SCALE, eventually

PAGE = """
Some words.

```python title="shop/greet.py"
def greet(name):
    print(f"hello, {name}")  # hello, Ada


greet("Ada")
```

```sh
python -m pip install 'owlsocket-sync[cli]' && touch there
(echo late; echo later) > log &
```

```console
$ python shop/greet.py
hello, Ada
$ ls
log
shop
th…
$ cat nowhere
…
$ echo one \\
>   two
one two
$ python -m pip install owlsocket-sync
```

- In a list:

    ```python
    from threading import Timer

    number = 1
    Timer(0.1, lambda: print("done")).start()  # done
    ```

<!-- scene
hidden = 40
-->

```python
for _ in range(2):
    print(
        number + hidden,
    )  # 41, 41
print(number, {"two": 2})  # … {'two': 2}
```

<!-- not run: nobody has one -->
```python
connect("wss://elsewhere")
```

```text
nothing to run
```
"""


def test_a_page_is_read() -> None:
    """Files, sessions in Python and in the shell, hidden scenes, and blocks that are only shown."""
    assert [(block.language, block.title, block.not_run, block.hidden) for block in blocks_of(PAGE)] == [
        ("python", "shop/greet.py", None, False),
        ("sh", None, None, False),
        ("console", None, None, False),
        ("python", None, None, False),
        ("python", None, None, True),
        ("python", None, None, False),
        ("python", None, "nobody has one", False),
        ("text", None, None, False),
    ]
    lines = PAGE.splitlines()
    for block in blocks_of(PAGE):
        assert lines[block.line - 1].strip() == block.text.splitlines()[0].strip()


@pytest.mark.slow
def test_a_page_that_is_right_passes() -> None:
    """All of the above, at once."""
    run_page(PAGE, scale=SCALE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("good", "bad", "why"),
    [
        ("# 41, 41", "# 41, 42", r"line \d+: should print '41, 42', and printed \['41\\n', '41\\n'\]"),
        ("# … {", "# {", "should print"),
        ("# done", "# never", "should print 'never'"),
        ('greet("Ada")\n', "", "should print"),
        ("# hello, Ada", "# hello, Bob", "shop/greet.py, line 2: should print 'hello, Bob'"),
        ("```\n\n```sh", "print(1 if 0 else 2)  # 1\n```\n\n```sh", "should print"),
        ("number = 1", "number = nothing", "NameError: name 'nothing' is not defined"),
        ("number = 1", "raise SystemExit(3)", "it left: 3"),
        ("number = 1", "import os; os._exit(0)", "the session ended"),
        ("number = 1", "if number = 1", "this is no Python"),
        ("hidden = 40", "hidden = 39", "should print"),
        ("th…", "nothing", r"\$ ls\nshould print"),
        ("one two", "one", r"should print\none\n\nand printed\none two"),
        ("&& touch there", "&& false", "it ended with 1"),
        ("```console\n", "```console\n# first\n", "begins with"),
        ("```text", "```cobol", "a block in cobol"),
        ("```text", "```", "a block in no language"),
        ("nothing to run\n```", "nothing to run", "does not end"),
        ("hidden = 40\n-->", "hidden = 40", "does not end"),
        ("shop/greet.py", "../greet.py", "outside of the page's directory"),
    ],
)
def test_a_page_that_is_wrong_fails(good: str, bad: str, why: str) -> None:
    """Whatever it is that does not hold, it is told with its place."""
    assert good in PAGE
    with pytest.raises(PageError, match=re.compile(why)):
        run_page(PAGE.replace(good, bad), scale=SCALE, patience=0.5)


def test_what_is_never_printed_is_missed() -> None:
    """A promise in code that does not run is no promise kept."""
    with pytest.raises(PageError, match="line 3: '1' was never printed"):
        run_page("```python\ndef f():\n    print(1)  # 1\n```\n", scale=SCALE, patience=0.1)


def test_a_warning_is_an_error_in_a_session() -> None:
    """What a reader would wonder at does not belong in a page."""
    with pytest.raises(PageError, match="UserWarning: old"):
        run_page("```python\nimport warnings\nwarnings.warn('old')\n```\n", scale=SCALE)


@pytest.mark.slow
def test_a_file_may_be_written_anew() -> None:
    """Each of its versions keeps its own promises."""
    block = '```python title="a.py"\nprint({0})  # {1}\n```\n```sh\npython a.py\n```\n'
    run_page(block.format(1, 1) + block.format(2, 2), scale=SCALE)
    with pytest.raises(PageError, match=r"a\.py, line 1: should print '3'"):
        run_page(block.format(1, 3) + block.format(2, 2), scale=SCALE, patience=0.1)


@pytest.mark.slow
def test_a_page_has_so_much_time() -> None:
    """And not more, whatever it waits for."""
    with pytest.raises(PageError, match="line 2: the page took longer than"):
        run_page("```sh\nsleep 600\n```\n", seconds=0.5)


def test_what_runs_in_the_background_ends_with_its_page(tmp_path: Path) -> None:
    """Nothing is left behind, by the shell or by Python, however the page ends."""
    page = f"""
```sh
sleep 600 & echo $! > {tmp_path}/shell
```
```python
import subprocess
open("{tmp_path}/python", "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
raise ValueError
```
"""
    with pytest.raises(PageError, match="ValueError"):
        run_page(page, scale=SCALE)
    for name in ("shell", "python"):
        number = (tmp_path / name).read_text(encoding="utf-8").strip()
        eventually(lambda number=number: not _lives(number))  # type: ignore[misc]


def _lives(number: str) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_the_words_of_the_rules() -> None:
    """Installing is left out, what follows it is not; comments and dots are what they seem."""
    assert without_installs("python -m pip install '.[cli]' && owlsocket demo\n") == "owlsocket demo\n"
    assert without_installs("python -m pip install owlsocket-sync\nowlsocket demo\n") == "\nowlsocket demo\n"
    found = printed_by("print(1)  # 1\nif x:\n    print('#', f(2))  # two\nx = 1  # not this\nprint(3)\n", 10)
    assert [(promise.first, promise.last, promise.text) for promise in found] == [(11, 11, "1"), (13, 13, "two")]
    assert [typed.command for typed in typed_in("$ a\n1\n$ b \\\n> c\n> d\n")] == ["a", "b \\\nc"]
    assert typed_in("$ a\n1\n2\n")[0].output == "1\n2\n"


@pytest.mark.parametrize(
    ("promised", "came", "fits"),
    [
        ("took … s", "took 1.5 s\n", True),
        ("took … s", "took 1.5 ms", False),
        ("a\n…\nb", "a\nb", True),
        ("a\n…\nb", "a\n1\n2\nb", True),
        ("a\n…", "a", True),
        ("", "", True),
        ("", "a", False),
        ("a.c", "abc", False),
    ],
)
def test_dots_stand_for_anything(promised: str, came: str, fits: bool) -> None:
    """Within a line, and alone on it for any number of lines."""
    assert is_as_promised(promised, came) is fits
