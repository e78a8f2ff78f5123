"""What every config model is made of: frozen, closed to unknown fields, with errors that quote no input."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from soa_db.errors import ConfigurationError

__all__ = ["Host", "Model", "Port", "Seconds", "Text"]

Port = Annotated[int, Field(ge=1, le=65535)]


def _printable(text: str) -> str:
    # libpq would end the whole conninfo at a NUL, the settings of TLS behind it included.
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("it holds a control character")
    return text


def _one_name(host: str) -> str:
    if any(char.isspace() or ord(char) < 32 for char in host) or "," in host:
        raise ValueError("a host is one name or address, without spaces or commas")
    return host


Text = Annotated[str, AfterValidator(_printable)]
Host = Annotated[str, Field(min_length=1), AfterValidator(_one_name)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Model(BaseModel):
    """The base of every config model.

    Each says ``frozen=True`` itself: that is all pyright knows of it (PEP 681), and without it takes an assignment to a
    field for right.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    def __init__(self, **data: object) -> None:
        # pydantic's own error would do, but for its text: it can quote input, and input can be a secret.
        try:
            super().__init__(**data)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc']) or type(self).__name__}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_context=False, include_url=False)
            )
            raise ConfigurationError(f"invalid {type(self).__name__}: {faults}") from None
