"""How times are shown in each language: to the second, so that calls can be told apart and found in logs."""
