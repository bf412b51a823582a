"""CEL rules of CRDs (`x-kubernetes-validations`), compiled once per CRD.

What the CEL library cannot parse is refused when the CRD is created, never skipped. Knows nothing of schemas.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cel import cel as engine
from cel.stdlib import add_stdlib_to_context

from insource.local.store_errors import Cause, Object, unsupported

_RESERVED = frozenset(
    {"true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"}
    | {"let", "loop", "package", "namespace", "return", "var", "void", "while"}
)


def _context() -> Any:
    context = engine.Context()
    add_stdlib_to_context(context)
    # The engine counts bytes in size(string); CEL counts characters.
    context.add_function("size", len)
    return context


_CONTEXT = _context()
_NATIVE = frozenset(
    {"has", "size", "all", "exists", "exists_one", "map", "filter", "matches", "startsWith", "endsWith", "contains"}
    | {"int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn"}
)


@dataclass(frozen=True, eq=False)
class Rule:
    """One compiled rule. A transition rule (it uses `oldSelf`) is only asked when there is an old value."""

    text: str
    program: Any
    transition: bool
    escaped: bool
    message: str
    message_program: Any | None
    field_path: str
    reason: str

    def broken_by(self, value: Any, old: Any, path: str) -> Cause | None:
        """The cause if `value` breaks the rule. `path` is where the rule stands."""
        if self.transition and old is None:
            return None
        variables = {"self": escape(value) if self.escaped else value}
        if self.transition:
            variables["oldSelf"] = escape(old) if self.escaped else old
        _CONTEXT.update(variables)
        where = path + self.field_path or "<nil>"
        try:
            held = self.program.execute(_CONTEXT)
        except Exception as error:
            text = f'Invalid value: "object": {_reworded(error)} evaluating rule: {self.message or self.text}'
            return Cause("FieldValueInvalid", text, path)
        if held is True:
            return None
        return Cause(self.reason, _worded(self.reason, self._message()), where)

    def _message(self) -> str:
        if self.message_program is not None:
            try:
                said = self.message_program.execute(_CONTEXT)
            except Exception:
                said = ""
            if isinstance(said, str) and said.strip() and "\n" not in said:
                return said.strip()
        return self.message or f"failed rule: {self.text}"


def _worded(reason: str, message: str) -> str:
    prefix = {
        "FieldValueForbidden": "Forbidden: ",
        "FieldValueRequired": "Required value: ",
        "FieldValueDuplicate": "Duplicate value: ",
    }.get(reason, "Invalid value: ")
    return prefix + message


def _reworded(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"no such key: {error.args[0]}"
    said = str(error).splitlines()[0]
    if said.startswith("Function 'duration' error: Parsing Error"):
        return "type conversion error from 'string' to 'google.protobuf.Duration'"
    return said


def compile_rules(declared: list[Object], where: str) -> tuple[Rule, ...]:
    """Compiles the rules that stand at `where`. Raises ApiError 501 for a rule that the engine cannot run."""
    return tuple(_compile(rule, where) for rule in declared)


def _compile(declared: Object, where: str) -> Rule:
    text = str(declared["rule"])
    program = _parse(text, where)
    said = declared.get("messageExpression")
    return Rule(
        text=text,
        program=program,
        transition="oldSelf" in program.variables(),
        escaped="__" in text,
        message=str(declared.get("message") or ""),
        message_program=_parse(str(said), where) if said else None,
        field_path=str(declared.get("fieldPath") or ""),
        reason=str(declared.get("reason") or "FieldValueInvalid"),
    )


def _parse(text: str, where: str) -> Any:
    try:
        program = engine.compile(text)
    except ValueError as error:
        raise unsupported(f"the CEL rule at {where}: {text!r}: {str(error).splitlines()[0]}") from error
    known = _NATIVE | set(_CONTEXT.functions)
    unknown = [name for name in program.functions() if name[:1].isalpha() and name not in known]
    if unknown:
        raise unsupported(f"the CEL function {unknown[0]!r} in the rule at {where}: {text!r}")
    return program


def escape(value: Any) -> Any:
    """`value` with the property names that CEL cannot spell escaped the way Kubernetes does (`namespace`, `a-b`)."""
    if isinstance(value, dict):
        return {_escaped_name(key): escape(item) for key, item in value.items()}
    if isinstance(value, list):
        return [escape(item) for item in value]
    return value


def _escaped_name(name: str) -> str:
    if name in _RESERVED:
        return f"__{name}__"
    for plain, escaped in (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__")):
        name = name.replace(plain, escaped)
    return name
