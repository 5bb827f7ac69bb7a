"""Errors of images, flash and files, below the UpdaterError of stm32_rom.

UpdaterError
    ImageError              the image was refused; the target was not accessed
        ImageDamaged        truncated, altered, or not an image
        ImageForAnotherChip
        ImageForAnotherProduct
        ImageDoesNotFit     outside the flash, in a preserved region, or not bootable
        ImageNotSigned
        ImageKeyUnknown     signed with a key that this board does not trust
        ImageSignatureWrong its signature does not match its content
        ImageTooOld         its security counter is below the lowest allowed
        ImageFailedBefore   it was installed before and rolled back
    FlashError              a fault of the target's flash
        VerifyFailed        flash does not hold what was written
        PageProtected       a page is write-protected
    ApplicationSilent       the application does not answer as it should
    StoreError              a fault of the host's filesystem
    HandsOff                the target must not be reset, e.g. after an interrupted bench operation
    OutOfMemory             the host has too little RAM
    AnotherRun              another run of the updater started meanwhile
"""

from micropython import const

from stm32_rom.errors import UpdaterError

_LONGEST_TEXT = const(200)  # of an exception that is not an UpdaterError


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
    next_step = "Push a newer version; to go back, build this one with --security-counter."


class ImageFailedBefore(ImageError):
    code = "image-failed-before"
    next_step = "Push a newer image."


class FlashError(UpdaterError):
    code = "flash"
    next_step = (
        "Run the update again. If it fails at the same place, the flash may be worn out; run: "
        "stm32up doctor"
    )


class VerifyFailed(FlashError):
    code = "verify-failed"


class PageProtected(FlashError):
    code = "page-protected"
    next_step = (
        "Remove the write protection on the bench; the field updater never changes it. To list "
        "the pages, run: stm32up doctor"
    )


class ApplicationSilent(UpdaterError):
    code = "application-silent"
    next_step = (
        "Check that the application does what [confirm] in board.toml says, or run: stm32up doctor"
    )


class HandsOff(UpdaterError):
    code = "hands-off"
    next_step = "To see how to finish it, run: stm32up doctor"


class StoreError(UpdaterError):
    code = "store"
    next_step = "Free some space on the host's filesystem, or deploy again."


class OutOfMemory(UpdaterError):
    code = "memory"
    next_step = "Call the updater before the rest of the program allocates memory."


class AnotherRun(UpdaterError):
    code = "another-run"
    next_step = "Run one updater at a time; the last one that was started continues."


def unexpected(error):
    """An UpdaterError that reports an exception which is not an UpdaterError."""
    if isinstance(error, MemoryError):
        return OutOfMemory("not enough memory to continue: %s" % error)
    return UpdaterError(
        "unexpected error: " + shortened(error),
        "Run the update again. If this happens again, report it with: stm32up logs pull.",
    )


def shortened(error):
    """An exception as text of limited length, for messages."""
    return ("%r" % error)[:_LONGEST_TEXT]
