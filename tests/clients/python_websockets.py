"""The relay driven by the `websockets` package: what its users see of it, over real sockets.

Run by scripts/test-clients, which installs the package and sets CORECAST_BIN. Each test_* function
gets a relay; those marked with @relay(...) one of their own, the others share one, each in rooms of
its own. Nothing is awaited without a deadline, and nothing is slept for.
"""

import asyncio
import inspect
import sys
import time
import traceback
import urllib.error
import urllib.request

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from relay import DEADLINE_S, Relay

MESSAGE_BYTES_MAX = 1 << 20
# Around each length at which the frame header changes its form (RFC 6455 §5.2), and the limit.
SIZES = (0, 1, 125, 126, 127, 65_535, 65_536, MESSAGE_BYTES_MAX)


def relay(*settings):
    """Has the test run against a relay of its own with these settings."""

    def mark(test):
        test.relay_settings = settings
        return test

    return mark


def join(relay, room, **options):
    """A client in the room, as an async context manager."""
    options = {"max_size": None, "open_timeout": DEADLINE_S, "close_timeout": DEADLINE_S, **options}
    return connect(relay.url(room), proxy=None, **options)


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE_S)


async def close_of(client):
    """The code and the reason with which the relay closes the client."""
    try:
        while True:
            await soon(client.recv())
    except ConnectionClosed as closed:
        assert closed.rcvd is not None, f"no Close frame came: {closed}"
        return closed.rcvd.code, closed.rcvd.reason


