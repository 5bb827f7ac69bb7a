"""The time to check an image: the RSA signature and the SHA-256 of 128 KB.

    python -m benchmarks.signature

Runs the deployed bytecode in real MicroPython (its WebAssembly port), in real time. The time on an
RP2040 is an estimate, printed with its basis.
"""

from __future__ import annotations

import hashlib
import time

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.speed import RP2
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S
from stm32up.host import deploy, paths
from stm32up.image import keys

FLASH = 128 * 1024
SIZES = (2048, 3072)
ROUNDS = 200
MESSAGE = b"benchmark"
# pow() with the exponent 65537 squares 16 times and multiplies once, each time with a division;
# another multiplication, by 1, is negligible. Both work digit by digit, and each inner step is one
# product of two digits. MicroPython py/mpz.c (mpz_pow3_inpl, mpn_mul, mpn_div), py/mpz.h (16 bits
# a digit on a 32-bit machine, which the WebAssembly port is as well).
MULTIPLICATIONS = keys.EXPONENT.bit_length() - 1 + keys.EXPONENT.bit_count() - 1
DIGIT_BITS = 16
RP2040_HZ = 125_000_000
LIMIT_MS = 1000  # limit of a check


def steps(bits: int) -> int:
    """Products of two digits in one pow()."""
    return 2 * MULTIPLICATIONS * (bits // DIGIT_BITS) ** 2


CODE = """
import gc, time
import hashlib
from binascii import unhexlify
from stm32_updater import signature
sha256 = type(hashlib.sha256()._real)  # without the virtual time that the simulation adds
class hashlib: sha256 = sha256
signature.hashlib = hashlib
made, digest, modulus = [unhexlify(text) for text in %r]
chunk = bytes(1024)

def check():
    return signature.verify(made, digest, modulus)

def power():
    return pow(int.from_bytes(made, "big"), 65537, int.from_bytes(modulus, "big"))

def digest_of_flash():
    hasher = hashlib.sha256()
    for _ in range(%d):
        hasher.update(chunk)
    return hasher.digest()

heap = []
for work, rounds in ((check, %d), (power, %d), (digest_of_flash, 20)):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    if not work():
        raise ValueError("the signature is refused")
    heap.append(gc.mem_alloc() - before)
    gc.enable()
    time.ticks_us()  # the desktop reads its clock
    for _ in range(rounds):
        work()
    time.ticks_us()
with open("/result", "w") as file:
    file.write(str(heap[0]))
"""


class Stopwatch:
    """Passes calls on, and records when the host asked for the time."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.instants: list[float] = []

    def call(self, name: str, *arguments: object) -> object:
        if name == "ticks_us":
            self.instants.append(time.perf_counter())
        return self._bench.world.call(name, *arguments)


def measure(bits: int) -> tuple[list[float], int]:
    """Milliseconds of the check, of its pow(), and of the hash; bytes of heap of the check."""
    key = rsa.generate_private_key(public_exponent=keys.EXPONENT, key_size=bits)
    made = key.sign(MESSAGE, padding.PSS(padding.MGF1(SHA256()), 32), SHA256())
    modulus = key.public_key().public_numbers().n.to_bytes(bits // 8, "big")
    texts = [part.hex() for part in (made, hashlib.sha256(MESSAGE).digest(), modulus)]
    bench = Bench()
    for folder in (paths.LIB, paths.ROM_LIBRARY, paths.LIBRARY):
        bench.files.fs_mkdir(folder)
    for path, content in deploy.product_modules().items():
        bench.write_file(path, content)
    code = CODE % (texts, FLASH // 1024, ROUNDS, ROUNDS)
    bench.write_file(paths.MAIN, code.encode())
    watch = Stopwatch(bench)
    with MicroPythonHost(watch.call, bench.world) as host:
        host.power_on()
        host.wait_idle(120.0)
    bench.world.mount()
    heap = int(bench.read_file("/result"))
    begun = watch.instants[-6::2]
    ended = watch.instants[-5::2]
    taken = [after - before for before, after in zip(begun, ended, strict=True)]
    rounds = (ROUNDS, ROUNDS, 20)
    return [1000 * seconds / count for seconds, count in zip(taken, rounds, strict=True)], heap


def main() -> None:
    print("MicroPython in Node.js on this machine:")
    taken = {}
    for bits in SIZES:
        (check, power, hashing), heap = measure(bits)
        taken[bits] = power
        print(
            f"  RSA-{bits}: check {check:.2f} ms, of that pow() {power:.2f} ms; "
            f"heap {heap} bytes, garbage included"
        )
    print(f"  SHA-256 of {FLASH // 1024} KB: {hashing:.1f} ms")
    small, large = SIZES
    print(f"  RSA-{large} takes {taken[large] / taken[small]:.2f} times as long as RSA-{small}")
    cycles = RP2.digit_product * RP2040_HZ / NS_PER_S
    print(
        f"Estimated for an RP2040 at {RP2040_HZ // 1_000_000} MHz, not measured on one: an "
        f"emulation of it took {cycles:.0f} cycles\nfor each product of {DIGIT_BITS} bits by "
        f"{DIGIT_BITS}, of which RSA-{large} has {steps(large)}."
    )
    for bits in SIZES:
        milliseconds = RP2.power(bits, MULTIPLICATIONS) / NS_PER_MS
        most = LIMIT_MS * RP2040_HZ / 1000 / steps(bits)
        print(
            f"  RSA-{bits}: {steps(bits)} products in {MULTIPLICATIONS} modular multiplications, "
            f"pow() {milliseconds:.0f} ms;\n"
            f"    it would take {most:.0f} cycles per product to take {LIMIT_MS / 1000:.0f} s"
        )
    hash_ms = FLASH * RP2.sha256_byte / NS_PER_MS
    print(
        f"  SHA-256 of {FLASH // 1024} KB: {hash_ms:.0f} ms at {RP2.sha256_byte} ns a "
        "byte, from the same emulation, without reading the file"
    )


if __name__ == "__main__":
    main()
