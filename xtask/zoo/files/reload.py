"""SIGHUP and SIGUSR1 mean something else than stop; SIGTERM is the stop."""
import signal
import sys

signal.signal(signal.SIGHUP, lambda *_: print("reloaded", flush=True))
signal.signal(signal.SIGUSR1, lambda *_: print("rotated", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", flush=True)
while True:
    signal.pause()
