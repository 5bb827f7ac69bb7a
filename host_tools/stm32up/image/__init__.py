"""Firmware images. Others import `images` (build, sign, show, verify), `inputs` (bin, hex, srec,
elf), `expected` (what flash should hold), `keys`, `git_version`, and `image_format` (the parts of
an image). imgtool writes images, and the updater's own reader decides whether a board accepts one.
"""
