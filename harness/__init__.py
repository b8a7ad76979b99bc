"""How cells are run, judged and shown. Never imports a framework."""
