"""`granule.model` computes trials for a worker: the protocol, what a trial may return, and each wrong return."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import granule.model
from fake_worker import SOURCE, FailedTrial, Worker

Start = Callable[..., Worker]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a program with this source, and ends it after the test."""
    with ExitStack() as stack:

        def start(source: str, populations: dict[str, int] | None = None, serve: str = "trial", **times: Any) -> Worker:
            program = tmp_path / "program.py"
            program.write_text(f"import granule.model\n{textwrap.dedent(source)}\ngranule.model.serve({serve})\n")
            return stack.enter_context(Worker([sys.executable, program], tmp_path, populations, **times))

        yield start


def failure(worker: Worker, *arguments: Any, **named: Any) -> str:
    with pytest.raises(FailedTrial) as raised:
        worker.trial(*arguments, **named)
    return str(raised.value)


# ---------------------------------------------------------------- protocol


def test_hello_has_versions(start: Start) -> None:
    worker = start("import numpy\ndef trial(p, seed, trial): return {}", serve="trial, versions={'mine': '2.1'}")
    assert worker.hello["granule"] == 1
    python = ".".join(map(str, sys.version_info[:3]))
    assert worker.hello["versions"] == {"python": python, "numpy": np.__version__, "mine": "2.1"}


def test_a_trial(start: Start) -> None:
    worker = start(
        """
        def trial(parameters, seed, trial):
            assert dict(parameters) == {"a.number": 1.5, "a.list": (100, 200.5), "a.flag": True, "a.choice": "lif"}
            assert parameters.populations == {"cells": 10} and len(parameters) == 4
            assert parameters.duration_ms == 500 and parameters.resolution_ms == 0.1
            assert parameters.get("a.nothing") is None and "a.nothing" not in parameters
            return {"cells": ([seed, trial], [1.5, 2.0]), "rate": 12.5, "count": 3}
        """,
        {"cells": 10},
    )
    parameters = {"a.number": 1.5, "a.list": [100, 200.5], "a.flag": True, "a.choice": "lif"}
    answer = worker.answer(parameters, 7, 3)
    assert answer == {
        "id": 1,
        "spikes": {"cells": {"cells": [7, 3], "times": [1.5, 2.0]}},
        "values": {"rate": 12.5, "count": 3},
        "block": b"",
    }
    worker.trial(parameters, 7, 4)
    assert worker.close() == (0, "", "")


@pytest.mark.parametrize("change", ['parameters["a.b"] = 2', "del parameters.populations['cells']", "parameters.x = 1"])
def test_parameters_are_read_only(start: Start, change: str) -> None:
    worker = start(f"def trial(parameters, seed, trial):\n    {change}", {"cells": 1})
    assert re.search("TypeError|AttributeError", failure(worker, {"a.b": 1}))


def test_an_unknown_parameter(start: Start) -> None:
    worker = start('def trial(parameters, seed, trial): return {"x": parameters["synapse.wieght"]}')
    message = "the model file has no parameter synapse.wieght; did you mean synapse.weight?"
    assert message in failure(worker, {"synapse.weight": 1, "cell.tau": 2})


def test_a_model_without_populations_has_no_duration(start: Start) -> None:
    worker = start('def trial(parameters, seed, trial): return {"x": parameters.duration_ms}')
    assert "the model file has no `duration`" in failure(worker)


