"""Redis is killed, empty, older than it was, a replica, frozen: in the end all have the service's set."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from fleet.fleets import LIMIT, NAME, QUICK, SECRET, STATE, Fleet, Follower, client_of
from support.addresses import black_hole, connecting_to, free_port
from support.redis_server import RedisServer
from support.tls import HOST, authority, write_authority
from support.waiting import wait_until

from autoconfig import StreamManager
from autoconfig.redis import Leader, RedisSource
from autoconfig.testing import RecordingHandler

ENDS = 5.0  # seconds in which close() has to end


def kill(server: RedisServer) -> None:
    """Kill a server; :meth:`RedisServer.start` starts it again on the same port."""
    assert server._process
    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait(LIMIT)
    server._process = None


def test_redis_is_killed_and_restarted_empty(fleet: Fleet) -> None:
    fleet.lead()
    fleet.lead(wait=False)
    for _ in range(3):
        fleet.follow()
    fleet.settle()
    for _ in range(2):
        kill(fleet.server)
        fleet.change()
        fleet.server.start()
        fleet.settle()


def test_redis_is_restored_from_an_older_dump(fleet: Fleet, tmp_path: Path) -> None:
    """The leader is another one by then, which has never seen what the dump lacks."""
    first = fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    fleet.client.save()
    shutil.copy(tmp_path / "dump.rdb", tmp_path / "older.rdb")
    for _ in range(3):
        fleet.change()
    fleet.settle()
    kill(fleet.server)
    first.close()
    shutil.copy(tmp_path / "older.rdb", tmp_path / "dump.rdb")
    fleet.server.start()
    wait_until(lambda: follower.manager.status.connected_since, "a connection")
    time.sleep(0.5)  # in which the older picture is there for all to see
    follower.check_calls(*fleet.deleted)
    assert follower.has(fleet.service)
    fleet.lead()
    fleet.change()
    fleet.settle()
    fleet.follow()
    fleet.settle()


def test_redis_is_frozen(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autoconfig.redis.source._TIMEOUT", 2.5)
    first, second = fleet.lead(), fleet.lead(wait=False)
    follower = fleet.follow()
    fleet.settle()
    fleet.server.freeze()
    fleet.change()
    wait_until(lambda: follower.manager.status.last_error, "an error")
    wait_until(lambda: first.status.error and second.status.error, "both errors")
    fleet.server.thaw()
    fleet.settle()
    fleet.change()
    fleet.settle()
    wait_until(lambda: first.status.leading is not second.status.leading, "one leader")


@pytest.fixture
def replica(tmp_path: Path) -> Iterator[RedisServer]:
    folder = tmp_path / "replica"
    folder.mkdir()
    server = RedisServer(folder)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def sentinel(fleet: Fleet, replica: RedisServer, tmp_path: Path) -> Iterator[int]:
    """The port of a sentinel that watches the fleet's server and its replica."""
    port = free_port()
    configuration = tmp_path / "sentinel.conf"
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {tmp_path}"]
    lines += [f"sentinel monitor main 127.0.0.1 {fleet.server.port} 1"]
    lines += ["sentinel down-after-milliseconds main 2000", "sentinel failover-timeout main 2000"]
    configuration.write_text("\n".join(lines) + "\n")
    with client_of(replica.port) as client:
        client.replicaof("127.0.0.1", fleet.server.port)
        wait_until(lambda: client.info("replication")["master_link_status"] == "up", "the replica")  # type: ignore[index]
    process = subprocess.Popen(
        ["redis-server", str(configuration), "--sentinel", "--logfile", str(tmp_path / "sentinel.log")]
    )
    try:
        with client_of(port) as client:
            wait_until(lambda: knows_replica(client), "the sentinel")
        yield port
    finally:
        process.terminate()
        process.wait(LIMIT)


def knows_replica(sentinel: redis.Redis) -> bool:
    with contextlib.suppress(redis.RedisError):
        return int(sentinel.sentinel_masters()["main"]["num-slaves"]) == 1  # type: ignore[index, call-overload]
    return False


