"""Clients made from the committed documents: they compile, and they work against a live gateway.

Knows command lines. Must not know what the clients look like: the programs beside this file do.
What is generated goes to pytest's own folders, and is gone with them.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.programs import DEMO, RFGW, ROOT, WITHIN, free_port, started

HERE = Path(__file__).parent
PACKAGE = ROOT / "clients" / "typescript"
GUIDE = ROOT / "docs" / "frontend.md"
DOCUMENT = ROOT / "openapi" / "openapi.json"
DOCUMENT_3_0 = ROOT / "openapi" / "openapi-3.0.json"
BINARIES = [Path(sys.executable).parent, HERE / ".venv/bin", PACKAGE / "node_modules/.bin"]
PYTHON = HERE / ".venv/bin/python"
# What javac has no jar for: the generator's own has Jackson in it, Debian's the annotations.
JARS = [
    *HERE.glob(".venv/lib/*/site-packages/openapi_generator_cli/openapi-generator.jar"),
    Path("/usr/share/java/jakarta-annotation-api.jar"),
]
GO = {"GOCACHE": HERE / ".venv/go", "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}
NSWAG = HERE / "node_modules/nswag/bin/binaries/Win"
MONO = "System.Net.Http", "System.ComponentModel.DataAnnotations", "System.Runtime.Serialization"
STRICT = ("--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom")


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[str]:
    """The address of a gateway and a farm of its own: some answers make it pause the farm."""
    port, farm = (str(free_port()) for _ in range(2))
    command = (*RFGW, "demo", "--port", port, "--sandbox-port", farm)
    settings = {**DEMO, "RFGW_FRESH_ACTIVE": "1"}  # soon stale: pollers see it move
    with (
        (tmp_path / "gateway.log").open("w") as log,
        started(tmp_path, *command, settings=settings, log=log) as demo,
    ):
        try:
            assert demo.stdout is not None
            assert any("Ctrl-C" in line for line in demo.stdout), "the gateway did not start"
            yield f"http://127.0.0.1:{port}"
        finally:
            demo.terminate()  # it stops the two programs that it started
            demo.wait(WITHIN)


def tool(cwd: Path, *command: str | Path, **environment: str | Path) -> str:
    """What a program of the check's environments prints; fails with all that it said."""
    path = os.pathsep.join([*map(str, BINARIES), os.environ["PATH"]])
    done = subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env={**os.environ, "PATH": path, **{name: str(v) for name, v in environment.items()}},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}"
    return done.stdout


def generate(generator: str, output: Path, *options: str) -> None:
    """A client by openapi-generator from the 3.0 document, a form that it fully reads."""
    command = ("openapi-generator-cli", "generate", "-i", DOCUMENT_3_0, "-g", generator)
    said = tool(output.parent, *command, "-o", output, *options)
    assert "ERROR" not in said, said


def test_the_types_of_the_package_are_those_of_the_document() -> None:
    """If not: ``npm run generate`` in clients/typescript, and look at what that changes."""
    tool(PACKAGE, "npm", "run", "generate", "--", "--check")


def test_the_modules_of_the_package_import_in_no_circle() -> None:
    imports = {
        path.stem: set(re.findall(r'from "\./(\w+)\.js"', path.read_text()))
        for path in (PACKAGE / "src").glob("*.ts")
    }
    assert len(imports["client"]) > 3
    TopologicalSorter(imports).prepare()  # raises CycleError


def test_the_package_has_the_version_of_the_document() -> None:
    package = json.loads((PACKAGE / "package.json").read_text())
    assert package["version"] == json.loads(DOCUMENT.read_text())["info"]["version"]


def test_the_package_compiles_keeps_its_promises_and_works(gateway: str) -> None:
    tool(PACKAGE, "npm", "run", "build")
    tool(PACKAGE, "npm", "test", GATEWAY_URL=gateway)


