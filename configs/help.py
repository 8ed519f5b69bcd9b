"""What --help prints: every key of a script's settings with its default and meaning, and the shipped configs."""

import textwrap
from dataclasses import fields, is_dataclass
from pathlib import Path

CONFIG_FOLDER = Path(__file__).parent


def rows(schema: object, prefix: str = "") -> list[tuple[str, object, str]]:
    """(dotted key, default, help) of every setting of a schema or its instance; a group's default is the group."""
    defaults, result = schema() if isinstance(schema, type) else schema, []
    for field in fields(defaults):
        name, default = f"{prefix}{field.name}", getattr(defaults, field.name)
        help_line = field.metadata.get("help", "")
        if is_dataclass(default):
            doc = (default.__doc__ or "").strip().splitlines()
            result += [(name, default, help_line or doc[0]), *rows(default, f"{name}.")]
        else:
            choices = field.metadata.get("choices")
            help_line += f" [{' | '.join(map(str, choices))}]" if choices else ""
            result.append((name, default, help_line))
    return result


def help_text(schema: type, description: str = "") -> str:
    """What --help prints: the script's docstring, every key with its default and meaning, the shipped configs."""
    usage = "usage: --config file.yaml key=value ...   (defaults < file < key=value)   --help: this text"
    lines = [description.strip(), "", usage, "", "keys:"]
    for name, default, help_line in rows(schema):
        if is_dataclass(default):
            lines += ["", f"  {name}: {help_line}"]
            continue
        shown = str(default).lower() if isinstance(default, bool) else {"": '""', None: "null"}.get(default, default)
        lines += textwrap.wrap(f"{help_line} (default: {shown})", 118, initial_indent=f"  {name:<30} ",
                               subsequent_indent=" " * 33)
    lines += ["", "configs:"]
    for file in yaml_files():
        first = file.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"  configs/{file.name:<30} {textwrap.shorten(first, 110, placeholder=' ...')}")
    return "\n".join(lines)


def yaml_files() -> list[Path]:
    return sorted(CONFIG_FOLDER.glob("*.yaml"))
