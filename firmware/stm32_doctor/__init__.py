"""What `stm32up doctor` runs on a host: it looks and tells, and changes neither target nor files.

It is never installed: the desktop sends it into the host's RAM. Its two modules return dicts of
JSON values, and judge nothing; that is for the desktop.
"""