@pytest.mark.parametrize(
    ("cells", "times"),
    [
        ("[0, 5, 5]", "[0, 1.5, 2]"),
        ("(5, 5, 0)", "(2, 1.5, 0)"),
        ("[numpy.int32(0), numpy.uint8(5), 5]", "[numpy.float32(0), 1.5, 2]"),
        ("numpy.array([0, 5, 5], 'i4')", "numpy.array([0, 1.5, 2])"),
        ("numpy.array([5, 0, 5], '>u2')", "numpy.array([2, 0, 1.5], '>f4')"),
        ("numpy.array([5, 5, 0])", "[2, 1.5, 0]"),
        ("[5, 5, 0]", "numpy.array([2, 1.5, 0], 'f2')"),
        ("numpy.array([0, 9, 5, 9, 5])[::2][::-1]", "numpy.array([2, 1.5, 0], numpy.longdouble)"),
        ("array.array('H', [0, 5, 5])", "array.array('f', [0, 1.5, 2])"),
    ],
)
def test_spikes(start: Start, cells: str, times: str) -> None:
    worker = start(
        f"import array, numpy\ndef trial(p, seed, trial): return {{'all': ({cells}, {times}), 'none': [[], []]}}",
        {"all": 6, "none": 2},
    )
    result = worker.trial()
    assert sorted(zip(*map(np.ndarray.tolist, result["all"]))) in (
        [(0, 0), (5, 1.5), (5, 2)],
        [(0, 2), (2, 1.5), (5, 0)],
    )
    assert result["all"][1].tolist() == [0, 1.5, 2]
    assert len(result["none"][0]) == len(result["none"][1]) == 0


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1_000_000])
@pytest.mark.parametrize("kind", ["lists", "numpy"])
def test_many_spikes(start: Start, kind: str, count: int) -> None:
    worker = start(
        f"""
        import numpy
        def trial(p, seed, trial):
            cells, times = numpy.arange({count}) % 1000, numpy.arange({count}) // 1000 / 10
            return {{"cells": (cells, times) if "{kind}" == "numpy" else (cells.tolist(), times.tolist())}}
        """,
        {"cells": 1000},
    )
    answer = worker.answer()
    spikes = answer["spikes"]["cells"]
    if kind == "numpy" or count >= 64:
        assert spikes["cells"] == {"raw": "<i8", "at": 0, "count": count}
        assert spikes["times"] == {"raw": "<f8", "at": 8 * count, "count": count}
        assert len(answer["block"]) == 16 * count
    else:
        assert len(spikes["cells"]) == len(spikes["times"]) == count
    cells, times = worker.trial()["cells"]
    assert cells.tolist() == (np.arange(count) % 1000).tolist()
    assert times.tolist() == (np.arange(count) // 1000 / 10).tolist()


def test_raw_arrays_of_4_bytes_are_padded(start: Start) -> None:
    worker = start(
        """
        import numpy
        def trial(p, seed, trial):
            return {"a": numpy.ones(3, "f4"), "b": numpy.array([2, 3]), "c": numpy.array([], "u4"), "d": numpy.ones(1)}
        """
    )
    answer = worker.answer()
    assert answer["values"]["b"] == {"raw": "<i8", "at": 16, "count": 2}
    assert answer["bytes"] == 40
    result = worker.trial()
    assert {name: array.tolist() for name, array in result.items()} == {"a": [1, 1, 1], "b": [2, 3], "c": [], "d": [1]}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1", 1),
        ("-0.5", -0.5),
        ("10**18", 10**18),
        ("numpy.float32(0.5)", 0.5),
        ("numpy.int64(7)", 7),
        ("numpy.array(2.5)", 2.5),
        ("[1, 2.5]", [1, 2.5]),
        ("[[1, 2, 3], [4, 5, 6]]", [[1, 2, 3], [4, 5, 6]]),
        ("[[[1], [2]], ((3,), (4,))]", [[[1], [2]], [[3], [4]]]),
        ("[numpy.array([1, 2]), [3, 4]]", [[1, 2], [3, 4]]),
        ("[[], []]", [[], []]),
        ("[range(2), range(2, 4)]", [[0, 1], [2, 3]]),
    ],
)
def test_values(start: Start, value: str, expected: Any) -> None:
    worker = start(f"import numpy\ndef trial(p, seed, trial): return {{'x': {value}}}")
    answer = worker.answer()
    assert answer["values"] == {"x": expected}
    assert "bytes" not in answer


