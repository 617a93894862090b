"""Reference of all suite keys, table columns and models, generated from what defines them.

python -m mixbench.cli.reference           writes suites/{REFERENCE.md,schema.json}, reports/COLUMNS.md, READMEs
python -m mixbench.cli.reference --check   exits with 1 if one of them is out of date

The meaning of a key is the comment at the end of its line, or above it.
"""

import ast
import inspect
import json
import sys
from typing import Any

from pydantic import BaseModel

from mixbench.cli.models_table import in_models_readme, in_readme
from mixbench.results.summary import SUMMARY_COLUMNS, SummaryRow
from mixbench.run.record import COLUMNS, Record
from mixbench.suite.fields import AsList
from mixbench.suite.schema import Suite, models_in
from mixbench.system.content import root
from mixbench.system.files import write_atomically

Schema = dict[str, Any]
BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
"""Keywords of pydantic, left in its schema if a validator of ours precedes its own, and those of JSON schema."""
BOUND_WORDS = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
ENTRIES = ("models", "datasets")
"""Keys of a suite that also take a name instead of a mapping with that name."""
HEAD = "# {what}\n\n<!-- made by python -m mixbench.cli.reference from the classes in mixbench/: not to be edited -->"
ABOUT_KEYS = """A list of one value may be written as that value. `mixbench validate FILE` names all mistakes in it.

Editors with a YAML language server complete and check the keys by `schema.json` beside this file, if the first line of
the suite names it (in VS Code with the extension YAML of Red Hat):

```yaml
# yaml-language-server: $schema=schema.json
```

A suite in another folder gives the path or URL of that file."""
ABOUT_COLUMNS = """A cell is empty if its value was not measured. Columns are only ever appended.

A text that a spreadsheet would run as a formula (it begins with `=`, `+`, `-` or `@`, or blanks before these) has an
apostrophe before it: a label `+aug` is `'+aug` in the file. Numbers never have one, nor do the texts that
`mixbench.read_run` returns."""


def files() -> dict[str, str]:
    """Return the text of each generated file by its path."""
    readme = _text("README.md")  # a wheel has none
    return {
        "suites/REFERENCE.md": keys(),
        "suites/schema.json": json.dumps(schema(), indent=1, ensure_ascii=False) + "\n",
        "reports/COLUMNS.md": columns(),
        "models/README.md": in_models_readme(_text("models/README.md") or ""),
    } | ({"README.md": in_readme(readme)} if readme else {})


def meanings(model: type[BaseModel]) -> dict[str, str]:
    """Return the comment of each field of a class.  Raises ValueError if a field has none."""
    lines = inspect.getsource(model).splitlines()
    found = {}
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            end = lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :].decode()
            above = lines[node.lineno - 2].strip()
            found[node.target.id] = (end.strip() or above if above.startswith("#") else end).strip("# ")
    if missing := [name for name in model.model_fields if not found.get(name)]:
        raise ValueError(f"{model.__name__}: no comment says what is meant by {', '.join(missing)}")
    return {name: found[name] for name in model.model_fields}


def parts(model: type[BaseModel] = Suite) -> dict[str, type[BaseModel]]:
    """Return the classes of all mappings in a suite by name, each before those inside it."""
    found = {model.__name__: model}
    for field in model.model_fields.values():
        for inner in models_in(field.annotation):
            found |= {name: part for name, part in parts(inner).items() if name not in found}
    return found


def schema() -> Schema:
    """Return the JSON schema of a suite file, for editors; a list of one value may be written as that value."""
    made = Suite.model_json_schema()
    definitions = made.pop("$defs")
    for name, part in parts().items():
        mapping = made if part is Suite else definitions[name]
        mapping["description"] = inspect.cleandoc(part.__doc__ or "")
        for key, meaning in meanings(part).items():
            field = mapping["properties"][key]
            if part is Suite and key in ENTRIES:
                field["items"] = {"anyOf": [{"type": "string"}, field["items"]]}
            if AsList in part.model_fields[key].metadata:
                field = mapping["properties"][key] = {"anyOf": [field["items"], field]}
            field["description"] = meaning
    made["required"] = ["name"]
    made["anyOf"] = [{"required": ["base"]}, {"required": list(ENTRIES)}]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "A suite of mixbench"}
    return head | _plain(made | {"$defs": definitions})


