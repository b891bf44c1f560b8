"""Keeps the local processes of one region running: `python -m rollout.supervisor --directory DIR`.

It knows services, slots and versions, and nothing of rollouts. Its whole interface is files (files.py);
client.py is the other side of them, for deployers.
"""
