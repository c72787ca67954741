"""Runs the parts of bench/gpu.sh and writes summary.txt, results.json and log.txt."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import report  # noqa: E402
from parts import all_parts  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 530  # for everything
NO_GPU = 3


@dataclass
class Outcome:
    """What became of a part: "ok", "failed", "too slow" or "left out"."""

    name: str
    state: str
    seconds: float = 0.0
    reason: str = ""
    results: list = field(default_factory=list)
    output: str = ""


def card():
    """(name, compute capability such as "90") of the first GPU, or None."""
    if not shutil.which("nvidia-smi"):
        return None
    query = ["nvidia-smi", "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    if done.returncode != 0 or "," not in done.stdout:
        return None
    name, capability = done.stdout.splitlines()[0].rsplit(",", 1)
    return name.strip(), capability.strip().replace(".", "")


def begin(part):
    """Starts a part's command in a process group of its own."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", **part.environment}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    return subprocess.Popen(part.command, cwd=ROOT, env=environment, start_new_session=True, **options)


def results_in(output):
    """The lines of an output that are JSON objects."""
    found = []
    for line in output.splitlines():
        if line.startswith("{"):
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def finish(part, process, started, limit):
    """Waits for a part's process, at most until `limit`, a time of the monotonic clock."""
    try:
        output, _ = process.communicate(timeout=max(0.1, min(limit, started + part.seconds) - time.monotonic()))
        state = "ok" if process.returncode == 0 else "failed"
        reason = "" if state == "ok" else f"exit code {process.returncode}"
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
        state, reason = "too slow", f"stopped after {time.monotonic() - started:.0f} s"
    return Outcome(part.name, state, time.monotonic() - started, reason, results_in(output), output)


def run_group(group, limit):
    """Runs the parts of a group at the same time; returns their outcomes."""
    started, running, outcomes = time.monotonic(), [], []
    for part in group:
        if part.needs and not shutil.which(part.needs):
            outcomes.append(Outcome(part.name, "left out", reason=f"there is no {part.needs}"))
        elif limit - started < 5:
            outcomes.append(Outcome(part.name, "left out", reason="no time left"))
        else:
            running.append((part, begin(part)))
    return outcomes + [finish(part, process, started, limit) for part, process in running]


def write(folder, about, outcomes):
    """Writes the three files; returns the summary."""
    folder.mkdir(parents=True, exist_ok=True)
    summary = report.summary(about, outcomes)
    kept = [{key: value for key, value in asdict(outcome).items() if key != "output"} for outcome in outcomes]
    (folder / "summary.txt").write_text(summary)
    (folder / "results.json").write_text(json.dumps({"about": about, "parts": kept}, indent=1))
    logs = [f"##### {outcome.name}: {outcome.state}\n{outcome.output[-200_000:]}\n" for outcome in outcomes]
    (folder / "log.txt").write_text("".join(logs))
    return summary


def main(names):
    """Runs all parts, or those named; returns the exit code."""
    found = card()
    if found is None:
        print("bench/gpu.sh: there is no NVIDIA GPU on this machine (nvidia-smi names none); nothing was run.")
        return NO_GPU
    named = f"{'-'.join(found[0].lower().split())}-{time.strftime('%Y-%m-%d-%H%M%S')}"
    folder = Path(os.environ.get("OUT") or ROOT / "bench" / "results" / named)
    about = {"gpu": found[0], "capability": found[1], "begun": time.strftime("%Y-%m-%d %H:%M:%S")}
    limit, outcomes = time.monotonic() + SECONDS, []
    for group in all_parts(found[1]):
        outcomes += run_group([part for part in group if not names or part.name in names], limit)
        summary = write(folder, about, outcomes)  # after each: whatever stops us, that much is kept
    print(summary)
    print(f"Written to {folder}.")
    return 0 if outcomes and all(outcome.state == "ok" for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
