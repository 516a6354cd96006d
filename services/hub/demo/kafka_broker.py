"""A running single-node Apache Kafka for the demo, the tests and the faults campaign.

`obtain_broker` takes the first of three that this machine can give: the address in
`AIGUILLAGE_KAFKA_BOOTSTRAP`; a container, where a Docker engine answers; Kafka's own jars,
fetched by Maven and run on Java. Never for production: one node, no authentication.
"""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import socket
import struct
import tempfile
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from importlib import import_module
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT, Popen, SubprocessError, TimeoutExpired, run
from typing import TYPE_CHECKING, Any, Protocol, Self, cast

if TYPE_CHECKING:
    from testcontainers.core.container import DockerContainer

KAFKA_VERSION = "4.3.1"
IMAGE = f"apache/kafka:{KAFKA_VERSION}"
BOOTSTRAP_VARIABLE = "AIGUILLAGE_KAFKA_BOOTSTRAP"

# Seconds. A broker is up in about 4; 60 leaves room for a crowded machine.
READY_WITHIN = 60.0
STOP_WITHIN = 20.0
ENGINE_ANSWERS_WITHIN = 3
FETCH_WITHIN = 600.0

_JAVA_AT_LEAST = 17
_TAIL_BYTES = 4_000
_POM = Path(__file__).parent / "kafka" / "pom.xml"
# Kafka wants 16 bytes in URL-safe base64; a fixed id makes every data directory reusable.
_CLUSTER_ID = urlsafe_b64encode(b"aiguillage-kafka").decode().rstrip("=")
_PACKAGES = "default-jre-headless (or openjdk-17-jre-headless) and maven"

# PR_SET_PDEATHSIG fires when the *thread* that forked ends, so brokers are forked by a thread
# that lives as long as the interpreter, not by a worker of some event loop's executor.
_SPAWNER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-spawner")


class NoBroker(RuntimeError):
    """This machine can give no Kafka broker; the text says what to install."""


class BrokerFailed(RuntimeError):
    """A broker was started but did not get ready; the text ends with its log's tail."""


class Broker(Protocol):
    """A running broker: `bootstrap` is `host:port`; `kind` address, container or jars."""

    bootstrap: str
    kind: str

    def stop(self) -> None:
        """End the broker, if it is ours to end; bounded, and harmless when repeated."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def obtain_broker(data_dir: Path, *, kind: str | None = None) -> Broker:
    """A running broker of `kind`, or of the first kind that this machine can give.

    `data_dir` receives what the broker writes, `broker.log` first of all. Raises `NoBroker`
    where none can be had, `BrokerFailed` where one was started but did not get ready within
    `READY_WITHIN` seconds, `ValueError` for an unknown kind.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind is one of {', '.join(_KINDS)}, not {kind!r}")
    reasons = []
    for name in [kind] if kind else _KINDS:
        try:
            return _KINDS[name](data_dir)
        except NoBroker as absent:
            reasons.append(f"{name}: {absent}")
    raise NoBroker("No Kafka broker can be had.\n  " + "\n  ".join(reasons))


class AddressBroker(Broker):
    """Somebody else's broker: used as it is, never stopped."""

    kind = "address"

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    @classmethod
    def start(cls, _data_dir: Path) -> Self:
        """The broker named in the environment. Raises `NoBroker` if none is."""
        if bootstrap := os.environ.get(BOOTSTRAP_VARIABLE, "").strip():
            return cls(bootstrap)
        raise NoBroker(f"{BOOTSTRAP_VARIABLE} is not set (host:port of a broker to use)")


class ContainerBroker(Broker):
    """Kafka's published image, on one port that is the same inside and outside.

    ADVERTISED_LISTENERS must be known before it starts: hence a port chosen here, not mapped
    by the engine. Ryuk would be another image to pull, so it stays off: after a killed parent,
    `docker rm -f $(docker ps -aq -f label=aiguillage.broker)` tidies up.
    """

    kind = "container"

    def __init__(self, container: DockerContainer, bootstrap: str, log: Path) -> None:
        self._container: DockerContainer | None = container
        self._log = log
        self.bootstrap = bootstrap

    @classmethod
    def start(cls, data_dir: Path) -> Self:
        """Start one. Raises `NoBroker`, `BrokerFailed`, or what the engine objects to."""
        _require_image()
        container, bootstrap = _container(_free_port())
        data_dir.mkdir(parents=True, exist_ok=True)
        broker = cls(container, bootstrap, data_dir / "broker.log")
        with ExitStack() as undo:
            undo.callback(broker.stop)
            container.start()
            _wait_ready(broker, broker._alive, lambda: _container_log(container))
            undo.pop_all()
        return broker

    def stop(self) -> None:
        """Keep the container's log in the data directory, then remove the container."""
        container, self._container = self._container, None
        if container is not None:
            self._log.write_text(_container_log(container))
            container.stop()

    def _alive(self) -> bool:
        if self._container is None:
            return False
        wrapped = self._container.get_wrapped_container()
        wrapped.reload()
        return str(wrapped.status) in {"created", "running"}


