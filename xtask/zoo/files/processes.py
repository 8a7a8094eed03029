"""Two children by multiprocessing; nobody handles anything."""
import multiprocessing
import time


def work():
    time.sleep(1000)


if __name__ == "__main__":
    multiprocessing.set_start_method("fork")
    for _ in range(2):
        multiprocessing.Process(target=work).start()
    print("ready", flush=True)
    while True:
        time.sleep(1000)
