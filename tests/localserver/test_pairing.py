"""Pairing, what is kept of it, and the daemon's proof of who it is."""

from __future__ import annotations

import hashlib
import hmac
import json
import stat
import sys
from dataclasses import asdict

import pytest

from localserver.clients import CODE_ALPHABET, Clients
from localserver.errors import BadCode, BadRequest, TooManyAttempts

EXTENSION = "moz-extension://0f0e4c2b-1111-4222-8333-444455556666"
CHALLENGE = "abcdefgh-IJKLMNOP_12"


async def pair(daemon, code, *, name="Firefox on laptop", origin=EXTENSION):
    return await daemon.json("POST", "/v1/pair", json={"code": code, "name": name}, headers={"Origin": origin})


async def refusal(daemon, code):
    status, body = await pair(daemon, code)
    return status, body["error"]["code"]


def wrong(code: str) -> str:
    return ("B" if code[0] == "A" else "A") + code[1:]


async def test_a_code_is_exchanged_for_a_token_that_opens_the_door(stranger):
    """The whole way from the terminal's code to the first request."""
    status, body = await pair(stranger, stranger.clients.new_code())
    assert 200 == status
    assert "Firefox on laptop" == body["client"]["name"]
    headers = {"Authorization": f"Bearer {body['token']}", "Origin": EXTENSION}
    assert 200 == (await stranger.json("GET", "/v1/options", headers=headers))[0]
    headers["Origin"] = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
    assert (403, "forbidden_origin") == await stranger.refusal("GET", "/v1/options", headers=headers)


async def test_case_spaces_and_dashes_do_not_matter(stranger):
    """People copy codes by hand, and the terminal shows one in two halves."""
    code = stranger.clients.new_code().lower()
    assert 200 == (await pair(stranger, f" {code[:4]} - {code[4:]} "))[0]


def test_codes_avoid_what_people_mistake(tmp_path):
    """0 and O, 1 and I are one another's usual typing errors."""
    clients = Clients(tmp_path)
    codes = {clients.new_code() for _ in range(50)}
    assert 50 == len(codes)
    assert {8} == {len(code) for code in codes}
    assert set() == set("".join(codes)) - set(CODE_ALPHABET)
    assert "ABCDEFGHJKLMNPQRSTUVWXYZ23456789" == CODE_ALPHABET


async def test_a_code_works_once(stranger):
    """Who reads it off the screen later gets nothing."""
    code = stranger.clients.new_code()
    assert 200 == (await pair(stranger, code))[0]
    assert (403, "bad_code") == await refusal(stranger, code)


async def test_a_code_works_for_two_minutes(stranger):
    """A forgotten terminal must not stay a way in."""
    code = stranger.clients.new_code()
    stranger.clock.now += 121
    assert (403, "bad_code") == await refusal(stranger, code)


async def test_a_clock_set_back_gives_a_code_no_longer_life(stranger):
    """Expiry is by the wall clock, which can be turned."""
    code = stranger.clients.new_code()
    stranger.clock.now -= 3600
    assert (403, "bad_code") == await refusal(stranger, code)


async def test_a_new_code_voids_the_one_before(stranger):
    """Only one code is ever good."""
    old, new = stranger.clients.new_code(), stranger.clients.new_code()
    assert (403, "bad_code") == await refusal(stranger, old)
    assert 200 == (await pair(stranger, new))[0]


async def test_five_wrong_tries_void_the_code(stranger):
    """Guessing must not get more chances than typing errors need."""
    code = stranger.clients.new_code()
    for _ in range(4):
        assert (403, "bad_code") == await refusal(stranger, wrong(code))
    assert 200 == (await pair(stranger, code))[0]
    code = stranger.clients.new_code()
    for _ in range(5):
        assert (403, "bad_code") == await refusal(stranger, wrong(code))
    assert (403, "bad_code") == await refusal(stranger, code)


async def test_ten_wrong_tries_a_minute_are_the_most(stranger):
    """New codes bring no new tries, and the right code is no way round the limit; time is."""
    for _ in range(10):
        assert (403, "bad_code") == await refusal(stranger, "nonsense")
    code = stranger.clients.new_code()
    stranger.clock.now += 20
    async with stranger.request("POST", "/v1/pair", json={"code": code, "name": "x"}) as answer:
        assert (429, "40") == (answer.status, answer.headers["Retry-After"])
        assert "too_many_attempts" == (await answer.json())["error"]["code"]
    stranger.clock.now += 41
    assert 200 == (await pair(stranger, code))[0]


