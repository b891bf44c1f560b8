"""The page: server-rendered, without a build, a CDN or inline scripts. It reads and acts as the API does."""
