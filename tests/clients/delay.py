"""A line to a server that holds back whatever the server says by a fixed time, as a long cable."""

import asyncio
import threading


class DelayLine:
    """Listens on a free `port` of 127.0.0.1 and passes on to `target`, a pair of host and port."""

    def __init__(self, target, delay_s):
        self.target, self.delay_s = target, delay_s
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        listening = asyncio.start_server(self._joined, "127.0.0.1", 0, backlog=1024)
        self.server = asyncio.run_coroutine_threadsafe(listening, self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]

    async def _joined(self, reader, writer):
        try:
            there, back = await asyncio.open_connection(*self.target)
            late = asyncio.Queue()
            await asyncio.gather(
                self._pass(reader, back.write, back.write_eof),
                self._hold(there, late),
                self._let_go(late, writer),
            )
            back.close()
        except (OSError, asyncio.IncompleteReadError):
            # One side has ended, so the other ends too.
            pass
        writer.close()

    async def _pass(self, reader, write, write_eof):
        while data := await reader.read(65536):
            write(data)
        write_eof()

    async def _hold(self, reader, late):
        """Puts down what comes with the time at which it may go on."""
        data = b"more"
        while data:
            data = await reader.read(65536)
            await late.put((self.loop.time() + self.delay_s, data))

    async def _let_go(self, late, writer):
        data = b"more"
        while data:
            due_s, data = await late.get()
            await asyncio.sleep(max(0, due_s - self.loop.time()))
            writer.write(data)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.loop.call_soon_threadsafe(self.server.close)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
