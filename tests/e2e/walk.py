"""Many verbs for the price of one: what they import is loaded once, then each is a fork.

Reads a JSON list of command lines that end with a data directory, runs them one after the
other, and prints for each its exit code, what it said on stderr, and whether a database runs.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import infra.postgres.migrations
import services.hub.host
import services.hub.operations.hub
import services.hub.operations.privacy
import services.hub.operations.reconcile
from infra.postgres.embedded import EmbeddedPostgres
from services.hub.cli import main as cli

LOADED = (
    infra.postgres.migrations, services.hub.host, services.hub.operations.hub,
    services.hub.operations.privacy, services.hub.operations.reconcile,
)  # fmt: skip


def run(arguments: list[str]) -> tuple[int, str]:
    """Exit code and stderr of one verb, in a process of its own."""
    with tempfile.TemporaryFile() as said, Path(os.devnull).open("w") as nowhere:
        process = os.fork()
        if process == 0:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(said.fileno(), 2)
            _become(arguments)
        _, status = os.waitpid(process, 0)
        said.seek(0)
        return os.waitstatus_to_exitcode(status), said.read().decode()


def _become(arguments: list[str]) -> None:
    sys.argv = ["aiguillage", *arguments]
    code = 0
    try:
        cli.main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        code = 1
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    for line in json.loads(sys.stdin.read()):
        code, said = run(line)
        running = EmbeddedPostgres(Path(line[-1])).running()
        sys.stdout.write(json.dumps([code, said, running]) + "\n")
        sys.stdout.flush()
