"""Reports for people. Others import `page` (a self-contained HTML file of figures, tables and
timelines), `log_report` (the page of pulled logs) and `forum` (the forum case with its figures,
and its timeline as a picture).
"""
