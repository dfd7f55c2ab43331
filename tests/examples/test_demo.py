"""`make demo` and the script people copy from, run as a user runs them, on servers that they start themselves."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import skimage.data

from examples.demo import mysql
from examples.demo.mysql import MySQL, find_program
from examples.demo.postgresql import PostgreSQL
from examples.demo.project import Project
from examples.demo.servers import Server, ServerError, running

ROOT = Path(__file__).parents[2]
IMAGES = Path(skimage.data.__file__).parent


@pytest.fixture(params=["postgresql", "mysql"])
def database(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "a [démo]")


def server_of(project: Project, database: str) -> Server:
    directory = project.database / database
    return PostgreSQL(directory) if database == "postgresql" else MySQL(directory, find_program())


def command(project: Project, database: str, action: str = "tour") -> list[str]:
    options = ["--database", database, "--project", str(project.directory)]
    return [sys.executable, "-m", "examples.demo", action, *options]


def run_demo(project: Project, database: str) -> str:
    done = subprocess.run(command(project, database), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def start_demo(project: Project, database: str) -> subprocess.Popen[str]:
    """Start a demo that waits for input while its server runs."""
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    demo = subprocess.Popen(command(project, database, "shell"), cwd=ROOT, text=True, **options)  # type: ignore[call-overload]
    assert demo.stdout
    assert any("is running" in line for line in demo.stdout)
    return demo  # type: ignore[no-any-return]


def stored(project: Project) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in project.store.rglob("*")
        if path.is_file() and path.parent.name != "~registry" and "Segmentation-largest" not in path.as_posix()
    }


def test_demo_leaves_a_project_with_the_images_in_its_store(project: Project, database: str) -> None:
    output = run_demo(project, database)
    files = stored(project)
    assert set(files) == {f"{name}{end}" for name in ("ihc", "cell") for end in (".png", "-mask.tif", "-preview.png")}
    assert all(files[name] == (IMAGES / name).read_bytes() for name in ("ihc.png", "cell.png"))
    for copy, name in (("subject1-scan1.png", "ihc-preview.png"), ("subject2-scan1.png", "cell-preview.png")):
        assert (project.directory / "downloads" / copy).read_bytes() == files[name]
    (folder,) = project.store.glob("subject1/**/ihc-largest")
    assert len(list(folder.glob("cell*.png"))) == 4
    assert "demo/subject1/scan1/demo_imaging/objects/Scan-raw/" in output
    assert not server_of(project, database).pid_file.exists()


def test_second_demo_uploads_nothing(project: Project, database: str) -> None:
    run_demo(project, database)
    before = set(project.store.rglob("*"))
    assert "nothing was uploaded" in " ".join(run_demo(project, database).split())
    assert set(project.store.rglob("*")) == before


def test_demo_uses_and_stops_the_server_that_a_killed_one_left(project: Project, database: str) -> None:
    demo = start_demo(project, database)
    demo.kill()
    demo.communicate()
    pid_file = server_of(project, database).pid_file
    left = pid_file.read_text().split()[0]
    os.kill(int(left), 0)
    run_demo(project, database)
    assert not pid_file.exists()
    assert len(stored(project)) == 6


def test_demo_starts_again_after_its_server_was_killed(project: Project, database: str) -> None:
    demo = start_demo(project, database)
    os.kill(int(server_of(project, database).pid_file.read_text().split()[0]), signal.SIGKILL)
    demo.communicate()
    run_demo(project, database)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_demo_stops_its_server(project: Project, number: signal.Signals) -> None:
    demo = start_demo(project, "postgresql")
    demo.send_signal(number)
    demo.communicate()
    assert not server_of(project, "postgresql").pid_file.exists()


def test_database_is_lent_to_whoever_has_the_variables_it_prints(project: Project, database: str) -> None:
    demo = subprocess.Popen(command(project, database, "database"), cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert demo.stdout
    try:
        export = next(line for line in demo.stdout if line.startswith("export "))
        variables = dict(pair.split("=", 1) for pair in export.split()[1:])
        program = "import datajoint as dj; print(dj.conn().query('SELECT 6 * 7').fetchone()[0])"
        used = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
        )
        assert used.stdout.split()[-1] == "42", used.stderr
    finally:
        demo.send_signal(signal.SIGINT)
        demo.communicate()
    assert demo.returncode == 0
    assert not server_of(project, database).pid_file.exists()


def test_second_demo_at_the_same_time_is_refused(project: Project) -> None:
    demo = start_demo(project, "postgresql")
    other = subprocess.run(command(project, "postgresql"), cwd=ROOT, capture_output=True, text=True)
    demo.communicate()
    assert (other.returncode, demo.returncode) == (1, 0)
    assert "another demo is running" in other.stdout


def test_stop_ends_the_server_that_a_killed_demo_left(project: Project) -> None:
    demo = start_demo(project, "postgresql")
    demo.kill()
    demo.communicate()
    subprocess.run(command(project, "postgresql", "stop"), cwd=ROOT, check=True)
    assert not server_of(project, "postgresql").pid_file.exists()


def test_demo_ignores_the_configuration_of_another_pipeline(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DJ_HOST", "DJ_USER", "DATAJOINT_TOML", "DATAJOINT_FILE__STORAGE__PATH", "PGSSLMODE"):
        monkeypatch.setenv(name, "elsewhere")
    run_demo(project, "postgresql")
    assert len(stored(project)) == 6


def test_only_those_who_know_the_password_can_use_the_server(project: Project, database: str) -> None:
    demo = start_demo(project, database)
    address = project.recorded_address()
    assert address
    server = server_of(project, database)
    assert server.data_directory_at(address)
    for wrong in ("", "guess"):
        assert not server.data_directory_at(type(address)(address.port, wrong))
    demo.communicate()
    assert (project.directory / ".secrets" / "database.password").stat().st_mode & 0o077 == 0


def test_missing_mysql_is_said_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mysql, "DIRECTORIES", ())
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(ServerError, match="apt-get install mariadb-server-core"):
        find_program()


def test_scripts_run_on_their_own(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    run_demo(project, "postgresql")
    address = project.recorded_address()
    assert address
    shutil.rmtree(project.directory / "downloads")
    monkeypatch.setenv("DATAJOINT_FILE__ROOTS__NAS__PATH", "nas")
    before = set(project.store.rglob("*"))
    with running(server_of(project, "postgresql"), address):
        imaging, jobs = (run_script(project, name) for name in ("imaging.py", "jobs.py"))
    assert "ihc.png: " in imaging
    assert (project.directory / "downloads" / "subject2-scan1.png").exists()
    assert {"Analysis", "Training", "Report", "Processed"} <= set(jobs.split()), jobs
    new = {path.as_posix().partition("/objects/")[2] for path in set(project.store.rglob("*")) - before}
    names = {"/".join(path.split("/")[2:]) for path in new}
    assert {"sales_summary.csv", "model/trained_model.pkl", "monthly_report/charts/sales.png", "summary.csv"} <= names
    assert not any(name.endswith("processed_data.npy") for name in names)
    (large,) = project.directory.glob("nas/processed/*/processed_data.npy")
    assert large.stat().st_size > 9_600_000


def run_script(project: Project, name: str) -> str:
    script = [sys.executable, str(ROOT / "examples" / name)]
    return subprocess.run(script, cwd=project.directory, capture_output=True, text=True, check=True).stdout
