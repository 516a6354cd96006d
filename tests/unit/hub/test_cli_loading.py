"""The command line answers at once: a command imports what it needs, and no other does."""

import subprocess
import sys

HEAVY = {"sqlalchemy", "asyncpg", "fastapi", "aiohttp", "asyncssh", "aiokafka"}
LOADED = "import sys, services.hub.cli.main; print(*sys.modules)"


def test_command_line_loads_neither_database_nor_web_before_a_command_asks():
    command = [sys.executable, "-c", LOADED]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert HEAVY & set(loaded.split()) == set()
