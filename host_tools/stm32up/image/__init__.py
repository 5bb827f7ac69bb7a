"""Firmware images. Others import `images` (build, sign, show, verify), `inputs` (bin, hex, srec,
elf), `keys`, and `image_format` (what an image consists of). imgtool writes images, and the
updater's own reader says whether a board takes one.
"""
