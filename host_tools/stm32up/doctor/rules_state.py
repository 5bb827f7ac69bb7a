"""What can be wrong with the target's state, with updates, and with the host's files."""

from __future__ import annotations

from stm32up import device
from stm32up.doctor.diagnosis import Evidence, Facts, Rules, Severity

RULES = Rules()

# Errors of the last result that the facts already show, or that ended in a rollback.
_OF_OTHER_RULES = ("application-silent", "hands-off")
_GIVEN_UP = ("application-silent", "verify-failed", "page-protected")
RESTARTS = 3  # resumptions in a row without a result
FULL = 16 * 1024  # bytes: with less, record and log do not fit

_HOST = ("micropython-unfit", "no-filesystem")
_UNREACHED = ("bus", "silence")
_UPDATE = ("interrupted", "keeps-restarting")


def version(text: str) -> str:
    """ "1.4.2+7" from the 16 hex digits that an application answers; other text unchanged."""
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return text
    return device.version_text(raw)


@RULES.add(
    "A bench operation on the target has not ended.",
    "Its option bytes may be half written, so the target is not reset until this is settled.",
    "Leave its supply on for a minute, then run the same operation again (stm32up provision or "
    "stm32up unprotect); it continues where it stopped.",
    unless=("locked-suspected",),
)
def hands_off(facts: Facts) -> Evidence:
    if facts.hands_off is None:
        return []
    note = facts.hands_off
    evidence = [f"/updater/hands-off is there: {note['what']}, stage: {note['stage']}"]
    if facts.target is None:
        evidence.append("so the target was left alone, and it is not known whether it answers")
    return evidence


@RULES.add(
    "The target is read-protected (level 1).",
    "Under readout protection its loader can neither read nor write flash.",
    "On the bench, over I2C: stm32up unprotect. It erases the flash, and the supply must not "
    "fail.",
)
def read_protected(facts: Facts) -> Evidence:
    return ["the loader answers, and refuses to read"] if facts.seen("loader", "refuses") else []


@RULES.add(
    "BOOT_LOCK is set: the target boots from main flash, whatever BOOT0 says.",
    "Another tool set it. Without readout protection a debugger can clear it; with protection "
    "only if a debugger can still connect.",
    "Clear BOOT_LOCK over SWD (STM32CubeProgrammer). Until then only the application can enter "
    "the loader: do not erase it.",
)
def boot_lock_set(facts: Facts) -> Evidence:
    return ["read from the option bytes: BOOT_LOCK is 1"] if facts.options.get("BOOT_LOCK") else []


@RULES.add(
    "BOOT0 starts the target's SRAM, not its loader.",
    "The option bit nBOOT1, which selects between the two, is 0.",
    "Set nBOOT1 to 1 while the loader answers, on the bench: stm32up provision.",
)
def nboot1_wrong(facts: Facts) -> Evidence:
    options = facts.options
    if options.get("nBOOT1") != 0:
        return []
    return [f"read from the option bytes: nBOOT1 is 0 ({options['OPTR']})"]


@RULES.add(
    "The target starts its loader at every reset.",
    "Option bits select it: with nBOOT_SEL 1 the bit nBOOT0 is used, and it is 0.",
    "Set nBOOT_SEL to 0, on the bench: stm32up provision.",
)
def forced_into_loader(facts: Facts) -> Evidence:
    options = facts.options
    if (options.get("nBOOT_SEL"), options.get("nBOOT0")) != (1, 0):
        return []
    return [f"read from the option bytes: nBOOT_SEL is 1, nBOOT0 is 0 ({options['OPTR']})"]


@RULES.add(
    "Pages of the flash are write-protected.",
    "An update of these pages fails, and the loader does not report why. The field updater never "
    "changes protection.",
    "Remove it on the bench over SWD (STM32CubeProgrammer: WRP start above its end).",
)
def write_protected(facts: Facts) -> Evidence:
    areas = [(name, facts.options.get(name)) for name in ("WRP1A", "WRP1B")]
    return [
        f"{name} protects pages {area[0]} to {area[1]}"
        for name, area in areas
        if isinstance(area, list)
    ]


