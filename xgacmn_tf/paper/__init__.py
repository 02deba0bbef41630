"""All systems on all data sets over several seeds, in one resumable command.

`grid` trains the cells, `choice` chooses their settings on validation pairs where asked to,
`significance` compares them pair by pair, `published` holds the paper's figures, `tables` writes
what was found.
"""
