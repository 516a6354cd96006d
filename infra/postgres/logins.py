"""The logins of the services in PostgreSQL, and the file that keeps their passwords.

The file is PostgreSQL's own ``pgpass``: its tools and its drivers read it, and refuse it where
others may. The embedded server asks for no password: nobody but the hub's user reaches its
socket (docs/adr/0025).
"""

import os
from pathlib import Path
from secrets import token_urlsafe

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.base.files import write_whole
from infra.base.repairable import Repairable
from infra.postgres.database import render, role_of

PASSWORDS = "pgpass"
"""In the data directory; the environment's PGPASSFILE wins."""


class UnknownPasswordError(Repairable):
    """A login exists whose password is not in our file: another hub's, or an older one's."""

    repair = "put the file of the hub that made it there, as pgpass"


def with_passwords(url: str, data: Path) -> str:
    """The URL, with the file that holds the services' passwords."""
    given = make_url(url)
    if "passfile" in given.query:
        return url
    file = os.environ.get("PGPASSFILE") or str((data / PASSWORDS).resolve())
    return render(given.update_query_dict({"passfile": file}))


async def create_login(connection: AsyncConnection, schema: str) -> None:
    """Make the login of a service, if it is not there, with the least rights.

    By the network it has a password of ours; on a socket the server's own rules decide. Raises
    ``UnknownPasswordError`` rather than lock out whoever uses the login.
    """
    role, url = role_of(schema), connection.engine.url
    logs_in = await connection.scalar(
        text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :role"), {"role": role}
    )
    if logs_in is None:
        await connection.execute(text(f"CREATE ROLE {role} NOINHERIT"))
    if not logs_in:
        secret = await _password(connection, role)
        await connection.execute(text(f"ALTER ROLE {role} LOGIN{secret}"))
    elif url.host and "passfile" in url.query and _known(url, role) is None:
        raise UnknownPasswordError(
            f"the login {role} is there, and its password is not in {url.query['passfile']}"
        )


async def _password(connection: AsyncConnection, role: str) -> str:
    url = connection.engine.url
    if "passfile" not in url.query:
        return ""
    password = _known(url, role) or _make(url, role)
    quoted = await connection.scalar(text("SELECT quote_literal(:text)"), {"text": password})
    return f" PASSWORD {quoted}"


def _known(url: URL, role: str) -> str | None:
    file = Path(str(url.query["passfile"]))
    lines = file.read_text().splitlines() if file.exists() else []
    entries = [line.split(":", 4) for line in lines if line.count(":") >= 4]
    return next((entry[4] for entry in entries if entry[3] == role), None)


def _make(url: URL, role: str) -> str:
    """A new password, in the file before it is in the database: what is set is never lost."""
    file, made = Path(str(url.query["passfile"])), token_urlsafe(32)
    before = file.read_bytes() if file.exists() else b""
    write_whole(file, before + f"*:*:*:{role}:{made}\n".encode(), mode=0o600)
    return made