def test_a_clock_set_back_makes_nobody_wait_for_longer(tmp_path):
    """The minute is a minute, whatever the wall clock says."""
    wall, steady = [1_700_000_000.0], [0.0]
    clients = Clients(tmp_path, lambda: wall[0], lambda: steady[0])
    for _ in range(10):
        with pytest.raises(BadCode):
            clients.pair("nonsense", "x", None)
    wall[0] -= 7200
    with pytest.raises(TooManyAttempts) as refused:
        clients.pair(clients.new_code(), "x", None)
    assert 60 == refused.value.retry_after
    steady[0] += 60
    clients.pair(clients.new_code(), "x", None)


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"[" * 4000, b"{}", b"\xff"),
        *(b'{"code": 1, "name": "x"}', b'{"code": "A"}', b'{"code": "A", "name": ""}'),
        *(b'{"code": "A", "name": "\\u001b[31m"}', b'{"code": "A", "name": "\\ud800"}'),
    ],
)
async def test_what_is_no_pairing_request_is_refused(stranger, body):
    """Escape sequences in a name would reach the terminal that lists clients; nothing may end in a crash."""
    assert (400, "bad_request") == await stranger.refusal("POST", "/v1/pair", data=body)


async def test_odd_codes_are_just_wrong(stranger):
    """A lone surrogate has no UTF-8: hashing it must not fail."""
    stranger.clients.new_code()
    for code in ("", "\ud800", "ß" * 8, "A" * 3000):
        assert (403, "bad_code") == await refusal(stranger, code)


async def test_a_large_pairing_request_is_refused(stranger):
    """Nobody who is not paired may make the daemon hold megabytes."""
    assert (413, "too_many_bytes") == await stranger.refusal("POST", "/v1/pair", data=b"x" * 100_000)


async def test_the_proof_is_what_the_protocol_says(daemon):
    """Computed here from the token alone, as a client does before it trusts whoever listens on the port."""
    _, body = await daemon.json("GET", f"/v1/health?client={daemon.client_id}&challenge={CHALLENGE}")
    key = hashlib.sha256(daemon.token.encode()).digest()
    text = f"pmask-proof-1\n{CHALLENGE}\n{daemon.config.port}".encode()
    assert hmac.new(key, text, hashlib.sha256).hexdigest() == body["proof"]


async def test_there_is_no_proof_for_who_is_not_paired(stranger):
    """A revoked or unknown client learns that it is one from the missing proof, and not from an error."""
    plain = {"product": "pmask", "version": "0.1.0", "protocol": 1}
    for query in ("", f"?client=nobody&challenge={CHALLENGE}", f"?challenge={CHALLENGE}", "?client=nobody"):
        assert (200, plain) == await stranger.json("GET", f"/v1/health{query}")


@pytest.mark.parametrize("challenge", ["short", "x" * 129, "has a space in it..", "new%0Aline%0Anew%0Aline"])
async def test_a_bad_challenge_is_refused(daemon, challenge):
    """A line break in it could make the proof's text mean something else."""
    path = f"/v1/health?client={daemon.client_id}&challenge={challenge}"
    assert (400, "bad_request") == await daemon.refusal("GET", path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes; its profile folder is private")
async def test_what_is_kept_is_private_and_holds_no_token(daemon):
    """Another user of the machine must not read who is paired, and a stolen backup must not open the door."""
    code = daemon.clients.new_code()
    folder = daemon.config.state_dir
    kept = [path for path in folder.rglob("*") if path.is_file()]
    assert 2 == len(kept)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in kept}
    assert {0o700} == {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "clients")}
    for secret in (daemon.token, code):
        assert [] == [path for path in kept if secret in path.read_text()]


def test_clients_survive_a_restart_and_damage(tmp_path, caplog):
    """A damaged file must not lock the others out."""
    clients = Clients(tmp_path)
    token, client = clients.pair(clients.new_code(), "first", None)
    whole = asdict(client)
    odd = [json.dumps(whole | {name: []}).encode() for name in whole]
    for number, damage in enumerate([b"", b"{}", b"[1]", b'{"id": 1, "name": "x"}', *odd]):
        (tmp_path / "clients" / f"damaged{number}.json").write_bytes(damage)
    again = Clients(tmp_path)
    assert client == again.authenticate(token)
    assert [client] == again.paired()
    assert not again.revoke("../pairing")
    assert again.revoke(client.id)
    assert again.authenticate(token) is None


async def test_a_client_can_be_given_another_name(daemon):
    """ "Firefox" twice in a list helps nobody; its token stays good."""
    assert daemon.clients.rename(daemon.client_id, "The old laptop")
    assert ["The old laptop"] == [client.name for client in daemon.clients.paired()]
    assert 200 == (await daemon.json("GET", "/v1/options"))[0]
    assert not daemon.clients.rename("../pairing", "x")
    assert not daemon.clients.rename("nobody", "x")
    for name in ("", "x" * 81, "\x1b[31m"):
        with pytest.raises(BadRequest):
            daemon.clients.rename(daemon.client_id, name)
