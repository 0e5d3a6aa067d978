"""The relay's binary as the tests with Python clients drive it: started on a free port, stopped."""

import os
import queue
import signal
import subprocess
import tempfile
import threading

# Longest wait for anything, in seconds: a bound for failures, not a measure.
DEADLINE_S = 30


class Relay:
    """A running relay. `settings` are values for --set; it listens on 127.0.0.1, on a free port
    unless one is given."""

    def __init__(self, *settings, port=0):
        self.directory = tempfile.TemporaryDirectory(prefix="corecast-clients-")
        command = [os.environ["CORECAST_BIN"], "--port", str(port)]
        for setting in ("metrics.port=0", "server.host=127.0.0.1", "engine.shards=2", *settings):
            command += ["--set", setting]
        self.process = subprocess.Popen(
            command,
            cwd=self.directory.name,
            env={"PATH": os.environ["PATH"]},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log = []
        found = queue.Queue()
        self.reader = threading.Thread(target=self._read_log, args=(found,))
        self.reader.start()
        try:
            self.address = found.get(timeout=DEADLINE_S)
        except queue.Empty:
            self.address = None
        if self.address is None:
            self.kill()
            raise AssertionError("the relay did not start:\n" + "".join(self.log))

    def _read_log(self, found):
        """Reads to the end, so that the relay never waits for its log to be read."""
        for line in self.process.stderr:
            self.log.append(line)
            # A TLS listener is marked before its address.
            if " listening " in line and "address=" in line:
                found.put(line.rsplit("address=", 1)[1].strip())
        found.put(None)

    def url(self, room="/"):
        return f"ws://{self.address}{room}"

    def stop(self):
        """Asks it to end, waits until it has, and returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=DEADLINE_S)
        finally:
            self.kill()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.reader.join()
        self.process.stderr.close()
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.kill()
