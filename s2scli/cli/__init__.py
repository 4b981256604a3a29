"""The command line: the table of commands, and the options made from their configs."""
