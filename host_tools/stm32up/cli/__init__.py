"""The command line: it parses, calls the rooms below, and prints by `say`; a file for each
family of verbs. The program is `main`; nothing below imports from here.
"""
