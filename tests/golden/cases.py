"""What a user sees of every verb: its help, a success, and three failures.

The board is not there: `on_board` reports given events and returns a given value, or raises. So a
case needs no time, and its text is the same on every computer.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from stm32up.errors import DeviceError, NoBoard, NoUpdater, UpdateFailed
from stm32up.host import logs
from tests.host_tools.test_output import PROBED, STATUS


@dataclass(frozen=True)
class Case:
    """`events`, `ends`: of the board; `ends` is raised if it is an error. `typed`: at the
    terminal. `instead`: values for functions, by their names."""

    arguments: str
    events: tuple[dict[str, Any], ...] = ()
    ends: Any = None
    typed: str = ""
    instead: tuple[tuple[str, Any], ...] = ()


NO_BOARD = NoBoard(
    "nothing on USB that may be a board (no serial port)",
    "Connect one, or give a port with --port.",
)
NO_UPDATER = NoUpdater("the board has no updater", "Install it: stm32up deploy.")
FULL = DeviceError("the board raised OSError: 28", kind="OSError")
SILENT = UpdateFailed(
    "the loader at I2C address 0x51 cannot be reached: no answer at I2C address 0x51",
    "Check SDA, SCL, ground and the pull-up resistors, or run: stm32up doctor",
    {"ok": False, "error": "loader-silent"},
)
HANDS_OFF = UpdateFailed(
    "the target may be programming its option bytes: busy",
    "Leave its supply on and wait a few minutes.",
    {"ok": False, "error": "hands-off"},
)
PUSHED = {
    "event": "pushed",
    "status": "pushed",
    "file": "app.img",
    "sha256": "00" * 32,
    "image": "/updater/inbox/app.img",
    "version": "1.4.2",
    "sent": 1698,
}
IMAGE = {"image": "/updater/candidate.img", "version": "1.4.2", "bytes": 1096}
UPDATE = (
    PUSHED,
    {"event": "checked", **IMAGE, "hash_ms": 141, "signature_ms": 280, "key": "0123456789abcdef"},
    {"event": "installing", **IMAGE},
    {"event": "loader", "chip": "STM32G071RB", "version": "11.4", "protocol": "1.2"},
    {"event": "written", "bytes": 1096, "verified": 1096, "erased_pages": 1, "repeats": 1},
    {"event": "starting", "try": 1},
)
INSTALLED = {"status": "installed", "version": "1.4.2", "target_ms": 4600}
ROLLED_BACK = UpdateFailed(
    "1.4.2 did not prove itself (it is silent); 1.4.1 is back",
    "Push a newer image; this one is not tried again.",
    {"ok": False, "error": "rolled-back"},
)
PLAN = {
    "event": "plan",
    "status": "planned",
    "chip": "STM32G071RB",
    "supply": False,
    "fields": [
        {"name": "RDP", "low": 0, "width": 8, "before": 0xAA, "after": 0xAA},
        {"name": "nBOOT_SEL", "low": 24, "width": 1, "before": 1, "after": 0},
    ],
    "before": "0xFFFFFEAA",
    "after": "0xFEFFFEAA",
}
NOT_CONFIRMED = UpdateFailed(
    "the target differs from the plan: before",
    "Nothing was changed; run the command again and look at the new plan.",
    {"ok": False, "error": "plan-outdated"},
)
HEALTHY: dict[str, Any] = {
    "ok": True,
    "status": "healthy",
    "findings": [],
    "otherwise": [],
    "facts": {},
}
SICK: dict[str, Any] = {
    "ok": False,
    "status": "wrong",
    "findings": [
        {
            "code": "pull-ups-missing",
            "severity": "wrong",
            "what": "SDA and SCL have no pull-up resistors.",
            "evidence": ["SDA (host pin 4) and SCL (host pin 5) follow the host's weak pulls"],
            "cause": "The resistors are missing, or go to a supply that is off.",
            "next_step": "Put 2.2 kOhm from each line to 3.3 V.",
        }
    ],
    "otherwise": [],
    "facts": {},
}
DIFFERS = {
    "event": "differs",
    "page": 3,
    "address": 0x08001804,
    "bytes": 2,
    "flash": "12 34",
    "file": "56 78",
}
DIFFERENT = UpdateFailed(
    "flash differs from app.img in 2 of 1096 bytes, in 1 page; first at 0x08001804: 12 in flash, "
    "56 in the file",
    "To write it: stm32up update app.img --force.",
    {"ok": False, "error": "flash-differs"},
)
DEVICES = [
    {
        "port": "/dev/ttyACM0",
        "usb": "Board in FS mode",
        "platform": "rp2",
        "machine": "Raspberry Pi Pico with RP2040",
        "micropython": "1.29.0",
        "unique_id": "e6616407e3",
        "board": "Raspberry Pi Pico and NUCLEO-G071RB",
        "updater": "0.1.0",
        "phase": "idle",
        "target": "1.4.2",
    },
    {"port": "/dev/ttyUSB0", "usb": "CP2102", "said": "its program does not answer"},
]
CYCLE = {
    "cycle": 1,
    "version": "1.0.0",
    "runs": 2,
    "retries": 1,
    "resets": 0,
    "failure": None,
    "cuts": [{"kind": "nrst", "t": 900}],
    "phases": {"push": 40, "write": 800, "cycle": 2000},
}
BENCH = SimpleNamespace(
    cycles=[CYCLE, {**CYCLE, "cycle": 2}], seed=1, versions=["1.0.0", "1.0.1"], kinds=["nrst"]
)
FAILED_CYCLE = {
    **CYCLE,
    "failure": {
        "message": "flash does not hold 1.0.0",
        "next_step": "Read the log; run: stm32up doctor.",
    },
}
FAILED_BENCH = SimpleNamespace(**{**vars(BENCH), "cycles": [CYCLE, FAILED_CYCLE]})
FORUM = {"status": "done", "lanes": [{"locked": 0, "instants": 10000}]}
TORTURED = {
    "status": "done",
    "cuts": 2412,
    "new": 1300,
    "old": 1112,
    "slowest_ms": 12_300,
    "violations": [],
}
WHO = {"board": "e6616407e3000001", "host": "rp2", "micropython": "1.29.0", "updater": "0.1.0"}
PRODUCE = "produce app.img --serial-number 0001 --inventory units.csv"
STEPS = ("deploy", "provision", "update", "verify")
LOG = (
    logs.merge(
        [
            b'{"n": 1, "t": 5, "event": "starting", "try": 1}\n',
            b'{"n": 2, "t": 9, "event": "result", "ok": true, "status": "installed"}\n',
        ]
    ),
    WHO,
)


def on_a_board(verb: str, success: Case, *failures: Case) -> list[Case]:
    """The cases of a verb that needs a board."""
    usual = [Case(f"{verb} --nonsense"), Case(success.arguments, ends=NO_BOARD)]
    return [Case(f"{verb} -h"), success, *usual, *failures]


def here(verb: str, success: Case, *failures: str) -> list[Case]:
    """The cases of a verb that works on this computer alone."""
    return [Case(f"{verb} -h"), success, *map(Case, failures)]


CASES: dict[str, list[Case]] = {
    "keys new": here(
        "keys new",
        Case("keys new new.pem --bits 2048"),
        *("keys new", "keys new key.pem", "keys new no/new.pem"),
    ),
    "keys public": here(
        "keys public",
        Case("keys public key.pem -o key.pub.pem"),
        *("keys public key.pem", "keys public none.pem -o x", "keys public app.bin -o x"),
    ),
    "image build": here(
        "image build",
        Case("image build app.hex --version 1.4.2 -o new.img"),
        "image build app.hex -o new.img",
        "image build app.hex --version 1.4.2-rc1 -o new.img",
        "image build bad.hex --version 1.4.2 -o new.img",
    ),
    "image show": here(
        "image show",
        Case("image show app.img"),
        *("image show none.img", "image show app.hex", "image show torn.img"),
    ),
    "image verify": here(
        "image verify",
        Case("image verify app.img"),
        *("image verify none.img", "image verify app.hex", "image verify app.img --key key.pem"),
    ),
    "image digest": here(
        "image digest",
        Case("image digest app.img -o digest"),
        *("image digest app.img", "image digest none.img -o x", "image digest torn.img -o x"),
    ),
    "image sign": here(
        "image sign",
        Case("image sign app.img --key key.pem -o signed.img"),
        "image sign app.img -o signed.img",
        "image sign app.img --key none.pem -o signed.img",
        "image sign torn.img --key key.pem -o signed.img",
    ),
    "boards list": here(
        "boards list",
        Case("boards list"),
        *("boards list --nonsense", "boards list more", "boards lost"),
    ),
    "boards new": here(
        "boards new",
        Case("boards new mine --yes"),
        "boards new",
        "boards new mine --link spi --yes",
        "boards new mine --json",
    ),
    "devices": here(
        "devices",
        Case("devices", instead=(("stm32up.host.devices.devices", DEVICES),)),
        *("devices", "devices --nonsense", "devices more"),
    ),
    "deploy": on_a_board(
        "deploy",
        Case(
            "deploy",
            ends={
                "status": "deployed",
                "board": "pico_nucleo_g071rb",
                "unchanged": 27,
                "copied": ["/board.json"],
                "removed": [],
                "bytes": 700,
            },
        ),
        Case("deploy --key none.pem"),
        Case("deploy", ends=FULL),
    ),
    "push": on_a_board("push", Case("push app.img", ends=PUSHED), Case("push app.hex")),
    "update": on_a_board(
        "update",
        Case("update app.img", UPDATE, INSTALLED),
        Case("update app.hex --version auto"),
        Case("update app.hex --version 1.4.2 --key key.pem", UPDATE, ROLLED_BACK),
    ),
    "run": on_a_board("run", Case("run", UPDATE[1:], INSTALLED), Case("run", ends=NO_UPDATER)),
    "status": on_a_board("status", Case("status", ends=STATUS), Case("status", ends=NO_UPDATER)),
    "probe": [
        *on_a_board("probe", Case("probe", ends=PROBED), Case("probe", ends=SILENT)),
        Case("probe --all", ends=PROBED),
    ],
    "doctor": on_a_board("doctor", Case("doctor", ends=HEALTHY), Case("doctor", ends=SICK)),
    "read": on_a_board(
        "read",
        Case("read -o flash.bin --length 16", ends=[bytes(16)]),
        Case("read -o flash.txt"),
        Case("read -o flash.hex --start 0x20000000"),
    ),
    "verify": on_a_board(
        "verify",
        Case("verify app.img", ends={"status": "same", "bytes": 1096}),
        Case("verify app.img", (DIFFERS,), DIFFERENT),
    ),
    "erase": on_a_board(
        "erase",
        Case("erase --yes", ends={"status": "erased", "pages": 64, "blank": True}),
        Case("erase --yes", ends=HANDS_OFF),
    ),
    "provision": on_a_board(
        "provision",
        Case("provision --yes", (PLAN,), {"status": "provisioned", "after": "0xFEFFFEAA"}),
        Case("provision --yes", (PLAN,), NOT_CONFIRMED),
    ),
    "unprotect": on_a_board(
        "unprotect",
        Case("unprotect --yes", ends={"status": "not-protected"}),
        Case("unprotect --yes --install none.img"),
    ),
    "bench": on_a_board(
        "bench",
        Case("bench --cycles 2 --cut-target --seed 1", ends=BENCH),
        Case("bench --noise"),
        Case("bench --image app.img"),
        Case("bench --cycles 2 --cut-target --seed 1", ends=FAILED_BENCH),
    ),
    "produce": on_a_board(
        "produce",
        Case(f"{PRODUCE} --yes", tuple({"event": "step", "step": name} for name in STEPS)),
        Case("produce app.img --serial-number auto --inventory units.csv --yes"),
        Case(f"{PRODUCE} --no-provision --bor 1"),
    ),
    "logs pull": on_a_board(
        "logs pull",
        Case("logs pull -o log.jsonl", ends=LOG),
        Case("logs pull -o no/log.jsonl", ends=LOG),
    ),
    "logs show": on_a_board(
        "logs show",
        Case("logs show", ends=LOG),
        Case("logs show none.jsonl"),
        Case("logs show --since yesterday"),
    ),
    "logs report": on_a_board(
        "logs report",
        Case("logs report -o page.html", ends=LOG),
        Case("logs report none.jsonl -o page.html"),
        Case("logs report -o no/page.html", ends=LOG),
    ),
    "reset": on_a_board("reset", Case("reset"), Case("reset more")),
    "console": here(
        "console",
        Case(
            "console --port /dev/ttyACM0",
            instead=(
                ("stm32up.host.session.address", contextlib.nullcontext("/dev/ttyACM0")),
                ("stm32up.host.session.console", None),
            ),
        ),
        *("console", "console --nonsense", "console more"),
    ),
    "simulate": here(
        "simulate",
        Case("simulate --scenario forum", instead=(("stm32up.report.forum.run", FORUM),)),
        *("simulate --only naive/1", "simulate --instants 0", "simulate --scenario none"),
    ),
    "torture": here(
        "torture",
        Case("torture app.img app.img", instead=(("stm32up.report.power_cuts.every", TORTURED),)),
        *("torture", "torture app.img none.img", "torture app.img app.img --every 0"),
    ),
    "completion": here(
        "completion",
        Case("completion fish"),
        *("completion", "completion tcsh", "completion bash zsh"),
    ),
}
