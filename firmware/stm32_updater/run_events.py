"""The events of a run: dicts with "event" as first key.

    {"event": "run", "at": [year, month, day, hour, minute, second] of the host's clock,
     "reset": machine.reset_cause()}                only in the log, as the first line of the run
    {"event": "refused", "image": path, "error": code, "message", "next_step"}
    {"event": "checked", "image": path, "version": ..., "hash_ms", "signature_ms",
     "key": id of the signing key, or None if the signature was not checked (see signature.py)}
    {"event": "superseded", "image": path, "version": ...}      an older image, removed
    {"event": "installing" | "resuming" | "rolling-back", "image": path, "version": ...,
     "from": version that is replaced, or None, "bytes": ...}
                                                       "rolling-back" also has "reason", a text
    {"event": "loader", "version": "11.4", "protocol": "1.2", "chip": ...}
    {"event": "progress", "phase": "compare" | "write" | "verify", "done": pages, "total": pages}
    {"event": "retry", "page": number, "error": code, "message"}
    {"event": "written", "bytes": ..., "verified": ..., "erased_pages": ..., "repeats": ...,
     "compare_ms", "write_ms", "verify_ms": how long each phase took, if there was one}
    {"event": "starting", "try": n}
    {"event": "not-kept", "image": path, "error": code, "message", "next_step"}   its file changed
    {"event": "result", "ok": bool, "status": ..., ...}       always the last event

"status" is "idle", "up-to-date", "installed", "rolled-back", "waiting" or "failed". A result
"installed" also has "bytes" and "target_ms", the time from the first access to the target until
its application has proved itself; "verified" unless an earlier boot wrote and verified the image;
"hash_ms" and "signature_ms" unless an earlier boot checked it.
"""

import time

import machine


def run():
    """The first line of a run in the log: when it is, and why the host had started. A clock that
    was not set counts from the start of a year before 2024."""
    return {"event": "run", "at": time.gmtime()[:6], "reset": machine.reset_cause()}


def about(name, image, replaced):
    """The event `name` about an image that replaces the version `replaced`, or None."""
    return {
        "event": name,
        "image": image.path,
        "version": image.version,
        "from": replaced,
        "bytes": image.size,
    }


def failure(name, path, error):
    """The event `name` about the image at `path` and its error."""
    event = {"event": name, "image": path}
    event.update(error.as_dict())
    return event


def progress(phase, done, total):
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def retry(page, error):
    return {"event": "retry", "page": page, "error": error.code, "message": error.message}


def result(ok, status, error=None, **more):
    event = {"event": "result", "ok": ok, "status": status}
    if error is not None:
        event.update(error.as_dict())
    event.update(more)
    return event
