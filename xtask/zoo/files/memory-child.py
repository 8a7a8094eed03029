"""The child asks for memory without end once told; its parent passes the signal on and outlives it."""
import signal
import subprocess
import sys

child = subprocess.Popen(["python3", "/zoo/memory.py"])


def end(number, frame):
    child.terminate()
    child.wait()
    sys.exit(0)


signal.signal(signal.SIGTERM, end)
while True:
    signal.pause()
