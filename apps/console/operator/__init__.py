"""The operator's pages inside the admin: what goes on, what became of a call, what is switched off, what waits."""
