"""Files and folders that others may have prepared for us: opened without waiting, checked before they are believed, replaced whole.

What is read may be a link, as people have them; what is locked, written or trusted as ours may not.
"""

import errno
import os
import pwd
import queue
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from domain.errors import ConfigError

_T = TypeVar("_T")

READ_SECONDS = 5.0
"""A disk that has not answered by then hangs."""
READ_BYTES_MAX = 16 * 2**20
"""Of a configuration: a thousand times what people write."""
DATA_BYTES_MAX = 16 * 2**30
"""Of a file of prices."""
_OTHERS, _OTHERS_WRITE = 0o077, 0o022
_HOLDS_MORE = (".git", "config.json", "pyproject.toml")
"""A folder with one of these in it is not only our state: others may have to read it."""


class FileRefused(ConfigError):
    """The file is not what it must be: another user's, a link, a pipe, too large, too open, or on a disk that hangs."""


class FileHangs(FileRefused):
    """Its disk or network share does not answer. It may, later."""

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__(f"{path}: no answer within {seconds:g} s; its disk or network share hangs")


def read_file(path: Path, *, bytes_max: int = READ_BYTES_MAX, seconds: float = READ_SECONDS) -> bytes:
    """All of a regular file. A pipe, a device or a share that hangs keeps nobody waiting. Raises: FileRefused, OSError."""
    return within(seconds, path, lambda: _read(path, bytes_max))


def require_file(path: Path, *, bytes_max: int = DATA_BYTES_MAX, seconds: float = READ_SECONDS) -> None:
    """For who opens it by name: regular, and not too large. Raises: FileRefused, OSError."""
    within(seconds, path, lambda: _require_regular(path.stat(), path, bytes_max))


def within(seconds: float, where: Path, work: Callable[[], _T]) -> _T:
    """What `work` returns or raises, if it does in time; else it is left behind in its thread. Raises: FileHangs."""
    answers: queue.SimpleQueue[tuple[_T, None] | tuple[None, BaseException]] = queue.SimpleQueue()

    def run() -> None:
        try:
            answers.put((work(), None))
        except Exception as problem:  # noqa: BLE001 - the top of the thread; raised again by who waits.
            answers.put((None, problem))

    # A daemon: at the end of the process nobody waits for a disk that hangs.
    threading.Thread(target=run, name=f"read {where.name}", daemon=True).start()
    try:
        found, problem = answers.get(timeout=seconds)
    except queue.Empty:
        raise FileHangs(where, seconds) from None
    if problem is not None:
        raise problem
    return found  # type: ignore[return-value]  # Without a problem it is what `work` returned.


def private_folder(folder: Path, *, follow: bool = True) -> None:
    """Make it if it is missing, for this user alone; tighten an existing one. Raises: FileRefused, OSError.

    A folder that holds more than our state (a project, a home) keeps its readers, but nobody else may write into it.
    """
    for missing in reversed(
        [part for part in (folder, *folder.parents) if not part.exists() and not part.is_symlink()]
    ):
        missing.mkdir(mode=0o700, exist_ok=True)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        descriptor = os.open(folder, flags | (0 if follow else os.O_NOFOLLOW))
    except PermissionError:
        _require_own(folder.lstat(), folder)
        raise
    except OSError as problem:
        if problem.errno in {errno.ELOOP, errno.ENOTDIR} and folder.is_symlink():
            raise FileRefused(f"{folder}: is a link, which another user may have laid; remove it") from None
        raise
    try:
        status = os.fstat(descriptor)
        _require_own(status, folder)
        if not status.st_mode & _OTHERS:
            return
        if not _holds_more(folder):
            os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~_OTHERS)
        elif status.st_mode & _OTHERS_WRITE:
            raise FileRefused(
                f"{folder}: other users may write into it; run chmod go-w on it, or keep storage in a folder of its own"
            )
    finally:
        os.close(descriptor)


def state_folder(name: str, *, outlives_session: bool) -> Path:
    """`tandem/<name>` in a place of this user's own, private. Raises: FileRefused when there is none.

    `outlives_session`: not in the runtime folder, which some systems remove at log-out.
    """
    variables = ("XDG_STATE_HOME",) if outlives_session else ("XDG_RUNTIME_DIR", "XDG_STATE_HOME")
    homes = [Path(value) for value in map(os.environ.get, variables) if value and Path(value).is_absolute()]
    homes.append(Path.home() / ".local" / "state")
    problem: Exception | None = None
    for home in homes:
        try:
            if home.exists() and home.stat().st_uid != os.geteuid():  # Left over from `su`, say.
                continue
            return _own_place(home / "tandem", name)
        except (OSError, FileRefused) as error:
            problem = error
    last = Path(tempfile.gettempdir()) / f"tandem-{os.geteuid()}"
    try:
        private_folder(last, follow=False)  # Everybody knows its name: whoever made it first may be another user.
        return _own_place(last / "tandem", name)
    except (OSError, FileRefused) as error:
        raise FileRefused(
            f"no private folder for {name} ({problem or error}; {error}); set XDG_STATE_HOME to one"
        ) from None