@RULES.add(
    "The host's filesystem seems to have been formatted.",
    "MicroPython formats a filesystem that it cannot mount, after a loss of power for instance. "
    "Updater, images and log are gone; the target is unchanged.",
    "Deploy again (stm32up deploy, with the keys), then: stm32up update IMAGE.",
    unless=_HOST,
)
def filesystem_reformatted(facts: Facts) -> Evidence:
    if not facts.bare or facts.application is None:
        return []
    return [
        "the host holds neither updater nor board.json nor record",
        f"the target runs an application: {version(facts.application)}",
    ]


@RULES.add(
    "The host has no updater.",
    "It was never deployed, or the host's filesystem was formatted.",
    "Install it: stm32up deploy.",
    unless=("filesystem-reformatted", *_HOST),
)
def no_updater(facts: Facts) -> Evidence:
    return [] if facts.updater else ["there is no stm32_updater to import"]


@RULES.add(
    "The host has an updater, but no board.json.",
    "The updater was installed by mip or frozen in, or the file was removed.",
    "Write it: stm32up --board NAME deploy.",
    unless=("no-updater", "filesystem-reformatted", *_HOST),
)
def board_json_missing(facts: Facts) -> Evidence:
    return ["there is no /board.json"] if facts.board_json == "missing" else []


@RULES.add(
    "The host's board.json cannot be used.",
    "It was written by hand, or by another version than the updater's.",
    "Correct board.toml and write it again: stm32up --board NAME deploy.",
)
def board_json_broken(facts: Facts) -> Evidence:
    return [facts.board_trouble] if facts.board_json == "broken" else []


@RULES.add(
    "The host's record of what is installed is lost.",
    "Both its files are damaged, or of another version of the updater.",
    "Nothing but time is lost: stm32up update IMAGE writes every page again.",
)
def record_lost(facts: Facts) -> Evidence:
    if not facts.files["slots"] or facts.record:
        return []
    return [f"{facts.files['slots']} of 2 state files are there, and none is valid"]


@RULES.add(
    "An update restarts again and again, and never ends.",
    "The host loses its supply or is reset in the middle: a watchdog that is not fed, a weak "
    "supply, or a program that resets the host.",
    "Pass feed=wdt.feed to the updater, measure the host's supply, then: stm32up logs pull.",
)
def keeps_restarting(facts: Facts) -> Evidence:
    events = [entry.get("event") for entry in facts.log.entries]
    since = events[len(events) - events[::-1].index("result") :] if "result" in events else events
    count = since.count("resuming")
    if not facts.under_way or count < RESTARTS:
        return []
    return [f"the log shows the same update resumed {count} times, without a result"]


@RULES.add(
    "An update was interrupted and waits to be continued.",
    "Power was lost, or a computer connected to the host. The next run continues the update.",
    "Reset the host, or push the image again: stm32up update IMAGE.",
    unless=("keeps-restarting",),
)
def interrupted(facts: Facts) -> Evidence:
    if facts.under_way is None:
        return []
    evidence = [f"the host's record says: {facts.under_way}"]
    last = facts.last_failure
    return evidence + [f"the log ends with: {last['message']}"] if last else evidence


@RULES.add(
    "The last run of the updater failed.",
    "The evidence has the error. An unexpected one is a bug of the updater, or of the product's "
    "own confirm() or feed().",
    "Run it again (stm32up run). If it fails again: stm32up logs pull, and report it.",
    unless=_UPDATE,
)
def update_failed(facts: Facts) -> Evidence:
    """The last result is a failure that no other rule covers."""
    last = facts.last_failure
    error = str(last.get("error", "")) if last else ""
    if last is None or error.startswith("image") or error in _OF_OTHER_RULES:
        return []
    evidence = [f"the log ends with: {last.get('message')}"]
    if last.get("next_step"):
        evidence.append(f"the updater said: {last['next_step']}")
    return evidence


