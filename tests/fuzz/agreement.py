"""Fuzzed on both sides at once: desktop and device must accept the same images."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from imgtool.keys import RSA

from stm32up.errors import Stm32upError
from stm32up.image import image_format, images
from tests.fuzz.device_readers import Clock, DeviceImage
from tests.fuzz.finding import Finding
from tests.fuzz.material import chip, private_key, real_images, with_a_hole


class Agreement(DeviceImage):
    """Desktop and device agree on whether an image is sound and whether our key signed it.

    The first byte decides whether the digest is corrected first, so that the checks after it are
    reached too."""

    def seeds(self) -> list[bytes]:
        return [
            flag + image for image in [*real_images(), with_a_hole()] for flag in (b"\0", b"\1")
        ]

    def __call__(self, data: bytes) -> object:
        content = with_right_digest(data[1:]) if data[:1] == b"\1" else data[1:]
        for key in (None, private_key()):
            ours = self._desktop(content, key)
            theirs = self._device(content, key is None)
            if ours is not None and "wrong checksums" in ours.message and theirs is None:
                continue  # the device finds that by comparing with flash, and does without them
            if (ours is None) != (theirs is None):
                raise Finding(f"desktop: {ours or 'valid'}; device: {theirs or 'valid'}")
        return None

    def _desktop(self, content: bytes, key: RSA | None) -> Stm32upError | None:
        try:
            images.check(Path("app.img"), content, key, chip=chip())
        except Stm32upError as error:
            return error
        return None

    def _device(self, content: bytes, unsigned_allowed: bool) -> Exception | None:
        self.files.hold(app_img=content)
        self.files.contents.update({} if unsigned_allowed else self.key)
        try:
            image = self.image.open_image("/app.img")
            image.check_digest(Clock)
            image.check_fit(chip(), [])
            image.check_vectors(chip())
            self.signature.check(image, self.keys, unsigned_allowed)
        except self.error as error:
            return error
        return None


def with_right_digest(content: bytes) -> bytes:
    """The image with the right digest for its content, if its form allows that."""
    if len(content) < image_format.HEADER.size:
        return content
    fields = image_format.HEADER.unpack_from(content)
    end = fields[2] + fields[4] + fields[3]  # header, payload, protected TLVs
    at = content.find(struct.pack("<HH", image_format.SHA256, 32), end)
    if at < 0 or at + 36 > len(content):
        return content
    digest = hashlib.sha256(content[:end]).digest()
    return content[: at + 4] + digest + content[at + 36 :]
