"""Ways to tune for a domain, on a copy of the recipe with a stand-in for `s2s` that notes how it is called."""

from __future__ import annotations

from pathlib import Path

from recipe_scripts import calls, copy_recipes, make, needs_make, verbs

pytestmark = needs_make


def test_each_way_begins_with_the_general_model_and_is_scored_on_both(tmp_path: Path) -> None:
    copy_recipes(tmp_path, "output\n", "[]")
    (tmp_path / "both").mkdir()
    for split in ("train", "valid", "test", "domain.train", "domain.valid", "domain.test"):
        for language in ("en", "zh"):
            (tmp_path / "both" / f"{split}.{language}").write_text("a b\n")
    own = [f"DATA={tmp_path / 'both'}", "PAIR=en-zh", "EWC_WEIGHTS=7 70"]
    done = make(tmp_path, "compare", *own, recipe="domain")
    assert done.returncode == 0, done.stderr
    found = calls(tmp_path)
    general, *tuned = [call for call in found if call.startswith("train")]
    assert "--finetune-from-model" not in general
    assert all("--finetune-from-model work/both/run " in call for call in tuned)
    by_name = {call.split("--save-dir work/both/seed1/")[1].split()[0]: call for call in tuned}
    assert {*by_name} == {"tuned", "lora", "bottleneck", "mixed-1", "held-7", "held-70"}
    for weight in ("7", "70"):
        assert f"--ewc-weight {weight} --ewc-data work/both/data" in by_name[f"held-{weight}"]
    for kind in ("lora", "bottleneck"):
        assert f"--adapter {kind} --adapter-" in by_name[kind]
        applied = [
            call for call in found if f"--path work/both/run --adapter domain=work/both/seed1/{kind} " in call
        ]
        assert len(applied) == 2
    assert by_name["mixed-1"].startswith("train work/both/mixture ")
    assert "--corpus-weights general=1,domain=1" in by_name["mixed-1"]
    (average,) = [call for call in found if call.startswith("average")]
    assert (
        "tuned/checkpoint_best.safetensors work/both/run/checkpoint_best.safetensors --weights=0.5,0.5"
        in average
    )
    near = [call for call in found if "--datastore" in call]
    assert len(near) == 2
    neighbours = "--datastore work/both/domain.safetensors --knn-k 8 --knn-temperature 10 --knn-weight 0.5"
    assert all(f"--path work/both/run {neighbours}" in call for call in near)
    *_, of_domain, of_general = found
    assert "domain.test.zh" in of_domain
    assert "both/test.zh" in of_general
    for call, kind in ((of_domain, "domain"), (of_general, "general")):
        systems = call.split("--sys ")[1].split(" --metrics")[0].split()
        held = ("held-7", "held-70")
        ways = ("general", "tuned", "lora", "bottleneck", "mixed-1", *held, "between-0.5", "near-0.5")
        of_all = ("general", "near-0.5")
        homes = ["work/both" if way in of_all else "work/both/seed1" for way in ways]
        assert systems == [f"{home}/{way}.{kind}.txt" for home, way in zip(homes, ways, strict=True)]
    assert make(tmp_path, "compare", *own, recipe="domain").returncode == 0
    assert verbs(calls(tmp_path)) == ["score", "score"]
    # Other flags of one way are other settings for it alone; another seed tunes anew, from the same model.
    assert make(tmp_path, "compare", *own, "LORA_FLAGS=--adapter-rank 4", recipe="domain").returncode == 0
    again = [call for call in calls(tmp_path) if call.startswith("train")]
    assert len(again) == 6
    assert (tmp_path / "recipes/domain/work/both/seed1/lora.before").is_dir()
    assert not (tmp_path / "recipes/domain/work/both/seed1/tuned.before").exists()
    assert make(tmp_path, "compare", *own, "SEED=2", recipe="domain").returncode == 0
    again = [call for call in calls(tmp_path) if call.startswith("train")]
    assert len(again) == 6
    assert all("--save-dir work/both/seed2/" in call and "--seed 2" in call for call in again)
