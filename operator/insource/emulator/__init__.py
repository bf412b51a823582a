"""Vendors, emulated true to their wire formats, with their own engine, meter and bill.

Nothing of the product's metering, rating or message types is imported here (a contract of import-linter): the emulator
is the independent witness that the ledger is compared with.
"""
