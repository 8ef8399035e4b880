from __future__ import annotations

import io
import os

import pytest
import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2 as hkdf_pb2
from tink.proto import common_pb2, tink_pb2

from storage.sealed_format import SEGMENT_BYTES, open_segments, seal_stream

FIRST = SEGMENT_BYTES - 56
SIZES = [0, 1, FIRST - 1, FIRST, FIRST + 1, SEGMENT_BYTES - 1, SEGMENT_BYTES, SEGMENT_BYTES + 1, 64 << 20]
AAD = b"dayfly/1|upload|0123456789abcdef0123456789abcdef"


def tink_primitive(key: bytes) -> streaming_aead.StreamingAead:
    """Tink's own AES256_GCM_HKDF_1MB over *key*."""
    streaming_aead.register()
    parameters = hkdf_pb2.AesGcmHkdfStreamingParams(
        ciphertext_segment_size=SEGMENT_BYTES, derived_key_size=32, hkdf_hash_type=common_pb2.SHA256
    )
    value = hkdf_pb2.AesGcmHkdfStreamingKey(version=0, params=parameters, key_value=key).SerializeToString()
    data = tink_pb2.KeyData(
        type_url="type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey",
        value=value,
        key_material_type=tink_pb2.KeyData.SYMMETRIC,
    )
    entry = tink_pb2.Keyset.Key(key_data=data, status=tink_pb2.ENABLED, key_id=1, output_prefix_type=tink_pb2.RAW)
    keyset = tink_pb2.Keyset(primary_key_id=1, key=[entry])
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


@pytest.fixture(params=SIZES, ids=lambda size: f"{size}-bytes")
def content(request: pytest.FixtureRequest) -> bytes:
    block = os.urandom(1 << 16)
    return (block * (request.param // len(block) + 1))[: request.param]


class Unclosed(io.BytesIO):
    def close(self) -> None:
        """Stay readable: Tink closes what it writes to."""


def test_p1_tink_opens_what_is_sealed_here(content: bytes) -> None:
    key = os.urandom(32)
    sink = io.BytesIO()
    seal_stream(content, sink, bytearray(key), AAD)
    sink.seek(0)

    with tink_primitive(key).new_decrypting_stream(sink, AAD) as opened:
        assert opened.read() == content


def test_p1_what_tink_sealed_opens_here(content: bytes) -> None:
    key = os.urandom(32)
    sink = Unclosed()
    with tink_primitive(key).new_encrypting_stream(sink, AAD) as sealing:
        sealing.write(content)
    sink.seek(0)

    assert b"".join(bytes(part) for part in open_segments(sink, bytearray(key), AAD)) == content
