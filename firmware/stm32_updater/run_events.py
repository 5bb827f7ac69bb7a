"""What a run of the updater tells: dicts; each has "event" first.

    {"event": "refused", "image": path, "error": code, "message", "next_step"}
    {"event": "checked", "image": path, "version": ..., "hash_ms", "signature_ms",
     "key": id of the key that signed it, or None if that was not asked (see signature.py)}
    {"event": "superseded", "image": path, "version": ...}      an older one, removed
    {"event": "installing" | "resuming" | "rolling-back", "image": path, "version": ...,
     "bytes": ...}                                     rolling back also has "reason", a text
    {"event": "loader", "version": "11.4", "protocol": "1.2", "chip": ...}
    {"event": "progress", "phase": "compare" | "write" | "verify", "done": pages, "total": pages}
    {"event": "retry", "page": number, "error": code, "message"}
    {"event": "written", "bytes": ..., "verified": ..., "erased_pages": ..., "repeats": ...}
    {"event": "starting", "try": n}
    {"event": "not-kept", "image": path, "error": code, "message", "next_step"}   its file changed
    {"event": "result", "ok": bool, "status": ..., ...}       always the last one

Status is "idle", "up-to-date", "installed", "rolled-back", "waiting" or "failed". After an
installation it has "bytes" and "target_ms"; "verified" unless an earlier boot wrote and verified
it; "hash_ms" and "signature_ms" unless an earlier boot checked the image.
"""


def about(event, image):
    """An event about an image."""
    return {"event": event, "image": image.path, "version": image.version, "bytes": image.size}


def failure(event, path, error):
    """An event about an image at `path` that came to an error."""
    told = {"event": event, "image": path}
    told.update(error.as_dict())
    return told


def progress(phase, done, total):
    return {"event": "progress", "phase": phase, "done": done, "total": total}


def retry(page, error):
    return {"event": "retry", "page": page, "error": error.code, "message": error.message}


def result(ok, status, error=None, **more):
    told = {"event": "result", "ok": ok, "status": status}
    if error is not None:
        told.update(error.as_dict())
    told.update(more)
    return told
