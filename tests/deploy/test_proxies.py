"""The snippets of docs/ for proxies and systemd, and the kit's Caddyfile, with the programs that read them.

What each has to do: messages of both kinds pass; the relay takes the client's address from the proxy
and from nobody else, which limits.connections_per_ip shows; a Close of the relay reaches the client.
"""

import asyncio
import os
import pathlib
import re
import socket
import ssl
import tempfile
import unittest

from websockets.exceptions import ConnectionClosed, InvalidStatus

from relay import Relay
from stage import DEPLOY, Program, certificate, eventually, free_port, join, needs, snippet, soon

# One connection for each address, also for those of this machine.
ONE_EACH = ("limits.connections_per_ip=1", "limits.exempt_networks=[]")
TRUSTED = "server.trusted_proxies=127.0.0.1/32"
# Headers by which a client pretends to be another one.
LIES = (
    {"X-Forwarded-For": "203.0.113.9"},
    {"Forwarded": "for=203.0.113.9"},
    {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.10", "X-Real-IP": "203.0.113.9"},
)


async def drive(relay, url, **options):
    """A client joins through the proxy and is told apart from others; then the relay ends."""
    async with join(url, "127.0.0.2", **options) as first:
        for message in ("héllo", b"\x00\xff" * 40_000, ""):
            await soon(first.send(message))
            assert await soon(first.recv()) == message
        await soon(await first.ping())
        async with join(url, "127.0.0.3", **options) as other:
            await soon(other.send("from another address"))
            assert await soon(first.recv()) == "from another address"
        for lies in (None, *LIES):
            try:
                async with join(url, "127.0.0.2", headers=lies, **options):
                    raise AssertionError(f"a second one from the same address came in with {lies}")
            except InvalidStatus as refused:
                assert refused.response.status_code == 429, (lies, refused)
        stopped = asyncio.get_running_loop().run_in_executor(None, relay.stop)
        try:
            await soon(first.recv())
            raise AssertionError("it goes on")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None and closed.rcvd.code == 1001, closed
        assert await soon(stopped) == 0


class Proxies(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="corecast-deploy-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    @needs("nginx")
    def test_nginx_over_a_unix_socket(self):
        port, path = free_port(), self.folder / "relay.sock"
        location = snippet("proxies.md", "nginx", "proxy_pass").replace("/run/corecast.sock", str(path))
        self.assertIn(str(path), location)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};\n"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        # The workers of root's nginx run as another user, and the socket is for the relay's group.
        user = "user root;" if os.geteuid() == 0 else ""
        config = self.write(
            "nginx.conf",
            f"{user} daemon off; worker_processes 1; error_log stderr; pid {self.folder}/pid;\n"
            f"events {{}}\nhttp {{ access_log off; {temporary} server {{\n"
            f"listen 127.0.0.1:{port};\n{location}\n}} }}\n",
        )
        settings = (f'server.listen=["unix:{path}"]', "server.trusted_proxies=unix", *ONE_EACH)
        with Relay(*settings) as relay:
            with Program("nginx", "-p", self.folder, "-e", "stderr", "-c", config, port=port):
                asyncio.run(drive(relay, f"ws://127.0.0.1:{port}/lobby"))

    def haproxy(self, relay, scheme, **options):
        port = free_port()
        host, _, relay_port = relay.address.rpartition(":")
        backend = snippet("proxies.md", "haproxy", "send-proxy-v2").replace("10.0.0.7:8443", relay.address)
        self.assertIn(f"{host}:{relay_port}", backend)
        config = self.write(
            "haproxy.cfg",
            "defaults\n    timeout connect 5s\n    timeout client 1m\n    timeout server 1m\n"
            f"frontend relay\n    mode tcp\n    bind 127.0.0.1:{port}\n"
            f"    default_backend corecast\n{backend}",
        )
        with Program("haproxy", "-db", "-f", config, port=port):
            host = "localhost" if scheme == "wss" else "127.0.0.1"
            asyncio.run(drive(relay, f"{scheme}://{host}:{port}/lobby", **options))

    @needs("haproxy")
    def test_haproxy_in_tcp_mode_with_proxy_headers(self):
        with Relay(TRUSTED, "server.proxy_protocol=true", *ONE_EACH) as relay:
            self.haproxy(relay, "ws")

    @needs("haproxy", "openssl")
    def test_haproxy_in_tcp_mode_that_leaves_tls_to_the_relay(self):
        cert, key = certificate(self.folder)
        tls = ("enabled=true", f"cert_file={cert}", f"key_file={key}")
        settings = (*(f"server.tls.{setting}" for setting in tls), "server.proxy_protocol=true")
        with Relay(TRUSTED, *settings, *ONE_EACH) as relay:
            context = ssl.create_default_context(cafile=cert)
            self.haproxy(relay, "wss", host="127.0.0.1", ssl=context)

    @needs("caddy")
    def test_the_kits_caddyfile_with_a_certificate_of_its_own(self):
        port = free_port()
        with Relay(TRUSTED, *ONE_EACH) as relay:
            text = (DEPLOY / "compose/Caddyfile").read_text()
            text = text.replace("corecast:8443", relay.address)
            self.assertIn(relay.address, text)
            options = "admin off\nskip_install_trust\nauto_https disable_redirects"
            config = self.write("Caddyfile", f"{{\n{options}\n}}\n{text}")
            homes = {name: str(self.folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
            environment = {**os.environ, **homes, "DOMAIN": f"localhost:{port}"}
            command = ("caddy", "run", "--adapter", "caddyfile", "--config", config)
            with Program(*command, port=port, env=environment) as caddy:
                root = self.folder / "caddy/pki/authorities/local/root.crt"

                def shakes_hands():
                    context = ssl.create_default_context(cafile=root)
                    with socket.create_connection(("127.0.0.1", port)) as plain:
                        with context.wrap_socket(plain, server_hostname="localhost"):
                            return context

                # Its certificate takes slightly longer than its port.
                context = eventually("Caddy has a certificate", shakes_hands, caddy)
                url = f"wss://localhost:{port}/lobby"
                asyncio.run(drive(relay, url, host="127.0.0.1", ssl=context))

    @needs("systemd-socket-activate")
    def test_the_units_of_the_docs_with_a_socket_of_systemd(self):
        units = snippet("operating.md", "ini", "[Service]")
        command = re.search(r"^ExecStart=(.*)$", units, re.M)[1].split()
        self.assertEqual(command[0], "/usr/local/bin/corecast")
        port = free_port()
        self.assertRegex(units, r"(?m)^ListenStream=8443$")
        settings = ("--set", "metrics.port=0", "--set", "metrics.host=127.0.0.1")
        relay = (os.environ["CORECAST_BIN"], *command[1:], *settings)
        # It waits for the first connection, and then becomes the relay, with that connection in the
        # queue.
        activate = ("systemd-socket-activate", "--listen", f"127.0.0.1:{port}", *relay)
        with Program(*activate, cwd=self.folder) as program:

            async def echo():
                async with join(f"ws://127.0.0.1:{port}/") as client:
                    await soon(client.send("through a socket of systemd"))
                    self.assertEqual(await soon(client.recv()), "through a socket of systemd")
                    program.process.terminate()
                    with self.assertRaises(ConnectionClosed) as closed:
                        await soon(client.recv())
                    self.assertEqual(closed.exception.rcvd.code, 1001)

            eventually("it is ready to listen", lambda: "Listening" in program.output(), program)
            asyncio.run(echo())
            self.assertEqual(program.process.wait(timeout=30), 0)
