"""What one record becomes, of structlog and of the standard library, as JSON and on a terminal."""

from __future__ import annotations

import contextvars
import io
import logging
import logging.config
import logging.handlers
import queue
import sys
import threading
import warnings
from collections import UserDict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from tests.support.logs import Lines, configured, untouched

from soa_db.errors import ConfigurationError
from soa_db.logging import ConsoleFormatter, JsonFormatter, LineHandler, configure_logging, get_logger

CANARY = "c4nary"


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Logging configured for JSON, and what was logged."""
    with configured() as found:
        yield found


def test_structlog_and_logging_come_out_alike(lines: Lines) -> None:
    """The same keys in the same order, with a time to the microsecond in UTC."""
    get_logger("a.b").warning("rows %s", 3, table="t")
    logging.getLogger("a.b").warning("rows %s", 3, extra={"table": "t"})
    logging.LoggerAdapter(logging.getLogger("a.b"), {"table": "t"}).warning("rows %s", 3)
    structlog.get_logger("a.b").warning("rows %s", 3, table="t")
    times = [record.pop("timestamp") for record in lines.records]
    assert lines.records[0] | {"timestamp": 0} == {
        "timestamp": 0, "level": "warning", "logger": "a.b", "event": "rows 3", "table": "t",
    }  # fmt: skip
    assert len({str(sorted(record.items())) for record in lines.records} - {""}) == len(set(times))
    for record in lines.records:
        assert list(record) == ["timestamp", "level", "logger", "event", "table"]
        assert abs(datetime.fromisoformat(record["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_fields_and_arguments_are_redacted_in_records_of_both_kinds(lines: Lines) -> None:
    """Bound ones, those of the context, of `extra`, of messages that are mappings, and percent arguments."""
    structlog.contextvars.bind_contextvars(request_id="r1", user_email=CANARY)
    get_logger("x", token=CANARY).bind(apiKey=CANARY).info("a", user={"name": CANARY})
    logging.getLogger("x").info("b", extra={"password": CANARY, "scope": {"headers": [(b"cookie", CANARY.encode())]}})
    logging.getLogger("x").info({"email": CANARY, "n": 1})
    logging.getLogger("x").info("%s and %r", {"email": CANARY}, [{"dob": CANARY}])
    logging.getLogger("x").info("%(password)s of %(n)d", {"password": CANARY, "n": 3})
    logging.getLogger("x").info("dsn %s", f"postgres://u:{CANARY}@h/d")
    logging.getLogger("x").info("%(token)d", {"token": 7})
    logging.getLogger("x").info("%(secret)s", {"secret": [CANARY], "x": 1})
    logging.getLogger("x").info("%(tokens)s", {"tokens": CANARY})
    logging.getLogger("x").info("%(tokens)d %(user)s", {"tokens": 3, "user": {"name": CANARY}})
    assert CANARY not in lines.getvalue()
    assert all(record["request_id"] == "r1" for record in lines.records)
    events = [record["event"] for record in lines.records]
    assert events[2] == ""
    assert lines.records[2]["n"] == 1
    assert events[3] == "{'email': '[redacted]'} and [{'dob': '[redacted]'}]"
    assert events[4] == "[redacted] of 3"
    assert events[5] == "dsn postgres://u:***@h/d"
    assert events[9] == "3 {'name': '[redacted]'}"


@dataclass
class Request:
    path: str
    body: str


def test_messages_that_do_not_fit_their_arguments_are_still_logged() -> None:
    """And objects as messages, also those that raise."""
    with configured() as lines:  # here, since pytest's own handler raises at such records

        class Broken:
            def __str__(self) -> str:
                raise RuntimeError(CANARY)

        logging.getLogger("x").info("%s %s", "one")  # noqa: PLE1206  # that is the case
        logging.getLogger("x").info("%d", "text")
        logging.getLogger("x").info(Broken())
        logging.getLogger("x").info(ValueError("v"))
        logging.getLogger("x").info(Request("/", CANARY))
        logging.getLogger("x").info("%s", Broken())
        get_logger("x").info(None, n=1)
        events = [record["event"] for record in lines.records]
        assert events[:5] == [
            "%s %s ['one']",
            "%d ['text']",
            "[Broken: RuntimeError while it was read]",
            "v",
            "{'path': '/', 'body': '[redacted]'}",
        ]
        assert CANARY not in lines.getvalue()


def test_records_that_cannot_be_read_are_told_with_their_place() -> None:
    """Objects that raise when asked for their class or hash, as messages; times that are none."""

    class Classless:
        @property  # type: ignore[misc]
        def __class__(self) -> Any:
            raise RuntimeError(CANARY)

    class HostileKey:
        hashed = 0

        def __hash__(self) -> int:
            self.hashed += 1
            if self.hashed > 1:
                raise RuntimeError(CANARY)
            return 1

    for form in ("json", "console"):
        with configured(format=form) as lines:
            logging.getLogger("x").info(Classless())
            logging.getLogger("x").warning({HostileKey(): 1})
            assert CANARY not in lines.getvalue()
            assert lines.getvalue().count("RuntimeError while the record was read]") == 2
            if form == "json":
                timeless = {"created": float("nan"), "levelno": 20, "levelname": "INFO"}
                logging.getLogger().handle(logging.makeLogRecord(timeless))
                assert lines.last["event"] == "[ValueError while the record was read]"
                assert [record["level"] for record in lines.records] == ["info", "warning", "info"]
                assert lines.records[0]["pathname"] == __file__


def test_exceptions_are_shown_without_locals_and_without_secrets(lines: Lines) -> None:
    """Chains, groups and notes too; however the exception is given."""

    def failing() -> None:
        local = "a value of a local"  # noqa: F841  # it must not be shown
        try:
            raise ValueError(f"postgres://u:{CANARY}@h refused")
        except ValueError as error:
            error.add_note("a note")
            raise ExceptionGroup(f"password={CANARY}", [error]) from error

    log = get_logger("x")
    try:
        failing()
    except ExceptionGroup as error:
        logging.getLogger("x").exception("a")
        log.exception("b")
        log.error("c", exc_info=error)  # noqa: TRY400  # one of the ways
        log.info("d", exc_info=True)
        log.info("e", exc_info=sys.exc_info())
    log.info("none", exc_info=True)  # noqa: LOG014  # that is the case
    log.info("none", exc_info=(None, None, None))
    log.info("none", exc_info=False)
    assert CANARY not in lines.getvalue()
    assert "a value of a local" not in lines.getvalue()
    shown = [record["exception"] for record in lines.records[:5]]
    assert all("postgres://u:***@h refused" in text and "a note" in text and "failing" in text for text in shown)
    assert all("exception" not in record for record in lines.records[5:])


def test_exceptions_that_raise_and_endless_ones_are_told() -> None:
    """A message of megabytes keeps its beginning and its end; what an exception's own code raises is not passed on."""
    with configured() as lines:  # here, since pytest's own handler raises at such records

        class Broken(Exception):
            def __str__(self) -> str:
                raise RuntimeError(CANARY)

            @property
            def __notes__(self) -> Any:  # type: ignore[override]
                raise RuntimeError(CANARY)

        get_logger("x").error("a", exc_info=Broken())
        get_logger("x").error("b", exc_info=ValueError("x" * 3_000_000))
        assert "Broken" in lines.records[0]["exception"]
        assert 10_000 < len(lines.records[1]["exception"]) < 20_000
        assert lines.records[1]["exception"].startswith("ValueError")


