"""Addresses of Redis: read once, wrong ones refused at once, TLS that is checked on both sides."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from storage import KeyStore, ObjectClass
from tests.tls import TlsProxy
from tests.valkey import PrivateValkey
from worker.addresses import RedisAddress, close
from worker.errors import ServerUnavailableError
from worker.servers import open_redis

SECRET = "correct-horse"


@pytest.mark.parametrize(
    ("url", "place", "secured", "local"),
    [
        ("redis://localhost", "localhost:6379", False, True),
        (f"redis://user:{SECRET}@redis.example:7000/2", "redis.example:7000", False, False),
        ("rediss://redis.example?ssl_check_hostname=true", "redis.example:6379", True, False),
        ("unix:///run/redis.sock?db=1", "/run/redis.sock", True, True),
        (f"redis+sentinel://u:{SECRET}@a,[::1]:7001/shop/3", "a:26379,::1:7001/shop", False, False),
        (f"rediss+sentinel://127.0.0.1/shop?sentinel_password={SECRET}", "127.0.0.1:26379/shop", True, True),
    ],
)
def test_an_address_says_where_it_leads_and_no_password(url: str, place: str, secured: bool, local: bool) -> None:
    address = RedisAddress.parse(url)

    assert (address.place, address.secured, address.local) == (place, secured, local)
    assert SECRET not in repr(address)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://a", "no scheme"),
        ("redis:///1", "no host"),
        ("redis://a:70000", "port"),
        ("unix://", "no socket"),
        ("redis+sentinel://a:1,b:2", "no service"),
        ("redis+sentinel://a:x/shop", "port"),
        ("redis+sentinel://,b:1/shop", "no host"),
        ("redis://a?tls=yes", "does not know for this scheme"),
        ("redis://a?ssl_ca_certs=/etc/passwd", "does not know for this scheme"),
        ("redis://a?db=first", "does not take"),
        ("rediss://a?ssl_ca_certs=/no/such/file", "cannot be read in ssl_ca_certs"),
        ("rediss://a?ssl_cert_reqs=none", "turns off the check"),
        ("rediss+sentinel://a/shop?ssl_cert_reqs=none", "turns off the check"),
        (f"redis+sentinel://u:{SECRET}@a/shop?sentinel_user=x", "does not know for this scheme"),
    ],
)
def test_a_wrong_address_is_refused_before_anybody_connects(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as wrong:
        RedisAddress.parse(url)

    assert SECRET not in str(wrong.value)


def test_the_sentinels_get_their_own_credentials_and_the_primary_its() -> None:
    address = RedisAddress.parse(
        "rediss+sentinel://dayfly-web:theirs@a,b/shop/2?sentinel_username=s&sentinel_password=ours&ssl_min_version=771"
    )
    client = address.client(socket_timeout=5)
    pool = client.connection_pool
    known = pool.connection_kwargs
    sentinels = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]

    assert (known["username"], known["password"], known["db"], known["ssl_min_version"]) == (
        "dayfly-web",
        "theirs",
        2,
        771,
    )
    assert [(each["host"], each["username"], each["password"]) for each in sentinels] == [
        ("a", "s", "ours"),
        ("b", "s", "ours"),
    ]
    assert {each["socket_timeout"] for each in sentinels} == {5}
    assert {each.connection_pool.connection_class.__name__ for each in pool.sentinel_manager.sentinels} == {
        "SSLConnection"
    }
    close(client)


def test_scripts_pipelines_and_subscriptions_work_over_tls_with_a_client_certificate(
    valkey: PrivateValkey, tmp_path: Path
) -> None:
    with TlsProxy(valkey.socket, tmp_path / "tls") as proxy:
        client = open_redis(SecretStr(proxy.url), "DAYFLY_REDIS_URL")
        with client.pubsub() as subscription:
            subscription.subscribe("news")
            subscription.get_message(timeout=5)
            client.publish("news", "moved")
            assert subscription.get_message(timeout=5)["data"] == b"moved"
        keys = KeyStore(client)
        keys.persist()
        assert keys.figures().receipts_pending == 0
        assert keys.roots.read(ObjectClass.UPLOAD) is None
        close(client)
    assert valkey.client().get("dayfly:persisted") == b"1"


def test_a_server_that_nobody_vouches_for_is_not_talked_to(valkey: PrivateValkey, tmp_path: Path) -> None:
    with TlsProxy(valkey.socket, tmp_path / "tls") as proxy, TlsProxy(valkey.socket, tmp_path / "other") as other:
        wrong_authority = proxy.url.replace(str(proxy.ca), str(other.ca))
        wrong_name = proxy.url.replace("127.0.0.1", "localhost")
        for url in (wrong_authority, wrong_name):
            with pytest.raises(ServerUnavailableError, match="no certificate that is trusted here for this name"):
                open_redis(SecretStr(url), "DAYFLY_REDIS_URL")
        no_certificate = f"rediss://127.0.0.1:{proxy.port}/0?ssl_ca_certs={proxy.ca}"
        with pytest.raises(ServerUnavailableError, match="client certificate"):
            open_redis(SecretStr(no_certificate), "DAYFLY_REDIS_URL")


def test_sentinels_that_are_all_away_are_named(tmp_path: Path) -> None:
    with pytest.raises(ServerUnavailableError, match=r"127\.0\.0\.1:1/shop \(DAYFLY_REDIS_URL\) cannot be reached"):
        open_redis(SecretStr("redis+sentinel://127.0.0.1:1/shop"), "DAYFLY_REDIS_URL")
