"""Drains its child by other means than signals, and then kills it, as Istio's agent does with Envoy."""
import signal
import subprocess
import sys
import time

child = subprocess.Popen(["sleep", "1000"])


def end(number, frame):
    time.sleep(1.5)
    child.kill()
    child.wait()
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
print("ready", flush=True)
while True:
    signal.pause()