def test_stacks_are_shown_on_request(lines: Lines) -> None:
    """From the frame that logged, of either kind."""
    get_logger("x").info("a", stack_info=True)
    logging.getLogger("x").info("a", stack_info=True)
    for record in lines.records:
        assert record["stack"].rstrip().endswith("stack_info=True)")


def test_fields_named_as_our_own_do_not_replace_them() -> None:
    """Whoever controls a field's name cannot forge a level, a time, or a deployment."""
    with configured(attributes={"service.name": "chat"}) as lines:
        structlog.contextvars.bind_contextvars(logger="ctx")
        get_logger("x").info("real", level="forged", timestamp=1, **{"service.name": "forged", "level_": 2})
        assert lines.last["level"] == "info"
        assert lines.last["logger"] == "x"
        assert lines.last["service.name"] == "chat"
        assert lines.last["service.name_"] == "forged"
        assert {lines.last["level_"], lines.last["level__"]} == {"forged", 2}
        assert lines.last["logger_"] == "ctx"


def test_a_record_is_one_line_of_ascii_and_never_too_long(lines: Lines) -> None:
    """Log injection, half characters, and fields that together are larger than collectors take."""
    get_logger("x\n").info('a\r\n{"level":"forged"}\u2028\ud800', **{"k\n": "\x00", "ключ": "ё"})
    get_logger("x").info("wide", **{f"k{n}": "é" * 10_000 for n in range(200)})
    get_logger("x").info("é" * 10_000, **{f"k{n}" * 20: "é" * 10_000 for n in range(250)})
    get_logger("x").info("é" * 1_000_000, exc_info=ValueError("é" * 1_000_000))
    written = lines.getvalue()
    assert written.isascii()
    assert written.count("\n") == 4
    assert max(map(len, written.splitlines())) <= 240_000
    assert lines.records[0]["event"] == 'a\r\n{"level":"forged"}\u2028\\ud800'
    assert lines.records[1]["event"] == "wide"
    assert lines.records[3]["exception"].startswith("ValueError")