def _require_image() -> None:
    """Have the image at hand, pulling it if need be. Raises `NoBroker`."""
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
    try:
        from testcontainers.core.docker_client import DockerClient, get_docker_host
    except ImportError:
        raise NoBroker("testcontainers is not installed (a development dependency)") from None
    docker_error: type[Exception] = import_module("docker.errors").DockerException
    url = get_docker_host() or "unix:///var/run/docker.sock"
    try:
        if url.startswith("unix://"):  # the Docker library leaks the socket when refused
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(url.removeprefix("unix://"))
        DockerClient(timeout=ENGINE_ANSWERS_WITHIN).client.close()
        with closing(DockerClient().client) as engine:
            if not engine.images.list(IMAGE):
                engine.images.pull(IMAGE)
    except (docker_error, OSError) as error:
        raise NoBroker(f"no Docker engine that has or can pull {IMAGE}: {error}") from None


def _container(port: int) -> tuple[DockerContainer, str]:
    """A container not yet started, and the address at which it will be reached."""
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGE).with_kwargs(labels={"aiguillage.broker": "1"})
    host = container.get_docker_client().host().replace("localhost", "127.0.0.1")
    # A bare port, testcontainers' own type, would be open on every interface.
    interface = "127.0.0.1" if host == "127.0.0.1" else "0.0.0.0"
    cast("dict[str, Any]", container.ports)[f"{port}/tcp"] = (interface, port)
    # The image reads properties from KAFKA_*; all of them, for one given drops its defaults.
    properties = _properties("0.0.0.0", host, port, controller_port=9_093)
    named = {f"KAFKA_{key.upper().replace('.', '_')}": v for key, v in properties.items()}
    container.with_envs(**named, CLUSTER_ID=_CLUSTER_ID, KAFKA_HEAP_OPTS="-Xmx512m")
    return container, f"{host}:{port}"


def _container_log(container: DockerContainer) -> str:
    try:
        return "".join(part.decode(errors="replace") for part in container.get_logs())
    except Exception as error:  # a log that cannot be read must not hide why it was wanted
        return f"(no log: {error})"


