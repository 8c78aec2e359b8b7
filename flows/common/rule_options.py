"""A command's options from the rules of its flow: name, type, default and description of each are written once, in the rules."""

import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, Literal, TypeVar

import click
from pydantic import BaseModel

_Command = TypeVar("_Command", bound=Callable[..., Any])
Option = Callable[[Any], Any]
Wording = str | Sequence[Option]
"""A rule in the command's own words, or the options that stand for it."""

_UNSET: Any = None
"""Every option's own default: what was not given is left to the rules."""


def rule_options(
    model: type[BaseModel], wordings: Mapping[str, Wording] | None = None, *, leave_out: Collection[str] = ()
) -> Callable[[_Command], _Command]:
    """An option for each rule: those of `wordings` first, in that order, then the others with their own descriptions.

    Lists, mappings and rules within rules have no option unless `wordings` gives one.
    """
    options = list(_options(model, wordings or {}, leave_out))

    def add(function: _Command) -> _Command:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def _options(model: type[BaseModel], wordings: Mapping[str, Wording], leave_out: Collection[str]) -> Iterator[Option]:
    for name, wording in wordings.items():
        if isinstance(wording, str):
            yield option_of(model, name, wording)
        else:
            yield from wording
    for name, field in model.model_fields.items():
        if name not in wordings and name not in leave_out and _is_plain(field.annotation):
            yield option_of(model, name)


def option_of(model: type[BaseModel], rule: str, wording: str = "", *, flag: str = "", **as_click: Any) -> Option:
    """One rule's option. `wording` instead of its description; `{default}` in them is the rule's default, and so is the end of a
    text that speaks of none. `flag` instead of its name; `as_click` goes to click as it is (type, metavar).
    """
    field = model.model_fields[rule]
    flag = flag or "--" + rule.replace("_", "-")
    text = wording or field.description or ""
    if field.annotation is bool and field.default is True:
        return click.option(f"{flag}/--no-{flag[2:]}", default=True, show_default=True, help=text)
    if field.annotation is bool:
        return click.option(flag, is_flag=True, default=_UNSET, help=text)
    # Own words say what is done without; the description of a rule that is off says so in the form by being empty.
    default = _shown(field.default) or ("" if wording else "off")
    if "[default:" not in text and default:
        text += "  [default: {default}]"
    as_click.setdefault("type", _type_of(field.annotation))
    return click.option(flag, default=_UNSET, help=text.replace("{default}", default), **as_click)


def _is_plain(annotation: Any) -> bool:
    kind = typing.get_origin(annotation) or annotation
    return kind not in {list, dict} and not (isinstance(kind, type) and issubclass(kind, BaseModel))


def _shown(default: Any) -> str:
    if isinstance(default, list):
        return ",".join(map(_shown, default))
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


def _type_of(annotation: Any) -> Any:
    if isinstance(annotation, types.UnionType):
        annotation = next(one for one in typing.get_args(annotation) if one is not type(None))
    if typing.get_origin(annotation) is Literal:
        return click.Choice(typing.get_args(annotation))
    is_named = isinstance(annotation, type) and issubclass(annotation, StrEnum)
    return click.Choice([str(one) for one in annotation]) if is_named else annotation
