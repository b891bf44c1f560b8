"""The routes of the API, one file per resource. Each handler parses, calls one function and returns."""