@pytest.mark.parametrize(
    "value",
    [
        "numpy.arange(24.0).reshape(2, 3, 4)",
        "numpy.arange(24.0).reshape(4, 3, 2).T.copy().T.reshape(2, 3, 4)",
        "numpy.asfortranarray(numpy.arange(24.0).reshape(2, 3, 4))",
        "numpy.repeat(numpy.arange(24.0), 2).reshape(2, 3, 8)[:, :, ::2]",
        "[[[k + 0.0 for k in range(24 * j, 24 * j + 24)] for j in range(2)]] * 2",
    ],
)
def test_arrays_of_several_dimensions_are_in_c_order(start: Start, value: str) -> None:
    worker = start(f"import numpy\ndef trial(p, seed, trial): return {{'x': {value}}}")
    expected = list(range(24)) if "numpy" in value else list(range(48)) * 2
    raw = {"raw": "<f8", "at": 0, "count": len(expected)}
    assert worker.answer()["values"]["x"] == {**raw, "shape": [2, 3, 4] if "numpy" in value else [2, 2, 24]}
    assert worker.trial()["x"].tolist() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("float('nan')", None),
        ("numpy.array([1, numpy.nan])", {"raw": "<f8", "at": 0, "count": 2}),
        ("[1, float('nan')]", {"raw": "<f8", "at": 0, "count": 2}),
    ],
)
def test_values_may_be_nan(start: Start, value: str, expected: object) -> None:
    worker = start(f"import numpy\ndef trial(p, seed, trial): return {{'x': {value}}}")
    assert worker.answer()["values"]["x"] == expected


def test_a_class_prepares_when_condition_or_seed_changes(start: Start) -> None:
    worker = start(
        """
        class Network:
            prepared = 0
            def prepare(self, parameters, seed):
                self.prepared += 1
                self.weight = parameters["synapse.weight"]
                self.seed = seed
            def trial(self, trial):
                assert trial != 13, "unlucky"
                return {"of": [self.prepared, self.weight, self.seed, trial]}
        """,
        serve="Network",
    )

    def ask(weight: float, seed: int, trial: int) -> Any:
        return worker.trial({"synapse.weight": weight}, seed, trial, f"{weight:032}")["of"].tolist()

    assert ask(1, 451, 0) == [1, 1, 451, 0]
    assert ask(1, 451, 1) == [1, 1, 451, 1]
    assert ask(1, 451, 0) == [1, 1, 451, 0]
    assert ask(2, 451, 0) == [2, 2, 451, 0]
    assert ask(2, 452, 0) == [3, 2, 452, 0]
    assert ask(1, 452, 5) == [4, 1, 452, 5]
    with pytest.raises(FailedTrial, match="unlucky"):
        ask(1, 452, 13)
    assert ask(1, 452, 5) == [5, 1, 452, 5], "a network is not used again after an error"


def test_prepare_runs_again_after_it_failed(start: Start) -> None:
    worker = start(
        """
        class Network:
            prepared = 0
            def prepare(self, parameters, seed):
                self.prepared += 1
                assert self.prepared > 1, "the first time"
            def trial(self, trial):
                return {"of": self.prepared}
        """,
        serve="Network",
    )
    assert "the first time" in failure(worker)
    assert worker.trial()["of"] == 2


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ("1", "granule.model.serve expects a function, or a class with prepare and trial; got 1 (int)"),
        ("dict", "granule.model.serve expects a class with prepare and trial; dict has no prepare"),
        ("print, {'x': 1}", "granule.model.serve expects names and versions as texts; got "),
    ],
)
def test_wrong_arguments_of_serve(start: Start, serve: str, message: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(message)):
        start("", serve=serve)


# ------------------------------------------------------------------- errors


def test_the_traceback_has_the_frames_of_the_user(start: Start, tmp_path: Path) -> None:
    worker = start(
        """
        def inner(x):
            return 1 / x

        def trial(parameters, seed, trial):
            try:
                inner(trial)
            except ZeroDivisionError as error:
                raise ValueError("no such\\ud800 trial") from error
            return {"x": granule.model.trial_seed(seed, -1)}
        """
    )
    text = failure(worker, trial=0)
    frames = re.findall(r'File "(.*)", line (\d+), in (\w+)', text)
    program = str(tmp_path / "program.py")
    assert frames == [(program, "8", "trial"), (program, "4", "inner"), (program, "10", "trial")]
    assert text.startswith("Traceback (most recent call last):\n")
    assert text.endswith("ValueError: no such\\ud800 trial")
    text = failure(worker, trial=1)
    assert re.findall(r"in (\w+)", text) == ["trial"]
    assert text.endswith("ValueError: trial is -1; expected a whole number from 0 to 2^32 - 1")
    assert worker.close() == (0, "", "")


