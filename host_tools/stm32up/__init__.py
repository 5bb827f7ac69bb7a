"""The desktop side: images, deployment, updates, logs.

Every verb of the command is a function in a module of its own; `cli` only parses and prints.
"""