def test_what_cannot_be_shortened_leaves_the_event(monkeypatch: pytest.MonkeyPatch, lines: Lines) -> None:
    """The last resort: when, how bad, who and what."""
    monkeypatch.setattr("soa_db.logging.formatters._LONGEST_LINE", 100)
    get_logger("x").info("a", b="c" * 200, d=1)
    assert lines.last.keys() == {"timestamp", "level", "logger", "event", "dropped"}
    assert lines.last["dropped"].startswith("2 fields")


def test_levels_are_those_of_logging(lines: Lines) -> None:
    """A logger's own level, `disable`, and numbers without a name; below it nothing is computed."""
    quiet = get_logger("quiet")
    configure_logging(stream=lines, format="json", level="DEBUG", levels={"quiet": "ERROR"}, attributes={})
    quiet.info("no")
    quiet.log(logging.INFO, "no")
    quiet.error("yes")
    get_logger("x").log(15, "fifteen")
    get_logger("x").debug("d")
    get_logger("x").critical("c")
    get_logger("x").fatal("f")
    assert [(record["event"], record["level"]) for record in lines.records] == [
        ("yes", "error"),
        ("fifteen", "level 15"),
        ("d", "debug"),
        ("c", "critical"),
        ("f", "critical"),
    ]


async def test_the_asynchronous_methods_keep_the_context(lines: Lines) -> None:
    """structlog runs them in a thread."""
    structlog.contextvars.bind_contextvars(request_id="r1")
    await get_logger("x").ainfo("a", n=1)
    try:
        raise ValueError("v")
    except ValueError:
        await get_logger("x").aexception("b")
    ours = [record for record in lines.records if record["logger"] == "x"]  # asyncio logs too
    assert [record["request_id"] for record in ours] == ["r1", "r1"]
    assert "ValueError: v" in lines.last["exception"]


def test_records_say_where_they_were_logged(lines: Lines, caplog: pytest.LogCaptureFixture) -> None:
    """For handlers of others: pytest's sees the event, its level and its line."""
    logging.getLogger().addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        get_logger().info("rows %d", 3, table="t")
    assert caplog.records[-1].getMessage() == "rows 3"
    assert caplog.records[-1].pathname == __file__
    assert caplog.records[-1].funcName == "test_records_say_where_they_were_logged"
    assert lines.last["logger"] == __name__


