"""What a broker hands out, made safe to read: nothing in it can stop a partition for good.

aiokafka unpacks a batch whole, whatever it unpacks to, and raises the same error for ever at
one that it cannot read. So between broker and aiokafka every batch is checked and unpacked
here, with a bound; one that cannot be read is replaced by an empty record at its last offset,
and the reader is told why (docs/adr/0022).
"""

import asyncio
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cramjam
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

MAX_BATCH_BYTES = 4 * 1024 * 1024
"""Of one batch, unpacked. A producer fills a batch until its *packed* size reaches a limit."""
MAX_ANSWER_BYTES = 8 * 1024 * 1024
"""Of one partition in one answer, unpacked. What does not fit is fetched again."""

_HEADER = struct.Struct(">qiibIhiqqqhii")  # record batch, version 2
_BEFORE_LENGTH, _BEFORE_MAGIC, _BEFORE_CRC, _BEFORE_ATTRIBUTES = 8, 16, 17, 21
_FRAME = 12  # base offset and length, which the length does not count
_CODEC = 0x07
_XERIAL = b"\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01"


class UnreadableError(Exception):
    """Why a batch cannot be read, in words of ours."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A batch that was stepped over: its offsets, its size on the wire, and why."""

    first: int
    last: int
    size: int
    why: str


class Guard:
    """Stands between a consumer's client and its broker.

    ``unreadable``: what stands in place of a batch, by partition and offset.
    """

    def __init__(self) -> None:
        self.unreadable: dict[tuple[int, int], Unreadable] = {}

    def attach(self, client: Any) -> None:
        """Look at every answer to a fetch before anybody else does."""
        send = client.send

        async def send_and_look(node_id: int, request: Any, **options: Any) -> Any:
            response = await send(node_id, request, **options)
            if isinstance(request, FetchRequest):
                response.topics = await asyncio.to_thread(self._safe, response.topics)
            return response

        client.send = send_and_look

    def _safe(self, topics: Any) -> list[Any]:
        return [
            (topic, [(*given, self._safe_set(given[0], records)) for *given, records in found])
            for topic, found in topics
        ]

    def _safe_set(self, partition: int, records: bytes | None) -> bytes | None:
        if not records:
            return records
        safe, unreadable = safe_records(records)
        for batch in unreadable:
            self.unreadable[partition, batch.last] = batch
        return safe


def safe_records(records: bytes) -> tuple[bytes, list[Unreadable]]:
    """The batches of an answer unpacked and sound, and those that are not.

    As many as ``MAX_ANSWER_BYTES`` allow, but at least one.
    """
    safe: list[bytes] = []
    unreadable: list[Unreadable] = []
    size = 0
    for batch in _batches(records):
        try:
            sound = _sound(batch)
        except UnreadableError as error:
            found = _HEADER.unpack_from(batch)
            first, last = found[0], found[0] + max(0, found[6])
            unreadable.append(Unreadable(first, last, len(batch), str(error)))
            sound = _stand_in(found)
        size += len(sound)
        if safe and size > MAX_ANSWER_BYTES:
            if unreadable and unreadable[-1].first == _HEADER.unpack_from(batch)[0]:
                unreadable.pop()
            break
        safe.append(sound)
    return b"".join(safe) or records, unreadable


def _batches(records: bytes) -> Iterator[memoryview]:
    """The whole batches; the last one of an answer may be cut off."""
    position, view = 0, memoryview(records)
    while len(records) - position >= _HEADER.size:
        (length,) = struct.unpack_from(">i", records, position + _BEFORE_LENGTH)
        end = position + _FRAME + length
        if end > len(records) or length < _HEADER.size - _FRAME:
            return
        yield view[position:end]
        position = end


def _sound(batch: memoryview) -> bytes:
    """The batch without compression; raises ``UnreadableError``."""
    if batch[_BEFORE_MAGIC] != 2:
        raise UnreadableError(f"message format {batch[_BEFORE_MAGIC]}")
    header = _HEADER.unpack_from(batch)
    if calc_crc32c(bytes(batch[_BEFORE_ATTRIBUTES:])) != header[4]:
        raise UnreadableError("checksum does not match")
    if header[12] < 0:
        raise UnreadableError("fewer records than none")
    codec = header[5] & _CODEC
    if codec:
        unpack = _UNPACK.get(codec)
        if unpack is None:
            raise UnreadableError(f"unknown codec {codec}")
        records = _unpacked(unpack, bytes(batch[_HEADER.size :]))
        batch = memoryview(_without_codec(header, records) + records)
    return _with_readable_names(bytes(batch), header[12])


def _unpacked(unpack: Callable[[bytes], bytes], packed: bytes) -> bytes:
    try:
        return unpack(packed)
    except UnreadableError:
        raise
    except Exception as error:  # cramjam's, zlib's, struct's: all of them say "not this codec"
        too_large = "failed to write whole buffer" in str(error)
        raise UnreadableError(_TOO_LARGE if too_large else "cannot be unpacked") from error


