"""What a request consumed, measured by us, one file per modality. Knows no HTTP."""