def test_what_filters_add_is_in_records_of_both_kinds(lines: Lines) -> None:
    """As tracing libraries and the logging cookbook do; fields win, and what uses our attribute's name harms none."""

    def add(record: logging.LogRecord) -> bool:
        record.request_id = "r1"
        record.email = CANARY
        return True

    logging.getLogger("filtered").addFilter(add)
    try:
        get_logger("filtered").info("a", n=1)
        get_logger("filtered").info("b", request_id="r2")
        logging.getLogger("filtered").info("c", extra={"event_fields": "x"})
        logging.getLogger("other").info("d", extra={"event_fields": "x", "n": 2})
    finally:
        logging.getLogger("filtered").removeFilter(add)
    assert [record.get("request_id") for record in lines.records] == ["r1", "r2", "r1", None]
    assert [record.get("n") for record in lines.records] == [1, None, None, 2]
    assert CANARY not in lines.getvalue()


def test_structlogs_own_capture_works(lines: Lines) -> None:
    """And afterwards events go out again."""
    log = get_logger("x")
    with structlog.testing.capture_logs() as captured:
        log.info("a", n=1)
    log.info("b")
    assert captured == [{"n": 1, "event": "a", "log_level": "info"}]
    assert [record["event"] for record in lines.records] == ["b"]


def test_processors_of_the_users_own_are_run(lines: Lines) -> None:
    """Before or instead of ours."""

    def add(_logger: object, _method: str, event: Any) -> Any:
        return {**event, "added": True}

    structlog.configure(processors=[add, structlog.processors.JSONRenderer()])
    structlog.get_logger("x").info("a")
    assert lines.last["event"] == '{"event": "a", "added": true}'


def test_a_second_call_replaces_the_first_and_leaves_others_alone() -> None:
    """One line per record, to the new place, and handlers of others stay."""
    with configured() as first:
        other = logging.NullHandler()
        logging.getLogger().addHandler(other)
        before = len(logging.getLogger().handlers)
        second = Lines()
        configure_logging(format="json", stream=second, level="WARNING", attributes={})
        get_logger("x").info("no")
        get_logger("x").warning("yes")
        assert [record["event"] for record in second.records] == ["yes"]
        assert first.getvalue() == ""
        assert len(logging.getLogger().handlers) == before
        assert other in logging.getLogger().handlers
        configure_logging(format="json", stream=second, levels={"quiet.x": "ERROR"}, attributes={})
        assert logging.getLogger("quiet.x").level == logging.ERROR
        configure_logging(format="json", stream=second, attributes={})
        assert logging.getLogger("quiet.x").level == logging.NOTSET


