"""What can go wrong with images, flash and files, below the UpdaterError of stm32_rom.

UpdaterError
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
    FlashError              the target's flash
        VerifyFailed        it does not hold what was written
        PageProtected       a page stays as it was: write protection
    ApplicationSilent       the application does not answer as it should
    StoreError              the host's filesystem
    HandsOff                a bench operation was interrupted: the target stays as it is
    OutOfMemory             the host's RAM does not suffice
    AnotherRun              another run of the updater began meanwhile
"""

from micropython import const

from stm32_rom.errors import UpdaterError

_LONGEST_TEXT = const(200)  # of an error that is none of this package


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


def unforeseen(error):
    """For people: the UpdaterError that one which is none of this package comes to."""
    if isinstance(error, MemoryError):
        return OutOfMemory("no memory to go on: %s" % error)
    return UpdaterError(
        "not foreseen: " + shortened(error),
        "Run the update again. If it ends like this again, report it: stm32up logs pull.",
    )


def shortened(error):
    """For people: an error that is none of this package, whose text may be of any length."""
    return ("%r" % error)[:_LONGEST_TEXT]
