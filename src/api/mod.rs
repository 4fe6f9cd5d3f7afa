//! HTTP/1.1 over a Unix socket: authenticate, limit, answer, stream.
