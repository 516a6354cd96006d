"""Languages that partners speak, where they are not ours."""
