"""`python -m s2scli` is the `s2s` command."""

from s2scli.cli.start import main

if __name__ == "__main__":
    main()
