"""The command line. It parses, calls the packages below, and prints through `say`. Each family of
verbs has its own file. The program is `main`; the packages below do not import from here.
"""
