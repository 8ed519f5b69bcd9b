"""Settings of every script: a dataclass's defaults < a YAML file < key=value on the command line, nothing unknown."""
import argparse
import difflib
import json
import logging
import math
import os
import re
import sys
import textwrap
import typing
from collections.abc import Callable
from dataclasses import field, fields, is_dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from media.files import is_full_disk, one_line
from runtime.terminal import ended_by, say

Schema = TypeVar("Schema")
CONFIG_FOLDER = Path(__file__).parent
HELP = ("-h", "--help", "--help-all")
KINDS = {"Integer": "a whole number", "Float": "a number", "bool": "true or false"}      # OmegaConf's words, and ours


def setting(default, help: str, choices: tuple = (), *, first: bool = False, free: bool = False):
    """A field of a schema with its line of help.

    choices: the values it may have; first: --help shows it, and not only --help-all; free: it may change on resume.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "first": first, "free": free})


class AgreedError(ValueError):
    """A user's mistake that every process raises alike, so that only the main one says it."""


def run_main(main: Callable[[], object]) -> None:
    """Ends the program with main's result: 2 and a line for a user's mistake or a file's, 130 for Ctrl-C, 143 for SIGTERM, a traceback for ours.

    Of several processes the first on each machine says it; another one says what only it has met.
    """
    try:
        sys.exit(main())
    except (ValueError, OSError) as error:
        line = f"error: {one_line(told(error))}"
        if isinstance(error, AgreedError):
            say(line)
        elif os.environ.get("LOCAL_RANK", "0") == "0":
            print(line, file=sys.stderr)
        elif joined():
            print(f"process {os.environ['RANK']}: {line}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as error:
        sys.exit(ended_by(error))


def told(error: ValueError | OSError) -> str:
    """What a user reads of an error; the system's own words get the file and what to do."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error)
    if is_full_disk(error):
        place = error.filename2 or error.filename or "a file"             # of two, the one that was written
        return f"{place}: cannot be written ({error.strerror}): make room and run the same command again"
    if error.filename is None:
        return str(error)
    return f"{error.filename}: cannot be used ({error.strerror}): check the path, and what may be read and written there"


def whole_number(least: int, step: int = 1, most: int | None = None) -> Callable[[str], int]:
    """An option's type for argparse: a whole number of `least` or more, up to `most`, in multiples of `step`."""
    def read(text: str) -> int:
        number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else None
        if number is None or number < least or number % step or (most is not None and number > most):
            multiples = f" in multiples of {step}" if step > 1 else ""
            numbers = f", {least} or more" if most is None else f" from {least} to {most}"
            raise argparse.ArgumentTypeError(f"expected a whole number{multiples}{numbers} (found '{text}')")
        return number
    return read


def positive_number(text: str) -> float:
    """An option's type for argparse: a finite number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0 (found '{text}')")
    return number


def joined() -> bool:
    """Have the launched processes met? Before, all of a machine read the same and fail alike."""
    distributed = sys.modules.get("torch.distributed")
    return distributed is not None and distributed.is_available() and distributed.is_initialized()


def show_log() -> None:
    """Log lines on the terminal, those of the main process alone where a launcher started several."""
    is_main = os.environ.get("RANK", "0") == "0"
    logging.basicConfig(level=logging.INFO if is_main else logging.ERROR, format="%(message)s")


def load_config(schema: type[Schema], argv: list[str] | None = None, description: str | None = None) -> Schema:
    """The settings of a script, from `--config file.yaml key=value ...`; a mistake is a ValueError with one line.

    --help prints the description (by default the docstring of the schema's module) and the keys, with the values of a file or of
    assignments beside it, and ends the program.
    """
    argv = sys.argv[1:] if argv is None else argv
    if set(HELP) & set(argv):
        others = [word for word in argv if word not in HELP]
        print(help_text(load_config(schema, others) if others else schema, description or sys.modules[schema.__module__].__doc__ or "", "--help-all" in argv))
        sys.exit(0)
    config = OmegaConf.structured(schema)
    path, assignments = split_arguments(argv)
    if path is not None:
        merge(config, read_yaml(path, schema), str(path))
    for assignment in assignments:
        key, value = assignment.split("=", 1)
        hint = type_of(schema, key.strip(), "command line")
        if is_dataclass(hint):
            raise ValueError(f"command line: '{key}' is a group of keys: set one of them, "
                             f"as in {key}.{fields(hint)[0].name}=...")
        merge(config, nested(key.strip(), parsed(value, hint, key)), "command line")
    try:
        config = OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise ValueError(in_our_words(error)) from error
    check_choices(config)
    return config


def split_arguments(argv: list[str]) -> tuple[Path | None, list[str]]:
    """--config's path, and the key=value assignments."""
    path, assignments, arguments = None, [], iter(argv)
    for argument in arguments:
        if argument == "--config" or argument.startswith("--config="):
            value = argument.partition("=")[2] or next(arguments, "")
            if not value or path is not None:
                raise ValueError("--config: expected one YAML file, as in --config configs/demo.yaml")
            path = Path(value).expanduser()
        elif "=" in argument and not argument.startswith("-"):
            assignments.append(argument)
        else:
            option = re.fullmatch(r"--?([a-z_.]+)(?:=.*)?", argument)
            remedy = f"did you mean {option[1]}=...?" if option else "see --help"
            raise ValueError(f"'{argument}': expected --config file.yaml or key=value, as in seed=7: {remedy}")
    return path, assignments


def read_yaml(path: Path, schema: type) -> dict:
    """A YAML file's mapping, each key checked against the schema."""
    if path.is_dir():
        raise ValueError(f"{path}: expected a YAML file (found a folder): name a file in it")
    if not path.is_file():
        here = Path.cwd()
        known = {file.name: str(file.relative_to(here) if file.is_relative_to(here) else file) for file in yaml_files()}
        near = difflib.get_close_matches(path.name, known, n=1, cutoff=0.8)
        raise ValueError(f"{path}: no such config file: " + (f"did you mean {known[near[0]]}?" if near else f"there are {', '.join(known.values())}"))
    values = yaml_mapping(path)
    try:
        check_keys(values, schema, str(path))
        return escaped(values)
    except RecursionError:
        raise ValueError(f"{path}: expected keys and values (found some that hold themselves): write them out") from None


INT, FLOAT, TIMESTAMP = (f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "timestamp"))


class PlainYaml(yaml.SafeLoader):
    """YAML in which no key is said twice, and 010, 1:30 and 2024-01-02 stay text: YAML 1.1 reads 8, 90 and a date."""
    yaml_implicit_resolvers = {first: [(tag, pattern) for tag, pattern in resolvers if tag not in (INT, FLOAT, TIMESTAMP)]
                               for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()}

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(problem=f"'{key.value}' is said twice: leave one out", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


PlainYaml.add_implicit_resolver(INT, re.compile(r"[-+]?(0|[1-9][0-9_]*)$"), list("-+0123456789"))
PlainYaml.add_implicit_resolver(FLOAT, re.compile(r"""[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$      # 1.5  1.  .5  1.0e-5
                                                  |[-+]?\.(inf|Inf|INF)$|\.(nan|NaN|NAN)$""", re.VERBOSE), list("-+.0123456789"))


def yaml_mapping(path: Path) -> dict:
    """The keys and values of a YAML file, also of another project's; a ValueError says what is wrong with it."""
    if not path.is_file():
        raise ValueError(f"{path}: expected a YAML file (found no such file): check the path")
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), PlainYaml) or {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else str(path)
        raise ValueError(f"{where}: not YAML ({getattr(error, 'problem', None) or 'unreadable text'})") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected lines of key: value (found a {type(values).__name__})")
    return values


def check_keys(values: dict, schema: type, source: str, prefix: str = "") -> None:
    for key, value in values.items():
        hint = type_of(schema, f"{prefix}{key}", source)
        if "." in str(key):
            raise ValueError(f"{source}: '{prefix}{key}': expected a key without dots (found one of the command line): "
                             "write each of its words on a line of its own, below its group and indented")
        if is_dataclass(hint):
            if not isinstance(value, dict):
                raise ValueError(f"{source}: '{prefix}{key}' is a group of keys (found {value!r})")
            check_keys(value, schema, source, f"{prefix}{key}.")
        elif value is None and type(None) not in typing.get_args(hint):
            raise ValueError(f"{source}: {prefix}{key}: expected a value (found nothing): leave it out for its default, or say one")


def type_of(schema: type, key: str, source: str):
    """The type of a dotted key; ValueError with the nearest known key when there is none."""
    hint = schema
    for part in key.split("."):
        hint = typing.get_type_hints(hint).get(part) if is_dataclass(hint) else None
        if hint is None:
            near = difflib.get_close_matches(key, [name for name, *_ in rows(schema)], n=1, cutoff=0.5)
            last = key.rpartition(".")[2]
            near = near or [name for name, *_ in rows(schema) if name.rpartition(".")[2] == last]
            remedy = f"did you mean {near[0]}?" if near else "see --help for all keys"
            raise ValueError(f"{source}: unknown key '{key}': {remedy}")
    return hint


def parsed(value: str, hint: object, key: str):
    """A command-line value: text stays as typed (null or nothing is None where that is allowed), the rest is YAML."""
    if hint == str | None and value in ("", "null"):
        return None
    if hint in (str, str | None):
        return escaped(value)
    if not value.strip() and type(None) not in typing.get_args(hint):
        raise ValueError(f"{key}: expected a value (found nothing after '{key}='): leave it out for its default, or say one")
    try:
        return yaml.load(value, PlainYaml)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"{key}={value}: cannot be read as a value") from error


