"""`tandem …` and `python -m runner …`: one clear line and the contract's exit codes, whatever goes wrong."""

import os
import resource
import sys

import click

from domain.errors import AccountBusy, ConfigError, TandemError
from domain.text import one_line
from runner.commands.group import tandem

DONE, FAILED, BAD_USAGE = 0, 1, 2


def main() -> None:
    """Run one command and leave with 0 done, 1 failed, 2 bad usage or configuration (nothing started)."""
    os.umask(0o077)  # What we write, and what our children write, is for this user alone,
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # and a crash leaves no keys in a core file.
    sys.exit(exit_code_of(sys.argv[1:]))


def exit_code_of(arguments: list[str]) -> int:
    """Run one command; say on stderr what went wrong."""
    try:
        code = tandem.main(arguments, prog_name="tandem", standalone_mode=False)
    except click.ClickException as problem:
        problem.show()
        return problem.exit_code
    except (ConfigError, AccountBusy) as problem:
        _say(problem)
        return BAD_USAGE
    except TandemError as problem:
        _say(problem)
        return FAILED
    except (click.Abort, KeyboardInterrupt):
        _say("interrupted")
        return FAILED
    except BrokenPipeError:
        # Whoever read us has seen enough; the interpreter must not complain about it at exit either.
        sys.stdout = sys.stderr = None
        return DONE
    except Exception as problem:  # noqa: BLE001  (The top of the process: one line for people, the rest in the log.)
        _unexpected(problem)
        return FAILED
    return code if isinstance(code, int) else DONE


def _say(problem: object) -> None:
    click.echo(f"tandem: {one_line(str(problem))}", err=True)


def _unexpected(problem: Exception) -> None:
    import logging  # noqa: PLC0415  (Only when needed: `--help` should answer at once.)

    from runner import events  # noqa: PLC0415
    from runner.logs import LOGGER_NAME, emit_line, redacted  # noqa: PLC0415

    where = os.environ.get("TANDEM_LOG_FILE")
    kept = where is not None and bool(logging.getLogger(LOGGER_NAME).handlers)
    if kept:
        emit_line(events.UNEXPECTED_ERROR, exception=problem)
    hint = f"the traceback is in {where}" if kept else "set TANDEM_LOG_FILE to a file and try again for the traceback"
    _say(redacted(f"unexpected {type(problem).__name__}: {problem}; {hint}"))


if __name__ == "__main__":
    main()
