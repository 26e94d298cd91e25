"""One test per refusal of the door: what each keeps out is in its docstring."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket

import pytest

from localserver import serving
from localserver.memory import open_descriptors

EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
OTHER_EXTENSION = "chrome-extension://ponmlkjihgfedcbaponmlkjihgfedcba"
ROUTES = [
    ("GET", "/v1/health"),
    ("POST", "/v1/pair"),
    ("DELETE", "/v1/client"),
    ("GET", "/v1/options"),
    ("GET", "/v1/metrics"),
    ("POST", "/v1/warm"),
    ("POST", "/v1/jobs"),
    ("GET", "/v1/jobs/x"),
    ("GET", "/v1/jobs/x/result"),
    ("DELETE", "/v1/jobs/x"),
    ("GET", "/no/such/route"),
]


@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_dns_rebinding_is_refused_on_every_route(daemon, method, path):
    """A page at evil.example whose name is rebound to 127.0.0.1 is same-origin to its browser: only Host tells."""
    headers = {"Host": f"evil.example:{daemon.config.port}"}
    assert (403, "forbidden_host") == await daemon.refusal(method, path, headers=headers)


@pytest.mark.parametrize(
    "host", ["0.0.0.0:{}", "127.0.0.1", "localhost", "localhost.:{}", "[::1]:{}", "127.0.0.1:{}0", "127.1:{}", ""]
)
async def test_hosts_that_are_nearly_right_are_refused(daemon, host):
    """Browsers once let pages reach loopback as 0.0.0.0, and a check of the name alone is a check too few."""
    headers = {"Host": host.format(daemon.config.port)}
    assert (403, "forbidden_host") == await daemon.refusal("GET", "/v1/health", headers=headers)


async def test_both_names_of_loopback_are_let_in(daemon):
    """The extension may call the daemon by either."""
    for name in ("127.0.0.1", "localhost"):
        status, _ = await daemon.json("GET", "/v1/options", headers={"Host": f"{name}:{daemon.config.port}"})
        assert 200 == status


@pytest.mark.parametrize("site", ["cross-site", "same-site", "nonsense"])
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_pages_are_refused_by_fetch_metadata(daemon, method, path, site):
    """A page's GET carries no Origin, but a browser says that it comes from a page."""
    assert (403, "forbidden_site") == await daemon.refusal(method, path, headers={"Sec-Fetch-Site": site})


@pytest.mark.parametrize("site", ["none", "same-origin"])
async def test_extensions_fetch_metadata_is_let_in(daemon, site):
    """Chromium's extensions send none, Firefox's same-origin."""
    status, _ = await daemon.json("GET", "/v1/options", headers={"Sec-Fetch-Site": site})
    assert 200 == status


@pytest.mark.parametrize(
    "origin",
    [
        "https://example.com",
        "null",
        "http://127.0.0.1:28737",
        "file://",
        "chrome-extension://",
        f"{EXTENSION}.evil.com",
    ],
)
@pytest.mark.parametrize(("method", "path"), ROUTES)
async def test_origins_of_pages_are_refused(daemon, method, path, origin):
    """A page's POST always says whose it is; a sandboxed frame's says null; comparing with Host would be fooled."""
    assert (403, "forbidden_origin") == await daemon.refusal(method, path, headers={"Origin": origin})


async def test_another_extensions_origin_is_refused(daemon):
    """A token that leaked to another extension is worth nothing to it."""
    refusal = await daemon.refusal("GET", "/v1/options", headers={"Origin": OTHER_EXTENSION})
    assert (403, "forbidden_origin") == refusal


async def test_the_paired_origin_is_let_in(daemon):
    """The counterpart of the refusals."""
    status, _ = await daemon.json("GET", "/v1/options", headers={"Origin": EXTENSION})
    assert 200 == status


async def test_a_programs_token_is_no_good_to_an_extension(stranger):
    """Who paired without an Origin is no extension, so one that shows an Origin is somebody else."""
    program = await stranger.pair(origin=None)
    assert (403, "forbidden_origin") == await program.refusal("GET", "/v1/options", headers={"Origin": EXTENSION})
    assert 200 == (await program.json("GET", "/v1/options"))[0]


@pytest.mark.parametrize("path", [path for _, path in ROUTES[2:]])
async def test_a_missing_token_is_refused(stranger, path):
    """Programs of other users of this machine can reach the port too. Routes that do not exist tell nothing either."""
    assert (401, "unauthorised") == await stranger.refusal("GET", path)


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "Bearer {}x", "Basic {}", "{}", "Bearer é", "Bearer " + "A" * 43]
)
async def test_a_wrong_token_is_refused(daemon, value):
    """Whatever is not exactly a paired client's token is nobody's."""
    headers = {"Authorization": value.format(daemon.token)}
    assert (401, "unauthorised") == await daemon.refusal("GET", "/v1/options", headers=headers)