def _plain(value: Any) -> Any:
    """Return a schema in JSON schema's keywords, without titles (they repeat keys) and defaults that are mappings."""
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if not isinstance(value, dict):
        return value
    plain = {BOUNDS.get(key, key): _plain(each) for key, each in value.items()}
    if plain.get("type") == "array" and "minLength" in plain:  # pydantic's keyword behind a validator
        plain["minItems"] = plain.pop("minLength")
    if isinstance(plain.get("title"), str):
        del plain["title"]
    if "{" in json.dumps(plain.get("default")):
        del plain["default"]
    return plain


def keys() -> str:
    """Return the text of suites/REFERENCE.md."""
    whole = schema()
    text = [HEAD.format(what="All keys of a suite"), ABOUT_KEYS]
    for name, part in parts().items():
        mapping = whole if part is Suite else whole["$defs"][name]
        rows = [
            [f"`{key}`", _kind(field), _default(part, key), field["description"]]
            for key, field in mapping["properties"].items()
        ]
        text += [f"## {name}", mapping["description"], _table(["key", "value", "default", "meaning"], rows)]
    return "\n\n".join(text) + "\n"


def columns() -> str:
    """Return the text of reports/COLUMNS.md."""
    text = [HEAD.format(what="The columns of results.csv and summary.csv"), ABOUT_COLUMNS]
    tables: list[tuple[str, str, type[BaseModel], list[str]]] = [
        ("results.csv", "A row per trial.", Record, COLUMNS),
        ("summary.csv", inspect.cleandoc(SummaryRow.__doc__ or ""), SummaryRow, SUMMARY_COLUMNS),
    ]
    for name, about, model, names in tables:
        comments, fields = meanings(model), model.model_json_schema()["properties"]
        rows = [[f"`{column}`", _kind(fields[column]), comments[column]] for column in names]
        text += [f"## {name}", about, _table(["column", "value", "meaning"], rows)]
    return "\n\n".join(text) + "\n"


def _kind(field: Schema) -> str:
    """Describe the values that a field accepts, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        kinds = [_kind(each) for each in field["anyOf"] if each.get("type") not in ("null", "array")]
        a_list = ", or a list" * any(each.get("type") == "array" for each in field["anyOf"])
        return " or ".join(kinds) + a_list
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    if "prefixItems" in field:
        return f"[{', '.join(_kind(each) for each in field['prefixItems'])}]"
    if field.get("type") == "array":
        return f"a list: {_kind(field['items'])}" if "items" in field else "a list"
    words = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    bounds = [f"{word} {field[bound]:,}" for bound, word in BOUND_WORDS.items() if bound in field]
    return " ".join([words.get(field.get("type", ""), "anything"), " and ".join(bounds)]).strip()


def _default(model: type[BaseModel], key: str) -> str:
    field = model.model_fields[key]
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if default is None or isinstance(default, BaseModel) or default in ("", ()):
        return ""
    if isinstance(default, tuple) and any(isinstance(each, BaseModel) for each in default):
        return ""
    return f"`{json.dumps(default)}`".replace('"', "")


def _table(headings: list[str], rows: list[list[str]]) -> str:
    cells = [
        [cell.replace("|", "\\|").replace("<", "\\<") for cell in row]
        for row in (headings, ["---"] * len(headings), *rows)
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def main() -> int:
    stale = [name for name, text in files().items() if _text(name) != text]
    for name in stale:
        if "--check" in sys.argv:
            print(f"{name} is stale: python -m mixbench.cli.reference")
        else:
            write_atomically(root() / name, files()[name])
            print(f"wrote {name}")
    return int(bool(stale) and "--check" in sys.argv)


def _text(name: str) -> str | None:
    path = root() / name
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
