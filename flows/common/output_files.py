"""A file that a command was told to write: checked before any work is done, and then written whole or not at all."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from domain.errors import ConfigError
from storage import files


def check_output(option: str, path: Path, suffixes: Sequence[str], *, inputs: Iterable[Path] = ()) -> None:
    """`inputs`: files of the user's own that must not be written over. Raises: ConfigError."""
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        named = f"{', '.join(others)} or {last}" if others else last
        raise ConfigError(f"{option} {path}: need a name that ends in {named}")
    try:
        is_folder, is_there, has_folder = path.is_dir(), path.exists(), path.parent.is_dir()
    except OSError as problem:
        raise _not_written(option, path, problem) from None
    if is_folder:
        raise ConfigError(f"{option} {path}: is a folder; name a file")
    if not has_folder:
        raise ConfigError(f"{option} {path}: there is no folder {path.parent}; create it")
    for mine in inputs:
        if is_there and mine.exists() and path.samefile(mine):
            raise ConfigError(f"{option} {path}: would write over {mine}; name another file")
    try:
        files.beside(path.resolve()).unlink()
    except OSError as problem:
        raise _not_written(option, path, problem) from None


@contextmanager
def replacing(option: str, path: Path) -> Iterator[Path]:
    """An empty file in the same folder to write to; put in place of `path` at the end (of its target, when it is a link).

    When anything is raised the old file stays and nothing else does. Raises: ConfigError.
    """
    try:
        with files.replacing(path.resolve()) as beside:
            yield beside
    except OSError as problem:
        raise _not_written(option, path, problem) from None


def _not_written(option: str, path: Path, problem: OSError) -> ConfigError:
    return ConfigError(f"{option} {path}: cannot be written ({problem.strerror or problem}); name another place")
