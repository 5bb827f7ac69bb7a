"""Pictures and pages made of what was recorded: the forum case, told and counted, and its
timeline. Others import `forum`.
"""
