"""Beam and the local runner end in the same bytes."""

import subprocess
import sys

import pytest

from data_pipelines import local, pipeline
from tests.data_pipelines import films
from tests.data_pipelines.test_local import digests, make_sources

pytest.importorskip("apache_beam", reason="Beam has an environment of its own: make beam")

from data_pipelines import beam  # noqa: E402


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Films with captions, a duplicate, the same bytes twice and two bad files."""
    folder = make_sources(tmp_path_factory.mktemp("films"))
    (folder / "same.mp4").write_bytes((folder / "film0.mp4").read_bytes())
    (folder / "bad.mp4").write_bytes(b"<html>")
    (folder / "empty.mp4").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def undisturbed(sources, tmp_path_factory):
    """What the local runner makes of them."""
    out = tmp_path_factory.mktemp("local")
    return out, local.run([sources], out, films.QUICK, processes=2)


@pytest.mark.parametrize(
    "options", [(), ("--direct_running_mode=multi_processing", "--direct_num_workers=2")]
)
def test_the_direct_runner_gives_the_bytes_of_the_local_one(
    sources, undisturbed, tmp_path, options
):
    out = tmp_path / "out"
    outcome = beam.run([sources], out, films.QUICK, runner="DirectRunner", options=options)
    assert digests(out) == digests(undisturbed[0])
    yields = {line.name: line for line in outcome.yields}
    for line in undisturbed[1].yields:
        if line.name in yields and line.name != "write":
            assert (yields[line.name].into, yields[line.name].out) == (line.into, line.out)
            assert yields[line.name].rejected == line.rejected, line.name


def test_the_local_runner_of_the_other_environment_gives_them_too(sources, undisturbed, tmp_path):
    """Other versions of numpy and protobuf, the same shards."""
    python = beam_free_python()
    code = (
        "import sys\nfrom data_pipelines import local\nfrom tests.data_pipelines import films\n"
        "if __name__ == '__main__':\n"
        "    local.run([sys.argv[1]], sys.argv[2], films.QUICK, processes=1)\n"
    )
    subprocess.run([python, "-c", code, str(sources), str(tmp_path / "out")], check=True)
    assert digests(tmp_path / "out") == digests(undisturbed[0])


def beam_free_python():
    """The interpreter of .venv, if it has what the stages need."""
    python = ".venv/bin/python"
    try:
        done = subprocess.run([python, "-c", "import scenedetect"], capture_output=True)
    except FileNotFoundError:
        pytest.skip("there is no .venv beside .venv-beam; make data-film makes it")
    if done.returncode or python == sys.executable:
        pytest.skip(".venv lacks the extra data; make data-film installs it")
    return python


@pytest.mark.parametrize("runner", ["FlinkRunner", "SparkRunner", "DataflowRunner"])
def test_graphs_for_clusters_have_every_stage_and_can_be_sent(sources, tmp_path, runner):
    """As far as it goes without a cluster: options are known, and the graph becomes its proto."""
    import apache_beam
    from apache_beam.options.pipeline_options import PipelineOptions

    words = {
        "FlinkRunner": ["--flink_master=localhost:8081", "--environment_type=LOOPBACK"],
        "SparkRunner": ["--spark_master_url=spark://localhost:7077"],
        "DataflowRunner": [
            "--project=p", "--region=us-central1", "--temp_location=gs://b/tmp",
            "--sdk_container_image=gcr.io/p/image", "--experiments=use_runner_v2",
        ],
    }[runner]  # fmt: skip
    options = PipelineOptions([f"--runner={runner}", *words])
    known = options.get_all_options(drop_default=True)
    for word in words:
        name, _, value = word.removeprefix("--").partition("=")
        assert known.get(name) in (value, [value]), name
    graph = apache_beam.Pipeline(runner="DirectRunner", options=PipelineOptions([]))
    steps = pipeline.steps(films.QUICK, tmp_path)
    beam.build(graph, pipeline.seeds([sources]), steps, films.QUICK)
    proto = graph.to_runner_api()
    names = {transform.unique_name for transform in proto.components.transforms.values()}
    assert {step.name for step in steps} <= names


def test_another_runner_is_refused(sources, tmp_path):
    with pytest.raises(ValueError, match="PrismRunner is not local or one of DirectRunner"):
        beam.run([sources], tmp_path, films.QUICK, runner="PrismRunner")
