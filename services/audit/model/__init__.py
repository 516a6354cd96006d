"""What the log says, without any input or output."""
