"""The broker itself: it starts, keeps order and data, survives an outage, or says why not."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import services.hub.demo.kafka_broker
from services.hub.demo.kafka_broker import (
    Broker,
    BrokerFailed,
    JarBroker,
    NoBroker,
    obtain_broker,
    prepare,
)
from tests.support.kafka import skip_if_asked

RECORDS = 1_000
# Seconds. aiokafka's stop() may wait for ever on a broken broker.
CLIENT_STOPS_WITHIN = 15


@pytest.fixture(scope="module")
def jar_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JarBroker]:
    skip_if_asked()
    with JarBroker.start(tmp_path_factory.mktemp("kafka-jars")) as started:
        yield started


def record(n: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    return f"k{n % 7}".encode(), f"v{n}".encode(), [("ce_id", str(n).encode())]


async def create_topic(bootstrap: str, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    finally:
        await asyncio.wait_for(admin.close(), CLIENT_STOPS_WITHIN)


async def produce(bootstrap: str, topic: str, numbers: range) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True)
    await producer.start()
    try:
        sent = []
        for n in numbers:
            key, value, headers = record(n)
            sent.append(await producer.send(topic, value, key=key, headers=headers))
        await asyncio.wait_for(asyncio.gather(*sent), 30)
    finally:
        await asyncio.wait_for(producer.stop(), CLIENT_STOPS_WITHIN)


async def consume(bootstrap: str, topic: str, count: int) -> list[object]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, 0)])
        async with asyncio.timeout(30):
            got = [await consumer.getone() for _ in range(count)]
    finally:
        await asyncio.wait_for(consumer.stop(), CLIENT_STOPS_WITHIN)
    return [(r.key, r.value, list(r.headers)) for r in got]


async def round_trip(bootstrap: str, topic: str) -> None:
    await create_topic(bootstrap, topic)
    await produce(bootstrap, topic, range(RECORDS))
    read = await consume(bootstrap, topic, RECORDS)
    assert read == [record(n) for n in range(RECORDS)]


async def test_the_session_broker_keeps_order_keys_and_headers(
    broker: Broker, topic_prefix: str
) -> None:
    await round_trip(broker.bootstrap, f"{topic_prefix}orders")


async def test_jars_keep_order_keys_and_headers(
    jar_broker: JarBroker, topic_prefix: str
) -> None:
    assert jar_broker.kind == "jars"
    await round_trip(jar_broker.bootstrap, f"{topic_prefix}orders")


async def test_an_outage_keeps_what_was_acknowledged(
    jar_broker: JarBroker, topic_prefix: str
) -> None:
    topic, bootstrap = f"{topic_prefix}outage", jar_broker.bootstrap
    await create_topic(bootstrap, topic)
    await produce(bootstrap, topic, range(200))
    jar_broker.kill()
    # In a worker thread that ends at once: the broker must not end with it.
    with ThreadPoolExecutor(1) as short_lived:
        short_lived.submit(jar_broker.restart).result()
    await asyncio.sleep(0.5)
    assert jar_broker.bootstrap == bootstrap
    await produce(bootstrap, topic, range(200, 300))
    assert await consume(bootstrap, topic, 300) == [record(n) for n in range(300)]


async def test_a_used_data_directory_comes_back_on_other_ports(
    tmp_path: Path, topic_prefix: str
) -> None:
    skip_if_asked()
    topic = f"{topic_prefix}again"
    with JarBroker.start(tmp_path) as first:
        await create_topic(first.bootstrap, topic)
        await produce(first.bootstrap, topic, range(10))
    with JarBroker.start(tmp_path) as second:
        assert second.bootstrap != first.bootstrap
        assert await consume(second.bootstrap, topic, 10) == [record(n) for n in range(10)]


@pytest.mark.skipif(sys.platform != "linux", reason="the parent's death is Linux's signal")
def test_the_broker_does_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    skip_if_asked()
    script = (
        "import sys, time, pathlib; from services.hub.demo.kafka_broker import JarBroker\n"
        "b = JarBroker.start(pathlib.Path(sys.argv[1]))\n"
        "print(b._process.pid, flush=True); time.sleep(120)"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    assert ends(pid, within=5)


def ends(pid: int, within: float) -> bool:
    deadline = time.monotonic() + within
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def bare(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    """A machine with nothing: no address, no engine, no Java, no Maven, no jars."""
    for name in ("AIGUILLAGE_KAFKA_BOOTSTRAP", "JAVA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{cache}/no-engine.sock")
    monkeypatch.setenv("PATH", str(cache))
    monkeypatch.setenv("AIGUILLAGE_CACHE_DIR", str(cache))


@pytest.mark.parametrize("kind", [None, "jars"])
def test_without_java_and_maven_the_message_names_the_packages(
    kind: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(monkeypatch, tmp_path)
    with pytest.raises(NoBroker) as told:
        obtain_broker(tmp_path / "data", kind=kind)
    for package in ("default-jre-headless", "openjdk-17-jre-headless", "maven"):
        assert package in str(told.value)


def test_fetching_without_maven_names_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare(monkeypatch, tmp_path)
    with pytest.raises(NoBroker, match="maven"):
        prepare()


def test_an_address_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIGUILLAGE_KAFKA_BOOTSTRAP", "kafka.example:9092")
    with obtain_broker(tmp_path) as given:
        assert (given.kind, given.bootstrap) == ("address", "kafka.example:9092")


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="address, container, jars"):
        obtain_broker(tmp_path, kind="cloud")


def test_a_broker_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    skip_if_asked()
    (tmp_path / "log").write_text("a file where Kafka wants a directory")
    with pytest.raises(BrokerFailed, match=r"(?i)log"):
        JarBroker.start(tmp_path)


def test_a_frozen_broker_is_given_up_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_if_asked()
    started = JarBroker.start(tmp_path)
    assert started._process is not None
    pid = started._process.pid
    os.kill(pid, signal.SIGSTOP)
    monkeypatch.setattr(services.hub.demo.kafka_broker, "STOP_WITHIN", 0.5)
    started.stop()
    assert not is_running(pid)
