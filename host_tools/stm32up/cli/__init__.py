"""The command line: parses, calls the rooms below, prints by `say`. A file per family of verbs."""
