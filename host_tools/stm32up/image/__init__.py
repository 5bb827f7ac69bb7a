"""Firmware images: inputs (bin, hex, srec, elf), building, signing, looking into one, keys."""
