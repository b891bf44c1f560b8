"""Log lines of this process: to stderr, one form for ours and for the libraries'. Secrets do not pass.

JSON, one object a line, wherever nobody watches: `event` says what happened, `level`, `timestamp` (UTC) and
`logger`, then `trace_id`, `actor`, `rollout_id`, `service`, `region` where they exist.
"""

import logging
import re
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "[hidden]"
_SECRET_NAME = re.compile(
    r"authorization|cookie|password|secret|token(?!_id|_file)|api[-_]?key|heartbeat_url", re.I
)
_SECRET_TEXT = re.compile(
    r"(?P<token>\bro[ts]_[A-Za-z0-9_-]{8,})"  # ours
    r"|(?P<scheme>\b(?:Bearer|Basic)\s+)[^\s\"',]+"
    r"|(?P<user>://)[^/\s@\"']+@",  # user:password@ of a URL
    re.I,
)
_SERVERS = ("uvicorn", "uvicorn.error", "uvicorn.access")
_CHATTY = ("httpx", "httpcore", "apscheduler", "alembic", "uvicorn.access", "opentelemetry")


def configure(stream: TextIO, *, level: int = logging.WARNING, form: str = "auto") -> None:
    """Send every log line to `stream`; `form` is json, pretty, or auto (pretty on a terminal)."""
    pretty = form == "pretty" or (form == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_written(stream, pretty))
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.INFO), force=True)
    for server in map(logging.getLogger, _SERVERS):  # whoever set uvicorn up before may have changed these
        server.handlers.clear()
        server.propagate = True
        server.setLevel(logging.NOTSET)
    for chatty in _CHATTY:
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _written(stream: TextIO, pretty: bool) -> list[Processor]:
    """What makes a line of text; a traceback is text before it is looked at for secrets."""
    last: Processor = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
    if pretty:
        plain = structlog.dev.plain_traceback  # the other ones render every local name, for seconds
        last = structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=plain)
    return [
        structlog.stdlib.ProcessorFormatter.remove_processors_meta,
        structlog.processors.format_exc_info,
        hide_secrets,
        last,
    ]


def hide_secrets(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Replace what is named like a secret, and what looks like one in any text; nothing else changes."""
    return {name: HIDDEN if _is_secret(name, value) else _clean(value) for name, value in line.items()}


def _is_secret(name: str, value: Any) -> bool:
    return bool(value) and isinstance(value, str | bytes) and bool(_SECRET_NAME.search(name))


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SECRET_TEXT.sub(_hidden, value)
    if isinstance(value, dict):
        return {k: HIDDEN if _is_secret(str(k), v) else _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(each) for each in value]
    return _clean(repr(value)) if isinstance(value, BaseException) else value


def _hidden(found: re.Match[str]) -> str:
    if found["user"]:
        return f"://{HIDDEN}@"
    return f"{found['scheme'] or ''}{HIDDEN}"