@RULES.add(
    "A new application did not prove itself, or could not be written.",
    "It did not do what [confirm] in board.toml requires, or a page did not take its content. If "
    "there was an earlier one, it is restored.",
    "If the evidence says that it answers another version, build it again with that --version. If "
    "flash differs, a page is worn or protected. Otherwise correct the application, give it a "
    "higher version, build and push it.",
)
def rolled_back(facts: Facts) -> Evidence:
    failed = facts.record.get("failed")
    ends = [  # of images that were written; one that was refused changed nothing
        entry
        for entry in facts.log.entries
        if entry.get("event") == "result"
        and (entry.get("status") == "installed" or entry.get("error") in _GIVEN_UP)
    ]
    if not failed or (ends and ends[-1].get("status") == "installed"):
        return []
    evidence = [f"the record has a failed image, digest {failed[:8]}"]
    return [*evidence, f"the log says: {ends[-1].get('message')}"] if ends else evidence


@RULES.add(
    "An image was refused.",
    "It is damaged, older, not signed by a known key, or for another chip or product.",
    "Do what the updater says in the evidence; then: stm32up update IMAGE.",
)
def image_refused(facts: Facts) -> Evidence:
    evidence = []
    for image in facts.files["inbox"]:
        if "error" in image:
            evidence += [image["message"], f"the updater would say: {image['next_step']}"]
    last = facts.last_failure
    if not evidence and last and str(last.get("error", "")).startswith("image"):
        evidence = [f"the log ends with: {last['message']}", str(last.get("next_step"))]
    return evidence


@RULES.add(
    "The beginning of the flash was torn by an interrupted write.",
    "A loss of supply or a reset interrupted an erase or a write; such cells cannot be read.",
    "Write it again: stm32up update IMAGE.",
    unless=_UPDATE,
)
def flash_torn(facts: Facts) -> Evidence:
    if not facts.seen("loader", "unreadable"):
        return []
    return ["reading the first 8 bytes of flash causes a fault in the loader"]


@RULES.add(
    "The target has no application: its flash is blank.",
    "Nothing was installed yet, or it was erased.",
    "Install one: stm32up update IMAGE.",
    unless=(*_UPDATE, "boot0-ignored"),
)
def flash_blank(facts: Facts) -> Evidence:
    return ["the first 8 bytes of flash are erased"] if facts.seen("loader", "blank") else []


@RULES.add(
    "There is an application, but it does not answer.",
    "It crashes, has its I2C or its line on other pins, or does something else than [confirm] in "
    "board.toml says.",
    "Check address and register, or pin, edges and timeout_ms, of [confirm]; then debug it, or "
    "install another: stm32up update IMAGE.",
    unless=(*_UPDATE, *_UNREACHED, "forced-into-loader"),
)
def application_silent(facts: Facts) -> Evidence:
    confirm = facts.settings["confirm"]
    asked = confirm["method"] != "none"
    if not asked or facts.application or facts.seen("loader", "blank") is not False:
        return []
    if confirm["method"] == "gpio":
        silent = f"pin {confirm['pin']} does not toggle"
    else:
        silent = "nothing answers"
    return [f"the flash is not empty, but {silent} after a reset with BOOT0 low"]


@RULES.add(
    "The image that was installed last is not on the host.",
    "Its file changed between the check and the end of the update, so it was removed. The last "
    "good image for a rollback is still the earlier one.",
    "Write it again: stm32up update --force IMAGE.",
    severity=Severity.NOTICE,
)
def image_not_kept(facts: Facts) -> Evidence:
    """The image that was installed last is no longer on the host."""
    events = [entry for entry in facts.log.entries if entry.get("event") in ("not-kept", "result")]
    for before, end in zip(events[-2::-1], events[:0:-1], strict=True):
        if end.get("status") == "installed":
            told = before.get("event") == "not-kept"
            return [f"the log says: {before.get('message')}"] if told else []
    return []


