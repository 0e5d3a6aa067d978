"""The dashboard and the alert rules, against the metrics of a running relay.

Every selector in a query, matchers included, has to name series that exist; with Debian's Prometheus
scraping the relay every query has to run, and to show something where it is about what exists always.
"""

import asyncio
import json
import pathlib
import re
import ssl
import tempfile
import unittest
import urllib.parse
import urllib.request

import yaml

from relay import DEADLINE_S, Relay
from stage import DEPLOY, Program, admin_address, certificate, eventually, free_port, join, needs
from stage import run, soon

RULES = DEPLOY / "prometheus/alerts.yaml"
DASHBOARD = DEPLOY / "grafana/corecast.json"
# A metric's name, and its matchers if it has some.
SELECTOR = re.compile(r"\b((?:corecast|websocket|process)_\w+|up)\b(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!=|=|!~)\s*"([^"]*)"')
# Labels that Prometheus itself adds to each series.
TARGET_LABELS = {"job", "instance"}
# Queries that have results only during a problem, or only once an average exists.
MAY_BE_EMPTY = ("> 0", "corecast_frames_per_send", "changes(")


def fetch(url):
    with urllib.request.urlopen(url, timeout=DEADLINE_S) as answer:
        return answer.read().decode()


def dashboard():
    return json.loads(DASHBOARD.read_text())


def panel_queries():
    """What the dashboard asks, with Grafana's variables filled in."""
    board = dashboard()
    targets = [target for panel in board["panels"] for target in panel.get("targets", [])]
    queries = targets + board["annotations"]["list"]
    for query in queries:
        text = query["expr"].replace("$instance", ".*").replace("$__rate_interval", "5s")
        assert "$" not in text, text
        yield text


def alerts():
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def selectors(query):
    """The metrics that a query names, each with pairs of a label and a value that must exist."""
    for name, matchers in SELECTOR.findall(query):
        pairs = []
        for label, operator, values in MATCHER.findall(matchers):
            if label not in TARGET_LABELS:
                regular = operator in ("=~", "!~")
                pairs += [(label, value) for value in (values.split("|") if regular else [values])]
        yield name, pairs


def missing(query, samples):
    """What of a query's selectors is not among the lines of a scrape."""
    for name, pairs in selectors(query):
        if name == "up":
            continue
        of_name = [line for line in samples if re.match(rf"{name}[ {{]", line)]
        if not of_name:
            yield name
        for label, value in pairs:
            if not any(f'{label}="{value}"' in line for line in of_name):
                yield f'{name}{{{label}="{value}"}}'


class Files(unittest.TestCase):
    def test_each_panel_has_its_own_place_and_number(self):
        panels = dashboard()["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            self.assertLessEqual(place["x"] + place["w"], 24, panel["title"])
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            self.assertFalse(taken & cells, panel["title"])
            taken |= cells
            if panel["type"] != "row":
                self.assertTrue(panel["description"] and panel["targets"], panel["title"])

    def test_each_alert_says_what_to_do_and_is_set_off_by_a_test(self):
        held = (DEPLOY / "prometheus/alerts_test.yaml").read_text()
        for alert in alerts():
            self.assertIn(f'alertname="{alert["alert"]}"', held)
            self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
            self.assertTrue(alert["annotations"]["summary"] and alert["annotations"]["description"])

    @needs("promtool")
    def test_promtool_takes_rules_their_tests_and_the_config(self):
        run("promtool", "check", "rules", RULES)
        run("promtool", "test", "rules", DEPLOY / "prometheus/alerts_test.yaml")
        with tempfile.TemporaryDirectory() as folder:
            # As compose.yaml mounts them.
            for path in (DEPLOY / "compose/prometheus.yaml", RULES):
                (pathlib.Path(folder) / path.name).write_text(path.read_text())
            run("promtool", "check", "config", pathlib.Path(folder) / "prometheus.yaml")


@needs("openssl")
class RunningRelay(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="corecast-deploy-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cert, key = certificate(cls.folder)
        tls = ("enabled=true", f"cert_file={cert}", f"key_file={key}")
        cls.relay = Relay(*(f"server.tls.{setting}" for setting in tls))
        cls.addClassCleanup(cls.relay.kill)
        cls.context = ssl.create_default_context(cafile=cert)
        cls.admin = admin_address(cls.relay)

    def say_something(self):
        """So that what is counted on delivery has been counted."""

        async def say():
            url = self.relay.url().replace("ws:", "wss:")
            async with join(url, ssl=self.context) as client:
                await soon(client.send("hello"))
                await soon(client.recv())

        asyncio.run(say())

    def test_every_metric_in_a_query_exists(self):
        samples = fetch(f"http://{self.admin}/metrics").splitlines()
        queries = [*panel_queries(), *(alert["expr"] for alert in alerts())]
        self.assertGreater(len(queries), 60)
        for query in queries:
            self.assertTrue(list(selectors(query)), query)
            self.assertEqual(list(missing(query, samples)), [], query)
        for bad in ("rate(corecast_nothing_total[5m])", 'corecast_connections{state="lost"}'):
            self.assertEqual(len(list(missing(bad, samples))), 1, bad)

    @needs("prometheus")
    def test_every_query_runs_in_a_prometheus_that_scrapes_the_relay(self):
        port = free_port()
        config = yaml.safe_load((DEPLOY / "compose/prometheus.yaml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        config["rule_files"] = [str(RULES)]
        config["scrape_configs"][0]["static_configs"] = [{"targets": [self.admin]}]
        path = self.folder / "prometheus.yaml"
        path.write_text(yaml.safe_dump(config))
        command = ("prometheus", f"--config.file={path}", f"--web.listen-address=127.0.0.1:{port}")
        storage = f"--storage.tsdb.path={self.folder / 'data'}"
        with Program(*command, storage, port=port) as prometheus:
            api = f"http://127.0.0.1:{port}/api/v1"

            def query(text):
                answer = json.loads(fetch(f"{api}/query?{urllib.parse.urlencode({'query': text})}"))
                self.assertEqual(answer["status"], "success", text)
                return answer["data"]["result"]

            def is_scraped():
                self.say_something()
                counted = query("increase(corecast_relay_latency_seconds_count[5s])")
                return counted and float(counted[0]["value"][1]) > 0

            eventually("the relay is scraped, and what it relays is seen", is_scraped, prometheus)
            self.assertEqual(query("up")[0]["value"][1], "1")
            for text in panel_queries():
                may_be_empty = any(sign in text for sign in MAY_BE_EMPTY)
                self.assertTrue(query(text) or may_be_empty, text)

            def rules():
                groups = json.loads(fetch(f"{api}/rules"))["data"]["groups"]
                rules = [rule for group in groups for rule in group["rules"]]
                return rules if all(rule["health"] != "unknown" for rule in rules) else None

            judged = eventually("the rules are evaluated", rules, prometheus)
            self.assertEqual({rule["name"] for rule in judged}, {a["alert"] for a in alerts()})
            for rule in judged:
                self.assertEqual((rule["health"], rule["state"]), ("ok", "inactive"), rule["name"])
