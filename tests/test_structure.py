"""The order of imports, as headrest/README.md draws it."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "headrest"
PATHS = sorted(PACKAGE.rglob("*.py"))

LEVELS = (
    {"util"},
    {"hounsfield"},
    {"dicom"},
    {"segment", "phantom", "datasets"},
    {"evaluate"},
    {"clean"},
    {"train"},
    {"show"},
    {"__main__"},
)
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


def step_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_every_entry_has_a_level_and_imports_go_downwards():
    assert {step_of(path) for path in PATHS} - {"__init__"} == set(LEVEL_OF)
    for path in PATHS:
        if (step := step_of(path)) == "__init__":
            continue
        for module in imported_modules(path):
            assert module != "headrest", f"{path} imports the face of the package"
            if module.startswith("headrest."):
                other = module.split(".")[1]
                fits = other == step or LEVEL_OF[other] < LEVEL_OF[step]
                assert fits, f"{path} imports {module}, which lies above or beside it"


def test_no_module_imports_a_test_module():
    for path in Path(__file__).parent.glob("*.py"):
        assert not [n for n in imported_modules(path) if n.startswith(("test_", "tests"))], path