@RULES.add(
    "The application that runs is not the one this host installed.",
    "Another tool programmed the target, or the host was replaced.",
    "To install the host's image again, push it with a higher version: stm32up update IMAGE.",
    unless=("image-not-kept",),
)
def another_version(facts: Facts) -> Evidence:
    confirmed, runs = facts.files["confirmed"], facts.application
    if facts.record.get("phase") != "idle" or confirmed is None or runs in (None, "runs"):
        return []
    if confirmed.get("version_bytes") in (None, runs):
        return []
    return [
        f"it answers version {version(str(runs))}",
        f"installed by this host: {confirmed['version']}",
    ]


@RULES.add(
    "The host's filesystem is full.",
    "The updater cannot keep its record, and refuses to start without it.",
    "Remove files that are not needed: mpremote fs ls, mpremote fs rm.",
    unless=_HOST,
)
def host_full(facts: Facts) -> Evidence:
    return [] if facts.host.free >= FULL else [f"{facts.host.free} bytes are free"]


@RULES.add(
    "The host's filesystem has no room for a large image.",
    "A pushed image needs space besides the images that are kept for a rollback.",
    "Remove files that are not needed: mpremote fs ls, mpremote fs rm.",
    severity=Severity.NOTICE,
    unless=("host-full", *_HOST),
)
def host_nearly_full(facts: Facts) -> Evidence:
    needed = facts.chip.flash_size + FULL
    if facts.host.free >= needed:
        return []
    return [f"{facts.host.free} bytes are free; an image can have {facts.chip.flash_size}"]


@RULES.add(
    "The EMPTY flag is still set: a reset leads into the loader.",
    "The flash was written since power-on, and the chip updates the flag only then. The updater "
    "starts the application with Go, or with code in RAM that corrects the flag.",
    "Switch the target off and on once.",
    severity=Severity.NOTICE,
    unless=("forced-into-loader", "boot0-ignored"),
)
def empty_flag_set(facts: Facts) -> Evidence:
    if not facts.boot0_wired:  # then the application uses it to enter the loader
        return []
    if facts.seen("loader", "blank") is not False or not facts.seen("start", "loader", "protocol"):
        return []
    return ["a reset with BOOT0 low leads to the loader, and the flash is not empty"]


@RULES.add(
    "This host has never updated this target.",
    "Host or target was replaced, or the host's filesystem was formatted.",
    "None is needed; the first update writes every page.",
    severity=Severity.NOTICE,
    unless=_HOST,
)
def target_unknown(facts: Facts) -> Evidence:
    known = facts.bare or facts.files["slots"] or facts.log.entries or not facts.updater
    if known or facts.application is None:
        return []
    return [
        "the host has neither record nor log",
        f"the target runs an application: {version(facts.application)}",
    ]


@RULES.add(
    "A file on the host replaces a built-in module.",
    "It has every name that the updater uses, as the extensions in micropython-lib do.",
    "None is needed if it is one of those. Otherwise rename it.",
    severity=Severity.NOTICE,
    unless=("built-in-hidden",),
)
def built_in_replaced(facts: Facts) -> Evidence:
    return [hidden.text for hidden in facts.host.hidden]


@RULES.add(
    "The host's board.json differs from --board.",
    "Another board was deployed, or board.toml was changed since.",
    "Give the right board with --board; if the host's file is out of date: stm32up deploy.",
    severity=Severity.NOTICE,
    unless=("board-json-wrong", "board-json-broken"),
)
def board_json_differs(facts: Facts) -> Evidence:
    if not facts.differs:
        return []
    return [f"they differ in: {', '.join(facts.differs)}", "the doctor used the file on the host"]


@RULES.add(
    "Lines of the host's log are lost.",
    "Power was lost while a line was written, or the filesystem was full.",
    "None is needed, if it was a loss of power.",
    severity=Severity.NOTICE,
)
def log_lines_lost(facts: Facts) -> Evidence:
    evidence = []
    if facts.log.entries:
        first, last = facts.log.entries[0]["n"], facts.log.entries[-1]["n"]
        missing = last - first + 1 - len(facts.log.entries)
        if missing:
            evidence.append(f"{missing} numbers are missing between {first} and {last}")
    if facts.log.damaged:
        evidence.append(f"{facts.log.damaged} lines cannot be read")
    return evidence
