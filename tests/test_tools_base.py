"""What holds for any tool: schema, settings, version, registry, specs, the conformance check."""

import sys
from typing import ClassVar

import numpy as np
import pytest

from routerlab import Tool, ToolCard, register_tool
from routerlab.audio import make_clip
from routerlab.errors import ToolError, UserError
from routerlab.tools import check_tool, known_tools, listing, load_tool, registry
from routerlab.tools.registry import broken_plugins
from routerlab.tools.specs import ToolSpec, build_tool, check_specs, instance_card
from routerlab.trust import TrustedImports

CLIP = make_clip(0.5 * np.sin(np.arange(8000) / 5), 16_000)
CARD = ToolCard(name="peak", measures="the largest sample", unit="ratio", stops_at="one number")


class Peak(Tool):
    card = CARD
    schema: ClassVar = {"peak": float, "at": (int, type(None))}

    def __init__(self, scale: float = 1.0, *, offset: int = 0) -> None:
        self.scale = scale
        self.offset = offset

    def run(self, clip):
        return {"peak": self.scale * np.abs(clip.samples).max(), "at": None}


def returning(values, schema=None, text=None):
    """A tool that returns just that."""

    class Fixed(Tool):
        card = CARD

        def run(self, clip):
            if isinstance(values, BaseException):
                raise values
            return values

        def describe(self, values):
            return super().describe(values) if text is None else text

    Fixed.schema = {"f0_hz": float} if schema is None else schema
    return Fixed()


def test_a_call_validates_and_describes():
    observation = Peak(2.0)(CLIP)
    assert observation.tool == "peak"
    assert observation.values == {"peak": pytest.approx(1.0, abs=1e-3), "at": None}
    assert type(observation.values["peak"]) is float
    assert observation.text.startswith("peak: peak 1; at not found")
    assert observation.error == ""
    assert observation.seconds > 0


def test_settings_are_captured_and_stand_in_the_version():
    assert Peak(2.0).settings == {"scale": 2.0, "offset": 0}
    versions = {Peak().version, Peak(2.0).version, Peak(offset=1).version}
    assert len(versions) == 3
    assert Peak().version == Peak(1.0, offset=0).version
    # A tool from outside carries a hash of its file: an edit is a new version.
    assert "test_tools_base" in Peak().version
    assert load_tool("pitch").version.endswith(
        '{"fmax_hz": 1400.0, "fmin_hz": 65.0, "least_s": 0.06}'
    )


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({}, "missing"),
        ({"f0_hz": "a"}, "declared float"),
        ({"f0_hz": True}, "declared float"),
        ({"f0_hz": 1.0, "note": "A4"}, "not in the schema"),
        ({"f0_hz": float("nan")}, "finite"),
        ({"f0_hz": np.float32("inf")}, "finite"),
        ([1.0], "not a dict"),
    ],
)
def test_values_outside_the_schema_are_an_error(values, word):
    with pytest.raises(ToolError, match=word) as caught:
        returning(values)(CLIP)
    assert caught.value.kind == "schema"


def test_what_is_not_json_or_too_much_is_an_error():
    for value in ([object()], [1.0] * 100_000, [{"deep": float("nan")}]):
        with pytest.raises(ToolError) as caught:
            returning({"rows": value}, {"rows": list})(CLIP)
        assert caught.value.kind == "schema"


def test_other_failures_have_their_kind():
    for raised, kind in ((ZeroDivisionError("x"), "exception"), (MemoryError(), "memory")):
        with pytest.raises(ToolError) as caught:
            returning(raised)(CLIP)
        assert caught.value.kind == kind
    with pytest.raises(ToolError, match="describe"):
        returning({"f0_hz": 1.0}, text="x" * 401)(CLIP)
    assert returning({"f0_hz": 1}, text="x" * 400)(CLIP).values == {"f0_hz": 1}


def test_setup_runs_once():
    class Loads(Peak):
        loaded = 0

        def setup(self):
            self.loaded += 1

    tool = Loads()
    assert tool.loaded == 0
    tool(CLIP)
    tool(CLIP)
    assert tool.loaded == 1


def test_a_tool_without_a_card_is_told_what_to_add():
    class Bare(Tool):
        def run(self, clip):
            return {}

    with pytest.raises(UserError, match="card = ToolCard"):
        Bare()
    with pytest.raises(UserError, match="card"):
        register_tool(Bare)


@pytest.fixture
def registered(monkeypatch):
    """The registry, put back after the test."""
    known_tools()
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))


def test_registered_tools_are_found_by_name(registered):
    assert register_tool(Peak) is Peak
    assert register_tool(Peak) is Peak
    assert load_tool("peak", scale=3.0).settings["scale"] == 3.0
    assert list(known_tools())[-1] == "peak"

    class Peak2(Peak):
        pass

    with pytest.raises(UserError, match="is taken by"):
        register_tool(Peak2)


def test_the_tools_that_ship():
    assert list(known_tools())[:9] == [
        "pitch",
        "chord",
        "key",
        "tempo",
        "onsets",
        "loudness",
        "segments",
        "brightness",
        "quality",
    ]


def test_mistakes_name_what_was_given_and_what_is_allowed():
    with pytest.raises(UserError, match="Did you mean 'pitch'"):
        load_tool("pitchh")
    with pytest.raises(UserError, match=r"tools: pitch: wrong settings .*fmin"):
        load_tool("pitch", fmin=3)


