"""Manifests, one file per object: from resolved references to plain JSON. Decides nothing about traffic or timing."""
