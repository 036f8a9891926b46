# SPDX-License-Identifier: Apache-2.0
"""The entry point of the command ``capas``: errors become one clear line and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.  Only `capas.cli.group` and the
commands import click and rich, so a capas without its extra ``tools`` says what to install.
"""

import os
import sys
from collections.abc import Sequence
from typing import Final

from capas.errors import CapasError, ConfigurationError

#: Top-level modules that come with ``capas[tools]``.
EXTRAS: Final = (
    "aiosmtpd",
    "aiosmtplib",
    "click",
    "dns",
    "httpx",
    "rich",
    "starlette",
    "uvicorn",
)

FAILED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells say


def complain(text: str) -> None:
    """One message for people, on standard error."""
    sys.stderr.write(f"capas: {text}\n")


def _missing(error: ModuleNotFoundError) -> int:
    module = (error.name or "").partition(".")[0]
    if module not in EXTRAS:
        raise error
    complain(f"this command needs the module {module!r}. Install it with:")
    sys.stderr.write("    python -m pip install 'capas[tools]'\n")
    return FAILED


def _open_standard_streams() -> None:
    """What the shell closed (``>&-``) is /dev/null; else the next file opened would take its place.

    That file would be a TAP or a capture, and our messages frames and blocks of it.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # 0, 1, 2 in turn
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code."""
    _open_standard_streams()
    try:
        import click

        from capas.cli.group import capas
    except ModuleNotFoundError as error:
        return _missing(error)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        result = capas.main(words, prog_name="capas", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except ModuleNotFoundError as error:
        return _missing(error)
    except ConfigurationError as error:
        complain(str(error))
        return USAGE
    except BrokenPipeError:
        # The reader has left (`capas demo | head`): end quietly, also at interpreter shutdown.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except CapasError as error:
        complain(str(error))
        return FAILED
    except OSError as error:
        complain(error.strerror or str(error))  # `capas services > /dev/full`
        return FAILED
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    raise SystemExit(main())
