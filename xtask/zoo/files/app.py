"""A program that ends well: at the signals named, within a moment or after so many seconds."""
import signal
import sys
import time

names = sys.argv[1] if len(sys.argv) > 1 else "TERM"
seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 0


def end(number, frame):
    time.sleep(seconds)
    sys.exit(0)


for name in names.split(","):
    signal.signal(getattr(signal, "SIG" + name), end)
print("ready", flush=True)
while True:
    signal.pause()
