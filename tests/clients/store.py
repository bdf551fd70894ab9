"""Looks into a job store from outside, with nothing of Brig: what must hold whatever happened to the service.

store.py check DATA [ACCEPTED]     prints one object: what is wrong, and counts
store.py kill DATA PID QUERY       waits until the query gives something but 0, then kills PID with SIGKILL
store.py count DATA                prints rows per table and bytes per file
"""

import json
import os
import pathlib
import signal
import sqlite3
import sys
import time

ENDED = ("finished", "failed", "cancelled")


def database(data):
    found = [path for path in pathlib.Path(data).iterdir() if path.suffix in (".db", ".sqlite", ".sqlite3")]
    return found[0] if found else None


def connect(data):
    path = database(data)
    if path is None:
        return None
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5, isolation_level=None)


def text(job):
    digits = job.hex()
    return "-".join([digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]])


def check_events(job, row, events, wrong):
    """The numbers have no hole, one end, nothing after it, and no output of two runs of one attempt."""
    state, attempts, last_seq, kind = row
    expected, ends, starts, nonces = 1, 0, 0, {}
    previous = 0
    for seq, attempt, what, gap_to, body in events:
        if seq != expected:
            wrong(f"{job}: event {seq} where {expected} was to come")
        expected = (gap_to or seq) + 1
        if ends:
            wrong(f"{job}: event {seq} ({what}) after the end")
        if attempt < previous and what != "gap":
            wrong(f"{job}: event {seq} belongs to attempt {attempt} after {previous}")
        previous = max(previous, attempt)
        ends += what == "ended"
        starts += what == "started"
        if what == "stdout":
            lines = [line for line in bytes(body).split(b"\n") if line.startswith(b"nonce ")]
            nonces.setdefault(attempt, set()).update(lines)
    if expected != last_seq + 1:
        wrong(f"{job}: the last event is {expected - 1}, the job says {last_seq}")
    if (state in ENDED) != (ends == 1):
        wrong(f"{job}: {state} with {ends} ends")
    if starts > attempts:
        wrong(f"{job}: started {starts} times in {attempts} attempts")
    for attempt, lines in nonces.items():
        if len(lines) > 1:
            wrong(f"{job}: attempt {attempt} ran {len(lines)} times: {lines}")
    if state == "finished" and attempts == 1 and kind == "exited" and sum(map(len, nonces.values())) > 1:
        wrong(f"{job}: finished, and ran more than once")
    return starts


def check(data, accepted):
    faults = []
    wrong = faults.append
    store = connect(data)
    integrity = [row[0] for row in store.execute("PRAGMA integrity_check")]
    # SQLite 3.40 takes this table's columns for others: it has no rowid, and its key is not its first columns.
    nulls = store.execute("SELECT count(*) FROM job_files WHERE tenant IS NULL").fetchone()[0]
    integrity = [line for line in integrity if nulls or line != "NULL value in job_files.tenant"]
    if integrity not in ([], ["ok"]):
        wrong(f"integrity: {integrity}")
    for row in store.execute("PRAGMA foreign_key_check"):
        wrong(f"foreign key: {row}")
    states, kinds, events_seen, retried = {}, {}, 0, 0
    jobs = {}
    for id_, state, attempts, most, last_seq, kind in store.execute(
        "SELECT id, state, attempts, max_attempts, last_seq, kind FROM jobs"
    ):
        job = text(id_)
        jobs[job] = state
        states[state] = states.get(state, 0) + 1
        kinds[kind] = kinds.get(kind, 0) + 1
        retried += attempts > 1
        if state not in ENDED:
            wrong(f"{job}: still {state}")
        if attempts > most:
            wrong(f"{job}: {attempts} attempts of {most}")
        if kind in ("internal_error", "setup_error"):
            result = store.execute("SELECT result FROM jobs WHERE id = ?", (id_,)).fetchone()
            wrong(f"{job}: {kind}: {result[0][:300]}")
        events = store.execute(
            "SELECT seq, attempt, kind, gap_to, body FROM events WHERE job = ? ORDER BY seq", (id_,)
        ).fetchall()
        events_seen += len(events)
        check_events(job, (state, attempts, last_seq, kind), events, wrong)
    for job in accepted:
        if job not in jobs:
            wrong(f"{job}: accepted, and there is no record")
    for tenant, queued, running in store.execute("SELECT tenant, queued, running FROM tenants"):
        if (queued, running) != (0, 0):
            wrong(f"tenant {tenant} counts {queued} queued and {running} running")
    check_files(data, store, wrong)
    return {
        "faults": faults[:20],
        "jobs": len(jobs),
        "states": states,
        "kinds": kinds,
        "events": events_seen,
        "retried": retried,
    }


def check_files(data, store, wrong):
    """Every indexed file is there with its size, and nothing else is."""
    folder = pathlib.Path(data) / "files"
    on_disk = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    indexed = {text(id_): size for id_, size in store.execute("SELECT id, size FROM files")}
    for name, size in indexed.items():
        if on_disk.get(name) != size:
            wrong(f"file {name}: {size} bytes in the index, {on_disk.get(name)} on the disk")
    for name in on_disk.keys() - indexed.keys():
        wrong(f"file {name} is left over")


def kill(data, pid, query):
    """The fail point: no other process sees a commit earlier than a reader of the database."""
    began = time.monotonic()
    while time.monotonic() - began < 30:
        store = None
        try:
            store = store or connect(data)
            if store is not None and store.execute(query).fetchone()[0]:
                os.kill(pid, signal.SIGKILL)
                return {"after": round(time.monotonic() - began, 4)}
        except sqlite3.Error:
            pass
        finally:
            if store is not None:
                store.close()
    return {"after": None}


def count(data):
    store = connect(data)
    tables = ["jobs", "specs", "events", "idempotency", "files", "job_files"]
    rows = {table: store.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
    path = database(data)
    sizes = {file.name: file.stat().st_size for file in path.parent.iterdir() if file.name.startswith(path.stem)}
    return {"rows": rows, "bytes": sizes}


def main(arguments):
    command, data, *rest = arguments
    if command == "check":
        accepted = pathlib.Path(rest[0]).read_text().split() if rest else []
        found = check(data, accepted)
    elif command == "kill":
        found = kill(data, int(rest[0]), rest[1])
    else:
        found = count(data)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
