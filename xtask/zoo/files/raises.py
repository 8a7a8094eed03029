"""The handler fails, as Python fails: with a traceback and status 1."""
import signal


def end(number, frame):
    raise RuntimeError("no way to end")


signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
signal.pause()
