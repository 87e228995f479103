"""``owlsocket completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .output import print_line

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_OWLSOCKET_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script for SHELL.

    \b
    owlsocket completion bash > ~/.local/share/bash-completion/completions/owlsocket
    owlsocket completion zsh > ~/.zfunc/_owlsocket      (with ~/.zfunc in $fpath, before compinit)
    owlsocket completion fish > ~/.config/fish/completions/owlsocket.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    # The shell calls us with this variable at each Tab; click answers it before any command runs.
    for line in kind(ctx.find_root().command, {}, "owlsocket", VARIABLE).source().splitlines():
        # print_line would print a tab as an escape, as every control character.
        print_line(line.replace("\t", "    "))