def test_a_replica_takes_over(fleet: Fleet, sentinel: int, replica: RedisServer) -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{sentinel}/main/0"
    fleet.lead(url)
    fleet.lead(url, wait=False)
    for _ in range(3):
        fleet.follow(url)
    fleet.settle()
    fleet.change()
    kill(fleet.server)
    fleet.change()
    fleet.settle()
    with client_of(replica.port) as client:
        assert client.info("replication")["role"] == "master"  # type: ignore[index]
        assert client.hlen(STATE) > 6
    fleet.change()
    fleet.settle()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    """Two nodes of a cluster; the first one has all the keys."""
    nodes = []
    with contextlib.ExitStack() as stack:
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            ports = ("--port", "{port}", "--cluster-port", str(free_port()))
            nodes.append(RedisServer(tmp_path / name, *ports, "--cluster-enabled", "yes"))
            nodes[-1].start()
            stack.callback(nodes[-1].stop)
        first, second = nodes
        with client_of(first.port) as client, client_of(second.port) as other:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            bus = dict(client.config_get("cluster-port"))["cluster-port"]  # type: ignore[arg-type, call-overload]
            other.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, bus)
            for one in (client, other):
                wait_until(lambda: b"cluster_state:ok" in one.execute_command("CLUSTER", "INFO", NEVER_DECODE=[]), "it")  # noqa: B023
        yield first, second


def test_a_node_of_a_cluster_names_the_one_that_has_the_keys(
    fleet: Fleet, cluster: tuple[RedisServer, RedisServer]
) -> None:
    url = f"redis://127.0.0.1:{cluster[1].port}"
    fleet.lead(url)
    fleet.follow(url)
    fleet.settle()
    fleet.change()
    fleet.settle()
    with client_of(cluster[0].port) as client:
        assert client.hlen(STATE) > 6


def test_no_sentinel_answers(fleet: Fleet) -> None:
    follower = fleet.follow(f"redis+sentinel://127.0.0.1:{free_port()}/main")
    wait_until(lambda: follower.manager.status.last_error, "an error")
    error = follower.manager.status.last_error
    assert error
    assert error.message == "no sentinel knows the master: no connection to Redis: Connection refused"


def test_a_follower_needs_few_permissions(fleet: Fleet) -> None:
    """What the explanation says of ACLs is enough; and a follower with it cannot write."""
    rights = "on >pass -@all +hgetall +hmget +xread %R~{autoconfig:test}:*"
    fleet.client.execute_command("ACL", "SETUSER", "follower", *rights.split())
    first = fleet.lead()
    fleet.follow(f"redis://follower:pass@127.0.0.1:{fleet.server.port}")
    fleet.settle()
    fleet.change()
    fleet.settle()
    first.close()
    leader = fleet.lead(f"redis://follower:pass@127.0.0.1:{fleet.server.port}", wait=False)
    wait_until(lambda: leader.status.error, "an error")
    assert leader.status.error == "Redis does not permit the command; see its ACL"


def test_a_leader_needs_few_permissions(fleet: Fleet) -> None:
    rights = "on >pass -@all +eval +hgetall +hmget +hset +hdel +hincrby +xadd +del +time +info ~{autoconfig:test}:*"
    fleet.client.execute_command("ACL", "SETUSER", "leader", *rights.split())
    fleet.lead(f"redis://leader:pass@127.0.0.1:{fleet.server.port}")
    fleet.follow()
    fleet.change()
    fleet.settle()


def test_a_wrong_password_is_said_without_it(fleet: Fleet) -> None:
    follower = fleet.follow(f"redis://follower:wr0ng@127.0.0.1:{fleet.server.port}")
    wait_until(lambda: follower.manager.status.last_error, "an error")
    assert "does not accept the user name or password" in repr(follower.manager.status.last_error)
    assert "wr0ng" not in repr(follower.manager.status) + repr(follower.manager)


@pytest.fixture
def tls(tmp_path: Path) -> list[str]:
    """The options of a server that speaks TLS only."""
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    issued = authority().issue_cert(HOST)
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    options = ["--tls-port", "{port}", "--port", "0", "--tls-cert-file", str(certificate)]
    options += ["--tls-key-file", str(key), "--tls-ca-cert-file", write_authority(tmp_path)]
    return [*options, "--tls-auth-clients", "no", "--tls-replication", "yes"]


