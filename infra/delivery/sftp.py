"""Files to and from a partner's SFTP server; never raises for what others do when it sends."""

import asyncio
import os
import posixpath
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import asyncssh
from aiohappyeyeballs import start_connection

from infra.delivery.ssrf_guard import BlockedTargetError, Guard
from infra.delivery.webhook.sender import Outcome, Sent

DEADLINE_SECONDS = 20.0
NEXT_ADDRESS_SECONDS = 0.25
"""How long an address of a name may keep silent until the next is tried beside it."""
WRITING_SECONDS = 3600
MAX_FILES = 50
MAX_ACKNOWLEDGED = 500
MAX_FILE_BYTES = 1024 * 1024
ANSWERS, TAKEN, REFUSED = "answers", "taken", "refused"
ACKNOWLEDGED, UNKNOWN = "acknowledged", "unknown"


@dataclass(frozen=True, slots=True)
class Account:
    """``sftp://user@host:port/directory``, how to log in, and the server's key.

    Without the key (a line of ``known_hosts``, without the name) nobody is trusted.
    """

    url: str
    host_key: str
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class OutgoingFile:
    """A file to lay down; its name is the same over all attempts."""

    account: Account
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Collected:
    """A file that the partner laid down. ``problem``: why its content was not read."""

    name: str
    content: bytes = field(default=b"", repr=False)
    problem: str | None = None


