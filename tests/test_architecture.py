"""The import arrows and the house rules, held by reading the source.

Each rule is a function of one parsed file that gives the offences; a test below breaks each rule
on purpose to show that it can fail.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("sora_jax", "data_pipelines", "experiments", "launch", "benchmarks")

# What each part may import of this project; a part may always import itself. Longest name wins.
FOUNDATION = {"sora_jax.arrays", "sora_jax.errors"}
PURE = FOUNDATION | {"sora_jax.canvas"}
FILES = FOUNDATION | {"sora_jax.files", "sora_jax.config", "sora_jax.media", "sora_jax.sheets"}
FILES |= {"sora_jax.mp4"}
ARROWS: dict[str, set[str]] = {
    "sora_jax.arrays": set(),
    "sora_jax.errors": set(),
    "sora_jax.files": {"sora_jax.errors"},
    "sora_jax.config": {"sora_jax.errors", "sora_jax.files"},
    "sora_jax.mp4": {"sora_jax.errors"},
    "sora_jax.media": {"sora_jax.errors", "sora_jax.files", "sora_jax.mp4"},
    "sora_jax.sheets": {"sora_jax.errors", "sora_jax.media"},
    "sora_jax.canvas": FOUNDATION,
    "sora_jax.diffusion": PURE,
    "sora_jax.models": PURE,
    # How a network's work lies on a mesh; `models` know nothing of it.
    "sora_jax.sharding": PURE | {"sora_jax.models"},
    "sora_jax.data": FILES,
    "sora_jax.export": PURE | FILES | {"sora_jax.models"},
    # Stages of the data pipelines that need a network, and so can't live there.
    "sora_jax.precompute": PURE | FILES | {"sora_jax.data", "sora_jax.models", "sora_jax.sharding"},
    "sora_jax.train": PURE
    | FILES
    | {"sora_jax.diffusion", "sora_jax.models", "sora_jax.sharding", "sora_jax.data"}
    # Weights of others that a loss looks through; foreign layouts stay in `export`.
    | {"sora_jax.export.features"},
    # The place of tokens in a clip is the one piece of the data layer that sampling shares.
    "sora_jax.generate": PURE
    | FILES
    | {"sora_jax.diffusion", "sora_jax.models", "sora_jax.export", "sora_jax.data.geometry"}
    | {"sora_jax.post"},
    "sora_jax.eval": PURE
    | FILES
    | {"sora_jax.data", "sora_jax.generate", "sora_jax.export.sampling", "sora_jax.post"},
    "sora_jax.post": FILES,
    "sora_jax.studio": PURE | FILES | {"sora_jax.generate", "sora_jax.export", "sora_jax.post"},
    "sora_jax.plan": PURE
    | FILES
    | {"sora_jax.models", "sora_jax.sharding", "sora_jax.data", "sora_jax.export"}
    | {"sora_jax.train", "sora_jax.generate"},
    "sora_jax.cli": {"sora_jax", "data_pipelines", "experiments", "launch"},
    # Pages for people share one style sheet.
    "data_pipelines": {
        "sora_jax.data",
        "sora_jax.media",
        "sora_jax.sheets",
        "sora_jax.errors",
        "sora_jax.files",
        "sora_jax.eval.style",
    },
    # Sizes by name, plain numbers.
    "experiments": {"sora_jax.errors", "sora_jax.models.presets"},
    "launch": {"sora_jax.errors"},
    "benchmarks": {"sora_jax", "data_pipelines"},
}
ONLY_IMPORTER = {
    "jaxtyping": "sora_jax.arrays",
    "jax.sharding": "sora_jax.sharding",
    "jax.experimental.mesh_utils": "sora_jax.sharding",
}
NO_JAX = (
    "sora_jax.data",
    "sora_jax.post",
    "sora_jax.media",
    "sora_jax.sheets",
    "sora_jax.config",
    "sora_jax.eval",
    "data_pipelines",
)
FORBIDDEN_IMPORTS = {"pickle", "dill", "cloudpickle", "shelve", "marshal", "joblib"}
FORBIDDEN_NNX = {"jit", "scan", "grad", "value_and_grad", "Optimizer", "List", "remat", "vmap"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "print"}
IMMUTABLE_UPDATES = {"replace", "_replace", "update"}
AT_UPDATES = {"set", "add", "multiply", "min", "max", "divide", "power"}
DOORS = {"sora_jax.studio"}  # packages that people import one name from
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80


class Source:
    """One parsed file of the project and its dotted module name."""

    def __init__(self, module: str, text: str):
        self.module = module
        self.text = text
        self.tree = ast.parse(text)

    def within(self, *parts: str) -> bool:
        """Whether the module is one of `parts` or in one."""
        return any(self.module == part or self.module.startswith(part + ".") for part in parts)

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line and full dotted name of everything imported; `from a import b` gives a.b."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.module}:{node.lineno} relative import"
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def project_files() -> list[Source]:
    """Every source file of the three packages."""
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found.append(Source(".".join(parts), path.read_text()))
    return found


def is_under(name: str, part: str) -> bool:
    return name == part or name.startswith(part + ".")


def wrong_arrows(source: Source) -> Iterator[str]:
    homes = [part for part in ARROWS if source.within(part)]
    if source.module == "sora_jax":
        homes = ["sora_jax.arrays"]
    if not homes:
        yield f"{source.module} has no place in ARROWS; add its part"
        return
    home = max(homes, key=len)
    for line, name in source.imports():
        if name.split(".")[0] not in PACKAGES:
            continue
        if not any(is_under(name, part) for part in ARROWS[home] | {home}):
            yield f"{source.module}:{line} imports {name}; {home} may not"


def wrong_importers(source: Source) -> Iterator[str]:
    for line, name in source.imports():
        for library, owner in ONLY_IMPORTER.items():
            if is_under(name, library) and not source.within(owner):
                yield f"{source.module}:{line} imports {library}; only {owner} may"
        if source.within(*NO_JAX) and name.split(".")[0] in ("jax", "flax", "optax"):
            yield f"{source.module}:{line} imports {name}; this part works without JAX"
        if name.split(".")[0] in FORBIDDEN_IMPORTS:
            yield f"{source.module}:{line} imports {name}; nothing here may unpickle"


def forbidden_names(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if node.value.id == "nnx" and node.attr in FORBIDDEN_NNX:
                yield f"{source.module}:{node.lineno} uses {name}; use plain JAX"
            if name == "jax.sharding" and not source.within("sora_jax.sharding"):
                yield f"{source.module}:{node.lineno} uses {name}; only sora_jax.sharding may"
            if name in ("os.environ", "os.getenv") and not source.within("sora_jax.cli"):
                yield f"{source.module}:{node.lineno} uses {name}; only sora_jax.cli may"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = node.func.id
            printing = ("sora_jax.cli", "data_pipelines", "benchmarks")
            allowed = name == "print" and source.within(*printing)
            if name in FORBIDDEN_CALLS and not allowed:
                yield f"{source.module}:{node.lineno} calls {name}()"


def discarded_updates(source: Source) -> Iterator[str]:
    """Expression statements that throw away what an immutable update returned."""
    for node in ast.walk(source.tree):
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
            continue
        function = node.value.func
        if not isinstance(function, ast.Attribute):
            continue
        target = ast.unparse(function.value)
        is_at = function.attr in AT_UPDATES and ".at[" in target
        # dict.update and os.replace work in place; optax's and dataclasses' do not.
        is_update = function.attr in IMMUTABLE_UPDATES and (
            function.attr != "update" or target in ("tx", "optimizer", "transform")
        )
        if (is_at or is_update) and target not in ("os", "shutil"):
            text = ast.unparse(node)
            yield f"{source.module}:{node.lineno} discards the result of {text[:60]}"


def oversize(source: Source) -> Iterator[str]:
    lines = source.text.count("\n")
    if lines > MAX_FILE_LINES:
        yield f"{source.module} has {lines} lines, over {MAX_FILE_LINES}; split it"
    for node in ast.walk(source.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            # A config is a flat table of fields, however long.
            if length > MAX_FUNCTION_LINES and not source.within("experiments"):
                yield f"{source.module}.{node.name} has {length} lines, over {MAX_FUNCTION_LINES}"
            arguments = node.args
            count = len(arguments.posonlyargs + arguments.args + arguments.kwonlyargs)
            count -= any(a.arg in ("self", "cls") for a in arguments.args[:1])
            if count > 8:
                yield f"{source.module}.{node.name} takes {count} arguments; make a dataclass"


def busy_inits(source: Source) -> Iterator[str]:
    path = ROOT / Path(*source.module.split("."))
    allowed = 2 if source.module in DOORS else 1
    if path.is_dir() and len(source.tree.body) > allowed:
        yield f"{source.module}.__init__ holds code; keep it to one docstring line"


def non_ascii(source: Source) -> Iterator[str]:
    for number, line in enumerate(source.text.splitlines(), 1):
        if not line.isascii():
            yield f"{source.module}:{number} is not ASCII"


RULES = [
    wrong_arrows,
    wrong_importers,
    forbidden_names,
    discarded_updates,
    oversize,
    busy_inits,
    non_ascii,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_project_keeps_the_rule(rule):
    offences = [offence for source in project_files() for offence in rule(source)]
    assert not offences, "\n" + "\n".join(offences)


def test_arrows_have_no_cycle():
    """Following the allowed arrows upward never comes back to the start."""
    known = [part for part in ARROWS if part != "sora_jax.cli"]
    parts = {
        part: {home for name in ARROWS[part] for home in known if is_under(name, home)}
        for part in known
    }
    done: set[str] = set()
    while len(done) < len(parts):
        ready = {part for part in parts.keys() - done if parts[part] <= done}
        assert ready, f"cycle among {sorted(parts.keys() - done)}"
        done |= ready


@pytest.mark.parametrize(
    ("rule", "module", "text"),
    [
        (wrong_arrows, "sora_jax.models.dit", "from sora_jax.diffusion import flow"),
        (wrong_arrows, "sora_jax.diffusion.flow", "from sora_jax.models import dit"),
        (wrong_arrows, "sora_jax.train.loop", "import sora_jax.eval.report"),
        (wrong_arrows, "sora_jax.generate.engine", "from sora_jax.train import state"),
        (wrong_arrows, "sora_jax.newpart.file", ""),
        (wrong_arrows, "data_pipelines.shards", "from sora_jax.models import dit"),
        (wrong_importers, "sora_jax.models.dit", "from jaxtyping import Float"),
        (wrong_importers, "sora_jax.train.loop", "from jax.sharding import Mesh"),
        (wrong_importers, "sora_jax.train.loop", "from jax import sharding"),
        (wrong_importers, "sora_jax.data.loader", "import jax.numpy as jnp"),
        (wrong_importers, "sora_jax.export.bundle", "import pickle"),
        (forbidden_names, "sora_jax.train.step", "step = nnx.jit(step)"),
        (forbidden_names, "sora_jax.train.step", "x = jax.sharding.Mesh"),
        (forbidden_names, "sora_jax.train.step", "x = os.environ['A']"),
        (forbidden_names, "sora_jax.train.step", "print('hello')"),
        (forbidden_names, "sora_jax.cli.main", "eval('1')"),
        (discarded_updates, "sora_jax.train.step", "state.replace(step=1)"),
        (discarded_updates, "sora_jax.train.step", "x.at[0].set(1)"),
        (discarded_updates, "sora_jax.train.step", "tx.update(grads, state)"),
        (oversize, "sora_jax.train.step", "x = 1\n" * 401),
        (oversize, "sora_jax.train.step", "def f():\n" + "    x = 1\n" * 80),
        (oversize, "sora_jax.train.step", "def f(a, b, c, d, e, f, g, h, i): ..."),
        (busy_inits, "sora_jax", '"""Doc."""\nx = 1'),
        (non_ascii, "sora_jax.train.step", "x = '\u2026'"),
    ],
)
def test_each_rule_can_fail(rule, module, text):
    assert list(rule(Source(module, text))), f"{rule.__name__} does not see it"


@pytest.mark.parametrize(
    "text", ["x = x.at[0].set(1)", "os.replace(a, b)", "seen.update(a=1)", "seen.add(3)"]
)
def test_kept_results_and_updates_in_place_are_fine(text):
    assert not list(discarded_updates(Source("sora_jax.train.step", text)))
