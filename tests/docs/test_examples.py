"""The commands of the README and the tutorial run as they are typed."""

import json
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

import pytest

ROOT = Path(__file__).parents[2]
AIGUILLAGE = ROOT / ".venv" / "bin" / "aiguillage"
CONSOLE = re.compile(r"^```console\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
LONG_RUNNING = re.compile(r"^make ")
STOP_SECONDS = 60
RUN_SECONDS = 240


@dataclass(frozen=True)
class Hub:
    """A hub as ``make up`` leaves it, elsewhere and on a free port."""

    url: str
    data: Path

    def run(self, commands: list[str]) -> subprocess.CompletedProcess[str]:
        """Run commands in one shell that stops at the first failure."""
        script = "\n".join(["set -euo pipefail", *commands])
        script = script.replace("http://127.0.0.1:8000", self.url)
        script = re.sub(r"(?<=[\s\"@])\.data(?=[/\s])", str(self.data), script + "\n")
        return subprocess.run(
            ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True,
            timeout=RUN_SECONDS, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    if shutil.which("curl") is None:
        pytest.fail("curl is missing: install it (Debian: curl)", pytrace=False)
    data = tmp_path_factory.mktemp("up")
    command = [str(AIGUILLAGE), "up", "--data", str(data), "--port", "0", "--json"]
    with (data / "stderr").open("w") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        yield Hub(_address(process, data), data)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            if process.stdout:
                process.stdout.close()


def _address(process: subprocess.Popen[str], data: Path) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()  # pytest's own timeout bounds a hub that never starts
    assert line, (data / "stderr").read_text()[-2000:]
    intake: str = json.loads(line)["intake"]
    return intake.removesuffix("/intake")


def typed(page: str) -> list[str]:
    """Every command of a page's console blocks, but for those that run a day or for ever."""
    text = (ROOT / page).read_text()
    lines = [line for block in CONSOLE.findall(text) for line in block.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    return [command for command in commands if not LONG_RUNNING.match(command)]


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial/first-day.md"])
def test_commands_run_as_typed(hub: Hub, page: str) -> None:
    commands = typed(page)
    assert commands
    done = hub.run(commands)
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


def test_readme_example_answers_with_a_receipt(hub: Hub) -> None:
    done = hub.run(typed("README.md"))
    assert done.returncode == 0, done.stderr
    receipt = json.loads(done.stdout)
    assert receipt["person_id"]
    assert receipt["needs"][0]["case_id"]


def test_auditor_needs_an_export_and_a_key(hub: Hub) -> None:
    """The contact of the first day is in the log, signed, before they come."""
    if not (hub.data / "receipt.json").exists():
        first = hub.run(typed("docs/tutorial/first-day.md")[:3])
        assert first.returncode == 0, first.stderr
    _wait_until_signed(hub, entries=4)
    done = hub.run(typed("docs/howto/audit-offline.md"))
    assert done.returncode == 0, f"{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


def _wait_until_signed(hub: Hub, entries: int) -> None:
    for _ in range(600):  # two minutes
        with urlopen(f"{hub.url}/audit/v1/log") as answer:
            if (json.load(answer)["signed_size"] or 0) >= entries:
                return
        time.sleep(0.2)
    pytest.fail("the log is not signed")


def test_make_lists_its_targets() -> None:
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True)
    names = {line.split()[0] for line in listed.stdout.splitlines() if line.strip()}
    assert names >= {"install", "demo", "up", "test", "test-fast", "faults", "bench", "lint"}
