"""Finds out what is wrong with a board. `examine` gathers facts from the host and applies the
rules to them; `diagnosis` defines facts and rules. A rule is a function under its texts; the rules
are in modules by subject. `identify` finds out which chip is on a board. Others import
`examine`, `identify`, and `wire_by_wire`, which goes from wire to wire with the user.
"""
