"""The kit's files, read by the tools that will read them, and held to each other."""

import ipaddress
import os
import pathlib
import re
import shutil
import stat
import subprocess
import tempfile
import unittest

import yaml

from stage import DEPLOY, ROOT, check, needs, run

COMPOSE = DEPLOY / "compose/compose.yaml"
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yaml"))
ENV = {
    "PATH": os.environ["PATH"],
    "DOMAIN": "localhost",
    "GRAFANA_PASSWORD": "x",
    "ADMIN_TOKEN": "a-token-of-16-characters",
}


def seconds(duration):
    return int(re.fullmatch(r"(\d+)s", duration)[1])


class Compose(unittest.TestCase):
    def setUp(self):
        self.compose = yaml.safe_load(COMPOSE.read_text())
        self.config = yaml.safe_load(check("--config-file", DEPLOY / "compose/corecast.yaml"))

    @needs("docker-compose", "check-jsonschema")
    def test_it_is_a_compose_file(self):
        for path in (COMPOSE, ROOT / "compose.yaml"):
            run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", path)
            run("docker-compose", "--file", path, "config", "--quiet", env=ENV)
            for variable in ("DOMAIN", "GRAFANA_PASSWORD", "ADMIN_TOKEN"):
                without = {name: value for name, value in ENV.items() if name != variable}
                said = run("docker-compose", "--file", path, "config", status=1, env=without)
                self.assertIn(f"set {variable}", said)

    @needs("docker-compose")
    def test_the_file_in_the_root_is_the_same_kit(self):
        kit, root = (
            run("docker-compose", "--file", path, "config", env=ENV)
            for path in (COMPOSE, ROOT / "compose.yaml")
        )
        self.assertEqual(kit, root)

    def test_what_it_mounts_is_there(self):
        for name, service in self.compose["services"].items():
            for volume in service["volumes"]:
                source = volume.split(":")[0]
                if source.startswith("."):
                    self.assertTrue((COMPOSE.parent / source).exists(), (name, source))
                else:
                    self.assertIn(source, self.compose["volumes"])

    def test_only_caddy_can_be_reached_from_elsewhere_and_is_trusted(self):
        services = self.compose["services"]
        published = {name: service.get("ports", []) for name, service in services.items()}
        own = {name: ports for name, ports in published.items() if ports}
        self.assertEqual(list(own), ["corecast", "caddy", "grafana"])
        for port in own["corecast"] + own["grafana"]:
            self.assertTrue(port.startswith("127.0.0.1:"), port)
        on_edge = [name for name in services if "edge" in services[name]["networks"]]
        self.assertEqual(on_edge, ["corecast", "caddy"])
        subnet = self.compose["networks"]["edge"]["ipam"]["config"][0]["subnet"]
        self.assertEqual(self.config["server"]["trusted_proxies"], [subnet])
        self.assertTrue(ipaddress.ip_network(subnet).is_private)

    def test_names_and_ports_agree(self):
        server, metrics = self.config["server"], self.config["metrics"]
        caddyfile = (DEPLOY / "compose/Caddyfile").read_text()
        self.assertIn(f"reverse_proxy corecast:{server['port']} ", caddyfile)
        scrapes = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())["scrape_configs"]
        self.assertEqual(scrapes[0]["static_configs"][0]["targets"], [f"corecast:{metrics['port']}"])
        self.assertEqual(scrapes[0]["job_name"], "corecast")

    def test_the_relay_has_the_time_to_shut_down(self):
        shutdown = self.config["shutdown"]
        takes = seconds(shutdown["delay"]) + seconds(shutdown["timeout"])
        grace = seconds(self.compose["services"]["corecast"]["stop_grace_period"])
        self.assertGreater(grace, takes)

    def test_delayed_pushes_outlive_the_container(self):
        volumes = [each.split(":") for each in self.compose["services"]["corecast"]["volumes"]]
        kept = [target for source, target, *_ in volumes if source in self.compose["volumes"]]
        journal = pathlib.Path(self.config["endpoints"]["push"]["journal"])
        self.assertEqual(kept, [str(journal.parent)])

    def test_variables_of_the_env_file_are_those_that_are_used(self):
        example = (DEPLOY / "compose/.env.example").read_text()
        given = set(re.findall(r"^(\w+)=", example, re.M))
        used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text()))
        self.assertEqual(given, {name for name in used if not name.startswith("BUILD_")})