# Python's own ssl, up to 3.12, forgets a socket that is reset right before the handshake: when the manager is closed.
@pytest.mark.usefixtures("own_garbage")
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_over_tls(fleet: Fleet, tls: list[str], tmp_path: Path) -> None:
    server = RedisServer(tmp_path, *tls)
    server.start()
    try:
        url = f"rediss://127.0.0.1:{server.port}?ssl_ca_certs={write_authority(tmp_path)}"
        leader = fleet.lead(url)
        follower = fleet.follow(url)
        fleet.settle()
        for one in (leader.close, follower.manager.close):
            began = time.monotonic()
            assert one()
            assert time.monotonic() - began < ENDS
        untrusting = Follower(f"rediss://127.0.0.1:{server.port}")
        with untrusting.manager:
            wait_until(lambda: untrusting.manager.status.last_error, "an error")
            assert "certificate is not accepted" in repr(untrusting.manager.status.last_error)
    finally:
        server.stop()


@pytest.mark.usefixtures("own_garbage")
@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
def test_sentinels_with_tls_and_a_password_of_their_own(fleet: Fleet, tls: list[str], tmp_path: Path) -> None:
    server = RedisServer(tmp_path, *tls, "--requirepass", "masters")
    server.start()
    configuration, port = tmp_path / "sentinel.conf", free_port()
    lines = [f"sentinel monitor main 127.0.0.1 {server.port} 1", "sentinel auth-pass main masters"]
    configuration.write_text("\n".join(lines) + "\n")
    options = [option.format(port=port) for option in tls]
    log = ["--logfile", str(tmp_path / "sentinel.log"), "--dir", str(tmp_path)]
    command = ["redis-server", str(configuration), "--sentinel", *options, "--requirepass", "sent/nels", *log]
    process = subprocess.Popen(command)
    try:
        url = f"rediss+sentinel://:masters@127.0.0.1:{port}/main/0?ssl_ca_certs={write_authority(tmp_path)}"
        good = f"{url}&sentinel_password=sent%2Fnels"
        fleet.lead(good)
        follower = fleet.follow(good)
        fleet.settle()
        assert "nels" not in repr(follower.source)
        wrong = Follower(f"{url}&sentinel_password=wr0ng")
        with wrong.manager:
            wait_until(lambda: wrong.manager.status.last_error, "an error")
            error = wrong.manager.status.last_error
            assert error is not None
            assert error.message == "no sentinel knows the master: Redis does not accept the user name or password"
    finally:
        process.terminate()
        process.wait(LIMIT)
        server.stop()


def test_over_a_unix_socket(fleet: Fleet, tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--port", "{port}", "--unixsocket", str(tmp_path / "s"))
    server.start()
    try:
        fleet.lead(f"unix://{tmp_path}/s").wait_until_leading(LIMIT)
        fleet.follow(f"unix://{tmp_path}/s")
        fleet.settle()
    finally:
        server.stop()


def closes_in_time(manager: StreamManager) -> bool:
    began = time.monotonic()
    return manager.close() and time.monotonic() - began < ENDS


def test_close_while_a_read_is_in_progress(fleet: Fleet) -> None:
    fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    assert closes_in_time(follower.manager)


def test_close_while_there_is_no_picture(fleet: Fleet) -> None:
    follower = fleet.follow()
    wait_until(lambda: follower.manager.status.connected_since, "a connection")
    assert closes_in_time(follower.manager)


def test_close_while_redis_is_frozen(fleet: Fleet) -> None:
    leader = fleet.lead()
    follower = fleet.follow()
    fleet.settle()
    fleet.server.freeze()
    late = fleet.follow()
    fleet.change()
    assert closes_in_time(late.manager)
    assert closes_in_time(follower.manager)
    began = time.monotonic()
    assert leader.close()
    assert time.monotonic() - began < ENDS


def test_close_while_connecting() -> None:
    with black_hole() as address:
        manager = StreamManager.from_source(RedisSource(address.replace("http", "redis"), NAME), RecordingHandler())
        with manager:
            wait_until(lambda: connecting_to(address), "an attempt")
            assert closes_in_time(manager)
        leader = Leader(address.replace("http", "redis"), NAME, lambda _: manager)
        leader.start()
        wait_until(lambda: connecting_to(address), "an attempt")
        began = time.monotonic()
        assert leader.close()
        assert time.monotonic() - began < ENDS


def test_close_between_attempts() -> None:
    source = RedisSource(f"redis://127.0.0.1:{free_port()}", NAME, SECRET)
    manager = StreamManager.from_source(source, RecordingHandler(), **{**QUICK, "initial_retry_delay": 60})
    with manager:
        wait_until(lambda: manager.status.last_error, "an error")
        assert "Connection refused" in repr(manager.status.last_error)
        assert closes_in_time(manager)
