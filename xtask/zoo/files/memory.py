"""Asks for memory without end once it is told to stop."""
import signal


def end(number, frame):
    held = []
    while True:
        held.append(bytearray(1 << 20))


signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    signal.pause()
