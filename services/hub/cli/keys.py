"""`aiguillage keys rotate-master`: a new master key, while the hub serves."""

import asyncio
from typing import Annotated

import typer

from services.hub.cli.options import AsJson, Data

Status = Annotated[bool, typer.Option("--status", help="Only say how things stand.")]
Destroy = Annotated[bool, typer.Option("--destroy-old", help="Destroy older keys, for good.")]


def rotate_master(
    status: Status = False,
    destroy_old: Destroy = False,
    json: AsJson = False,
    data: Data = None,
) -> None:
    """Wrap everything under a new master key, while the hub serves; run again, it goes on."""
    from services.hub.operations import master_key

    step = master_key.rotate
    if status:
        step = master_key.status
    elif destroy_old:
        step = master_key.destroy_old
    master_key.print_status(asyncio.run(step(data)), as_json=json)
