"""A model for tests, with Python's standard library alone.

Without misbehaviour, a trial has a few spikes that follow from the parameters, the seed and the trial. The parameter
`behaviour.how` chooses a misbehaviour, which happens in trial 1.
"""

import json
import os
import random
import signal
import struct
import subprocess
import sys
import time

requests = os.fdopen(3, "rb")
answers = os.fdopen(4, "wb", buffering=0)


def say(answer, block=b""):
    if block:
        answer["bytes"] = len(block)
    answers.write(json.dumps(answer).encode() + b"\n" + block)


def right(request):
    parameters = request["parameters"]
    draw = random.Random(f"{request['condition']} {request['seed']} {request['trial']}")
    times = sorted(draw.randrange(1, 999) / 10 for _ in range(parameters["input.spikes"]))
    trains = {}
    for name, cells in request["populations"].items():
        trains[name] = {"cells": [draw.randrange(cells) for _ in times], "times": times}
    unique = {(time, cell) for time, cell in zip(times, trains["first"]["cells"])}
    trains["first"] = {"cells": [cell for _, cell in sorted(unique)], "times": [time for time, _ in sorted(unique)]}
    unique = {(time, cell) for time, cell in zip(times, trains["second"]["cells"])}
    trains["second"] = {"cells": [cell for _, cell in sorted(unique)], "times": [time for time, _ in sorted(unique)]}
    rate = parameters["input.gain"] * request["trial"] + request["seed"]
    return {"spikes": trains, "values": {"rate": rate, "course": [[1, 2, 3], [4, 5, rate]]}}


def misbehave(how, request, answer):
    """Returns whether the answer was given."""
    first, values = answer["spikes"]["first"], answer["values"]
    match how:
        case "error":
            answer.clear()
            answer.update(id=request["id"], error="Traceback:\n  line 7\nValueError: no fibres")
        case "exit":
            print("about to leave")
            sys.exit(7)
        case "quiet-exit":
            os._exit(0)
        case "signal":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hang":
            time.sleep(3600)
        case "memory":
            hoard = bytearray(400 << 20)
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(3600)
        case "garbage":
            answers.write(b"what is this?\n")
            return True
        case "half-a-line":
            answers.write(b'{"id": 1, "spi')
            os._exit(0)
        case "half-a-block":
            answers.write(b'{"id":1,"bytes":1000}\nxyz')
            os._exit(0)
        case "another-id":
            answer["id"] = request["id"] + 1
        case "no-id":
            del answer["id"]
        case "closed":
            answers.close()
            time.sleep(3600)
        case "unknown-key":
            answer["spiks"] = {}
        case "no-population":
            del answer["spikes"]["second"]
        case "another-population":
            answer["spikes"]["third"] = first
        case "no-value":
            del values["rate"]
        case "another-value":
            values["latency"] = 1
        case "cell-outside":
            first["cells"][0] = 10
        case "negative-cell":
            first["cells"][0] = -1
        case "half-a-cell":
            first["cells"][0] = 1.5
        case "late-spike":
            first["times"][-1] = 100
        case "negative-time":
            first["times"][0] = -0.5
        case "unsorted":
            first["times"].reverse()
        case "nan-time":
            first["times"][0] = None
        case "twice":
            first["cells"][:2], first["times"][:2] = [3, 3], [0.5, 0.5]
        case "lengths":
            first["cells"].append(1)
        case "text-for-a-number":
            values["rate"] = "fast"
        case "list-for-a-number":
            values["rate"] = [1, 2]
        case "number-for-an-array":
            values["course"] = 5
        case "wrong-shape":
            values["course"] = [[1, 2], [3, 4]]
        case "infinite":
            values["rate"] = {"raw": "<f8", "at": 0, "count": 1}
            say(answer, struct.pack("<d", float("inf")))
            return True
        case "block-too-short":
            values["rate"] = {"raw": "<f8", "at": 8, "count": 1}
            say(answer, struct.pack("<d", 1.0))
            return True
        case "unknown-type":
            values["rate"] = {"raw": ">f8", "at": 0, "count": 1}
            say(answer, struct.pack("<d", 1.0))
            return True
        case "huge-block":
            answer["bytes"] = 1 << 60
        case "two-answers":
            say(answer)
        case "long-text":
            answer["bytes"] = "x" * 3000000
        case "too-many-spikes":
            first["cells"] = [0] * 101000
            first["times"] = [0.5] * 101000
        case "child":
            # The child survives its parent, and holds the descriptor of answers.
            subprocess.Popen(["sleep", "3600"], pass_fds=[4])
            os._exit(3)
        case "prints":
            # This is no misbehaviour: what is printed is not part of the protocol.
            print('{"id": 1, "error": "printed"}' * 1000, flush=True)
            print("and on standard error", file=sys.stderr, flush=True)
        case other:
            raise AssertionError(other)
    return False


prepared, drift = None, 0


def carried_over(request):
    """Returns how many trials this process has computed of the condition and the seed."""
    global prepared, drift
    network = request["condition"], request["seed"]
    if prepared != network:
        prepared, drift = network, 0
    drift += 1
    return drift


def main():
    json.loads(requests.readline())
    versions = {"toy": os.environ.get("TOY_VERSION", "1.0")}
    say({"granule": 1, "versions": versions})
    for line in requests:
        request = json.loads(line)
        parameters = request["parameters"]
        if parameters["input.pause"]:
            time.sleep(parameters["input.pause"] / 1000)
        answer = {"id": request["id"], **right(request)}
        how = parameters["behaviour.how"]
        if how == "unseeded":
            answer["values"]["rate"] = random.random()
        elif how == "carries-over":
            answer["values"]["rate"] = carried_over(request)
        elif how != "good" and request["trial"] == 1 and misbehave(how, request, answer):
            continue
        say(answer)


main()
