"""Where committed weights come from, in a form that can be checked: a hash of what the recipe does.

The hash is of the recipe's syntax without comments, docstrings, types and layout, so that explaining it better does not
ask for training again, and changing it does.
"""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECIPE = (
    "operator/insource/servers/flow_vocabulary.py",
    "training/drawings.py",
    "training/flow_network.py",
    "training/flow_training.py",
)
"""Everything that decides what the parameters become."""


def recipe_sha256() -> str:
    """Hex SHA-256 of what the files of the recipe do."""
    digest = hashlib.sha256()
    for name in RECIPE:
        digest.update(behaviour((ROOT / name).read_text()).encode())
    return digest.hexdigest()


def behaviour(source: str) -> str:
    """`source` without comments, docstrings, type annotations, imports and layout."""
    return ast.unparse(_Bare().visit(ast.parse(source)))


class _Bare(ast.NodeTransformer):
    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(arg=node.arg)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        self.generic_visit(node)
        node.body = node.body or [ast.Pass()]
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.generic_visit(ast.Assign(targets=[node.target], value=node.value, lineno=node.lineno))

    def visit_Import(self, node: ast.Import) -> None:
        """Left out: which library a name comes from is the lock's to say."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """As `visit_Import`."""
