"""The entry point of `s2s`: what is so before the rest of it is loaded."""

from __future__ import annotations

import signal
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line of this process.

    Ctrl-C while its modules are loaded, when there is nothing to save, ends it without a traceback.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from s2scli.cli.app import main as run_process

    run_process()