@pytest.mark.parametrize("module", ["nodenext", "preserve"])
def test_the_examples_of_the_readme_compile_as_in_node_and_as_in_bundlers(module: str) -> None:
    readme = PACKAGE / "build/readme"  # where the package finds itself by its name
    readme.mkdir(parents=True, exist_ok=True)
    examples = re.findall(r"```ts\n(.*?)```", (PACKAGE / "README.md").read_text(), re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        (readme / f"{number}.ts").write_text(example)
    tool(PACKAGE, "npm", "run", "build")
    names = [f"{number}.ts" for number in range(len(examples))]
    tool(readme, "tsc", "--noEmit", *STRICT, "--module", module, *names)


def test_the_package_holds_what_it_needs_and_no_more() -> None:
    said = tool(PACKAGE, "npm", "pack", "--dry-run", "--json", "--loglevel=error")
    [packed] = json.loads(said[said.index("[\n") :])
    sources = {path.stem for path in (PACKAGE / "src").glob("*.ts")}
    built = {
        f"dist/{name}.{end}" for name in sources for end in ("js", "js.map", "d.ts", "d.ts.map")
    }
    others = {"LICENSE", "README.md", "package.json"}
    assert {file["path"] for file in packed["files"]} == (
        built | {f"src/{name}.ts" for name in sources} | others
    )


def test_a_python_client_is_typed_and_works(gateway: str, tmp_path: Path) -> None:
    made = tmp_path / "renderfarm_gateway_client"
    command = ("openapi-python-client", "generate", "--path", DOCUMENT, "--meta", "none")
    options = ("--config", HERE / "openapi-python-client.yaml", "--fail-on-warning")
    tool(tmp_path, *command, "--output-path", made, *options)
    program = shutil.copy(HERE / "python_client.py", tmp_path)
    tool(tmp_path, "mypy", "--strict", "--python-executable", PYTHON, program)
    assert "told apart" in tool(tmp_path, PYTHON, "-W", "error", program, gateway)


def test_openapi_generators_python_client_works(gateway: str, tmp_path: Path) -> None:
    generate("python", tmp_path / "made", "--package-name", "generated_client")
    program = shutil.copy(HERE / "generator_python.py", tmp_path / "made")
    tool(tmp_path / "made", PYTHON, "-m", "compileall", "-q", "generated_client")
    assert "told apart" in tool(tmp_path / "made", PYTHON, program, gateway)


def test_openapi_generators_typescript_client_works(gateway: str, tmp_path: Path) -> None:
    generate("typescript-fetch", tmp_path / "made", "-p", "importFileExtension=.js")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "node_modules").symlink_to(PACKAGE / "node_modules")
    shutil.copy(HERE / "generator_fetch.ts", tmp_path)
    tool(tmp_path, "tsc", *STRICT, "--types", "node", "--outDir", "built", "generator_fetch.ts")
    assert "told apart" in tool(tmp_path, "node", "built/generator_fetch.js", gateway)


def test_the_guide_tells_the_versions_that_are_tried_here() -> None:
    locks = (HERE / "package-lock.json", PACKAGE / "package-lock.json")
    packages = [json.loads(lock.read_text())["packages"] for lock in locks]
    versions = {
        name.removeprefix("node_modules/"): found.get("version")
        for lock in packages
        for name, found in lock.items()
    }
    wanted = (HERE / "requirements.in").read_text()
    versions |= dict(re.findall(r"^([\w-]+?)(?:-cli)?(?:\[\w+\])?==(\S+)", wanted, re.MULTILINE))
    told = re.findall(r"^\| (\S+) (\d\S+?),?[ |].*", GUIDE.read_text(), re.MULTILINE)
    assert len(told) == 8
    assert told == [(name, versions[name]) for name, _ in told]


def test_hey_apis_client_works_and_validates_a_part_as_the_guide_says(
    gateway: str, tmp_path: Path
) -> None:
    (tmp_path / "node_modules").symlink_to(HERE / "node_modules")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    shutil.copy(HERE / "hey_api.tsconfig.json", tmp_path / "tsconfig.json")
    generator = HERE / "node_modules/.bin/openapi-ts"
    tool(tmp_path, generator, "-f", HERE / "hey_api.config.mjs", DOCUMENT=DOCUMENT)
    [part] = re.findall(r"```ts\n(import \{ zSession.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "part.ts").write_text(part)
    shutil.copy(HERE / "hey_api.ts", tmp_path)
    tool(tmp_path, "tsc")
    assert "told apart" in tool(tmp_path, "node", "built/hey_api.js", gateway)


def test_openapi_generators_go_client_works(gateway: str, tmp_path: Path) -> None:
    module = ("--git-host", "example.com", "--git-user-id", "renderfarm", "--git-repo-id", "client")
    generate("go", tmp_path / "made", *module, "-p", "enumClassPrefix=true")
    (tmp_path / "made/check").mkdir()
    shutil.copy(HERE / "generator_go.go", tmp_path / "made/check")
    tool(tmp_path / "made", "go", "vet", ".", "./check", **GO)
    assert "told apart" in tool(tmp_path / "made", "go", "run", "./check", gateway, **GO)


def test_openapi_generators_java_client_works(gateway: str, tmp_path: Path) -> None:
    options = "library=native,useJakartaEe=true,openApiNullable=false"
    generate("java", tmp_path / "made", "-p", options)
    jars = os.pathsep.join(map(str, [*JARS, "built"]))
    sources = [HERE / "GeneratorJava.java", *(tmp_path / "made/src/main").rglob("*.java")]
    tool(tmp_path, "javac", "-proc:none", "-cp", jars, "-d", "built", *sources)
    assert "told apart" in tool(tmp_path, "java", "-cp", jars, "GeneratorJava", gateway)


def test_nswags_csharp_client_works(gateway: str, tmp_path: Path) -> None:
    options = (
        "/namespace:Renderfarm",
        "/className:GatewayClient",
        "/excludedParameterNames:fields",
    )
    command = ("mono", NSWAG / "NSwag.exe", "openapi2csclient", f"/input:{DOCUMENT_3_0}")
    tool(tmp_path, *command, "/output:Made.cs", "/generateOptionalParameters:true", *options)
    libraries = [shutil.copy(NSWAG / "Newtonsoft.Json.dll", tmp_path), *(f"{n}.dll" for n in MONO)]
    references = [f"-r:{name}" for name in libraries]
    tool(tmp_path, "mcs", "-out:check.exe", *references, "Made.cs", HERE / "NSwag.cs")
    assert "told apart" in tool(tmp_path, "mono", "check.exe", gateway)
