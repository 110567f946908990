"""NIX_SHOW_STATS and NIX_COUNT_CALLS: what an evaluation did, as JSON on standard error.

The keys are those of Nix 2.8, so that scripts can compare the two. Counters that mean nothing here (bytes of values
that Python's allocator rounds up, symbols, a garbage collector that is off) are left out and not invented. All but the
time are the same in every run of one expression.
"""

from __future__ import annotations

import atexit
import json
import resource

from evaluator.core.values import get_counters
from storefs.logs import sink, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from evaluator.core.state import EvalState
    from storefs.config import Config


def print_at_exit(config: Config, state: EvalState) -> None:
    """Have the counters of this process written when it ends: to the file NIX_SHOW_STATS_PATH, or to standard error.

    They are written once, however many evaluations the process has begun.
    """
    atexit.unregister(_print)
    atexit.register(_print, config, state)


def _print(config: Config, state: EvalState) -> None:
    text = json.dumps(_collect(state), indent=2, ensure_ascii=False)
    path = config.variable("NIX_SHOW_STATS_PATH", "-")
    try:
        if path == "-":
            sink.emit(text)
        else:
            with open(path, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(text + "\n")
    except OSError as error:
        warn(f"the statistics can't be written to '{path}': {error.strerror}")


def _collect(state: EvalState) -> dict[str, object]:
    counters = get_counters()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    result: dict[str, object] = {
        "cpuTime": round(usage.ru_utime + usage.ru_stime, 6),
        "peakMemoryBytes": _peak_memory(),
        "envs": {"number": counters.environments, "elements": counters.environment_slots},
        "list": {"elements": counters.list_elements, "concats": counters.list_concatenations},
        "sets": {"number": counters.sets, "elements": counters.set_elements},
        "nrOpUpdates": counters.updates,
        "nrOpUpdateValuesCopied": counters.update_values_copied,
        "nrThunks": counters.thunks,
        "nrAvoided": counters.avoided,
        "nrLookups": counters.lookups,
        "nrPrimOpCalls": counters.primop_calls,
        "nrFunctionCalls": counters.function_calls,
    }
    if counters.calls_of_primops is not None:
        result["primops"] = dict(sorted(counters.calls_of_primops.items()))
        result["functions"] = _functions(state, counters.calls_of_functions)
        result["attributes"] = _attributes(state, counters.selections)
    return result


def _peak_memory() -> int:
    """The most memory that was resident, in bytes, and 0 where there is no /proc.

    Of this program, where `ru_maxrss` is also that of who began it.
    """
    try:
        with open("/proc/self/status", "rb") as file:
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def _place(state: EvalState, pos: int) -> dict[str, object]:
    where = state.positions.resolve(pos)
    return {} if where is None else {"file": where.file, "line": where.line, "column": where.column}


def _functions(state: EvalState, calls: dict[object, int]) -> list[dict[str, object]]:
    """Calls of functions, most called first; those of one name and place together, as for two evaluations of a file."""
    totals: dict[tuple[str | None, int], int] = {}
    for code, count in calls.items():
        key = (code.name, code.pos)  # type: ignore[attr-defined]
        totals[key] = totals.get(key, 0) + count
    ordered = sorted(totals.items(), key=lambda item: (-item[1], item[0][1]))
    return [{"name": name, **_place(state, pos), "count": count} for (name, pos), count in ordered]


def _attributes(state: EvalState, selections: dict[int, int]) -> list[dict[str, object]]:
    ordered = sorted(selections.items(), key=lambda item: (-item[1], item[0]))
    return [{**_place(state, pos), "count": count} for pos, count in ordered]
