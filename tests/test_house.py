"""The package's shape: which part may import which, and how large its pieces may grow."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tgl_e2e"
FILES = [*sorted(PACKAGE.rglob("*.py")), ROOT / "train.py", ROOT / "infer.py"]
MAX_LINES, MAX_FUNCTION_LINES, MAX_PARAMETERS = 320, 80, 8
MAX_TOP_MODULES, MAX_README_WORDS = 11, 1200

# Imports go down, or stay within one part. Two parts of one floor do not know each other, but for
# the lowest floor's modules and the commands.
FLOORS = (
    (
        *("__init__", "errors", "files", "cli", "config", "moments"),
        *("windows", "fit", "results", "metrics", "video"),
    ),
    ("model", "data", "draw"),
    ("inference",),
    ("training", "evaluation"),
    ("evaluate", "benchmark", "tools", "app", "train", "infer"),
)
FLOOR_OF = {part: height for height, floor in enumerate(FLOORS) for part in floor}
MIXED = (0, len(FLOORS) - 1)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


def part_of(module: str) -> str:
    """The piece of the house a module lies in: `model` of `tgl_e2e.model.text`."""
    if module == "tgl_e2e.evaluate":  # the command of tgl_e2e.evaluation, which tables runs
        return "evaluation"
    names = module.split(".")
    return names[0] if len(names) == 1 and names[0] != "tgl_e2e" else [*names, "__init__"][1]


def imports_of(name: str, tree: ast.AST) -> set[tuple[str, int]]:
    """(module of the house, line) of each import below a node, those inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(alias.name, node.lineno) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            up = node.level - (MODULES[name].name == "__init__.py")
            base = name.split(".")[: -up or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                found.add((inner if inner in MODULES else module, node.lineno))
    return {(other, line) for other, line in found if other in MODULES}


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
IMPORTS = {name: imports_of(name, tree) for name, tree in TREES.items()}


def fail_with(problems: list[str]) -> None:
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


def test_every_part_has_a_floor():
    new = sorted({part_of(name) for name in MODULES} - set(FLOOR_OF))
    fail_with([f"tgl_e2e/{part}: on no floor; add it to FLOORS in this test" for part in new])


def test_imports_go_down():
    problems = []
    for name, path in MODULES.items():
        part = part_of(name)
        height = FLOOR_OF.get(part, 0)
        for other, line in sorted(IMPORTS[name]):
            target = part_of(other)
            # the package's own names are loaded when they are asked for, from wherever they are
            if part == target or "__init__" in (part, target):
                continue
            above = FLOOR_OF.get(target, 0)
            if above > height or (above == height and height not in MIXED):
                problems.append(
                    f"{path.relative_to(ROOT)}:{line}: floor {height} imports {other} of floor "
                    f"{above}; move what both need to a floor below"
                )
    fail_with(problems)


def test_no_module_imports_itself_over_others():
    state: dict[str, int] = {}
    circles: list[str] = []

    def visit(name: str, way: tuple[str, ...]) -> None:
        if state.get(name) == 2:
            return
        if name in way:
            circle = " -> ".join([*way[way.index(name) :], name])
            circles.append(f"{circle}: a circle of imports; move what both need to a third module")
            return
        for other, _ in sorted(IMPORTS[name]):
            if other not in ("tgl_e2e", name):
                visit(other, (*way, name))
        state[name] = 2

    for name in MODULES:
        visit(name, ())
    fail_with(circles)


def test_files_are_short():
    problems = []
    for path in FILES:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MAX_LINES:
            problems.append(
                f"{path.relative_to(ROOT)}: {lines} lines, at most {MAX_LINES}; "
                "shorten it, or move a part that stands alone to a file of its own"
            )
    fail_with(problems)


def test_functions_are_short_and_take_few_parameters():
    problems = []
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                continue
            where = f"{MODULES[name].relative_to(ROOT)}:{node.lineno}: {node.name}"
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                problems.append(
                    f"{where}: {lines} lines, at most {MAX_FUNCTION_LINES}; "
                    "give a step of it a name of its own"
                )
            given = node.args
            count = len([*given.posonlyargs, *given.args, *given.kwonlyargs])
            count -= bool(given.args and given.args[0].arg in ("self", "cls"))
            if count > MAX_PARAMETERS:
                problems.append(
                    f"{where}: {count} parameters, at most {MAX_PARAMETERS}; "
                    "put those that belong together into one object"
                )
    fail_with(problems)


def test_few_modules_lie_at_the_top():
    count = len([path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"])
    if count > MAX_TOP_MODULES:
        pytest.fail(
            f"tgl_e2e: {count} modules directly in it, at most {MAX_TOP_MODULES}; "
            "move one to the part that uses it",
            pytrace=False,
        )


def test_the_readme_is_short():
    words = len((ROOT / "README.md").read_text(encoding="utf-8").split())
    if words > MAX_README_WORDS:
        pytest.fail(
            f"README.md: {words} words, at most {MAX_README_WORDS}; move details to docs/",
            pytrace=False,
        )
