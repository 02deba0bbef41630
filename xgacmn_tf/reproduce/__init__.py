"""The paper's results section, §4.2, with our numbers beside its own.

`study` lists data sets and flag files, `runs` trains what the chosen parts need and opens what it
finds, `scores` keeps the raw scores of every query. Each table and figure is a file of its own that
says which runs it needs and ends in a section; `document` is what sections are made of, `markdown`
and `latex` write it.
"""