def test_sys_exit_in_a_trial_is_an_error(start: Start) -> None:
    worker = start(
        """
        import sys
        def trial(parameters, seed, trial):
            if trial == 0:
                sys.exit("no network")
            return {}
        """
    )
    text = failure(worker, trial=0)
    assert text.startswith(
        "the trial called sys.exit or raised SystemExit; a trial must return its result\n\nTraceback"
    )
    assert text.endswith("SystemExit: no network")
    assert worker.trial(trial=1) == {}


def test_a_long_error_loses_its_middle(start: Start) -> None:
    worker = start('def trial(parameters, seed, trial): raise ValueError("a" * 100_000)')
    assert len(failure(worker)) < 21_000


WRONG: list[tuple[str, str]] = [
    ("None", 'the trial returned None; expected a mapping, such as {"E": (cells, times_ms)}'),
    ("[1, 2]", 'the trial returned a list; expected a mapping, such as {"E": (cells, times_ms)}'),
    ("12.5", 'the trial returned 12.5 (float); expected a mapping, such as {"E": (cells, times_ms)}'),
    (
        "{}",
        "the trial returned no spikes of E, I; it returned an empty mapping. Each population needs (cells, times_ms), "
        "and ([], []) if no cell spiked",
    ),
    (
        "{'E': ([], []), 'rate': 1}",
        "the trial returned no spikes of I; it returned E, rate. Each population needs (cells, times_ms), and ([], []) "
        "if no cell spiked",
    ),
    ("{1: 2}", "the trial returned a mapping with the key 1; expected names as texts"),
    (
        "{'E': ([], []), 'J': ([], [])}",
        "the trial returned spikes of J, which is no population of the model; its populations are E, I",
    ),
    ("{'E': None}", "the trial returned None for population E; expected a pair (cells, times_ms)"),
    ("{'E': [1]}", "the trial returned a list of length 1 for population E; expected a pair (cells, times_ms)"),
    (
        "{'E': numpy.zeros((2, 3))}",
        "the trial returned a numpy array for population E; expected a pair (cells, times_ms)",
    ),
    (
        "{'E': ([1], [1, 2])}",
        "the trial returned 1 cell and 2 times for population E; expected equal numbers, one of each for every spike",
    ),
    (
        "{'E': ([1.5], [1])}",
        "the trial returned the cells of population E with 1.5 (float); expected whole numbers",
    ),
    (
        "{'E': (numpy.ones(2), [1, 2])}",
        "the trial returned the cells of population E as an array of float64; expected whole numbers, as those of "
        "`.astype(int)`",
    ),
    (
        "{'E': (numpy.array([True]), [1])}",
        "the trial returned the cells of population E as an array of bool; expected numbers",
    ),
    (
        "{'E': ([1], ['a'])}",
        "the trial returned the times of population E with 'a' (str); expected numbers",
    ),
    (
        "{'E': ([1], [float('nan')])}",
        "the trial returned the times of population E with NaN or infinity; expected finite numbers",
    ),
    (
        "{'E': ([1], numpy.array([numpy.inf]))}",
        "the trial returned the times of population E with NaN or infinity; expected finite numbers",
    ),
    (
        "{'E': ([2**70], [1])}",
        "the trial returned the cells of population E with a number that is too large",
    ),
    (
        "{'E': ([[1]], [1])}",
        "the trial returned cells of population E as an array of 2 dimensions; expected 1 dimension",
    ),
    (
        "{'E': (3, [1])}",
        "the trial returned 3 (int) as the cells of population E; expected a list or array of numbers",
    ),
    (
        "{'rate': 'high'}",
        "the trial returned 'high' (str) as value rate; expected a number or an array of numbers, or for a population "
        "a pair (cells, times_ms)",
    ),
    (
        "{'rate': None}",
        "the trial returned None as value rate; expected a number or an array of numbers, or for a population a pair "
        "(cells, times_ms)",
    ),
    ("{'rate': True}", "the trial returned True as value rate; expected a number, such as 1 or 0"),
    ("{'rate': float('inf')}", "the trial returned inf as value rate; expected a finite number or NaN"),
    ("{'psth': [1, float('inf')]}", "the trial returned value psth with infinity; expected finite numbers or NaN"),
    (
        "{'psth': [[1, 2], [3]]}",
        "the trial returned value psth as lists of different lengths; expected equal lengths along each axis",
    ),
    (
        "{'psth': [[1, 2], 3]}",
        "the trial returned value psth as lists of different lengths; expected equal lengths along each axis",
    ),
    ("{'psth': [1, [3]]}", "the trial returned value psth with a list; expected numbers"),
    ("{'psth': [1, None]}", "the trial returned value psth with None; expected numbers"),
    ("{'psth': numpy.ones(2, complex)}", "the trial returned value psth as an array of complex128; expected numbers"),
]


