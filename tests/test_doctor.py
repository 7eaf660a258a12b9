"""`routerlab doctor`: what it finds on a machine, and which recipes it lets pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from routerlab import doctor, doctor_torch
from routerlab.cli import main
from routerlab.commands.recipes import find_recipe, packaged_recipes
from routerlab.doctor import Machine
from routerlab.doctor_recipes import Needs, declared, fit
from routerlab.doctor_torch import Finding, gpus, torch_pair
from routerlab.lalm.checkpoint import SHIPPED

LAPTOP = Machine((Finding("python", "ok", "3.11"),), memory_gb=(6.0, 16.0))
SERVER = Machine((), (100.0, 128.0), ({"name": "H100", "free_gb": 20.0, "total_gb": 80.0},))
HEAVY = (
    "# Hardware: one GPU. 24 GB of GPU memory for the\n# survey; 20 GB of main memory.\nmodel: 1\n"
)


@pytest.fixture
def address() -> Iterator[str]:
    """A server that lists one model to who has the key, and knows no other page."""

    class Quiet(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/v1/models":
                self.send_error(404)
            elif self.headers.get("authorization") != "Bearer sk-canary":
                self.send_error(401)
            else:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"data": [{"id": "omni-7b"}]}')

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


# -- what a recipe needs --------------------------------------------------------------------------


@pytest.mark.parametrize("name", packaged_recipes())
def test_what_recipes_that_ship_declare_is_read(name: str) -> None:
    text = find_recipe(name).read_text()
    head = text.split("\nseed_everything")[0]
    needs = declared(text)
    assert (needs.gpu > 0) == ("GPU memory" in head)
    assert needs == Needs(3.0) or not name.startswith("quickstart")


def test_the_largest_amount_counts_and_only_of_the_opening_comment() -> None:
    assert declared(HEAVY) == Needs(20.0, 24.0)
    assert declared("# Hardware: 2 cores, 3 GB, 1 GB of disk.\n# 9 GB of weights") == Needs(3.0)
    assert declared("seed_everything: 0\n# 9 GB of memory") == Needs()


def test_memory_decides() -> None:
    poor = fit("big", {}, HEAVY, LAPTOP)
    assert (poor.name, poor.state) == ("big", "fail")
    assert poor.text == (
        "needs 20 GB of memory, this machine has 16.0; needs 24 GB of GPU memory, no GPU is here"
    )
    rich = fit("big", {}, HEAVY, SERVER)
    assert rich.state == "ok"
    assert rich.text == (
        "fits: needs 24 GB of GPU memory and 20 GB of memory, but only 20.0 GB of GPU memory free "
        "now"
    )
    larger = fit("big", {}, HEAVY.replace("24 GB", "90 GB"), SERVER)
    assert larger.text == "needs 90 GB of GPU memory, the largest here has 80"


def test_what_fails_on_the_machine_fails_every_recipe() -> None:
    broken = Machine((Finding("torch", "fail", "broken"),), (9.0, 9.0))
    assert fit("r", {}, "", broken).text == "wants what fails above: torch"


def weights(*names: str, revision: Any = None) -> dict[str, Any]:
    nodes = [{"init_args": {"lalm": name, "revision": revision}} for name in names]
    return {"model": {"policy": nodes[0]}, "data": [{"reasoner": node} for node in nodes]}


def test_weights_must_be_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    here = weights(*SHIPPED, str(tmp_path), "${model.lalm}")
    assert fit("r", here, "", LAPTOP).state == "ok"
    lacks = fit("r", weights("./none", "lab/heard", revision="c0ffee"), "", LAPTOP)
    assert lacks.text == "no folder ./none; no weights of lab/heard here"
    assert lacks.todo == "hf download lab/heard --revision c0ffee"
    snapshot = tmp_path / "models--lab--heard" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (tmp_path / "models--lab--heard" / "refs").mkdir()
    (tmp_path / "models--lab--heard" / "refs" / "main").write_text("0" * 40)
    assert fit("r", weights("lab/heard"), "", LAPTOP).state == "fail"  # a folder without weights
    for name in ("config.json", "preprocessor_config.json", "model-1.safetensors"):
        (snapshot / name).write_bytes(b"")
    shards = '{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    (snapshot / "model.safetensors.index.json").write_text(shards)
    assert fit("r", weights("lab/heard"), "", LAPTOP).state == "fail"  # a shard is missing
    (snapshot / "model-2.safetensors").write_bytes(b"")
    assert fit("r", weights("lab/heard"), "", LAPTOP).state == "ok"


def test_tools_and_data_must_be_here(tmp_path: Path) -> None:
    tools = ["pitch", {"name": "low", "tool": "pitch"}, {"name": "x", "class_path": "mine.X"}]
    assert fit("r", {"data": {"tools": tools, "source": "synthaqa"}}, "", LAPTOP).state == "ok"
    assert fit("r", {"data": {"source": str(tmp_path)}}, "", LAPTOP).state == "ok"
    lacks = fit("r", {"data": {"tools": ["pitchh"], "source": "no/data"}}, "", LAPTOP)
    assert "no tool named 'pitchh'" in lacks.text
    assert "no questions at no/data" in lacks.text


def test_a_server_must_answer_and_a_key_s_variable_be_set(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    recipe = {"reasoner": {"init_args": {"base_url": f"{address}/v1", "api_key_env": "SOME_KEY"}}}
    lacks = fit("r", recipe, "", LAPTOP)
    assert lacks.text == "the environment variable SOME_KEY is not set"
    monkeypatch.setenv("SOME_KEY", "sk-canary")
    given = recipe["reasoner"]["init_args"]
    assert fit("r", recipe, "", LAPTOP).state == "ok"
    given["model"] = "omni-7b"
    assert fit("r", recipe, "", LAPTOP).state == "ok"
    given["model"] = "omni-7"
    assert "Did you mean 'omni-7b'?" in fit("r", recipe, "", LAPTOP).text
    monkeypatch.setenv("SOME_KEY", "sk-other")
    assert "refuses the key (401)" in fit("r", recipe, "", LAPTOP).text
    assert "sk-other" not in fit("r", recipe, "", LAPTOP).text
    given["base_url"] = address
    lacks = fit("r", recipe, "", LAPTOP)
    assert lacks.text == f"{address}/models is not there"
    assert lacks.todo.endswith(".../v1")
    given["base_url"] = "http://127.0.0.1:9/v1"
    assert fit("r", recipe, "", LAPTOP).text.startswith("the server http://127.0.0.1:9/v1 does not")
    given["base_url"] = "http://bob:hunter2@127.0.0.1:9/v1"
    assert "hunter2" not in fit("r", recipe, "", LAPTOP).text
    given |= {"base_url": f"{address}/v1", "api_key_env": "sk-proj-canary"}
    assert "canary" not in str(fit("r", recipe, "", LAPTOP))


# -- the machine ----------------------------------------------------------------------------------


def probed(**changes: Any) -> dict[str, Any]:
    versions = {"torch": "2.11.0+cu130", "torchaudio": "2.11.0", "torchvision": "0.26.0"}
    return {"versions": versions, "errors": {}, "gpus": [], "cuda": "13.0", **changes}


def test_torch_and_torchaudio_must_be_a_pair() -> None:
    assert torch_pair(probed()).state == "ok"
    other = torch_pair(probed(versions={**probed()["versions"], "torchaudio": "2.12.1"}))
    assert other.state == "fail"
    assert other.text.endswith("torch and torchaudio are no pair")
    assert '"torch~=2.11.0"' in other.todo
    assert '"torchaudio~=2.11.0"' in other.todo
    broken = torch_pair(probed(errors={"torchaudio": "OSError: undefined symbol"}))
    assert (broken.state, broken.text) == ("fail", "torchaudio: OSError: undefined symbol")


def test_a_machine_too_busy_to_import_torch_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor_torch, "_SECONDS", 0.001)
    said = doctor_torch.probe_torch()
    found = torch_pair(said)
    assert (found.state, found.text) == ("fail", "torch: importing it failed: no end after 0 s")
    assert found.todo.startswith("Try again when less is running")
    assert gpus(said).text == "not known: torch was not imported"


def test_gpus_are_listed_and_none_is_no_failure() -> None:
    assert gpus(probed()).text == "none: no GPU is seen; the quickstart needs none"
    assert "without CUDA" in gpus(probed(cuda=None)).text
    assert gpus(probed(errors={"cuda": "driver too old"})).state == "note"
    seen = gpus(probed(gpus=[{"name": "H100", "free_gb": 70.2, "total_gb": 79.6}]))
    assert seen.text == "H100, 70 of 80 GB free; CUDA 13.0"


def test_requirements_are_held_against_what_is_installed() -> None:
    assert doctor._wrong(Requirement("numpy>=1")) is None
    assert doctor._wrong(Requirement('no-such-thing; extra == "test"')) is None
    assert doctor._wrong(Requirement("no-such-thing>=1")) == (
        "no-such-thing>=1", "no-such-thing is missing"
    )  # fmt: skip
    wanted, said = doctor._wrong(Requirement("numpy>=999")) or ("", "")
    assert wanted == "numpy>=999"
    assert said.endswith(", needed is >=999")


def test_formats_are_really_read() -> None:
    found = doctor.sound(("wav", "flac"))
    assert (found.state, found.text) == ("ok", "wav, flac read")
    strange = doctor.sound(("wav", "xyz"))
    assert strange.state == "note"
    assert strange.text.startswith("wav read; xyz: ")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody can write to")
def test_a_folder_that_cannot_be_written_to_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/proc")
    assert doctor.disk().state == "fail"


def test_the_hub_answers_or_not(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.hub().text == "switched off by HF_HUB_OFFLINE; what is here is used"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", address)
    assert doctor.hub().state == "ok"
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert doctor.hub().text.startswith("offline: http://127.0.0.1:9 does not answer (")


# -- the command ----------------------------------------------------------------------------------


def test_help_and_wrong_words_need_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from routerlab.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "import routerlab.commands.doctor\n"
        "assert not {'torch', 'lightning', 'transformers'} & set(sys.modules)\n"
        "sys.exit(code)"
    )
    for words, code in ((["--help"], 0), (["no_such_recipe"], 2), (["--jsn"], 2)):
        command = [sys.executable, "-c", script, "doctor", *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == code, done.stderr
        assert len(done.stderr.splitlines()) == (1 if code else 0)


def test_a_machine_that_runs_the_quickstart(tmp_path: Path) -> None:
    shipped = packaged_recipes()
    done = subprocess.run(
        [sys.executable, "-m", "routerlab.cli", "doctor", "--json"],
        cwd=tmp_path,
        env={**os.environ, "SECRET": "sk-9"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    assert said["ok"] is True
    names = [found["name"] for found in said["machine"]]
    assert names == ["python", "packages", "torch", "gpu", "memory", "disk", "model", "sound",
                     "extras", "hub"]  # fmt: skip
    assert said["recipes"][0]["name"] == "quickstart"
    offered = next(found for found in said["machine"] if found["name"] == "extras")
    assert offered["state"] == "ok" or offered["todo"].startswith('pip install "routerlab[')
    assert {found["name"] for found in said["recipes"]} >= set(shipped)
    assert "sk-9" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_a_named_recipe_that_does_not_fit_is_exit_code_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("huge.yaml").write_text("# 99999 GB of memory\nmodel: {lalm: lab/none}\n")
    assert main(["doctor", "huge.yaml"]) == 1
    machine, recipes, verdict = capsys.readouterr().out.split("\n\n")
    assert machine.startswith("This machine\nok    python")
    assert recipes.splitlines()[0] == "Recipes"
    assert "needs 99999 GB of memory, this machine has" in recipes
    assert "            -> hf download lab/none" in recipes
    assert verdict == "huge: would not run here. The lines above say what to mend.\n"
