"""The HTTP outside of the controller: the API under /v1 and the page. Nothing here decides anything."""
