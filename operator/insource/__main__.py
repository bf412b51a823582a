"""`python -m insource`: the same as the `insource` command."""

from insource.cli.main import main

if __name__ == "__main__":
    main()
