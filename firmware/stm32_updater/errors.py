"""What can go wrong, as one small tree. Every error says what to do next.

UpdaterError
    BoardError              board.json cannot be used
        UnknownChip         the chip is not in chips.py
    ImageError              the image was refused; the target was not touched
        ImageDamaged        truncated, altered, or no image at all
        ImageForAnotherChip
        ImageForAnotherProduct
        ImageDoesNotFit     outside the flash, in a preserved region, or not bootable
        ImageNotSigned
        ImageKeyUnknown     signed with a key that this board does not trust
        ImageSignatureWrong signed with a trusted key, but not this content
        ImageTooOld         its security counter is below the one installed here
        ImageFailedBefore   it was installed once and rolled back
    BusError                the I2C bus itself
        NoAnswer            nobody acknowledged the address
        BusTimeout          a transaction took longer than it may
        BusStuck            SDA or SCL is held low
    LoaderError             the target's ROM bootloader
        LoaderSilent        it does not answer
        LoaderRefused       it answered NACK
        LoaderTimeout       it did not finish in time
        WrongChip           it belongs to another product ID
        ReadProtected       it may not touch the flash: RDP level 1
    FlashError              the target's flash
        VerifyFailed        it does not hold what was written
        PageProtected       a page stays as it was: write protection
    ApplicationSilent       the application does not answer as it should
    StoreError              the host's filesystem
    HandsOff                a bench operation was interrupted: the target stays as it is
    OutOfMemory             the host's RAM does not suffice
    AnotherRun              another run of the updater began meanwhile
"""


class UpdaterError(Exception):
    """An error for people: `message` says what is wrong and where, `next_step` what to do.

    `code` is stable and meant for programs."""

    code = "error"
    next_step = ""

    def __init__(self, message, next_step=None):
        super().__init__(message)
        self.message = message
        if next_step is not None:
            self.next_step = next_step

    def as_dict(self):
        """For events and logs: {"error": code, "message": ..., "next_step": ...}."""
        return {"error": self.code, "message": self.message, "next_step": self.next_step}


class BoardError(UpdaterError):
    code = "board"
    next_step = "Correct board.toml and deploy again."


class UnknownChip(BoardError):
    code = "unknown-chip"
    next_step = "Name a supported part in board.toml; the supported families are in chips.py."


class ImageError(UpdaterError):
    code = "image"
    next_step = "Build the image again with `stm32up image build` and push it."


class ImageDamaged(ImageError):
    code = "image-damaged"
    next_step = "Push the image again; if that does not help, build it again."


class ImageForAnotherChip(ImageError):
    code = "image-chip"
    next_step = "Build the image with --chip set to the part on this board."


class ImageForAnotherProduct(ImageError):
    code = "image-product"
    next_step = "Push an image that was built for this product."


class ImageDoesNotFit(ImageError):
    code = "image-fit"
    next_step = "Link the application for this chip's flash and outside preserved regions."


class ImageNotSigned(ImageError):
    code = "image-unsigned"
    next_step = "Sign the image, or allow unsigned images in board.toml (development only)."


class ImageKeyUnknown(ImageError):
    code = "image-key"
    next_step = "Sign the image with a key of this board, or deploy the key: stm32up deploy --key."


class ImageSignatureWrong(ImageError):
    code = "image-signature"
    next_step = "Do not use this image. Build and sign it again from a source you trust."


class ImageTooOld(ImageError):
    code = "image-older"
    next_step = "Push a newer version; or, to go back, build this one with --security-counter."


class ImageFailedBefore(ImageError):
    code = "image-failed-before"
    next_step = "Push a newer image."


class BusError(UpdaterError):
    code = "bus"
    next_step = "Check SDA, SCL, ground and the pull-up resistors, or ask: stm32up doctor"


class NoAnswer(BusError):
    code = "no-answer"


class BusTimeout(BusError):
    code = "bus-timeout"


class BusStuck(BusError):
    code = "bus-stuck"
    next_step = (
        "Look at the pull-up resistors, for a short, and for a device that holds the line; switch "
        "the target off and on; or ask: stm32up doctor"
    )


class LoaderError(UpdaterError):
    code = "loader"
    next_step = (
        "Run the update again: it starts over from a safe point. If that does not help, ask: "
        "stm32up doctor"
    )


class LoaderSilent(LoaderError):
    code = "loader-silent"
    next_step = (
        "Check the wiring of SDA, SCL, NRST and BOOT0, that nBOOT_SEL is 0, and that no debugger "
        "was attached since power-on; or ask: stm32up doctor"
    )
    without_boot0 = (
        "Without BOOT0 only the application or a blank chip starts its loader: switch the "
        "target's supply off and on and run again. If that does not help, hold its BOOT0 high "
        "while switching on (nBOOT_SEL must be 0), or use a debugger. What is wrong tells: "
        "stm32up doctor"
    )


class LoaderRefused(LoaderError):
    code = "loader-refused"


class LoaderTimeout(LoaderError):
    code = "loader-timeout"


class WrongChip(LoaderError):
    code = "wrong-chip"
    next_step = (
        "Correct `chip` in board.toml, or connect the board it describes; or ask: stm32up doctor"
    )


class ReadProtected(LoaderError):
    code = "read-protected"
    next_step = (
        "Remove the readout protection on the bench (docs/bench.md), which erases the chip. "
        "For details: stm32up doctor"
    )


class FlashError(UpdaterError):
    code = "flash"
    next_step = (
        "Run the update again. If it fails at the same place the flash may be worn out: stm32up "
        "doctor"
    )


class VerifyFailed(FlashError):
    code = "verify-failed"


class PageProtected(FlashError):
    code = "page-protected"
    next_step = (
        "Remove the write protection on the bench; the field updater never changes it. Which "
        "pages: stm32up doctor"
    )


class ApplicationSilent(UpdaterError):
    code = "application-silent"
    next_step = (
        "Check that the application answers as [confirm] in board.toml says, or ask: stm32up "
        "doctor"
    )


class HandsOff(UpdaterError):
    code = "hands-off"
    next_step = "How to end what was begun tells: stm32up doctor"


class StoreError(UpdaterError):
    code = "store"
    next_step = "Free some space on the host's filesystem, or deploy again."


class OutOfMemory(UpdaterError):
    code = "memory"
    next_step = "Call the updater before the rest of the program takes its memory."


class AnotherRun(UpdaterError):
    code = "another-run"
    next_step = "Run one updater at a time; the last one that was started goes on."
