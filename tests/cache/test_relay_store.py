"""The relay's own cache in Redis: the same bytes as the relay's, and a server that fails in every way."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cache.samples import CONTENT, SECRETS, full_environment
from cache.stores import DEADLINE
from Crypto.Cipher import AES  # pycryptodome: another library than the one that is used
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from support.managing import NOWHERE, library_threads, managed
from support.recorder import Recorder
from support.redis_server import RedisServer
from support.samples import environment, patch_item, payload_filter, put, put_item
from support.scripted_server import ScriptedServer
from support.tls import authority, write_authority
from support.waiting import wait_until

from autoconfig import ContentSource
from autoconfig.messages import PutContent
from autoconfig.redis import RelayStore

SECRET = "rel-0f8b2c4d-5b1e-4c57-9a3e-2f6d81c09f2a"
NAME = "cache of the shop"


def relay_key(secret: str) -> bytes:
    """HKDF-SHA256 as RFC 5869 has it, by hand: no salt, one block."""
    extracted = hmac.digest(bytes(32), secret.strip().encode(), "sha256")
    return hmac.digest(extracted, b"ld-relay autoconfig cache\x01", "sha256")


def relay_encrypt(document: object, nonce: bytes, secret: str = SECRET) -> bytes:
    cipher = AES.new(relay_key(secret), AES.MODE_GCM, nonce=nonce)
    data, tag = cipher.encrypt_and_digest(json.dumps(document).encode())
    return nonce + data + tag


def relay_decrypt(value: bytes, secret: str = SECRET) -> Any:
    cipher = AES.new(relay_key(secret), AES.MODE_GCM, nonce=value[:12])
    return json.loads(cipher.decrypt_and_verify(value[12:-16], value[-16:]))


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


@contextmanager
def client_of(server: RedisServer, **options: Any) -> Iterator[Redis]:
    options = {"socket_timeout": 0.2, "retry": Retry(NoBackoff(), 0), **options}
    client = Redis(host="127.0.0.1", port=server.port, **options)
    try:
        yield client
    finally:
        client.close()
        client.connection_pool.disconnect()  # which redis-py before 5.0.1 leaves open


def flush(server: RedisServer) -> None:
    with client_of(server) as client:
        client.flushall()


@pytest.fixture
def client(shared_server: RedisServer) -> Iterator[Redis]:
    with client_of(shared_server, socket_timeout=DEADLINE) as client:
        client.flushall()
        yield client


def content_of(store: RelayStore) -> PutContent:
    cached = store.load()
    assert cached is not None
    return cached.content


def test_the_key_is_that_of_an_independent_vector() -> None:
    """Made once with `openssl kdf -keylen 32 -kdfopt digest:SHA2-256 … HKDF`."""
    assert hashlib.sha256(relay_key("secret")).hexdigest() == hashlib.sha256(relay_key(" secret\n")).hexdigest()
    assert relay_key("secret") == bytes.fromhex(OPENSSL_KEY)


OPENSSL_KEY = "18A03AC6B78B7F40F768A71AAD3E6F1DEDB73950789B07D3D5A3751A57DB6564"


def test_returns_all_that_was_saved(client: Redis) -> None:
    content = PutContent({"e1": full_environment("e1"), "e2": full_environment("e2")}, CONTENT.filters)
    RelayStore(client, NAME, SECRET).save(content)
    cached = RelayStore(client, NAME, SECRET).load()
    assert cached is not None
    assert cached.content == content
    assert cached.saved_at is None


@pytest.mark.parametrize("version", [1, 2])
def test_writes_what_the_relay_reads(client: Redis, version: int) -> None:
    RelayStore(client, NAME, f" {SECRET}\n", model_version=version).save(
        PutContent({"e1": full_environment("e1")}, {"f1": payload_filter("f1", 3)})
    )
    stored = client.hgetall(NAME)
    assert sorted(stored) == [b"env:e1", b"filter:f1"]  # type: ignore[type-var]
    assert relay_decrypt(stored[b"env:e1"]) == {  # type: ignore[index]
        "kind": "environment", "modelVersion": version, "data": full_environment("e1").to_json()
    }  # fmt: skip
    assert relay_decrypt(stored[b"filter:f1"]) == {  # type: ignore[index]
        "kind": "filter", "modelVersion": version, "data": {"projKey": "shop", "key": "f1 v3", "version": 3}
    }  # fmt: skip
    assert client.ttl(NAME) == -1
    assert client.keys() == [NAME.encode()]
    raw = b"".join(stored.values())  # type: ignore[union-attr]
    assert not [secret for secret in (*SECRETS, SECRET) if secret.encode() in raw]


@pytest.mark.parametrize("version", [1, 2])
def test_reads_what_the_relay_writes(client: Redis, version: int) -> None:
    document = environment("e1", 4).to_json() | {"unknown": [1]}
    client.hset(NAME, mapping={
        "env:e1": relay_encrypt({"kind": "environment", "modelVersion": version, "data": document}, b"0" * 12),
        "filter:f1": relay_encrypt(
            {"kind": "filter", "modelVersion": version, "data": payload_filter("f1").to_json()}, b"1" * 12
        ),
    })  # fmt: skip
    content = content_of(RelayStore(client, NAME, SECRET))
    assert content.environments["e1"].to_json() == document
    assert content.filters == {"f1": payload_filter("f1")}


def test_replaces_the_whole_of_what_was_there(client: Redis) -> None:
    store = RelayStore(client, NAME, SECRET)
    store.save(put({"e1": 1, "e2": 1}, {"f1": 1}))
    store.save(put({"e2": 2}))
    assert content_of(store) == put({"e2": 2})


def test_an_empty_configuration_is_stored_as_nothing(client: Redis) -> None:
    store = RelayStore(client, NAME, SECRET)
    store.save(put({"e1": 1}))
    store.save(PutContent())
    assert not client.exists(NAME)
    assert store.load() is None


GOOD = {"kind": "environment", "modelVersion": 1, "data": environment("e2").to_json()}
BAD: dict[str, tuple[str, bytes]] = {
    "cut": ("env:e2", relay_encrypt(GOOD, b"2" * 12)[:20]),
    "flipped": ("env:e2", relay_encrypt(GOOD, b"2" * 12)[:-1] + b"\0"),
    "another-key": ("env:e2", relay_encrypt(GOOD, b"2" * 12, "another")),
    "another-kind": ("env:e2", relay_encrypt({**GOOD, "kind": "flag"}, b"2" * 12)),
    "another-field": ("filter:e2", relay_encrypt(GOOD, b"2" * 12)),
    "newer": ("env:e2", relay_encrypt({**GOOD, "modelVersion": 3}, b"2" * 12)),
    "no-object": ("env:e2", relay_encrypt([GOOD], b"2" * 12)),
    "wrong-type": ("env:e2", relay_encrypt({**GOOD, "data": {"version": "sdk-e1"}}, b"2" * 12)),
    "unhashable": ("env:e2", relay_encrypt({**GOOD, "kind": []}, b"2" * 12)),
    "plain": ("env:e2", json.dumps(GOOD).encode()),
    "foreign": ("savedAt", b"1"),
    "no-text": ("\udcff", b"1"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_read_is_left_out_with_one_warning(
    client: Redis, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    RelayStore(client, NAME, SECRET).save(put({"e1": 1}))
    field, value = BAD[bad]
    client.hset(NAME, field.encode("utf-8", "surrogateescape"), value)  # type: ignore[arg-type]
    client.hset(NAME, "env:e3", b"1")
    assert content_of(RelayStore(client, NAME, SECRET)) == put({"e1": 1})
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "2 of 3" in record.getMessage()
    assert "sdk-" not in record.getMessage()


def test_another_secret_is_no_cache(client: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """As after a reset of the auto-configuration key without a secret of its own."""
    RelayStore(client, NAME, SECRET).save(put({"e1": 1, "e2": 1}))
    assert RelayStore(client, NAME, "another").load() is None
    assert len(caplog.records) == 1


def test_an_environment_under_a_foreign_id_is_left_out(client: Redis) -> None:
    client.hset(NAME, mapping={"env:e9": relay_encrypt(GOOD, b"2" * 12), "env:e2": relay_encrypt(GOOD, b"3" * 12)})
    assert content_of(RelayStore(client, NAME, SECRET)).environments.keys() == {"e2"}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("", SECRET), ValueError),
        ((1, SECRET), TypeError),
        ((NAME, " "), ValueError),
        ((NAME, b"secret"), TypeError),
        ((NAME, SECRET, 3), ValueError),
    ],
    ids=["empty-name", "name", "empty-secret", "secret", "version"],
)
def test_refuses_wrong_arguments(client: Redis, arguments: tuple[Any, ...], error: type[Exception]) -> None:
    name, secret, version = (*arguments, 1)[:3]
    with pytest.raises(error) as raised:
        RelayStore(client, name, secret, model_version=version)
    assert SECRET not in str(raised.value)


def test_refuses_a_client_that_decodes(shared_server: RedisServer) -> None:
    with client_of(shared_server, decode_responses=True) as client, pytest.raises(ValueError, match="decode_responses"):
        RelayStore(client, NAME, SECRET)


def test_shows_no_secret(client: Redis) -> None:
    assert repr(RelayStore(client, NAME, SECRET)) == f"<RelayStore {NAME!r}>"


def test_serves_a_relays_cache_and_keeps_it(client: Redis, recorder: Recorder) -> None:
    RelayStore(client, NAME, SECRET).save(put({"e1": 5, "e2": 5}))
    with managed(NOWHERE, recorder, cache=RelayStore(client, NAME, SECRET)) as manager:
        manager.start()
        recorder.wait_for("received_all_environments")
        assert manager.status.content is ContentSource.CACHE
        assert manager.status.content_at is not None
    with (
        ScriptedServer([[put_item("e2", "e3")]]) as service,
        managed(service.url, recorder, cache=RelayStore(client, NAME, SECRET)) as manager,
    ):
        manager.start()
        wait_until(lambda: manager.status.content is ContentSource.STREAM)
    assert content_of(RelayStore(client, NAME, SECRET)) == put({"e2": 1, "e3": 1})


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.cache_thread._FIRST_DELAY", 0.02)


def pouring() -> list[Any]:
    """Return a put and changes that go on for some seconds."""
    return [put_item("e1"), *(one for n in range(2, 1500) for one in (patch_item("e1", n), {"sleep_ms": 2}))]


FAILURES: dict[str, Callable[[RedisServer], None]] = {
    "restarted": lambda server: (server.stop(), time.sleep(0.3), server.start())[0],  # type: ignore[func-returns-value]
    "flushed": flush,
    "hanging": lambda server: (server.freeze(), time.sleep(7.0), server.thaw())[0],  # type: ignore[func-returns-value]
}


@pytest.mark.parametrize("failure", FAILURES)
def test_the_stream_does_not_notice_a_server_that_fails(
    server: RedisServer, recorder: Recorder, failure: str, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    lags: list[float] = []
    with (
        client_of(server, socket_timeout=5) as client,
        ScriptedServer([pouring()]) as service,
        managed(service.url, recorder, cache=RelayStore(client, NAME, SECRET)) as manager,
    ):
        manager.start()
        wait_until(lambda: client.exists(NAME))
        working = threading.Thread(target=FAILURES[failure], args=(server,))
        working.start()
        while working.is_alive():
            lags.append(manager.status.lag)
            working.join(0.01)
        recorder.wait_for("update_environment", matching=lambda params: params.identifiers.env_name == "e1 v1499")
        assert manager.status.connections == 1
        store = RelayStore(client, NAME, SECRET)
        wait_until(lambda: content_of(store).environments["e1"].version == 1499 if client.exists(NAME) else None)
    assert max(lags) < 3, "the stream waited for the server"
    assert SECRET not in caplog.text
    assert len([one for one in caplog.records if one.levelno >= logging.WARNING]) <= 2


def test_a_server_that_is_away_is_no_cache_until_it_comes(server: RedisServer, recorder: Recorder, quick: None) -> None:
    with client_of(server) as client:
        RelayStore(client, NAME, SECRET).save(put({"e1": 5}))
        server.freeze()
        with managed(NOWHERE, recorder, cache=RelayStore(client, NAME, SECRET)) as manager:
            manager.start()
            time.sleep(0.3)
            assert manager.status.content is ContentSource.NOTHING
            server.thaw()
            recorder.wait_for("received_all_environments")


@pytest.mark.usefixtures("real_limits")
def test_close_waits_for_a_hanging_server_within_its_timeout(server: RedisServer, recorder: Recorder) -> None:
    with client_of(server, socket_timeout=20) as client, ScriptedServer([[put_item("e1")]]) as service:
        store = RelayStore(client, NAME, SECRET)
        with managed(service.url, recorder, cache=store) as manager:
            server.freeze()
            manager.start()
            recorder.wait_for("received_all_environments")
            begin = time.monotonic()
            assert not manager.close(0.3)
            assert time.monotonic() - begin < 5
            server.thaw()
            wait_until(lambda: not library_threads())


def test_tls_and_a_password(tmp_path: Path, recorder: Recorder) -> None:
    issued = authority().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    trusted = write_authority(tmp_path)
    options = ["--port", "0", "--tls-port", "{port}", "--tls-cert-file", str(tmp_path / "cert.pem")]
    options += ["--tls-key-file", str(tmp_path / "key.pem"), "--tls-auth-clients", "no"]
    options += ["--tls-ca-cert-file", trusted, "--requirepass", "password-of-redis"]
    server = RedisServer(tmp_path, *options)
    server.start()
    try:
        tls = {"ssl": True, "ssl_ca_certs": trusted, "socket_timeout": DEADLINE}
        with client_of(server, **tls, password="password-of-redis") as client:
            store = RelayStore(client, NAME, SECRET)
            store.save(put({"e1": 1}))
            assert content_of(store) == put({"e1": 1})
            assert "password" not in repr(store)
        with client_of(server, **tls, password="wrong") as client, pytest.raises(RedisError):
            RelayStore(client, NAME, SECRET).load()
        with managed(NOWHERE, recorder, cache=store) as manager:
            manager.start()
            recorder.wait_for("received_all_environments")
        store._redis.connection_pool.disconnect()
    finally:
        server.stop()