def test_wrong_returns(start: Start) -> None:
    returns = ", ".join(f"lambda: {returned}" for returned, _ in WRONG)
    worker = start(
        f"import numpy\nRETURNS = [{returns}]\ndef trial(p, seed, trial): return RETURNS[trial]()", {"E": 8, "I": 2}
    )
    found = [(returned, failure(worker, trial=k)) for k, (returned, _) in enumerate(WRONG)]
    assert found == WRONG


def test_a_wrong_return_of_a_model_without_populations(start: Start) -> None:
    worker = start("def trial(p, seed, trial): return [None, {'E': ([], [])}][trial]")
    assert failure(worker, trial=0) == 'the trial returned None; expected a mapping, such as {"rate": 12.5}'
    expected = "the trial returned spikes of E, which is no population of the model; it has no populations"
    assert failure(worker, trial=1) == expected


# ------------------------------------------------------------- the program


def test_prints_do_not_break_the_protocol(start: Start) -> None:
    worker = start(
        """
        import os, sys
        print("begin")
        def trial(parameters, seed, trial):
            print('{"id":1}', trial)
            print("to the log", file=sys.stderr)
            os.write(1, b"raw\\n")
            return {"x": trial}
        """
    )
    assert [worker.trial(trial=k)["x"] for k in range(3)] == [0, 1, 2]
    code, out, err = worker.close()
    assert (code, err) == (0, "to the log\n" * 3)
    assert sorted(out.splitlines()) == sorted(["begin", *(f'{{"id":1}} {k}' for k in range(3)), *["raw"] * 3])


def test_the_log_is_flushed_after_each_trial(start: Start) -> None:
    worker = start("def trial(parameters, seed, trial): print('trial', trial); return {}")
    worker.trial(trial=0)
    assert worker.process.stdout is not None
    assert os.read(worker.process.stdout.fileno(), 100) == b"trial 0\n"


@pytest.mark.parametrize("how", ["subprocess", "fork", "exec"])
def test_children_do_not_hold_the_descriptors(start: Start, how: str) -> None:
    worker = start(
        f"""
        import os, subprocess, sys, time, warnings
        def trial(parameters, seed, trial):
            if "{how}" == "subprocess":
                pid = subprocess.Popen(["sleep", "60"], close_fds=False, stdout=-3, stderr=-3).pid
            else:
                warnings.simplefilter("ignore")
                pid = os.fork()
                if pid == 0:
                    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
                    os.dup2(1, 2)
                    if "{how}" == "exec":
                        os.execvp("sleep", ["sleep", "60"])
                    time.sleep(60)
            assert "GRANULE_REQUESTS" not in os.environ
            return {{"pid": pid}}
        """
    )
    pid = worker.trial()["pid"]
    try:
        begun = time.monotonic()
        assert worker.close() == (0, "", "")
        assert worker._reader.closed and time.monotonic() - begun < 20
        links = []
        for descriptor in ("3", "4"):
            try:
                links.append(os.readlink(f"/proc/{pid}/fd/{descriptor}"))
            except FileNotFoundError:
                pass
        assert not [link for link in links if link.startswith("pipe:")]
    finally:
        os.kill(pid, signal.SIGKILL)