class JarBroker(Broker):
    """Kafka as a child process, which can be killed and brought back on the same data."""

    kind = "jars"

    def __init__(self, data_dir: Path, port: int, java: str) -> None:
        self.bootstrap = f"127.0.0.1:{port}"
        lean = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")  # up with less of the processor
        self._java = [java, "-Xmx512m", *lean, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"]
        self._java += ["-cp", f"{prepare()}/*"]
        self._log = data_dir / "broker.log"
        self._config = data_dir / "server.properties"
        properties = _properties("127.0.0.1", "127.0.0.1", port, _free_port())
        properties["log.dirs"] = str(data_dir / "log")
        self._config.write_text("".join(f"{k}={v}\n" for k, v in properties.items()))
        self._process: Popen[bytes] | None = None

    @classmethod
    def start(cls, data_dir: Path, port: int | None = None) -> Self:
        """Start on new or used data. Raises `NoBroker` without tools, else `BrokerFailed`."""
        java = _require_tools()
        data_dir.mkdir(parents=True, exist_ok=True)
        broker = cls(data_dir.resolve(), port or _free_port(), java)
        # a data directory already formatted is left as it is
        tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", _CLUSTER_ID]
        whole = [*broker._java, *tool, "-c", str(broker._config)]
        _run(whole, READY_WITHIN, BrokerFailed)
        broker.restart()
        return broker

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if the broker is still there after `STOP_WITHIN` seconds."""
        if self._process is not None:
            self._process.terminate()
            with suppress(TimeoutExpired):
                self._process.wait(STOP_WITHIN)
        self.kill()

    def kill(self) -> None:
        """SIGKILL: an outage as clients see it. What was acknowledged stays on disk."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Bring the broker (back) up on the same port and data. Raises `BrokerFailed`."""
        self.stop()
        command = [*self._java, "kafka.Kafka", str(self._config)]
        self._process = _SPAWNER.submit(_spawn, command, self._log).result()
        _wait_ready(self, self._alive, lambda: self._log.read_text(errors="replace"))

    def _alive(self) -> bool:
        return self._process is not None and self._process.poll() is None


def _spawn(command: Sequence[str], log: Path) -> Popen[bytes]:
    """Start `command` so that Linux kills it when this process ends, even by SIGKILL.

    `setpriv` asks for that, then becomes the command; a `preexec_fn` would run Python after
    the fork, unsafe beside threads. In a session of its own, Ctrl-C reaches only us.
    """
    setpriv = shutil.which("setpriv")
    whole = [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command
    with log.open("ab") as out:
        return Popen(whole, stdin=DEVNULL, stdout=out, stderr=STDOUT, start_new_session=True)


def _require_tools() -> str:
    """Path of a recent enough `java`. Raises `NoBroker` naming all that is missing."""
    home, path = os.environ.get("JAVA_HOME"), os.environ.get("PATH", os.defpath)
    java = shutil.which("java", path=f"{home}/bin{os.pathsep}{path}" if home else path)
    missing = []
    if java is None or _java_major(java) < _JAVA_AT_LEAST:
        missing.append(f"no Java {_JAVA_AT_LEAST} or later in JAVA_HOME or on PATH")
    if not _cached_jars().is_dir() and shutil.which("mvn") is None:
        missing.append("no Maven on PATH to fetch Kafka's jars")
    if missing or java is None:
        raise NoBroker(f"{' and '.join(missing)}; Debian's packages are {_PACKAGES}")
    return java


def _java_major(java: str) -> int:
    """The Java version's first number, 0 when `java` does not tell."""
    printed = run([java, "-version"], capture_output=True, text=True, check=False)
    version = re.search(r'version "(\d+)', printed.stderr)
    return int(version[1]) if version else 0


def _cached_jars() -> Path:
    default = Path(__file__).resolve().parents[3] / ".cache"
    return Path(os.environ.get("AIGUILLAGE_CACHE_DIR") or default) / f"kafka-{KAFKA_VERSION}"


def prepare() -> Path:
    """Kafka's jars, fetched if absent by one process while others wait. Raises `NoBroker`."""
    jars = _cached_jars().resolve()
    if not jars.is_dir():
        jars.parent.mkdir(parents=True, exist_ok=True)
        with (jars.parent / f"{jars.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not jars.is_dir():
                _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    """Have Maven copy the jars beside `jars`, then give them that name all at once."""
    maven = shutil.which("mvn")
    if maven is None:
        raise NoBroker(f"no Maven on PATH to fetch Kafka's jars; install {_PACKAGES}")
    with tempfile.TemporaryDirectory(dir=jars.parent, prefix="fetching-") as scratch:
        fetched = Path(scratch) / "libs"
        options = [f"-Dkafka.version={KAFKA_VERSION}", "-DincludeScope=runtime"]
        options += [f"-DoutputDirectory={fetched}", "dependency:copy-dependencies"]
        _run([maven, "-q", "-B", "-C", "-f", str(_POM), *options], FETCH_WITHIN, NoBroker)
        fetched.rename(jars)


def _run(command: Sequence[str], within: float, failure: type[RuntimeError]) -> None:
    """Run to the end. Raises `failure` with the output's tail for anything but success."""
    try:
        run(command, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, timeout=within, check=True)
    except SubprocessError as error:
        output: bytes = getattr(error, "output", None) or b""
        raise failure(f"{error}\n{output[-_TAIL_BYTES:].decode(errors='replace')}") from error


def _properties(listen: str, host: str, port: int, controller_port: int) -> dict[str, str]:
    """One node that is broker and controller, clients on `port`.

    The voter is named here, not recorded at format time: a used data directory can then come
    back with other ports. Topics are created by who owns them, never by a typing error.
    """
    replicated = ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "listeners": f"PLAINTEXT://{listen}:{port},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port}",
        **{f"{topic}.replication.factor": "1" for topic in replicated},
        **{f"{topic}.min.isr": "1" for topic in replicated[1:]},
        "offsets.topic.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "auto.create.topics.enable": "false",
        "log.retention.ms": "-1",
    }


def _free_port() -> int:
    """A port nobody listens on, below the range the system gives to outgoing connections.

    Up there, a client that keeps dialling a killed broker may connect to itself and stay.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port


def _wait_ready(broker: Broker, alive: Callable[[], bool], log: Callable[[], str]) -> None:
    """Return once it serves metadata, else stop it and raise `BrokerFailed` with its log."""
    deadline = time.monotonic() + READY_WITHIN
    while alive() and time.monotonic() < deadline:
        if _serves_metadata(broker.bootstrap):
            return
        time.sleep(0.1)
    how = f"was not ready within {READY_WITHIN:.0f} s" if alive() else "ended while starting"
    tail = log()[-_TAIL_BYTES:]
    broker.stop()
    raise BrokerFailed(f"Kafka at {broker.bootstrap} {how}. Its log ends:\n{tail}")


def _serves_metadata(bootstrap: str) -> bool:
    """Does the broker list at least itself? An open port alone says too little.

    Metadata (API 3) v1 answers size, correlation id, number of brokers. Plain sockets work
    inside an event loop too.
    """
    body = struct.pack(">hhih9si", 3, 1, 7, 9, b"readiness", 0)
    host, _, port = bootstrap.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(body)) + body)
            answer = connection.makefile("rb").read(12)
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">iii", answer)[1:] >= (7, 1)


_KINDS: dict[str, Callable[[Path], Broker]] = {
    "address": AddressBroker.start,
    "container": ContainerBroker.start,
    "jars": JarBroker.start,
}
