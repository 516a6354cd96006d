"""The log: its sequence, its signatures, its proofs."""
