"""A real SFTP server on loopback, with a directory to look into."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh

from infra.channels.sftp import Account

USER, PASSWORD = "aiguillage", "a-password"


@dataclass
class Server:
    """Where it listens, whom it is, and what lies there."""

    url: str
    host_key: str
    root: Path
    unreadable: set[str] = field(default_factory=set)
    posix_rename: bool = True

    def account(self, **given: Any) -> Account:
        """How to log in, or fail to."""
        told = {"url": self.url, "host_key": self.host_key, "password": PASSWORD}
        return Account(**told | given)

    def files(self, directory: str = "") -> list[str]:
        """Names of the files in a directory."""
        return sorted(p.name for p in (self.root / directory).glob("*") if p.is_file())


class _Files(asyncssh.SFTPServer):
    """As the test wants it: files that may not be read, a server without extensions."""

    def __init__(self, channel: asyncssh.SSHServerChannel[bytes], server: Server) -> None:
        super().__init__(channel, chroot=bytes(server.root.parent))
        self._server = server

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        if Path(path.decode()).name in self._server.unreadable:
            raise asyncssh.SFTPPermissionDenied("not yours")
        return super().open(path, pflags, attrs)

    def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
        if not self._server.posix_rename:
            raise asyncssh.SFTPOpUnsupported("no such extension")
        super().posix_rename(oldpath, newpath)


class _Login(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, PASSWORD)


@asynccontextmanager
async def sftp_server(root: Path) -> AsyncIterator[Server]:
    """A server on a free port whose root is a directory."""
    (root / "box" / "answers").mkdir(parents=True)
    server = Server("", "", root / "box")
    key = asyncssh.generate_private_key("ssh-ed25519")
    listening = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[key],
        server_factory=_Login,
        sftp_factory=lambda channel: _Files(channel, server),
    )
    server.host_key = key.export_public_key().decode().strip()
    server.url = f"sftp://{USER}@127.0.0.1:{listening.get_port()}/box"
    try:
        yield server
    finally:
        listening.close()
        await listening.wait_closed()
