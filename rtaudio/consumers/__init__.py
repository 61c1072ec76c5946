"""What frames go to: writers of files."""
