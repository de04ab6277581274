"""The ways in which clients ask and are answered (base.py says what one is)."""