class Files(unittest.TestCase):
    @needs("hadolint")
    def test_the_dockerfile_has_no_lint(self):
        run("hadolint", ROOT / "Dockerfile")

    def test_the_image_checks_itself_as_nobody(self):
        text = (ROOT / "Dockerfile").read_text()
        final = text[text.rindex("\nFROM ") :]
        self.assertRegex(final, r"\AFROM|\A\nFROM scratch\n")
        self.assertRegex(final, r"\nUSER 65532:65532\n")
        self.assertRegex(final, r'CMD \["/corecast", "--health-check"\]')

    @needs("caddy")
    def test_the_caddyfile_is_valid_and_formatted(self):
        path = DEPLOY / "compose/Caddyfile"
        # Caddy creates the authority of localhost in its home even to validate a file.
        with tempfile.TemporaryDirectory(prefix="corecast-deploy-") as home:
            command = ("caddy", "validate", "--adapter", "caddyfile", "--config", path)
            run(*command, cwd=home, env={**ENV, "HOME": home})
            self.assertTrue(list(pathlib.Path(home).rglob("root.key")), "it went elsewhere")
        run("caddy", "fmt", "--diff", path)

    @needs("systemd-analyze")
    def test_the_units_are_valid_and_hardened(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            for unit in ("corecast.service", "corecast.socket"):
                text = (DEPLOY / "systemd" / unit).read_text()
                # A program and a user that exist on every machine.
                text = text.replace("/usr/local/bin/corecast", "/bin/true")
                (folder / unit).write_text(re.sub(r"(?m)^(User|Group)=corecast$", r"\1=daemon", text))
            units = sorted(folder.iterdir())
            said = run("systemd-analyze", "verify", *units)
            self.assertNotIn(str(folder), said)
            # 10.0 means no protection at all; this unit has 2.0.
            run("systemd-analyze", "security", "--offline=true", "--threshold=25", units[0])

    def test_the_unit_gives_the_relay_the_time_to_shut_down(self):
        unit = (DEPLOY / "systemd/corecast.service").read_text()
        shutdown = yaml.safe_load(check("--config-file", ROOT / "config.yaml"))["shutdown"]
        stop_s = int(re.search(r"^TimeoutStopSec=(\d+)$", unit, re.M)[1])
        self.assertGreater(stop_s, seconds(shutdown["delay"]) + seconds(shutdown["timeout"]))

    def test_the_example_keeps_its_journal_where_the_unit_may_write(self):
        unit = (DEPLOY / "systemd/corecast.service").read_text()
        state = re.search(r"^StateDirectory=(\w+)$", unit, re.M)[1]
        example = yaml.safe_load((DEPLOY / "config.example.yaml").read_text())
        journal = pathlib.Path(example["endpoints"]["push"]["journal"])
        self.assertEqual(journal.parent, pathlib.Path("/var/lib") / state)

    @needs("check-jsonschema", "zizmor")
    def test_the_workflows_are_valid_and_safe(self):
        self.assertEqual(len(WORKFLOWS), 5)
        run("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
        run("zizmor", "--offline", "--no-progress", "--min-severity", "medium", *WORKFLOWS)

    @needs("check-jsonschema")
    def test_what_github_reads_beside_the_workflows_is_valid(self):
        github = ROOT / ".github"
        run("check-jsonschema", "--builtin-schema", "vendor.dependabot", github / "dependabot.yaml")
        for path in github.glob("ISSUE_TEMPLATE/*.yaml"):
            form = yaml.safe_load(path.read_text())
            if path.name != "config.yaml":
                self.assertTrue({"name", "description", "body"} <= set(form), path)
                ids = [field["id"] for field in form["body"] if field["type"] != "markdown"]
                self.assertEqual(len(ids), len(set(ids)), path)

    @needs("shellcheck")
    def test_scripts_have_no_lint(self):
        shebang = "#!/usr/bin/env bash"
        scripts = [each for each in (ROOT / "scripts").iterdir() if each.read_text().startswith(shebang)]
        self.assertGreater(len(scripts), 10)
        run("shellcheck", *scripts, DEPLOY / "update")
        with tempfile.TemporaryDirectory() as folder:
            for path in WORKFLOWS:
                for name, job in yaml.safe_load(path.read_text())["jobs"].items():
                    for number, step in enumerate(job.get("steps", [])):
                        if "run" in step:
                            script = pathlib.Path(folder) / f"{path.stem}-{name}-{number}.sh"
                            # Variables of the workflow, which GitHub expands.
                            self.assertNotIn("${{", step["run"], "an expression in a script")
                            script.write_text(f"#!/bin/bash -e\n{step['run']}")
                            # Variables of the remote end are meant to be expanded here.
                            run("shellcheck", "--exclude=SC2029", script)

    @needs("make")
    def test_the_makefile_has_the_targets_of_the_earlier_relays(self):
        for target in ("run", "build", "test", "release", "clean"):
            commands = run("make", "--dry-run", "--directory", ROOT, target)
            for script in re.findall(r"scripts/\w+", commands):
                self.assertTrue(os.access(ROOT / script, os.X_OK), script)
        self.assertIn("scripts/start --port 1", run("make", "-nC", ROOT, "run", "ARGS=--port 1"))

    def test_what_the_readme_of_the_kit_names_is_there(self):
        text = (DEPLOY / "README.md").read_text()
        names = re.findall(r"`((?:deploy|scripts|\.github)/[\w./-]+)`", text)
        self.assertGreater(len(names), 8)
        for name in names:
            self.assertTrue((ROOT / name).exists(), name)


class Update(unittest.TestCase):
    """deploy/update, with a docker that notes what it is asked and fails for the image `bad`."""

    DOCKER = """#!/bin/sh
echo "$*" >>"$NOTES"
[ "$1 $2" = "compose up" ] || exit 0
! grep -q '^CORECAST_IMAGE=.*bad' .env
"""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="corecast-deploy-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        docker = self.folder / "docker"
        docker.write_text(self.DOCKER)
        docker.chmod(0o755)
        self.env = self.folder / ".env"
        self.notes = self.folder / "notes"

    def update(self, image, env):
        self.env.write_text(env)
        self.env.chmod(0o600)
        path = f"{self.folder}:{os.environ['PATH']}"
        environment = {"PATH": path, "COMPOSE_DIR": str(self.folder), "NOTES": str(self.notes)}
        command = [shutil.which("bash"), DEPLOY / "update", image]
        ran = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )
        self.assertEqual(stat.S_IMODE(self.env.stat().st_mode), 0o600)
        return ran.returncode, self.env.read_text()

    def ups(self):
        return [line for line in self.notes.read_text().splitlines() if " up " in line]

    def test_an_image_that_gets_healthy_stays(self):
        code, env = self.update("relay:2", "DOMAIN=a.example\nCORECAST_IMAGE=relay:1\n")
        self.assertEqual((code, env), (0, "DOMAIN=a.example\nCORECAST_IMAGE=relay:2\n"))
        self.assertEqual(len(self.ups()), 1)
        self.assertIn("--wait", self.ups()[0])

    def test_one_that_does_not_is_taken_back(self):
        code, env = self.update("relay:bad", "CORECAST_IMAGE=relay:1\nDOMAIN=a.example\n")
        self.assertEqual((code, env), (1, "DOMAIN=a.example\nCORECAST_IMAGE=relay:1\n"))
        self.assertEqual(len(self.ups()), 2)

    def test_the_first_one_has_none_to_go_back_to(self):
        code, _ = self.update("relay:bad", "DOMAIN=a.example\nCORECAST_IMAGE=\n")
        self.assertEqual(code, 1)
        self.assertEqual(len(self.ups()), 1)