class SftpSender:
    """Lays files down and collects answers."""

    def __init__(self, guard: Guard, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        self._guard = guard
        self._deadline = deadline_seconds

    async def send(self, file: OutgoingFile) -> Sent:
        """Lay a file down once, whole: it has another name until all of it is there."""
        try:
            async with asyncio.timeout(self._deadline), self._session(file.account) as sftp:
                target = posixpath.join(_directory(file.account), file.name)
                part = f"{target}.part"
                async with sftp.open(part, "wb") as writing:
                    await writing.write(file.content)
                await sftp.posix_rename(part, target)
        except Exception as error:
            return _failed(error)
        return Sent(Outcome.OK)

    async def collect(self, account: Account) -> list[Collected]:
        """Return what lies in ``answers/``, the lowest names first, a bounded number and size.

        What cannot be an answer comes without its content and with the reason; a file of
        another name may be one that is still being written: it gets an hour. Raises
        ``asyncssh.Error`` or ``OSError`` if the server cannot be reached.
        """
        async with asyncio.timeout(self._deadline), self._session(account) as sftp:
            directory = posixpath.join(_directory(account), ANSWERS)
            # asked for as bytes: a name that is not UTF-8 would be an error of the directory
            listed = [e for e in await sftp.readdir(directory.encode()) if _is_file(e)]
            # as the partner's server counts: an hour is roughly one
            old = time.time() - WRITING_SECONDS
            ready = (e for e in listed if _is_table(e) or (e.attrs.mtime or 0) < old)
            entries = sorted(ready, key=_name)
            return [await _collected(sftp, directory, entry) for entry in entries[:MAX_FILES]]

    async def settle(self, account: Account, name: str, receipt: bytes, whole: bool) -> None:
        """Move a file that was dealt with out of the way, beside what became of it.

        ``whole``: all of it was taken.
        """
        async with asyncio.timeout(self._deadline), self._session(account) as sftp:
            directory = posixpath.join(_directory(account), ANSWERS)
            target = posixpath.join(directory, TAKEN if whole else REFUSED)
            await sftp.makedirs(target, exist_ok=True)
            async with sftp.open(_path(target, f"{name}.ack.csv"), "wb") as writing:
                await writing.write(receipt)
            await sftp.posix_rename(_path(directory, name), _path(target, name))

    async def acknowledged(self, account: Account) -> list[str]:
        """Return the names of our files that lie in ``acknowledged/``: the partner has read
        them. What is in there is not looked at. Raises as ``collect`` does.
        """
        async with asyncio.timeout(self._deadline), self._session(account) as sftp:
            directory = posixpath.join(_directory(account), ACKNOWLEDGED)
            if not await sftp.isdir(directory):
                return []
            entries = await sftp.readdir(directory.encode())
            names = sorted(_name(e) for e in entries if _is_file(e))
            return names[:MAX_ACKNOWLEDGED]

    async def clear(
        self, account: Account, known: Sequence[str], unknown: Sequence[str]
    ) -> None:
        """Remove acknowledgements that were dealt with; put aside those of nothing of ours."""
        async with asyncio.timeout(self._deadline), self._session(account) as sftp:
            directory = posixpath.join(_directory(account), ACKNOWLEDGED)
            for name in known:
                await sftp.remove(_path(directory, name))
            if unknown:
                await sftp.makedirs(posixpath.join(directory, UNKNOWN), exist_ok=True)
            for name in unknown:
                aside = _path(directory, UNKNOWN, name)
                await sftp.posix_rename(_path(directory, name), aside)

    @asynccontextmanager
    async def _session(self, account: Account) -> AsyncIterator[asyncssh.SFTPClient]:
        parts = urlsplit(account.url)
        sock = await self._dial(parts.hostname or "", parts.port or 22)
        keys = [asyncssh.import_private_key(account.private_key)] if account.private_key else []
        async with (
            asyncssh.connect(
                parts.hostname or "",
                sock=sock,
                username=unquote(parts.username or ""),
                password=account.password,
                client_keys=keys,
                known_hosts=([asyncssh.import_public_key(account.host_key)], [], []),
                config=None,
                agent_path=None,
            ) as connection,
            connection.start_sftp_client() as sftp,
        ):
            yield sftp

    async def _dial(self, host: str, port: int) -> socket.socket:
        """A connection to the first address that answers, of those that deliveries may reach;
        each is looked at on this very dial (RFC 8305). Raises ``BlockedTargetError`` where
        none of them may be reached."""
        loop = asyncio.get_running_loop()
        infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        allowed = [info for info in infos if self._guard.reaches(info)]
        if not allowed:
            raise BlockedTargetError
        return await start_connection(
            allowed, happy_eyeballs_delay=NEXT_ADDRESS_SECONDS, socket_factory=self._guard.dial
        )


def _is_file(entry: asyncssh.SFTPName) -> bool:
    return entry.attrs.type == asyncssh.FILEXFER_TYPE_REGULAR


def _directory(account: Account) -> str:
    return unquote(urlsplit(account.url).path) or "/"


async def _collected(
    sftp: asyncssh.SFTPClient, directory: str, entry: asyncssh.SFTPName
) -> Collected:
    name = _name(entry)
    if not _is_table(entry):
        return Collected(name, problem="seuls les fichiers .csv sont lus")
    if (entry.attrs.size or 0) > MAX_FILE_BYTES:
        return Collected(name, problem="fichier de plus de 1 Mio")
    async with sftp.open(_path(directory, name), "rb") as reading:
        content: Any = await reading.read(MAX_FILE_BYTES)
    return Collected(name, bytes(content))


def _name(entry: asyncssh.SFTPName) -> str:
    return os.fsdecode(entry.filename)


def _path(*parts: str) -> bytes:
    return os.fsencode(posixpath.join(*parts))


def _is_table(entry: asyncssh.SFTPName) -> bool:
    return _name(entry).lower().endswith(".csv")


def _failed(error: Exception) -> Sent:
    if isinstance(error, TimeoutError):
        return Sent(Outcome.RETRY, "sftp-timeout")
    if isinstance(error, BlockedTargetError):
        return Sent(Outcome.PERMANENT, "blocked-target")
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return Sent(Outcome.PERMANENT, "host-key-unknown")
    if isinstance(error, asyncssh.PermissionDenied):
        return Sent(Outcome.PERMANENT, "login-refused")
    if isinstance(error, asyncssh.SFTPPermissionDenied | asyncssh.SFTPNoSuchFile):
        return Sent(Outcome.PERMANENT, "directory-refused")
    if isinstance(error, asyncssh.KeyImportError | ValueError):
        return Sent(Outcome.PERMANENT, "unusable-key")
    return Sent(Outcome.RETRY, "sftp-connect")
