"""The command line: ``tfgraphopt COMMAND``; each command is a module of this package.

Exit codes: 0 done, 1 a clear error (printed on stderr), 2 wrong usage, 3 the answer is no (a tolerance or speed-up is missed, a
culprit or a problem was found), 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Sequence

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
WITHOUT_TENSORFLOW = frozenset({"completion"})
"""Commands that answer without it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    from tfgraphopt.errors import TfGraphOptError

    os.environ.setdefault(LOG_LEVEL, "2")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # deprecation notices about calls that are not the user's
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(given)
    except TfGraphOptError as error:
        _report(error, as_json="--json" in given)
        return 1
    except KeyboardInterrupt:
        print("tfgraphopt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(given: Sequence[str]) -> int:
    from tfgraphopt import registration
    from tfgraphopt.cli.parser import build_parsers
    from tfgraphopt.cli.settings import prepare, print_settings

    parsers = build_parsers()
    prepare(parsers, given)
    options = parsers.program.parse_args(given)
    if options.print_config:
        sys.stdout.write(print_settings(options.command, parsers.commands[options.command], options))
        return 0
    if options.command not in WITHOUT_TENSORFLOW:
        with registration.left_to_caller():  # commands that run models import tfgraphopt.runtime
            _import_tensorflow()
    code: int = options.run(options)
    return code


def _import_tensorflow() -> None:
    """Import TensorFlow without what its libraries print about drivers before they read TF_CPP_MIN_LOG_LEVEL.

    All of it is shown when the import fails, and nothing is held back when the variable was set by the user.
    """
    if "tensorflow" in sys.modules:
        return
    if os.environ.get(LOG_LEVEL) != "2":
        import tensorflow

        return
    sys.stderr.flush()
    standard_error = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            import tensorflow  # noqa: F401
        except BaseException:
            said.seek(0)
            os.write(standard_error, said.read())
            raise
        finally:
            os.dup2(standard_error, 2)
            os.close(standard_error)


def _report(error: BaseException, *, as_json: bool) -> None:
    """The error on stderr; for programs that read JSON, on stdout as such too."""
    from tfgraphopt.cli.common import print_json

    notes = _notes(error)
    print(f"tfgraphopt: error: {error}" + "".join(f"\n  note: {n}" for n in notes), file=sys.stderr)
    if as_json:
        parts = {key: getattr(error, key, "") for key in ("what", "where", "why", "hint")}
        print_json({"error": {"kind": type(error).__name__, **parts, "notes": notes}})


def _notes(error: BaseException) -> list[str]:
    """The notes of an error and of what caused it (where the failing pass has left its reproducer, say)."""
    found: list[str] = []
    cause: BaseException | None = error
    while cause is not None:
        found += getattr(cause, "__notes__", ())
        cause = cause.__cause__
    return list(dict.fromkeys(found))