def escaped(value):
    """Text with OmegaConf's ${...} switched off: a config has no interpolation, and a prompt may contain anything.

    What begins with ~/ is a path, and the home folder is put in.
    """
    if isinstance(value, dict):
        return {key: escaped(item) for key, item in value.items()}
    if not isinstance(value, str):
        return value
    return (os.path.expanduser(value) if value.startswith("~/") else value).replace("${", "\\${")


def nested(key: str, value) -> dict:
    """('a.b', 1) -> {'a': {'b': 1}}"""
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def merge(config: DictConfig, values: dict, source: str) -> None:
    """Put the values into the config; a ValueError names the source of one that does not fit."""
    try:
        config.merge_with(values)
    except (OmegaConfBaseException, ValueError) as error:
        raise ValueError(f"{source}: {in_our_words(error)}") from error


def in_our_words(error: Exception) -> str:
    """OmegaConf's message, with its key in front and its context lines left out; a wrong type in our words."""
    text = (str(error).strip().splitlines() or [type(error).__name__])[0]
    if wrong := re.fullmatch(r"Value (.*?)(?: of type '.*')? (?:could not be converted to|is not a valid) (\w+).*", text):
        text = f"expected {KINDS.get(wrong[2], wrong[2])} (found {wrong[1]})"
    if wrong := re.fullmatch(r"Cannot convert '(List|Dict)Config' to string: '(.*)'", text):
        text = f"expected a text (found {wrong[2]}): write it without {'brackets' if wrong[1] == 'List' else 'braces'}"
    key = getattr(error, "full_key", None)
    return f"{key}: {text}" if key else text


