"""The Nostr relay driven by the `nostr-sdk` package: what its users see of it, over real sockets.

Run by scripts/test-clients, which installs the package and sets CORECAST_BIN. The tests share one
relay, each with keys of its own. Nothing is awaited without a deadline, and nothing is slept for.
"""

import asyncio
import datetime
import inspect
import json
import socket
import sys
import time
import traceback
import urllib.request

from nostr_sdk import (
    AckPolicy,
    ClientBuilder,
    ClientMessage,
    EventBuilder,
    Filter,
    Keys,
    Kind,
    NegentropyItem,
    RelayUrl,
    ReqTarget,
    SignerAuthenticator,
    SyncOptions,
    Tag,
    Timestamp,
    UnwrappedGift,
    nip17_make_private_msg,
    uniffi_set_event_loop,
)

from relay import DEADLINE_S, Relay

DEADLINE = datetime.timedelta(seconds=DEADLINE_S)
TEXT = "grüße \U0001f980 \x00\x1f\x7f \"\\/\" \b\f\n\r\t \u2028 \ufdd1 </script>"
NAME = "A relay"
STARTS_MAX = 5


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start():
    """A relay that knows its URL, which clients sign. Others may take its port meanwhile."""
    for starts in range(1, STARTS_MAX + 1):
        port = free_port()
        url = f"ws://127.0.0.1:{port}/nostr"
        settings = (
            "endpoints.nostr.kind=nostr",
            "endpoints.nostr.path=/nostr",
            f"endpoints.nostr.nostr.urls=[{url}]",
            f"endpoints.nostr.nostr.info.name={NAME}",
        )
        try:
            relay = Relay(*settings, port=port)
        except AssertionError as error:
            if starts == STARTS_MAX or "in use" not in str(error):
                raise
        else:
            relay.nostr = RelayUrl.parse(url)
            return relay


async def soon(awaitable):
    return await asyncio.wait_for(awaitable, DEADLINE_S)


class User:
    """A key, and a client that is connected to the relay. One with `proves` signs what AUTH asks."""

    def __init__(self, relay, proves=False):
        self.url = relay.nostr
        self.keys = Keys.generate()
        self.key = self.keys.public_key()
        builder = ClientBuilder()
        if proves:
            builder = builder.authenticator(SignerAuthenticator(self.keys))
        self.client = builder.build()

    async def __aenter__(self):
        await soon(self.client.add_relay(self.url))
        connected = await soon(self.client.try_connect(DEADLINE))
        assert connected.success == [self.url], connected
        self.relay = await soon(self.client.relay(self.url))
        return self

    async def __aexit__(self, *_error):
        await soon(self.client.shutdown())

    def event(self, content="", kind=1, tags=(), at=None):
        builder = EventBuilder(Kind(kind), content).tags([Tag.parse(list(tag)) for tag in tags])
        if at is not None:
            builder = builder.custom_created_at(Timestamp.from_secs(at))
        return builder.finalize(self.keys)

    async def publish(self, event):
        """Returns the reason with which the relay refuses it, or None."""
        sent = await soon(
            self.client.send_event(
                event, ack_policy=AckPolicy.all(), ok_timeout=DEADLINE, authentication_timeout=DEADLINE
            )
        )
        return sent.failed.get(self.url)

    async def query(self, wanted):
        return await soon(self.relay.fetch_events(wanted, timeout=DEADLINE))

    async def count(self, wanted):
        """The library's own `count_events` listens only after it has asked, and misses an answer
        that is quick."""
        stream = self.client.notifications()
        await soon(self.relay.send_msg(ClientMessage.count("count", wanted)))
        answer = await said(stream, lambda message: message.is_count())
        assert answer.subscription_id == "count", answer
        return answer.count

    async def live(self, wanted):
        """A subscription whose stored events have come."""
        stream = self.client.notifications()
        target = ReqTarget.single(self.url, [wanted])
        name = (await soon(self.client.subscribe(target))).id
        await said(stream, lambda each: each.is_end_of_stored_events() and each.subscription_id == name)
        return Live(stream, name)


