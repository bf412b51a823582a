"""Wire formats towards backends, one file each. They know nothing of attempts, slots or the ledger."""
