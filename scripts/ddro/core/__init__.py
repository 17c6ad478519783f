"""What everything may import: command line and errors, files, table schemas, text, the code hash."""
