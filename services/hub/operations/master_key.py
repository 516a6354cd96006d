"""What an operator does with the master key; the command is in ``cli_keys``."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from infra.base.repairable import Repairable
from infra.base.settings import load_settings
from infra.base.telemetry import configure_logging
from infra.keys.rotation import NotRotatedError, Rotation, Status, StillWrappedError
from infra.platform import command_context
from services.hub.operations.encrypted_columns import rotation_of
from services.hub.terminal import StepBars, tell

AGAIN = "aiguillage keys rotate-master"


async def rotate(data: Path | None) -> Status:
    """Wrap everything under a new key, with a progress bar on stderr for each table."""
    async with _rotation(data) as rotation:
        with StepBars() as bars:
            async for step in rotation.run():
                bars(step.name, step.done, step.total)
        return await rotation.status()


async def destroy_old(data: Path | None) -> Status:
    """Destroy the older keys, for good."""
    async with _rotation(data) as rotation:
        for epoch in await rotation.destroy_old():
            tell(f"  ✓ the key of epoch {epoch} is destroyed")
        return await rotation.status()


async def status(data: Path | None) -> Status:
    """Return what is wrapped under which key."""
    async with _rotation(data) as rotation:
        return await rotation.status()


@asynccontextmanager
async def _rotation(data: Path | None) -> AsyncIterator[Rotation]:
    """Open the rotation of this hub's master key; what it refuses becomes ``Repairable``."""
    configure_logging(load_settings().log_level, plain=sys.stderr.isatty())
    try:
        async with (
            command_context(load_settings(data=data)) as platform,
            rotation_of(platform) as rotation,
        ):
            yield rotation
    except StillWrappedError as error:
        what = f"still wrapped under an older key: {error}"
        raise Repairable(what, f"{AGAIN}, then aiguillage doctor") from error
    except NotRotatedError as error:
        raise Repairable("the rotation has not come to its end", AGAIN) from error


def print_status(status: Status, *, as_json: bool) -> None:
    """Every epoch, and what is wrapped under it."""
    if as_json:
        sys.stdout.write(
            orjson.dumps([_line(status, n) for n in status.epochs]).decode() + "\n"
        )
        return
    for epoch in status.epochs:
        line = _line(status, epoch)
        rows = [f"{count} in {name}" for name, count in line["wrapped"].items() if count]
        state = "destroyed" if epoch.destroyed_at else "live"
        shown = f"epoch {epoch.number} ({epoch.provider}, since {epoch.created_at:%Y-%m-%d})"
        tell(f"  {shown} {state}: {', '.join(rows) or 'nothing wrapped'}")


def _line(status: Status, epoch: Any) -> dict[str, Any]:
    return {
        "epoch": epoch.number,
        "provider": epoch.provider,
        "created_at": epoch.created_at,
        "rewrapped_at": epoch.rewrapped_at,
        "destroyed_at": epoch.destroyed_at,
        "wrapped": {n: counts.get(epoch.number, 0) for n, counts in status.counts.items()},
    }
