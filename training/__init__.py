"""Recipes of the models that this repository trains itself. Run by `make train-image`, in an environment of its own."""
