"""Waits until a daemon says READY=1 on a notify socket, as systemd would.

Usage: ready.py SOCKET

Prints one line when it listens; ends when the message has come.
"""

import os
import socket
import sys


def main(path: str) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(path)
    print("listening", flush=True)
    while b"READY=1" not in listener.recv(4096).split(b"\n"):
        pass
    os.unlink(path)


if __name__ == "__main__":
    main(sys.argv[1])
