"""Python 2.7: runs cases of the Autobahn suite against a server, with a pause after each.

    fuzz.py URL FOLDER GAP_S CASE...

The suite wants an echo server. The relay's hub is one for a lone client, but what it still has to
deliver when a case ends would reach the client of the next case: so its connections end first.
The suite's reports are left in the folder. The first line says how many cases the suite has.
"""

import sys

# Installs Twisted's reactor, which has to happen before anybody imports one.
import autobahntestsuite.wstest  # noqa: F401
from autobahntestsuite import fuzzing
from autobahntestsuite.case import Cases
from twisted.internet import reactor


def main(url, folder, gap_s, cases):
    print("the suite has %d cases" % len(Cases))
    go_on = fuzzing.FuzzingClientFactory.clientConnectionLost

    def pause_then_go_on(factory, connector, reason):
        reactor.callLater(gap_s, go_on, factory, connector, reason)

    fuzzing.FuzzingClientFactory.clientConnectionLost = pause_then_go_on
    spec = {
        "outdir": folder,
        "servers": [{"agent": "corecast", "url": url}],
        "cases": cases,
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    fuzzing.startClient(spec)
    reactor.run()


main(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4:])
