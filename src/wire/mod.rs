//! Bytes in, bytes out: the WebSocket protocol and HTTP/1.1 without sockets and without a clock.
