"""Measures the cost of open dashboard pages: a thousand conditions, two hundred pages, each with three plots.

    cargo build --release && python3 benches/pages.py [--pages 200] [--runs 5]

Runs the sweep alternately without a dashboard and with pages that read all events. Prints, as medians over the
runs, the wall time, the CPU time of coordinator and workers, and the bytes that the pages received. The pages are
sockets of this script. Its own CPU time is not counted, but it uses the same processors.
"""

import argparse
import os
import re
import resource
import selectors
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

SWEEP = """
name: many
network: { mossy_fibers: 40, granule_cells: 64, golgi_cells: 5 }
trials: 5
record: { probabilities: false, connections: false, weights: false, conductances: false }
conditions:
  - name: tonic-{granule.tonic_factor}
    grid: { granule.tonic_factor: { linspace: [0, 2, 1000] } }
"""


def subscribe(port, at):
    """Opens a page that shows three conditions."""
    page = socket.create_connection(("127.0.0.1", port))
    watch = "%2C".join(str((3 * at + i) % 1000) for i in range(3))
    head = f"GET /events?watch={watch} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n"
    page.sendall(head.encode())
    page.setblocking(False)
    return page


def read_all(pages, told):
    """Reads the events of all pages until the coordinator closes them."""
    selector = selectors.DefaultSelector()
    for page in pages:
        selector.register(page, selectors.EVENT_READ)
    left = len(pages)
    while left:
        for key, _ in selector.select():
            try:
                got = len(key.fileobj.recv(1 << 16))
            except ConnectionResetError:
                got = 0
            told[0] += got
            if got == 0:
                selector.unregister(key.fileobj)
                key.fileobj.close()
                left -= 1


def run(granule, place, pages):
    """Runs the sweep into an empty directory. Returns wall seconds, CPU seconds, and bytes received by the pages."""
    shutil.rmtree(os.path.join(place, "out"), ignore_errors=True)
    dashboard = ["--dashboard", "127.0.0.1:0"] if pages else []
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    command = [granule, "run", "sweep.yaml", "--out", "out", *dashboard]
    running = subprocess.Popen(
        command, cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    told, reader = [0], None
    for line in running.stderr:
        found = re.search(r"dashboard: http://127\.0\.0\.1:(\d+)/", line)
        if found:
            sockets = [subscribe(int(found[1]), at) for at in range(pages)]
            reader = threading.Thread(target=read_all, args=(sockets, told))
            reader.start()
    if running.wait() != 0 or (pages and reader is None):
        raise SystemExit(f"{' '.join(command)} failed")
    if reader:
        reader.join()
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, told[0]


def main():
    """Compares the runs and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--granule", default="target/release/granule")
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    granule = os.path.abspath(arguments.granule)
    found = {0: [], arguments.pages: []}
    with tempfile.TemporaryDirectory() as place:
        with open(os.path.join(place, "sweep.yaml"), "w", encoding="utf-8") as sweep:
            sweep.write(SWEEP)
        for _ in range(arguments.runs):
            for pages, of in found.items():
                of.append(run(granule, place, pages))
    print("| pages | wall, s | CPU, s | told, MB |\n|---|---|---|---|")
    for pages, of in found.items():
        wall, cpu, told = (statistics.median(column) for column in zip(*of))
        print(f"| {pages} | {wall:.2f} | {cpu:.2f} | {told / 1e6:.0f} |")


if __name__ == "__main__":
    main()
