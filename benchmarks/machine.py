"""What a benchmark ran on: a record for --json, and a line for what it prints."""

import datetime
import os
import platform
from pathlib import Path
from typing import Any

from xgacmn_tf.runs.provenance import git_commit, versions


def machine() -> dict[str, Any]:
    """Return the commit, date, processor, cores, load of the last minute, and versions."""
    return {
        "commit": git_commit(),
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "versions": versions(),
    }


def described(record: dict[str, Any]) -> str:
    """Return what matters of a `machine` in one line."""
    commit = (record["commit"] or "no commit")[:8]
    tensorflow = record["versions"]["tensorflow"]
    return (
        f"{record['processor']}, {record['cores']} cores, load {record['load']:.1f} at the start; "
        f"TensorFlow {tensorflow}, commit {commit}, {record['date']}"
    )


def _processor() -> str:
    """Return the name, family and model of the processor where Linux states them."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = dict(map(str.strip, each.split(":", 1)) for each in lines if ":" in each)
    name = facts.get("model name", platform.machine())
    return f"{name} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"