async def said(stream, is_wanted):
    """The next message of the relay that is wanted."""
    while True:
        notification = await soon(stream.next())
        if notification.is_message():
            message = notification.message.as_enum()
            if is_wanted(message):
                return message


class Live:
    def __init__(self, stream, name):
        self.stream = stream
        self.name = name

    async def next(self):
        while True:
            notification = await soon(self.stream.next())
            if notification.is_new_event() and notification.subscription_id == self.name:
                return notification.event


def ids(events):
    return [event.id().to_hex() for event in events]


def sorted_ids(events):
    order = sorted(events, key=lambda event: (-event.created_at().as_secs(), event.id().to_hex()))
    return ids(order)


def fields(event):
    return json.loads(event.as_json())


async def test_what_is_published_is_found_character_by_character(relay):
    async with User(relay) as user:
        sent = user.event(TEXT, tags=[("t", TEXT), ("d", "", "b")])
        assert await user.publish(sent) is None
        found = await user.query(Filter().author(user.key))
        assert list(map(fields, found)) == [fields(sent)]
        assert ids(await user.query(Filter().author(user.key).hashtag("x"))) == []
        assert await user.publish(sent) is None, "once more is no failure"


async def test_200_events_come_newest_first_and_are_counted(relay):
    async with User(relay) as user:
        since = int(time.time()) - 1_000
        # Two of each second, so that ids decide.
        events = [user.event(str(i), at=since + i * 7 // 2 % 100) for i in range(200)]
        answers = await asyncio.gather(*map(user.publish, events))
        assert set(answers) == {None}, answers
        mine = Filter().author(user.key)
        assert ids(await user.query(mine)) == sorted_ids(events)
        assert ids(await user.query(mine.limit(7))) == sorted_ids(events)[:7]
        window = mine.since(Timestamp.from_secs(since + 10)).until(Timestamp.from_secs(since + 19))
        within = [each for each in events if since + 10 <= each.created_at().as_secs() <= since + 19]
        assert ids(await user.query(window)) == sorted_ids(within)
        assert await user.count(window) == len(within)


async def test_subscriptions_of_one_client_get_what_comes_each_its_own(relay):
    async with User(relay) as reader, User(relay) as ada, User(relay) as ben:
        by_ada = await reader.live(Filter().author(ada.key))
        by_ben = await reader.live(Filter().author(ben.key))
        sent = [ada.event("1"), ben.event("2"), ada.event("3")]
        for writer, event in zip((ada, ben, ada), sent):
            assert await writer.publish(event) is None
        assert ids([await by_ada.next(), await by_ada.next()]) == ids([sent[0], sent[2]])
        assert ids([await by_ben.next()]) == ids([sent[1]])


async def test_of_replaceable_and_addressable_events_the_latest_stays(relay):
    async with User(relay) as user:
        now = int(time.time())
        for kind, tags in ((0, ()), (10_002, ()), (30_023, (("d", "ü"),))):
            old, fresh, stale = (user.event(str(n), kind, tags, now - n) for n in (10, 5, 7))
            assert await user.publish(old) is None
            assert await user.publish(fresh) is None
            assert (await user.publish(stale)).startswith("duplicate: ")
            mine = Filter().author(user.key).kind(Kind(kind))
            assert ids(await user.query(mine)) == ids([fresh])


async def test_ephemeral_events_are_sent_on_and_are_not_kept(relay):
    async with User(relay) as reader, User(relay) as writer:
        live = await reader.live(Filter().author(writer.key).kind(Kind(20_001)))
        sent = writer.event("now", kind=20_001)
        assert await writer.publish(sent) is None
        assert fields(await live.next()) == fields(sent)
        assert await reader.query(Filter().author(writer.key)) == []


async def test_what_is_not_taken_is_refused_with_its_reason(relay):
    async with User(relay) as user:
        now = int(time.time())
        for event, reason in (
            (user.event(at=now + 3_600), "invalid: created_at"),
            (user.event(tags=[("expiration", str(now - 10))]), "invalid: the event has expired"),
            (user.event("x" * (256 << 10)), "invalid: the event has more than"),
        ):
            refused = await user.publish(event)
            assert refused is not None and refused.startswith(reason), refused
        assert await user.query(Filter().author(user.key)) == []


async def test_private_messages_reach_their_recipient_alone(relay):
    async with User(relay) as sender, User(relay, proves=True) as receiver:
        wrap = nip17_make_private_msg(sender.keys, receiver.key, TEXT)
        assert await sender.publish(wrap) is None
        wanted = Filter().kind(Kind(1_059)).pubkey(receiver.key)
        [found] = await receiver.query(wanted)
        rumor = UnwrappedGift.from_gift_wrap(receiver.keys, found).rumor()
        assert json.loads(rumor.as_json())["content"] == TEXT
        live = await receiver.live(wanted)
        second = nip17_make_private_msg(sender.keys, receiver.key, "second")
        assert await sender.publish(second) is None
        assert ids([await live.next()]) == ids([second])
        async with User(relay, proves=True) as other:
            assert await other.query(wanted) == []
        assert await sender.query(Filter().id(wrap.id())) == []


async def test_who_proves_no_key_is_told_that_it_has_to(relay):
    async with User(relay) as anybody:
        try:
            await anybody.query(Filter().kind(Kind(1_059)))
        except Exception as error:
            assert "auth" in str(error).lower(), error
        else:
            raise AssertionError("the query was answered")


async def test_a_protected_event_is_taken_from_its_author_alone(relay):
    async with User(relay, proves=True) as author, User(relay, proves=True) as other:
        event = author.event("mine", tags=[("-",)])
        refused = await other.publish(event)
        assert refused is not None and refused.startswith("restricted: "), refused
        assert await other.query(Filter().id(event.id())) == []
        assert await author.publish(event) is None
        assert ids(await other.query(Filter().id(event.id()))) == ids([event])


async def test_two_sets_are_told_apart_by_synchronization(relay):
    async with User(relay) as user:
        now = int(time.time())
        events = [user.event(str(number), at=now - 400 + number // 3) for number in range(90)]
        for event in events[:60]:
            assert await user.publish(event) is None
        own = [
            NegentropyItem(id=event.id(), timestamp=event.created_at())
            for number, event in enumerate(events)
            if number % 4
        ]
        wanted = Filter().author(user.key)
        found = await soon(user.relay.sync(wanted, items=own, opts=SyncOptions().dry_run()))
        assert sorted(each.to_hex() for each in found.local) == sorted(
            ids(event for number, event in enumerate(events) if number >= 60 and number % 4)
        )
        assert sorted(each.to_hex() for each in found.remote) == sorted(ids(events[:60:4]))


async def test_the_information_document_says_what_the_relay_does(relay):
    def read():
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        accept = {"Accept": "application/nostr+json"}
        request = urllib.request.Request(f"http://{relay.address}/nostr", headers=accept)
        return json.load(opener.open(request, timeout=DEADLINE_S))

    document = await asyncio.to_thread(read)
    assert document["name"] == NAME
    assert document["supported_nips"] == [1, 9, 11, 40, 42, 45, 59, 62, 67, 70, 77]


async def on_a_loop(test, relay):
    # The library's callbacks from its own threads, such as an authenticator, run there.
    uniffi_set_event_loop(asyncio.get_running_loop())
    await test(relay)


def run(test, relay):
    """Runs one test. Returns whether it passed."""
    began = time.monotonic()
    name = test.__name__.removeprefix("test_").replace("_", " ")
    try:
        asyncio.run(on_a_loop(test, relay))
    except Exception:
        print(f"FAILED  {name}", flush=True)
        traceback.print_exc()
        print("The relay's log:\n" + "".join(relay.log), file=sys.stderr)
        return False
    print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return True


def main():
    members = vars(sys.modules[__name__]).items()
    tests = [test for name, test in members if name.startswith("test_")]
    assert tests and all(map(inspect.iscoroutinefunction, tests))
    with start() as relay:
        outcomes = [run(test, relay) for test in tests]
        assert relay.stop() == 0, "the relay did not end well"
    print(f"{outcomes.count(True)} passed, {outcomes.count(False)} failed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
