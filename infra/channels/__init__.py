"""Ways to send that are not HTTP: mail, files."""
