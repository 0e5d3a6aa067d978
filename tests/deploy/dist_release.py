"""What scripts/release has left in dist/: the binaries, the archives, and the image made from them."""

import asyncio
import hashlib
import json
import os
import pathlib
import platform
import stat
import tarfile
import tempfile
import unittest
import unittest.mock
import urllib.request

from relay import DEADLINE_S, Relay
from stage import DEPLOY, ROOT, Program, admin_address, free_port, join, needs, run, soon

DIST = ROOT / "dist"
# Docker's names of architectures, and their usual names.
MACHINES = {"linux-amd64": "x86_64", "linux-arm64": "aarch64"}
# Each of the folders that scripts/release has made, by machine.
BINARIES = {MACHINES[path.parent.name]: path for path in DIST.glob("linux-*/corecast")}
NOBODY = 65532


def qemu(machine):
    """The program that runs binaries of this machine here, where that takes one."""
    return [] if machine == platform.machine() else [f"qemu-{machine}-static"]


class Binaries(unittest.TestCase):
    def test_there_are_some(self):
        self.assertTrue(BINARIES, "scripts/release makes them")

    @needs("readelf")
    def test_they_need_no_other_file(self):
        for machine, path in BINARIES.items():
            said = run("readelf", "--file-header", "--program-headers", "--dynamic", path)
            self.assertIn(machine.replace("_", "-"), said.lower().replace("_", "-"))
            for sign in ("INTERP", "NEEDED", "RUNPATH"):
                self.assertNotIn(sign, said)
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 2**20:.1f} MiB ", end="")

    def test_they_start_relay_answer_the_health_check_and_end(self):
        for machine, path in BINARIES.items():
            with self.subTest(machine=machine):
                needs(*qemu(machine))(self.relays)(machine, path)

    def relays(self, machine, path):
        command = [*qemu(machine), str(path)]
        with tempfile.TemporaryDirectory(prefix="corecast-deploy-") as folder:
            wrapper = pathlib.Path(folder) / "corecast"
            wrapper.write_text(f'#!/bin/sh\nexec {" ".join(command)} "$@"\n')
            wrapper.chmod(0o755)
            with unittest.mock.patch.dict(os.environ, CORECAST_BIN=str(wrapper)):
                relay = Relay()
        with relay:
            asyncio.run(self.talk(relay))
            url = f"http://{admin_address(relay)}/livez"
            run(*command, "--health-check", url)
            self.assertEqual(relay.stop(), 0)
            run(*command, "--health-check", url, status=1)

    async def talk(self, relay):
        async with join(relay.url()) as one, join(relay.url()) as other:
            for message in ("hello", b"\x00\xff" * 40_000):
                await soon(one.send(message))
                self.assertEqual(await soon(other.recv()), message)


class Archives(unittest.TestCase):
    def test_each_holds_the_binary_and_the_kit_under_one_folder(self):
        for machine, path in BINARIES.items():
            (archive,) = DIST.glob(f"corecast-*-{machine}-linux.tar.gz")
            name = archive.name.removesuffix(".tar.gz")
            with tarfile.open(archive) as packed:
                members = {member.name: member for member in packed.getmembers()}
                self.assertTrue(all(each == name or each.startswith(f"{name}/") for each in members))
                for each in ("corecast", "deploy/update"):
                    self.assertTrue(members[f"{name}/{each}"].mode & stat.S_IXOTH, each)
                files = ["README.md", "config.yaml", "docs/push.md", "LICENSE-MIT"]
                if platform.machine() in BINARIES:
                    files += ["man/corecast.1", "completions/corecast.bash"]
                for each in files:
                    self.assertTrue(f"{name}/{each}" in members, each)
                binary = packed.extractfile(f"{name}/corecast").read()
            self.assertEqual(binary, path.read_bytes())

    def test_the_sums_are_those_of_the_archives(self):
        lines = [line.split() for line in (DIST / "SHA256SUMS").read_text().splitlines()]
        found = {path.name: path.read_bytes() for path in DIST.glob("*.tar.gz")}
        sums = {name: hashlib.sha256(text).hexdigest() for name, text in found.items()}
        self.assertEqual({name: each for each, name in lines}, sums)


@needs("buildah", "unshare")
@unittest.skipIf(os.geteuid() != 0, "only root can enter the image as another user")
@unittest.skipUnless(platform.machine() in BINARIES, "there is no binary for this machine")
class Image(unittest.TestCase):
    """The Dockerfile with the binaries in the place of its first stage, as releases build it."""

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="corecast-deploy-")
        cls.addClassCleanup(folder.cleanup)
        folder = pathlib.Path(folder.name)
        places = ("--root", folder / "root", "--runroot", folder / "run")
        buildah = ("buildah", "--storage-driver", "vfs", *places)
        options = ("--isolation", "chroot", "--format", "docker", "--build-context", f"build={DIST}")
        run(*buildah, "build", *options, "--tag", "corecast:test", "--quiet", ROOT)
        cls.config = json.loads(run(*buildah, "inspect", "--type", "image", "corecast:test"))
        cls.config = cls.config["Docker"]["config"]
        container = run(*buildah, "from", "corecast:test").strip()
        cls.root = pathlib.Path(run(*buildah, "mount", container).strip())
        user = ("--setuid", NOBODY, "--setgid", NOBODY)
        cls.enter = ("unshare", "--root", cls.root, "--wd", cls.config["WorkingDir"], *user)

    def test_it_holds_the_binary_and_a_folder_of_its_user(self):
        found = {path.relative_to(self.root): path.lstat() for path in self.root.rglob("*")}
        files = [str(path) for path, status in found.items() if not stat.S_ISDIR(status.st_mode)]
        self.assertEqual(files, ["corecast"])
        its = [str(path) for path, status in found.items() if status.st_uid != 0]
        # The owner of the folders above it is that user or root, depending on the builder.
        self.assertEqual(sorted({"var", "var/lib", *its}), ["var", "var/lib", "var/lib/corecast"])
        self.assertEqual(self.config["User"], f"{NOBODY}:{NOBODY}")
        self.assertEqual(self.config["Entrypoint"], ["/corecast"])

    def test_it_runs_with_the_config_of_the_compose_file_and_checks_its_health(self):
        text = (DEPLOY / "compose/corecast.yaml").read_text()
        ports = {8443: free_port(), 9090: free_port()}
        for documented, free in ports.items():
            self.assertEqual(text.count(f"port: {documented}"), 1)
            text = text.replace(f"port: {documented}", f"port: {free}")
        config = self.root / "etc/corecast/config.yaml"
        config.write_text(text.replace("host: 0.0.0.0", "host: 127.0.0.1"))
        self.addCleanup(config.unlink)
        how, *health_check = self.config["Healthcheck"]["Test"]
        self.assertEqual(how, "CMD")
        env = {"PATH": os.environ["PATH"], "CORECAST_PAGES_ENABLED": "true"}
        with Program(*self.enter, "/corecast", port=ports[8443], env=env) as relay:
            self.assertIn("/livez: ", run(*self.enter, *health_check, env=env))
            # The pages are in the binary.
            page = f"http://127.0.0.1:{ports[8443]}/demo/"
            with urllib.request.urlopen(page, timeout=DEADLINE_S) as answer:
                self.assertEqual(answer.status, 200)
            self.assertEqual(relay.process.poll(), None, relay.output())
        journal = (self.root / "var/lib/corecast/pushes.redb").stat()
        self.assertEqual(journal.st_uid, NOBODY)
        run(*self.enter, *health_check, status=1, env=env)