def check_choices(config, prefix: str = "") -> None:
    """Fields whose metadata lists `choices` hold one of them; numbers are finite."""
    for row in fields(config):
        value, choices = getattr(config, row.name), row.metadata.get("choices")
        if is_dataclass(value):
            check_choices(value, f"{prefix}{row.name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{prefix}{row.name}: must be a finite number (found {value})")
        elif isinstance(value, str) and "\0" in value:
            raise ValueError(f"{prefix}{row.name}: must be text without a zero byte: leave it out")
        elif choices and value not in choices:
            near = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
            remedy = f": did you mean {near[0]}?" if near else ""
            raise ValueError(f"{prefix}{row.name}: must be one of {', '.join(map(str, choices))} (found '{value}'){remedy}")


def rows(schema: object, prefix: str = "") -> list[tuple[str, object, str]]:
    """(dotted key, default, help) of every setting of a schema or its instance; a group's default is the group."""
    defaults, result = schema() if isinstance(schema, type) else schema, []
    for row in fields(defaults):
        name, default = f"{prefix}{row.name}", getattr(defaults, row.name)
        help_line = row.metadata.get("help", "")
        if is_dataclass(default):
            doc = (default.__doc__ or "").strip().splitlines()
            result += [(name, default, help_line or doc[0]), *rows(default, f"{name}.")]
        else:
            choices = row.metadata.get("choices")
            help_line += f" [{' | '.join(map(str, choices))}]" if choices else ""
            result.append((name, default, help_line))
    return result


def help_text(schema: object, description: str = "", everything: bool = False) -> str:
    """The script's docstring, the keys of a schema or its instance with their defaults and meaning, the shipped configs.

    Where a schema marks some keys as first, only those and the names of the groups are shown, unless `everything` is.
    """
    usage = "usage: --config file.yaml key=value ...   (defaults < file < key=value)   --help: this text"
    marked = [row.name for row in fields(schema) if row.metadata.get("first")]
    if marked and not everything:
        groups = [key for key in rows(schema) if is_dataclass(key[1])]
        lines = [description.strip(), "", f"{usage}   --help-all: every key", "", "keys:"]
        lines += [line for key in rows(schema) if key[0] in marked for line in key_lines(*key)]
        lines += ["", "groups of further keys, all listed by --help-all:"] + [f"  {name + '.':<30} {text}" for name, _, text in groups]
    else:
        lines = [description.strip(), "", usage, "", "keys:"]
        for name, default, text in rows(schema):
            lines += ["", f"  {name}: {text}"] if is_dataclass(default) else key_lines(name, default, text)
    lines += ["", "configs:"]
    for file in yaml_files():
        first = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"  configs/{file.name:<30} {textwrap.shorten(first, 110, placeholder=' ...')}")
    return "\n".join(lines)


def key_lines(name: str, default: object, text: str) -> list[str]:
    """A key with its meaning and default, wrapped."""
    shown = json.dumps(default) if default is None or default == "" or isinstance(default, bool) else default
    return textwrap.wrap(f"{text} (default: {shown})", 118, initial_indent=f"  {name:<30} ", subsequent_indent=" " * 33)


def yaml_files() -> list[Path]:
    return sorted(CONFIG_FOLDER.glob("*.yaml"))
