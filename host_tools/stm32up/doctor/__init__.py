"""What is wrong with a board: `examine` gathers facts from the host and puts the rules to them,
and `diagnosis` says what facts and rules are. A rule is a function under its texts, in the
module for what it is about. Others import `examine`.
"""
