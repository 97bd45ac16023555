"""The reference part of `docs/api.md`, made from the OpenAPI description: `python -m cmms_webhook.management.reference`.

What belongs here: turning the description into pages that people read. What does not: what the endpoints say of themselves (their
own modules), and the words around the reference (`docs/api.md`). A test holds page and description together.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from cryptography.fernet import Fernet, MultiFernet

from cmms_webhook.app import create_app

BEGIN, END = "<!-- reference: begin -->", "<!-- reference: end -->"
_VERBS = ("get", "post", "put", "patch", "delete")
_TITLES = {
    "status": "Status, analytics and the live stream",
    "events": "Events",
    "records": "Work orders and equipment",
    "conflicts": "Conflicts",
    "maintenance": "Maintenance rules",
    "alerts": "Alerts",
    "configurations": "Configurations",
    "configuration centre": "Configuration centre",
    "secrets": "Secrets",
    "health": "Health",
}
_REFUSALS = {"400", "401", "403", "413", "503"}  # every endpoint of the management API has them, and the page says so above

_Json = Mapping[str, Any]


def description() -> dict[str, Any]:
    """Return the OpenAPI description; no database is asked."""
    nowhere = sa.create_engine("postgresql+psycopg://nowhere.invalid/cmms")
    return create_app(nowhere, MultiFernet([Fernet(Fernet.generate_key())])).openapi()


def reference(described: _Json) -> str:
    """Return the reference as Markdown: every endpoint by its tag, then every model that they name."""
    lines: list[str] = []
    for tag, title in _TITLES.items():
        lines += [f"### {title}", ""]
        for path, verbs in described["paths"].items():
            for verb in _VERBS:
                if verb in verbs and tag in verbs[verb].get("tags", []):
                    lines += _endpoint(verb, path, verbs[verb])
    lines += ["### Models", ""]
    for name, model in sorted(described["components"]["schemas"].items()):
        if not name.startswith(("HTTPValidation", "ValidationError")):
            lines += _model(name, model)
    return "\n".join(lines).rstrip() + "\n"


def updated(page: str, described: _Json) -> str:
    """Return the page with the reference of this version between its marks."""
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{reference(described)}{END}{tail}"


def _endpoint(verb: str, path: str, operation: _Json) -> Iterator[str]:
    yield f"#### `{verb.upper()} {path}`"
    yield ""
    yield f"{operation['summary']}." + (f" {_prose(operation['description'])}" if "description" in operation else "")
    yield ""
    parameters = operation.get("parameters", [])
    if parameters:
        yield from ("| parameter | in | type | meaning |", "|---|---|---|---|")
        for one in parameters:
            name = f"`{one['name']}`" + ("" if one.get("required") else ", optional")
            told = one.get("description") or one["schema"].get("description", "")
            yield f"| {name} | {one['in']} | {_type(one['schema'])} | {_cell(told)} |"
        yield ""
    body = operation.get("requestBody", {}).get("content", {})
    for content_type, content in body.items():
        yield f"Body: {_type(content.get('schema', {}))} as `{content_type}`."
        yield ""
    is_managed = "x-required-role" in operation
    answers = [
        f"`{status}`{_answered(answer)}"
        for status, answer in sorted(operation["responses"].items())
        if not (is_managed and status in _REFUSALS)
    ]
    yield f"Answers: {'; '.join(answers)}."
    yield ""


def _answered(answer: _Json) -> str:
    content = answer.get("content", {})
    models = [_type(one["schema"]) for one in content.values() if "$ref" in one.get("schema", {})]
    told = answer.get("description", "")
    text = "" if told == "Successful Response" else f" {_cell(told).rstrip('.')}"
    shown = [model for model in models if "ManagementProblem" not in model]
    return text + (f" {shown[0]}" if shown else "")


def _model(name: str, model: _Json) -> Iterator[str]:
    yield f"#### {name}"
    yield ""
    if "enum" in model:
        yield f"{_prose(model.get('description', ''))} One of {', '.join(f'`{value}`' for value in model['enum'])}.".strip()
        yield ""
        return
    if model.get("description"):
        yield _prose(model["description"])
        yield ""
    properties = model.get("properties", {})
    if properties:
        required = set(model.get("required", []))
        yield from ("| field | type | meaning |", "|---|---|---|")
        for field, schema in properties.items():
            optional = "" if field in required else ", optional"
            yield f"| `{field}` | {_type(schema)}{optional} | {_cell(_meaning(schema))} |"
        yield ""


def _meaning(schema: _Json) -> str:
    told = str(schema.get("description", ""))
    default = schema.get("default")
    shown = (
        f"default `{str(default).lower() if isinstance(default, bool) else default}`" if default not in (None, [], {}, "") else ""
    )
    return "; ".join(part for part in (told, shown) if part)


def _type(schema: _Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[-1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema or "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return {"date-time": "time", "uuid": "uuid"}.get(schema.get("format", ""), str(kind))


def _prose(text: str) -> str:
    return " ".join(text.split()) if "- `" not in text else text.strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> int:
    """Bring the page that is named as the only argument up to date."""
    page = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/api.md")
    page.write_text(updated(page.read_text("utf-8"), description()), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
