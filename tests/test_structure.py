"""The order of imports, as headrest/README.md draws it."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "headrest"
SECTION = (PACKAGE / "README.md").read_text("utf-8").split("## Order of imports")[1]
SECTION = SECTION.split("\n## ")[0].splitlines()
# From the lowest level up; folders of one level do not import each other.
LEVELS = [line.split() for line in SECTION if line.startswith("    ")][::-1]
LEVEL_OF = {name: i for i, names in enumerate(LEVELS) for name in names}


def imported_modules(path):
    """Dotted names of the modules that a file imports anywhere."""
    return re.findall(r"^ *(?:from|import) ([\w.]+)", path.read_text("utf-8"), re.M)


def test_every_entry_has_a_level_and_imports_go_downwards():
    steps = {p: p.relative_to(PACKAGE).parts[0].removesuffix(".py") for p in PACKAGE.rglob("*.py")}
    assert set(steps.values()) - {"__init__"} == set(LEVEL_OF)
    for path, step in steps.items():
        for module in imported_modules(path) if step != "__init__" else ():
            package, _, inner = module.partition(".")
            assert package, f"{path}: relative import"
            assert inner or package != "headrest", f"{path} imports the face of the package"
            other = inner.split(".")[0] if package == "headrest" else step
            fits = other == step or LEVEL_OF[other] < LEVEL_OF[step]
            assert fits, f"{path} imports {module}, which lies above or beside it"
    for path in Path(__file__).parent.glob("*.py"):
        assert not [n for n in imported_modules(path) if n.startswith(("test_", "tests"))], path