def _without_codec(given: tuple[Any, ...], records: bytes) -> bytes:
    header = list(given)
    header[1] = _HEADER.size - _FRAME + len(records)
    header[5] = given[5] & ~_CODEC
    return _HEADER.pack(*header)


def _with_readable_names(batch: bytes, count: int) -> bytes:
    """The batch, if all of its records can be read; raises ``UnreadableError``.

    Kafka asks a header's name to be UTF-8, and the broker does not look: such a name loses
    the bytes that are not, so that a sound record is not lost for it.
    """
    try:
        _read_through(batch)
        return batch
    except Exception:
        repaired = bytearray(batch)
        try:
            _repair_names(repaired, count)
            _read_through(bytes(repaired))
        except Exception as error:
            raise UnreadableError("not records") from error
        return bytes(repaired)


def _read_through(batch: bytes) -> None:
    for _ in DefaultRecordBatch(batch):
        pass


def _repair_names(batch: bytearray, count: int) -> None:
    position = _HEADER.size
    for _ in range(count):
        length, position = _read_varint(batch, position)
        end = position + length
        position += 1  # attributes
        for _ in range(2):  # differences of time and offset
            _, position = _read_varint(batch, position)
        for _ in range(2):  # key and value
            size, position = _read_varint(batch, position)
            position += max(0, size)
        headers, position = _read_varint(batch, position)
        for _ in range(headers):
            size, position = _read_varint(batch, position)
            if size < 0:
                raise UnreadableError("not records")
            name = batch[position : position + size]
            batch[position : position + size] = bytes(b if b < 128 else 63 for b in name)
            position += size
            size, position = _read_varint(batch, position)
            position += max(0, size)
        if position != end:
            raise UnreadableError("not records")


def _read_varint(batch: bytearray, position: int) -> tuple[int, int]:
    """A zigzag varint, and the place after it. aiokafka's own looks at no end: a place beyond
    the batch, which a stranger may write, ends the process. Raises ``UnreadableError``."""
    value = shift = 0
    while True:
        if not 0 <= position < len(batch) or shift > 63:
            raise UnreadableError("not records")
        byte = batch[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position


def _stand_in(given: tuple[Any, ...]) -> bytes:
    """One record without key, value and headers, where the batch ends."""
    last = max(0, given[6])
    body = b"\x00\x00" + _varint(last) + b"\x01\x01\x00"
    record = _varint(len(body)) + body
    header = list(given)
    header[1] = _HEADER.size - _FRAME + len(record)
    header[3], header[5], header[6], header[12] = 2, given[5] & ~_CODEC, last, 1
    return _HEADER.pack(*header) + record


def _varint(number: int) -> bytes:
    number = number << 1  # zigzag of what is not negative
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _gunzip(packed: bytes) -> bytes:
    out = bytearray()
    while packed:
        stream = zlib.decompressobj(31)
        out += stream.decompress(packed, MAX_BATCH_BYTES + 1 - len(out))
        if len(out) > MAX_BATCH_BYTES or stream.unconsumed_tail:
            raise UnreadableError(_TOO_LARGE)
        if not stream.eof:
            raise UnreadableError("cannot be unpacked")
        packed = stream.unused_data
    return bytes(out)


def _unsnappy(packed: bytes) -> bytes:
    """Raw, or in the frames of Java's clients: the same head, then blocks with their length."""
    if not packed.startswith(_XERIAL):
        return _unsnappy_block(packed, MAX_BATCH_BYTES)
    out, position = bytearray(), len(_XERIAL)
    while position < len(packed):
        if packed.startswith(_XERIAL, position):  # streams may follow each other
            position += len(_XERIAL)
            continue
        (length,) = struct.unpack_from(">i", packed, position)
        block = packed[position + 4 : position + 4 + length]
        if length <= 0 or len(block) != length:
            raise UnreadableError("cannot be unpacked")
        out += _unsnappy_block(block, MAX_BATCH_BYTES - len(out))
        position += 4 + length
    return bytes(out)


def _unsnappy_block(block: bytes, limit: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > limit:  # a block says how large it becomes
        raise UnreadableError(_TOO_LARGE)
    return bytes(cramjam.snappy.decompress_raw(block))


def _unlz4(packed: bytes) -> bytes:
    out = bytearray(MAX_BATCH_BYTES)
    return bytes(out[: cramjam.lz4.decompress_into(packed, out)])


def _unzstd(packed: bytes) -> bytes:
    out = bytearray(MAX_BATCH_BYTES)
    return bytes(out[: cramjam.zstd.decompress_into(packed, out)])


_TOO_LARGE = f"unpacks to more than {MAX_BATCH_BYTES} bytes"
_UNPACK: dict[int, Callable[[bytes], bytes]] = {
    1: _gunzip,
    2: _unsnappy,
    3: _unlz4,
    4: _unzstd,
}
