import sys

import pytest

from routerlab.errors import ProblemList, UserError
from routerlab.trust import TrustedImports

TOOL = """
from routerlab import Tool, ToolCard, register_tool

@register_tool
class Peak(Tool):
    card = ToolCard(name="{name}", measures="peak", unit="ratio", stops_at="nothing else")
    schema = {{"peak": float}}

    def run(self, clip):
        return {{"peak": float(abs(clip.samples).max())}}
"""


@pytest.fixture
def forget():
    """Modules and path entries that a test adds are gone after it."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - modules:
        if name.startswith("trusted_by_test"):
            del sys.modules[name]
    sys.path[:] = path


def test_the_package_is_allowed():
    assert TrustedImports().resolve("routerlab.tools.pitch.Pitch").__name__ == "Pitch"


@pytest.mark.parametrize("class_path", ["this.Zen", "antigravity.X", "os.path.X", "lightningx.X"])
def test_a_refused_module_is_not_imported(class_path):
    had = set(sys.modules)
    with pytest.raises(UserError, match="--trust"):
        TrustedImports().resolve(class_path)
    assert "antigravity" not in sys.modules
    assert "this" not in set(sys.modules) - had


def test_a_class_is_not_reached_through_an_allowed_module():
    for path in ("routerlab.audio.Path", "routerlab.tools.jobs.Popen"):
        with pytest.raises(UserError, match="not trusted"):
            TrustedImports().resolve(path)


@pytest.mark.parametrize(
    "class_path", ["Pitch", "routerlab.tools.pitch.Nothing", "routerlab.tools.pitch.note_name"]
)
def test_no_such_class(class_path):
    with pytest.raises(UserError, match="class"):
        TrustedImports().resolve(class_path)


def test_a_module_of_an_allowed_package_that_is_not_there():
    with pytest.raises(UserError, match="importing"):
        TrustedImports().resolve("routerlab.nothing_here.Class")


def test_a_file_is_a_module_of_its_stem(tmp_path, forget):
    file = tmp_path / "trusted_by_test_a.py"
    file.write_text(TOOL.format(name="peak_a"))
    trust = TrustedImports([str(file)])
    trust.import_all()
    cls = trust.resolve("trusted_by_test_a.Peak")
    assert cls is trust.resolve("trusted_by_test_a.Peak")
    assert TrustedImports(trust.trusted).resolve("trusted_by_test_a.Peak") is cls

    from routerlab.tools import load_tool

    assert isinstance(load_tool("peak_a"), cls)


def test_a_package_of_the_working_folder(tmp_path, monkeypatch, forget):
    package = tmp_path / "trusted_by_test_b"
    package.mkdir()
    (package / "__init__.py").write_text(TOOL.format(name="peak_b"))
    monkeypatch.chdir(tmp_path)
    trust = TrustedImports(["trusted_by_test_b"])
    assert trust.resolve("trusted_by_test_b.Peak").__name__ == "Peak"


def test_mistakes_are_listed_together(tmp_path):
    with pytest.raises(ProblemList) as caught:
        TrustedImports([str(tmp_path / "absent.py"), "not a name"])
    assert len(caught.value.problems) == 2


def test_a_file_that_fails_says_so_and_leaves_nothing(tmp_path, forget):
    file = tmp_path / "trusted_by_test_c.py"
    file.write_text("raise RuntimeError('boom')")
    with pytest.raises(UserError, match="boom"):
        TrustedImports([str(file)]).import_all()
    assert "trusted_by_test_c" not in sys.modules


def test_a_file_may_not_hide_a_module(tmp_path):
    (tmp_path / "json.py").write_text("")
    with pytest.raises(UserError, match="Rename"):
        TrustedImports([str(tmp_path / "json.py")]).import_all()
