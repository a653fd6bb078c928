"""The order of imports, as headrest/README.md draws it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "headrest"
SECTION = (
    (PACKAGE / "README.md").read_text("utf-8").split("## Order of imports")[1].split("\n## ")[0]
)
LEVELS = [line.split() for line in SECTION.splitlines() if line.startswith("    ")][::-1]
"""From the lowest level up; folders of one level do not import each other."""

LEVEL_OF = {name: i for i, names in enumerate(LEVELS) for name in names}


def imported_modules(path):
    """Dotted names of the modules that a file imports anywhere."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_every_entry_has_a_level_and_imports_go_downwards():
    steps = {path: path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")}
    steps = {path: step.removesuffix(".py") for path, step in steps.items()}
    assert set(steps.values()) - {"__init__"} == set(LEVEL_OF)
    assert len(LEVELS) == 9
    for path, step in steps.items():
        for module in imported_modules(path) if step != "__init__" else ():
            assert module != "headrest", f"{path} imports the face of the package"
            if module.startswith("headrest."):
                other = module.split(".")[1]
                fits = other == step or LEVEL_OF[other] < LEVEL_OF[step]
                assert fits, f"{path} imports {module}, which lies above or beside it"


def test_no_module_imports_a_test_module():
    for path in Path(__file__).parent.glob("*.py"):
        assert not [n for n in imported_modules(path) if n.startswith(("test_", "tests"))], path


def test_numpydoc_of_dicom_says_what_a_function_returns():
    for path in (PACKAGE / "dicom").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            text = (isinstance(node, ast.FunctionDef) and ast.get_docstring(node)) or ""
            if "Parameters\n---" in text and ast.unparse(node.returns) != "None":
                assert "Returns\n---" in text, f"{path.name}: {node.name}"