def pattern(size):
    return bytes((7 * i + i // 251) % 256 for i in range(size))


async def test_binary_of_every_size_reaches_everybody_unchanged(relay):
    async with join(relay, "/binary") as sender, join(relay, "/binary") as other:
        for size in SIZES:
            sent = pattern(size)
            await soon(sender.send(sent))
            for client in (sender, other):
                assert await soon(client.recv()) == sent, f"{size} bytes"


async def test_text_of_every_size_stays_text(relay):
    async with join(relay, "/text") as sender, join(relay, "/text") as other:
        for size in SIZES:
            # Characters of two bytes, so that the reads of the relay split some of them.
            sent = "é" * (size // 2) + "x" * (size % 2)
            assert len(sent.encode()) == size
            await soon(sender.send(sent))
            for client in (sender, other):
                assert await soon(client.recv()) == sent, f"{size} bytes"


async def test_one_byte_over_the_limit_is_closed_with_1009(relay):
    for message in (bytes(MESSAGE_BYTES_MAX + 1), "x" * (MESSAGE_BYTES_MAX + 1)):
        async with join(relay, "/limit") as other, join(relay, "/limit") as sender:
            await soon(sender.send(message))
            code, reason = await soon(close_of(sender))
            assert (code, reason.split()[0]) == (1009, "protocol:"), f"{code} {reason}"
            await soon(other.send("still here"))
            assert await soon(other.recv()) == "still here", "nothing of the message got through"


async def test_the_limit_holds_for_the_sum_of_fragments(relay):
    half = bytes(MESSAGE_BYTES_MAX // 2)
    async with join(relay, "/fragments-limit") as sender:
        await soon(sender.send([half, half]))
        assert await soon(sender.recv()) == half + half
        await soon(sender.send([half, half, b"x"]))
        code, _reason = await soon(close_of(sender))
        assert code == 1009


async def test_fragments_arrive_as_one_message(relay):
    async with join(relay, "/fragments") as sender, join(relay, "/fragments") as other:
        await soon(sender.send(["one", "", " mes", "sage ✓"]))
        assert await soon(other.recv()) == "one message ✓"
        await soon(sender.send([b"\x00", b"\xff" * 70_000, b""]))
        assert await soon(other.recv()) == b"\x00" + b"\xff" * 70_000


async def test_a_ping_between_fragments_is_answered_before_the_message_ends(relay):
    async with join(relay, "/between") as sender, join(relay, "/between") as other:

        async def fragments():
            yield "before"
            pong = await sender.ping(b"between")
            await soon(pong)
            yield " after"

        await soon(sender.send(fragments()))
        assert await soon(other.recv()) == "before after"


async def test_pings_are_answered_with_their_payload(relay):
    async with join(relay, "/ping") as client:
        for payload in (b"", b"x", bytes(range(125))):
            # `websockets` resolves this only with a pong of the same payload.
            await soon(await client.ping(payload))


async def test_a_close_is_answered_with_its_own_code(relay):
    for code in (1000, 1001, 1008, 1011, 3000, 4999):
        async with join(relay, "/close") as client:
            await soon(client.close(code, "bye"))
            received = client.protocol.close_rcvd
            assert received is not None and received.code == code, f"{code}: {received}"


async def test_text_that_is_not_utf8_is_closed_with_1007(relay):
    async with join(relay, "/utf8") as other, join(relay, "/utf8") as sender:
        await soon(sender.send(b"caf\xe9", text=True))
        code, reason = await soon(close_of(sender))
        assert (code, reason.split()[0]) == (1007, "protocol:")
        await soon(other.send("next"))
        assert await soon(other.recv()) == "next"


async def test_a_room_hears_its_own_messages_and_no_others(relay):
    rooms = ("/", "/a", "/a/", "/a/b", "/A", "/caf%C3%A9")
    members = {room: [await soon(join(relay, room)) for _ in range(3)] for room in rooms}
    for room in rooms:
        await soon(members[room][0].send(room))
    for room in rooms:
        # A message of another room would come before this one.
        await soon(members[room][1].send(b"end"))
    for room in rooms:
        for client in members[room]:
            assert {await soon(client.recv()), await soon(client.recv())} == {room, b"end"}
            await soon(client.close())


async def test_a_query_does_not_make_another_room(relay):
    async with join(relay, "/query?a=1") as first, join(relay, "/query") as second:
        await soon(first.send("to all in /query"))
        assert await soon(second.recv()) == "to all in /query"


async def test_with_echo_the_sender_gets_its_own_messages(relay):
    async with join(relay, "/echo") as sender:
        await soon(sender.send("mine"))
        assert await soon(sender.recv()) == "mine"


@relay("endpoints.hub.echo=false")
async def test_without_echo_only_the_others_get_a_message(relay):
    async with join(relay, "/quiet") as first, join(relay, "/quiet") as second:
        await soon(first.send("from the first"))
        assert await soon(second.recv()) == "from the first"
        await soon(second.send("from the second"))
        assert await soon(first.recv()) == "from the second", "its own message came first"


async def test_concurrent_publishers_are_seen_in_one_order_by_all(relay):
    publishers, each, listeners = 8, 250, 6

    async def publish(client, number):
        for sequence in range(each):
            await soon(client.send(f"{number} {sequence}"))

    async def hear(client):
        return [await soon(client.recv()) for _ in range(publishers * each)]

    clients = [await soon(join(relay, "/order")) for _ in range(publishers + listeners)]
    heard, _ = await asyncio.gather(
        asyncio.gather(*map(hear, clients)),
        asyncio.gather(*(publish(clients[n], n) for n in range(publishers))),
    )
    assert all(order == heard[0] for order in heard), "two members saw different orders"
    for number in range(publishers):
        own = [line for line in heard[0] if line.split()[0] == str(number)]
        assert own == [f"{number} {sequence}" for sequence in range(each)]
    await asyncio.gather(*(soon(client.close()) for client in clients))


async def test_an_offered_subprotocol_is_not_selected(relay):
    async with join(relay, "/", subprotocols=["chat", "graphql-ws"]) as client:
        assert client.subprotocol is None
        assert "Sec-WebSocket-Protocol" not in client.response.headers


async def test_offered_compression_is_not_negotiated_unless_it_is_enabled(relay):
    async with join(relay, "/plain", compression="deflate") as client:
        assert "permessage-deflate" in client.request.headers["Sec-WebSocket-Extensions"]
        assert "Sec-WebSocket-Extensions" not in client.response.headers
        await soon(client.send("compressible " * 1_000))
        assert await soon(client.recv()) == "compressible " * 1_000


@relay("deflate.enabled=true")
async def test_with_compression_everybody_gets_every_message(relay):
    offers = [
        ClientPerMessageDeflateFactory(),
        ClientPerMessageDeflateFactory(server_max_window_bits=9, client_max_window_bits=9),
        ClientPerMessageDeflateFactory(
            server_no_context_takeover=True,
            client_no_context_takeover=True,
            server_max_window_bits=15,
            client_max_window_bits=True,
        ),
    ]
    options = [{"compression": None, "extensions": [offer]} for offer in offers]
    options += [{"compression": None}, {}]
    clients = [await soon(join(relay, "/deflate", **each)) for each in options]
    names = [[each.name for each in client.protocol.extensions] for client in clients]
    assert names == [["permessage-deflate"]] * 3 + [[], ["permessage-deflate"]]
    for size in SIZES:
        for sent in ("again " * (size // 6), pattern(size)):
            for sender in clients[:4]:
                await soon(sender.send(sent))
                for client in clients:
                    assert await soon(client.recv()) == sent, f"{size} bytes"
    sent = ["frag", "", "ments " * 1_000, "✓"]
    await soon(clients[0].send(sent))
    for client in clients:
        assert await soon(client.recv()) == "".join(sent)
        await soon(client.close())


@relay("deflate.enabled=true")
async def test_a_bomb_is_closed_with_1009(relay):
    async with join(relay, "/bomb") as sender, join(relay, "/bomb") as other:
        await soon(sender.send(bytes(64 * MESSAGE_BYTES_MAX)))
        code, reason = await soon(close_of(sender))
        assert (code, reason) == (1009, "protocol: message_too_big")
        await soon(other.send("still here"))
        assert await soon(other.recv()) == "still here"


async def test_a_plain_request_is_told_that_it_has_to_upgrade(relay):
    def request():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            return opener.open(f"http://{relay.address}/", timeout=DEADLINE_S).status
        except urllib.error.HTTPError as error:
            return error.code

    assert await asyncio.to_thread(request) == 426


@relay()
async def test_sigterm_closes_everybody_with_1001_and_exits_with_0(relay):
    clients = [await soon(join(relay, room)) for room in ("/", "/", "/b")]
    stopped = asyncio.create_task(asyncio.to_thread(relay.stop))
    for client in clients:
        code, _reason = await soon(close_of(client))
        assert code == 1001
    assert await soon(stopped) == 0


def run(test, shared):
    """Runs one test. Returns whether it passed."""
    began = time.monotonic()
    name = test.__name__.removeprefix("test_").replace("_", " ")
    settings = getattr(test, "relay_settings", None)
    own = None if settings is None else Relay(*settings)
    try:
        asyncio.run(test(own or shared))
    except Exception:
        print(f"FAILED  {name}", flush=True)
        traceback.print_exc()
        print("The relay's log:\n" + "".join((own or shared).log), file=sys.stderr)
        return False
    finally:
        if own is not None:
            own.kill()
    print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def main():
    members = vars(sys.modules[__name__]).items()
    tests = [test for name, test in members if name.startswith("test_")]
    assert tests and all(map(inspect.iscoroutinefunction, tests))
    with Relay() as shared:
        outcomes = [run(test, shared) for test in tests]
        assert shared.stop() == 0, "the relay did not end well"
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