async def test_a_revoked_client_is_refused_at_once(daemon):
    """`pmask-server clients revoke` is another process; the running daemon must notice."""
    assert daemon.clients.revoke(daemon.client_id)
    assert (401, "unauthorised") == await daemon.refusal("GET", "/v1/options")


async def test_health_and_pair_need_no_token(stranger):
    """A client that is not paired must be able to find out and to pair."""
    assert 200 == (await stranger.json("GET", "/v1/health"))[0]
    assert (403, "bad_code") == await stranger.refusal("POST", "/v1/pair", json={"code": "AAAA2222", "name": "x"})


@pytest.mark.parametrize("path", ["/v1/health/", "//v1/health", "/v1/health/../options", "/v1/health%2f..%2foptions"])
async def test_no_spelling_of_an_open_route_opens_another(stranger, path):
    """The door goes by the route that will answer, not by how the path is written."""
    assert (401, "unauthorised") == await stranger.refusal("GET", path)


@pytest.mark.parametrize("name", ["Host", "Origin", "Sec-Fetch-Site", "Authorization"])
async def test_two_of_one_header_are_refused(daemon, name):
    """Of two values, one part of a program may check the first and another use the second."""
    own = {"Host": f"127.0.0.1:{daemon.config.port}", "Authorization": f"Bearer {daemon.token}", "Origin": EXTENSION}
    own["Sec-Fetch-Site"] = "none"
    lines = [f"{key}: {value}" for key, value in own.items()]
    text = "\r\n".join(["GET /v1/options HTTP/1.1", *lines, f"{name}: {own[name]}", "Connection: close", "", ""])
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.config.port)
    writer.write(text.encode())
    answer = await reader.read()
    writer.close()
    assert b"400" == answer.split()[1]


async def test_no_answer_ever_has_a_cors_header(daemon):
    """One such header would let pages read what the door lets slip."""
    for method, path in [*ROUTES, ("OPTIONS", "/v1/jobs")]:
        for origin in (None, EXTENSION, "https://example.com"):
            async with daemon.request(method, path, headers={"Origin": origin} if origin else {}) as answer:
                assert [] == [name for name in answer.headers if name.lower().startswith("access-control")]
                assert "no-store" == answer.headers["Cache-Control"]


async def test_a_pages_web_socket_is_refused(daemon):
    """Browsers let any page open one to any host, and older ones send no fetch metadata with it: Origin tells."""
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Origin": "https://example.com"}
    for path in ("/v1/health", "/v1/options", "/"):
        assert (403, "forbidden_origin") == await daemon.refusal("GET", path, headers=headers)


