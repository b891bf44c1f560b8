"""The command `rollout`: verbs over HTTP, and what a machine needs before there is a server.

app.py names the verbs, session.py is what each of them gets, remote.py talks to the server, exits.py knows
the exit codes, render*.py turn what was read into text. What must not live here: what is wise or allowed.
"""

from rollout.cli.app import main

__all__ = ["main"]