def test_wrong_arguments_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a configuration would be worse than the old one."""
    wrong: list[dict[str, Any]] = [
        {"level": "LOUD"},
        {"level": True},
        {"level": 20.0},
        {"log_file": "a\0.log"},
        {"levels": {"x": "LOUD"}},
        {"format": "xml"},
        {"redact": "email"},
        {"keep": [""]},
        {"log_file": tmp_path / "missing" / "a.log"},
        {"log_file": tmp_path},
        {"log_file": tmp_path / "a.log", "stream": io.StringIO()},
    ]
    with configured() as lines:
        handlers = list(logging.getLogger().handlers)
        for arguments in wrong:
            with pytest.raises(ConfigurationError) as raised:
                configure_logging(**arguments)
            assert raised.value.hint
        for variable in ("SOA_LOG_LEVEL", "SOA_LOG_FORMAT"):
            monkeypatch.setenv(variable, "nonsense")
            with pytest.raises(ConfigurationError, match="nonsense"):
                configure_logging()
            monkeypatch.delenv(variable)
        assert logging.getLogger().handlers == handlers
        get_logger("x").info("a")
        assert lines.last["event"] == "a"


def test_variables_say_what_arguments_leave_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, and whether lines are JSON; arguments win."""

    class Terminal(Lines):
        def isatty(self) -> bool:
            return True

    def starts_with(**arguments: Any) -> str:
        with untouched():
            terminal = Terminal()
            configure_logging(stream=terminal, **arguments)
            logging.getLogger("x").warning("a")
            return terminal.getvalue()[:1]

    for name in ("SOA_ENV", "SOA_LOG_FORMAT", "SOA_LOG_LEVEL", "LOG_LEVEL", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert starts_with() == "\x1b"
    monkeypatch.setenv("NO_COLOR", "1")
    assert starts_with() not in "\x1b{"
    assert starts_with(env="prod") == "{"
    monkeypatch.setenv("SOA_ENV", "mirror")
    assert starts_with() == "{"
    assert starts_with(env="dev") != "{"
    monkeypatch.setenv("SOA_LOG_FORMAT", "console")
    assert starts_with() != "{"
    assert starts_with(format="json") == "{"
    monkeypatch.setenv("LOG_LEVEL", "error")
    assert starts_with() == ""
    monkeypatch.setenv("SOA_LOG_LEVEL", "10")
    assert starts_with() != ""
    assert starts_with(level="CRITICAL") == ""
    assert starts_with(levels={"x": 60}) == ""


def test_on_a_terminal_nothing_drives_it_and_no_line_can_be_forged() -> None:
    """Control characters are spelled out; what follows a newline in an exception is indented."""
    with configured(format="console") as lines:
        try:
            raise ValueError("first\n2026-01-01 [info] forged\x1b[2J")
        except ValueError:
            get_logger("x\x1b").exception(
                "a\n[info] forged\x1b[2J", **{"k\x1b": "v\x07", "d": {"email": CANARY, "e": "\x1b"}}
            )
        get_logger("x").info("b", stack_info=True, password=CANARY)
        try:
            raise ValueError(f"token={CANARY}")
        except ValueError:
            logging.getLogger("x").info({"exc_info": True})  # a field, which the renderer would take for its own
        written = lines.getvalue()
    assert "\x1b" not in written
    assert "\x07" not in written
    assert CANARY not in written
    assert "a\\n[info] forged\\x1b[2J" in written
    assert [line for line in written.splitlines() if "forged" in line and not line.startswith("    ")] == [
        written.splitlines()[0]
    ]


def test_deployment_attributes_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As OpenTelemetry writes them; what is malformed is passed over."""
    monkeypatch.setenv(
        "OTEL_RESOURCE_ATTRIBUTES",
        "deployment.identifier=blue%2C7, service.name=old,deployment.secret=c4nary,host.name=h,nonsense,=x,"
        "service.x=%ff",
    )
    monkeypatch.setenv("OTEL_SERVICE_NAME", "chat-api")
    with configured(attributes=None) as lines:
        get_logger("x").info("a")
    assert {key: value for key, value in lines.last.items() if "." in key} == {
        "deployment.identifier": "blue,7",
        "service.name": "chat-api",
        "deployment.secret": "[redacted]",
        "service.x": "\\xff",
    }


def test_warnings_are_logged(lines: Lines) -> None:
    """By the logger that `logging` itself uses for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        configure_logging(stream=lines, format="json", attributes={})
        warnings.warn(f"old: postgres://u:{CANARY}@h", stacklevel=1)
        shown = warnings.showwarning
        configure_logging(stream=lines, format="json", attributes={}, capture_warnings=False)
        assert warnings.showwarning is not shown
    assert lines.last["logger"] == "py.warnings"
    assert "postgres://u:***@h" in lines.last["event"]


def test_formatter_and_handler_fit_into_dict_config(tmp_path: Path) -> None:
    """For those whose framework configures logging by a dictionary."""
    path = tmp_path / "a.log"
    with untouched():
        logger = logging.getLogger("by.dict")
        logging.config.dictConfig(
            {
                "version": 1,
                "disable_existing_loggers": False,
                "formatters": {
                    "json": {"()": "soa_db.logging.JsonFormatter", "redact": ["colour"], "attributes": {}},
                    "text": {"()": "soa_db.logging.ConsoleFormatter", "colors": False},
                },
                "handlers": {
                    "json": {"()": "soa_db.logging.LineHandler", "formatter": "json", "log_file": str(path)},
                    "text": {"class": "logging.FileHandler", "formatter": "text", "filename": str(tmp_path / "b.log")},
                },
                "loggers": {"by.dict": {"handlers": ["json", "text"], "level": "INFO", "propagate": False}},
            }
        )
        try:
            get_logger("by.dict").info("a", colour=CANARY, token=CANARY)
            assert '"colour":"[redacted]"' in path.read_text()
            assert "token=[redacted]" in (tmp_path / "b.log").read_text()
            assert CANARY not in path.read_text()
        finally:
            logger.propagate = True
            for handler in list(logger.handlers):
                logger.removeHandler(handler)
                handler.close()


def test_records_may_cross_a_queue(lines: Lines) -> None:
    """What a QueueHandler has prepared (its text made, its exception rendered) comes out whole and masked."""
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger = logging.getLogger("queued")
    handler = logging.handlers.QueueHandler(records)
    logger.addHandler(handler)
    logger.propagate = False
    try:
        raise ValueError(f"password={CANARY}")
    except ValueError:
        get_logger("queued").exception("a %s", 1, token=CANARY)
    finally:
        logger.removeHandler(handler)
        logger.propagate = True
    logging.getLogger().handle(records.get())
    assert lines.last["token"] == "[redacted]"
    assert "ValueError: password=***" in lines.last["event"] + lines.last.get("exception", "")
    assert CANARY not in lines.getvalue()


def test_records_of_libraries_with_their_own_message() -> None:
    """Some format otherwise than with percent signs; some come with their exception's text, or without a name."""
    with configured() as lines:  # here, since pytest's own handler raises at such records

        class Braces(logging.LogRecord):
            def getMessage(self) -> str:  # noqa: N802
                return str(self.msg).format(*(self.args or ()))

        logging.getLogger().handle(Braces("x", logging.INFO, "f", 1, "{} rows, password=c4nary", (3,), None))
        record = logging.makeLogRecord(
            {"msg": "a", "levelno": 20, "levelname": "INFO", "exc_text": "Boom: token=c4nary"}
        )
        logging.getLogger().handle(record)
        assert lines.records[0]["event"] == "3 rows, password=***"
        assert lines.records[1]["exception"] == "Boom: token=***"
        assert lines.records[1]["logger"] == "None"

        class Torn(UserDict[str, str]):
            def keys(self) -> Any:
                raise RuntimeError(CANARY)

        logging.getLogger("x").info(Torn(a="b"))
        assert lines.last["event"]
        assert CANARY not in lines.getvalue()


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    """However many there are; each keeps its own context."""
    path = tmp_path / "a.log"
    with untouched():
        configure_logging(log_file=path, attributes={})

        def work(number: int) -> None:
            structlog.contextvars.bind_contextvars(worker=number)
            for _ in range(50):
                get_logger("x").info("x" * 5000, number=number)

        threads = [threading.Thread(target=contextvars.copy_context().run, args=(work, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = Lines()
    lines.write(path.read_text())
    assert len(lines.records) == 400
    assert all(record["worker"] == record["number"] for record in lines.records)


def test_before_configuration_events_show_no_fields(capsys: pytest.CaptureFixture[str]) -> None:
    """What `logging` itself does then: warnings and worse on stderr, their text alone."""
    with untouched():
        get_logger("early").warning("a", password=CANARY)
    assert capsys.readouterr().err == "a\n"


def test_our_parts_say_what_is_wrong_with_them() -> None:
    """Formatters check their keys, as `configure_logging` does."""
    for kind in (JsonFormatter, ConsoleFormatter):
        with pytest.raises(ConfigurationError):
            kind(redact=[""])
    with pytest.raises(ConfigurationError, match="exclude each other"):
        LineHandler(stream=io.StringIO(), log_file="a.log")