def open_own(path: Path, *, only_name: bool = False) -> int:
    """A descriptor of a regular file of ours, made if it is missing; for this user alone from now on. Nothing in it is touched.

    `only_name`: nor may it have a second name, by which what is written here would change another file.
    Raises: FileRefused, OSError.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    try:
        descriptor = os.open(path, flags, 0o600)
    except OSError as problem:
        if problem.errno == errno.ELOOP:
            raise FileRefused(f"{path}: is a link, which another user may have laid; remove it") from None
        if path.exists():
            _require_regular(path.stat(), path, None)
            _require_own(path.lstat(), path)
        raise
    try:
        status = os.fstat(descriptor)
        _require_regular(status, path, None)
        _require_own(status, path)
        _require_single(status, path, only_name=only_name)
        if status.st_mode & _OTHERS:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def own_file(path: Path) -> None:
    """Of a file that something else opens by name: it is there, regular, ours, and for this user alone. Links are followed.

    Raises: FileRefused, OSError.
    """
    target = path.resolve()
    # Looked at first: a database's locks would be lost by opening and closing it beside its owner.
    if target.exists():
        status = target.stat()
        _require_regular(status, path, None)
        _require_own(status, path)
        if status.st_mode & _OTHERS:
            target.chmod(0o600)
        return
    os.close(open_own(target))


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[Path]:
    """An empty file in the same folder to write to, by name; at the end it is put in place of `path`, whole and durable.

    When anything is raised the old file stays and nothing else does. Raises: OSError.
    """
    temporary = beside(path)
    try:
        yield temporary
        with temporary.open("rb") as file:  # Opened anew: who wrote it may have put another file there.
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def beside(path: Path) -> Path:
    """A new, empty file in the same folder, for this user alone. Raises: OSError."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-", suffix=".tmp")
    os.close(descriptor)
    return Path(name)


def write_whole(path: Path, raw: bytes, *, mode: int = 0o600) -> None:
    """Put this in place of what stands there, whole and durable, or leave that. Raises: OSError."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_bytes(raw)


def sweep(path: Path) -> None:
    """Remove what a killed writer of this file left beside it. Only for who is alone in writing it."""
    for left in path.parent.glob("*.tmp"):
        if left.name.startswith(f".{path.name}-"):
            left.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make names durable: what was created in it, or renamed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def user_name(uid: int) -> str:
    """`bob`, or `with id 1234` when nobody has a name for it: for people to read."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with id {uid}"


def _own_place(base: Path, name: str) -> Path:
    private_folder(base, follow=False)
    private_folder(base / name, follow=False)
    if not os.access(base / name, os.W_OK):
        raise FileRefused(f"{base / name}: cannot be written")
    return base / name


def _read(path: Path, bytes_max: int) -> bytes:
    _require_regular(path.stat(), path, bytes_max)  # Before it is opened, too: opening some devices does something.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb") as file:
        _require_regular(os.fstat(descriptor), path, bytes_max)
        raw = file.read(bytes_max + 1)
    if len(raw) > bytes_max:
        raise _too_large(path, bytes_max)
    return raw


_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def _require_regular(status: os.stat_result, path: Path, bytes_max: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((kind for is_kind, kind in _KINDS if is_kind(status.st_mode)), "no file")
        raise FileRefused(f"{path}: is {kind}; need a regular file")
    if bytes_max is not None and status.st_size > bytes_max:
        raise _too_large(path, bytes_max)


def _too_large(path: Path, bytes_max: int) -> FileRefused:
    return FileRefused(f"{path}: is larger than {bytes_max / 2**20:,.0f} MiB; name another file")


def _require_own(status: os.stat_result, path: Path) -> None:
    if status.st_uid != os.geteuid():
        raise FileRefused(
            f"{path}: belongs to user {user_name(status.st_uid)}, and you are {user_name(os.geteuid())};"
            " remove it, run as that user, or name another place"
        )


def _require_single(status: os.stat_result, path: Path, *, only_name: bool) -> None:
    if only_name and status.st_nlink > 1:
        raise FileRefused(f"{path}: is another file's second name (a hard link); remove it")


def _holds_more(folder: Path) -> bool:
    here = folder.resolve()
    homes = (Path.home().resolve(), Path.cwd())
    return any(home.is_relative_to(here) for home in homes) or any((here / name).exists() for name in _HOLDS_MORE)