def test_the_end_of_requests_ends_the_program(start: Start) -> None:
    worker = start("def trial(parameters, seed, trial): return {}\nimport atexit\natexit.register(print, 'bye')")
    assert worker.close() == (0, "bye\n", "")


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_signals_end_the_program_quietly(start: Start, sent: signal.Signals, code: int) -> None:
    worker = start("def trial(parameters, seed, trial): return {}")
    worker.trial()
    worker.process.send_signal(sent)
    worker.process.wait(30)
    assert worker.close() == (code, "", "")


def test_ctrl_c_within_a_trial(start: Start) -> None:
    worker = start("import os, signal\ndef trial(p, seed, trial): os.kill(os.getpid(), signal.SIGINT); return {}")
    with pytest.raises(AssertionError, match=re.escape("the program ended: (130, '', '')")):
        worker.trial()


def test_the_worker_disappears(start: Start) -> None:
    worker = start("import time\ndef trial(p, seed, trial): time.sleep(0.3); return {'x': [0.5] * 1_000_000}")
    os.write(worker._requests, b'{"id":1,"condition":"0","parameters":{},"seed":1,"trial":0}\n')
    worker._reader.close()
    assert worker.close() == (0, "", "")


@pytest.mark.parametrize("environment", [{}, {"GRANULE_REQUESTS": "77", "GRANULE_ANSWERS": "78"}])
def test_run_by_hand(tmp_path: Path, environment: dict[str, str]) -> None:
    program = tmp_path / "mine.py"
    program.write_text("import granule.model\ngranule.model.serve(lambda p, seed, trial: {})\nprint('not reached')\n")
    run = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE)} | environment,
    )
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "mine.py computes the trials of a granule model, and granule starts it\n"
        "  help: run `granule try MODEL`, where MODEL is the model file that names this program\n"
    )


def test_the_module_needs_no_numpy() -> None:
    program = "import sys; sys.modules['numpy'] = None; import granule.model; granule.model.trial_seed(451, 0)"
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"PYTHONPATH": str(SOURCE)}, check=True)


# -------------------------------------------------------------------- seeds


def test_seeds_follow_the_rule() -> None:
    assert granule.model.network_seed(0) == 1392703436
    assert granule.model.network_seed(451) == 3075364197
    assert granule.model.trial_seed(0, 0) == 0
    assert granule.model.trial_seed(0, 1) == 1364076727
    assert granule.model.trial_seed(451, 0) == 1564052462
    assert granule.model.trial_seed(451, 1) == 2343682635
    assert granule.model.trial_seed(2**32 - 1, 2**32 - 1) == 3792759280
    assert len({granule.model.trial_seed(451, trial) for trial in range(10_000)}) == 10_000
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match=rf"^seed is {seed}; expected a whole number from 0 to 2\^32 - 1$"):
            granule.model.network_seed(seed)
    with pytest.raises(TypeError):
        granule.model.network_seed(0.5)  # type: ignore[arg-type]


def test_generators_are_those_of_numpy() -> None:
    def first(seed: int, trial: int | None = None) -> float:
        return granule.model.generator(seed, trial).random()

    assert first(451) == np.random.default_rng(451).random()
    assert first(451, 2) == np.random.default_rng(np.random.SeedSequence(451).spawn(3)[2]).random()
    assert len({first(451), first(452), *(first(451, trial) for trial in range(10))}) == 12


def test_simulators_are_seeded(tmp_path: Path) -> None:
    """Stand-ins for Brian2 and NEST record their seeds."""
    (tmp_path / "brian2.py").write_text("seeds = []\nseed = seeds.append\n")
    (tmp_path / "nest.py").write_text("")
    program = """
import granule.model, brian2, nest
granule.model.seed_brian2(451)
granule.model.seed_brian2(451, 1)
granule.model.seed_nest(451, 1)
print(*brian2.seeds, nest.rng_seed)
granule.model.seed_nest(0, 0)
print(nest.rng_seed)
granule.model.seed_nest(451)
print(nest.rng_seed)
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(SOURCE), str(tmp_path)])}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert run.stdout.split() == ["3075364197", "2343682635", "2343682635", "1", "3075364197"]
