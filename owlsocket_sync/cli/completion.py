"""``owlsocket completion``: what a shell has to be told so that it completes our commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .outcome import put_line

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_OWLSOCKET_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what makes SHELL complete commands and options.

    \b
    owlsocket completion bash > ~/.local/share/bash-completion/completions/owlsocket
    owlsocket completion zsh > ~/.zfunc/_owlsocket      (with ~/.zfunc in $fpath, before compinit)
    owlsocket completion fish > ~/.config/fish/completions/owlsocket.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    for line in kind(ctx.find_root().command, {}, "owlsocket", VARIABLE).source().splitlines():
        put_line(line.replace("\t", "    "))
