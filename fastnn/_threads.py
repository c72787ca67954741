"""How many threads the kernels use, and why that many.

`FASTNN_NUM_THREADS` wins. Otherwise it is the number of physical cores in this process's affinity mask (two hardware
threads of one core share its vector units, so a second one only adds waiting), limited by the CPU quota of its control
group (a container's limit: threads beyond the quota are stopped for the rest of each period, and all wait for them).
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from fastnn._check import fail

MAXIMUM = 4095  # what the thread team's barrier can count


def decide(
    environ: Mapping[str, str] | None = None, root: str | Path = "/", cpus: Iterable[int] | None = None
) -> tuple[int, str]:
    """Returns (number of threads, the reason in words).

    Args:
        environ: environment variables, the process's own by default.
        root: where /sys and /proc are, another folder in tests.
        cpus: the CPUs that this process may run on, its affinity mask by default.
    """
    environ = os.environ if environ is None else environ
    text = environ.get("FASTNN_NUM_THREADS", "").strip()
    if text:
        if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MAXIMUM):
            remedy = "Unset it to use one thread for each physical core."
            fail("fastnn", "FASTNN_NUM_THREADS", f"a whole number from 1 to {MAXIMUM}", repr(text), remedy)
        return int(text), f"FASTNN_NUM_THREADS={text}"

    root, mask = Path(root), set(_affinity() if cpus is None else cpus)
    cores = physical_cores(mask, root)
    reason = f"{cores} physical core{'s' if cores != 1 else ''} in the affinity mask"
    if cores < len(mask):
        reason += f" of {len(mask)} hardware threads"
    quota = cgroup_quota(root)
    if quota is not None and quota < cores:
        return max(1, int(quota)), f"the control group's quota of {quota:g} CPUs, below {reason}"
    return min(cores, MAXIMUM), reason


def _affinity() -> set[int]:
    """The CPUs this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def physical_cores(cpus: Iterable[int], root: Path) -> int:
    """How many distinct cores the CPUs lie on; a CPU whose siblings are unknown counts as a core of its own."""
    cores = set()
    for cpu in cpus:
        path = root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
        cores.add(_read(path) or str(cpu))
    return max(1, len(cores))


def cgroup_quota(root: Path) -> float | None:
    """The CPUs' worth of time that the control groups (version 2 or 1) of this process allow, None if unlimited."""
    quotas = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            quotas += [_quota_v2(folder) for folder in _up(root / "sys/fs/cgroup", path)]
        elif "cpu" in controllers.split(","):
            quotas += [_quota_v1(folder) for folder in _up(root / "sys/fs/cgroup/cpu", path)]
    return min((quota for quota in quotas if quota is not None), default=None)


def _up(top: Path, path: str) -> list[Path]:
    """The folders of control group `path` and of all its parents up to `top` (in a container only `top` may exist)."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota_v2(folder: Path) -> float | None:
    fields = _read(folder / "cpu.max").split()  # "max 100000" or "150000 100000": quota and period in microseconds
    return int(fields[0]) / int(fields[1]) if len(fields) == 2 and fields[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota and period and int(quota) > 0 else None


def _read(path: Path) -> str:
    """The file's text, "" if it can't be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