def test_specs_make_named_instances():
    trust = TrustedImports()
    spec = ToolSpec("low_pitch", "pitch", settings={"fmax_hz": 300.0})
    tool = build_tool(spec, trust)
    assert (tool.name, tool.settings["fmax_hz"]) == ("low_pitch", 300.0)
    card = instance_card(tool, spec)
    assert card.name == "low_pitch"
    assert card.measures.endswith("(fmax_hz 300.0)")
    by_path = build_tool(ToolSpec("p", class_path="routerlab.tools.pitch.Pitch"), trust)
    assert by_path.name == "p"


def test_every_problem_of_the_specs_at_once():
    problems = check_specs(
        [
            ToolSpec("pitch"),
            ToolSpec("pitch"),
            ToolSpec("temp"),
            ToolSpec("all_outputs", "tempo"),
            ToolSpec("two words", "tempo"),
            ToolSpec("both", "tempo", "routerlab.tools.pitch.Pitch"),
        ]
    )
    assert len(problems) == 5
    assert (
        check_specs([ToolSpec("pitch"), ToolSpec("low", "pitch"), ToolSpec("x", "", "a.B")]) == []
    )


def test_a_class_path_that_is_no_tool():
    trust = TrustedImports()
    with pytest.raises(UserError, match="not a Tool"):
        build_tool(ToolSpec("x", class_path="routerlab.types.Clip"), trust)
    with pytest.raises(UserError, match="no run"):
        build_tool(ToolSpec("x", class_path="routerlab.tools.base.Tool"), trust)


@pytest.mark.parametrize("name", list(known_tools()))
def test_the_tools_that_ship_pass_the_check(name):
    assert check_tool(load_tool(name)) == []


def test_the_check_passes_a_plain_tool():
    assert check_tool(Peak()) == []


class Bad(Tool):
    """Everything that the check looks for."""

    card = ToolCard(name="bad", measures="x" * 200, unit="", stops_at="nothing")
    schema: ClassVar = {"F0 Hz": float}

    def __init__(self):
        self.calls = 0

    def run(self, clip):
        self.calls += 1
        clip.samples[0] += 0.25
        if len(clip.samples) < 10:
            raise IndexError("too short")
        return {"F0 Hz": float(self.calls)}


def test_the_check_says_what_is_wrong():
    problems = "\n".join(check_tool(Bad()))
    for said in (
        "card.unit is empty",
        "card.measures has 200 characters",
        "plain lower-case name",
        "on one sample: exception: bad: IndexError: too short",
        "on a tone, silence, noise, 0.1 s of sound, 30 s of sound, sound at 8000 Hz, sound at "
        "44100 Hz, sound at 96000 Hz: it changed clip.samples",
        "sound at 96000 Hz: other values the second time",
    ):
        assert said in problems


def test_the_check_stops_where_setup_fails():
    class NoWeights(Peak):
        def setup(self):
            raise OSError("no weights")

    assert check_tool(NoWeights()) == ["setup() raised OSError: no weights"]


def test_an_installed_package_offers_tools_and_a_broken_one_disturbs_nobody(
    registered, tmp_path, monkeypatch
):
    info = tmp_path / "plugin_of_a_test-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin-of-a-test\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[routerlab.tools]\nmid = plugin_of_a_test:Mid\n"
        "lost = plugin_of_a_test:Nothing\nrude = rude_plugin_of_a_test:Rude\n"
    )
    (tmp_path / "plugin_of_a_test.py").write_text(
        "from routerlab import Tool, ToolCard\n"
        "class Mid(Tool):\n"
        "    card = ToolCard(name='mid', measures='m', unit='u', stops_at='s')\n"
        "    schema = {'mid': float}\n"
        "    def run(self, clip):\n"
        "        return {'mid': clip.samples[len(clip.samples) // 2]}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rude_plugin_of_a_test.py").write_text("raise SystemExit('no licence')\n")
    assert check_specs([ToolSpec("pitch"), ToolSpec("mid"), ToolSpec("rude")]) == []
    assert "plugin_of_a_test" not in sys.modules, "a name costs no import"
    assert load_tool("mid")(CLIP).tool == "mid"
    assert "rude_plugin_of_a_test" not in sys.modules
    assert list(known_tools())[-1] == "mid"
    reasons = broken_plugins()
    assert list(reasons) == ["lost", "rude"]
    assert "of plugin-of-a-test 1) cannot be loaded: AttributeError" in reasons["lost"]
    with pytest.raises(UserError, match=r"'rude'.*SystemExit: no licence"):
        build_tool(ToolSpec("rude"), TrustedImports())
    shown = listing.text(listing.rows())
    assert "rude: broken\n    tools: the plug-in 'rude'" in shown
    assert "| `mid` |" in listing.markdown(listing.rows())
    assert "rude" not in listing.markdown(listing.rows())


def test_what_is_missing_is_told_with_the_command_that_installs_it():
    assert listing.missing(["numpy", "no-such-package-of-a-test"]) == ["no-such-package-of-a-test"]
    assert listing.pip_line([]) == ""
    assert listing.pip_line(["a", "test", "b>=2"]) == 'pip install a "routerlab[test]" "b>=2"'
