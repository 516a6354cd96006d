"""A real SFTP server on loopback, with a directory to look into."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from infra.delivery.sftp import Account

USER, PASSWORD = "aiguillage", "a-password"


@dataclass
class Server:
    """Where it listens, whom it is, and what lies there."""

    url: str
    host_key: str
    root: Path

    def account(self, **given: Any) -> Account:
        """How to log in, or fail to."""
        told = {"url": self.url, "host_key": self.host_key, "password": PASSWORD}
        return Account(**told | given)

    def files(self, directory: str = "") -> list[str]:
        """Names of the files in a directory."""
        return sorted(p.name for p in (self.root / directory).glob("*") if p.is_file())


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
    key = asyncssh.generate_private_key("ssh-ed25519")
    listening = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[key],
        server_factory=_Login,
        sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(root)),
    )
    public = key.export_public_key().decode().strip()
    url = f"sftp://{USER}@127.0.0.1:{listening.get_port()}/box"
    try:
        yield Server(url, public, root / "box")
    finally:
        listening.close()
        await listening.wait_closed()