async def test_a_pages_preflight_is_never_granted(stranger):
    """A page asks whether it may send JSON, or reach into the private network: silence means no."""
    headers = {"Origin": "https://example.com", "Access-Control-Request-Method": "POST"}
    headers |= {"Access-Control-Request-Headers": "authorization", "Access-Control-Request-Private-Network": "true"}
    async with stranger.request("OPTIONS", "/v1/jobs", headers=headers) as answer:
        assert 403 == answer.status
        assert [] == [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_pages_form_cannot_pair(stranger, kind):
    """A form needs no preflight, so the browser sends it and only hides the answer: pairing must not have happened."""
    code = stranger.clients.new_code()
    headers = {"Origin": "https://example.com", "Sec-Fetch-Site": "cross-site", "Content-Type": kind}
    body = f'{{"code": "{code}", "name": "x", "": ""}}'.encode()
    assert (403, "forbidden_site") == await stranger.refusal("POST", "/v1/pair", data=body, headers=headers)
    assert [] == stranger.clients.paired()


@pytest.mark.parametrize("target", ["http://evil.example/v1/options", "//evil.example/v1/options", "*", "v1/options"])
async def test_odd_request_targets_open_nothing(stranger, target):
    """A target may name a host of its own, which proxies believe; here it leads nowhere without a token."""
    reader, writer = await asyncio.open_connection("127.0.0.1", stranger.config.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{stranger.config.port}\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] in (b"400", b"401")
    writer.close()


async def test_who_is_refused_keeps_no_connection(stranger):
    """Places are few, and not for those who may not come in."""
    async with stranger.request("GET", "/v1/options") as answer:
        assert (401, "close") == (answer.status, answer.headers["Connection"])


async def test_strangers_connections_make_room_for_new_ones(make_daemon):
    """Some hundred idle ones would use up the descriptors of the process; and whoever opens them must not keep paired
    clients out: the oldest of them goes, never one that a client uses."""
    daemon = await (await make_daemon(connections=8)).pair()
    port = daemon.config.port

    async def metrics():
        async with daemon.request("GET", "/v1/metrics") as answer:
            return await answer.text()

    await metrics()  # the connection is kept
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
    for reader, _ in idle[:13]:
        assert b"" == await asyncio.wait_for(reader.read(), 5)
    assert not any(reader.at_eof() for reader, _ in idle[13:])
    text = await metrics()
    assert not any(reader.at_eof() for reader, _ in idle[13:])  # it needed no new one
    assert "\npmask_connections 8.0\n" in text
    assert "\npmask_connections_refused_total 13.0\n" in text
    for _, one in idle:
        one.close()


async def metric(daemon, name: str) -> float:
    async with daemon.request("GET", "/v1/metrics") as answer:
        [line] = [line for line in (await answer.text()).splitlines() if line.startswith(f"{name} ")]
    return float(line.split()[-1])


async def test_a_swarm_in_one_instant_is_thinned_out_too(make_daemon):
    """The system hands over a hundred connections at once: each alone would find room."""
    daemon = await (await make_daemon(connections=8)).pair()
    swarm = [socket.create_connection(("127.0.0.1", daemon.config.port)) for _ in range(60)]  # the daemon waits
    for one in swarm[:-8]:
        one.setblocking(False)
        assert b"" == await asyncio.wait_for(asyncio.get_running_loop().sock_recv(one, 1), 5)
    assert 8 == await metric(daemon, "pmask_connections")
    for one in swarm:
        one.close()


@pytest.mark.skipif(open_descriptors() is None, reason="this system does not tell its descriptors")
async def test_who_never_reads_is_put_out_all_the_same(make_daemon):
    """A connection that closes in order lasts until all is sent: with peers that read nothing, descriptors run out."""
    daemon = await (await make_daemon(connections=8)).pair()
    port = daemon.config.port
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    deaf.connect(("127.0.0.1", port))
    deaf.sendall(f"GET /page/page.js HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode() * 1000)
    answered = [0.0, 2.0]
    while answered[-1] < 10 or answered[-1] > answered[-2] + 1:  # until, between two, none but this question is
        answered.append(await metric(daemon, 'pmask_requests_total{status="200"}'))
    before = open_descriptors()
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
    await metric(daemon, "pmask_connections")
    assert before + 2 * len(idle) - 2 == open_descriptors()  # theirs at both ends, without the deaf one and one of them
    deaf.close()
    for _, one in idle:
        one.close()


async def test_strangers_heads_have_little_memory_together(make_daemon, photo, monkeypatch):
    """A head is held until it is there in full: 250 of them, never finished, took a gigabyte. Who comes in is no
    stranger, however much they send at once."""
    monkeypatch.setattr(serving, "_STRANGERS_BYTES", 4_000_000, raising=False)
    daemon = await (await make_daemon()).pair()
    head = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{daemon.config.port}\r\n" + f"X-A: {'a' * 60_000}\r\n" * 16
    strangers = []
    for _ in range(9):
        strangers.append(await asyncio.open_connection("127.0.0.1", daemon.config.port))
        strangers[-1][1].write(head.encode())
        await asyncio.sleep(0.05)  # until it was read
    await daemon.post(io.BytesIO(photo + bytes(10_000_000)))
    for reader, _ in strangers[:5]:
        with contextlib.suppress(ConnectionError):  # what was not read yet makes an abort a reset
            assert b"" == await asyncio.wait_for(reader.read(), 5)
    assert not any(reader.at_eof() for reader, _ in strangers[-3:])
    for _, writer in strangers:
        writer.close()


async def test_where_clients_use_all_connections_a_new_one_is_closed(make_daemon):
    """Work that is under way is not given up for somebody at the door."""
    daemon = await (await make_daemon(connections=3)).pair()
    port = daemon.config.port
    head = f"GET /v1/options HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {daemon.token}\r\n\r\n"
    used = []
    for _ in range(3):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(head.encode())
        assert b"HTTP/1.1 200 OK\r\n" == await reader.readline()
        used.append((reader, writer))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    assert b"" == await asyncio.wait_for(reader.read(), 5)
    for _, one in (*used, (reader, writer)):
        one.close()
