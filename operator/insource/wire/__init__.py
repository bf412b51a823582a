"""Message types between Insource's processes: evidence, signals, ledger records, headers and ports.

Two processes that exchange something import its shape from here, and from nowhere else.
"""
