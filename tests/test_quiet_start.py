"""The import of TensorFlow: which lines reach the terminal, by a stand-in and by TensorFlow."""

import os
import subprocess
import sys
import textwrap

import nbclient
import nbformat
import pytest

STREAMS = ("stdout", "stderr")
NOISE = (
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n"
    "I0000 00:00:1796022271.063732    2000 cudart_stub.cc:31] Could not find cuda drivers on your "
    "machine, GPU will not be used.\n"
    "I0000 00:00:1796022271.393190    2000 cpu_feature_guard.cc:227] This TensorFlow binary is "
    "optimized to use available CPU instructions in performance-critical operations.\n"
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild TensorFlow with "
    "the appropriate compiler flags.\n"
    "2025-01-01 00:00:00.000000: I tensorflow/core/util/port.cc:153] oneDNN custom operations are "
    "on. You may see slightly different numerical results.\n"
)
NO_DRIVER = (
    "E0000 00:00:1796022297.982519    2157 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)\n"
)
# A driver that is there and does not work: the user can act on this.
BROKEN_DRIVER = NO_DRIVER.replace("UNKNOWN ERROR (303)", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH (803)")


def write_stand_in(folder, lines, device_lines=NO_DRIVER, end=""):
    """Write a module `tensorflow` that writes lines when it is imported and asked for devices."""
    (folder / "tensorflow.py").write_text(
        "import os, types\n"
        f"lines = {lines.encode()!r}\n"
        f"lines and os.write(2, lines)\n{end}\n"
        "def list_physical_devices(kind=None):\n"
        f"    os.write(2, {device_lines.encode()!r})\n"
        "config = types.SimpleNamespace(list_physical_devices=list_physical_devices)\n"
    )


@pytest.fixture
def run_code(tmp_path):
    """Runs code in a process whose TensorFlow is a stand-in that writes `noise` and `more`."""

    def run(code, more="", device_lines=NO_DRIVER, noise=NOISE, end="", **environment):
        write_stand_in(tmp_path, noise + more, device_lines, end)
        variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
        path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
        return subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=variables | {"PYTHONPATH": path} | environment,
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip

    return run


IMPORT = "import xgacmn_tf, tensorflow"


def test_known_lines_are_hidden_and_others_written(run_code):
    done = run_code(IMPORT, more="a line of another library\n")
    assert (done.returncode, done.stderr) == (0, "a line of another library\n")


def test_the_import_of_the_package_loads_no_tensorflow(run_code):
    done = run_code("import sys, xgacmn_tf; assert 'tensorflow' not in sys.modules")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_driver_that_does_not_work_is_reported(run_code):
    # The driver was found, so that nothing looks for devices before the program does.
    noise = NOISE.replace("Could not find cuda drivers", "Found cuda drivers")
    code = IMPORT + "; print('imported'); tensorflow.config.list_physical_devices()"
    done = run_code(code, device_lines=BROKEN_DRIVER, noise=noise)
    assert done.stdout == "imported\n" and done.stderr.endswith(BROKEN_DRIVER)
    done = run_code(IMPORT, device_lines=BROKEN_DRIVER)
    assert done.stderr == BROKEN_DRIVER


@pytest.mark.parametrize("level", ["0", "1"])
def test_all_lines_are_written_if_asked_for(run_code, level):
    done = run_code(IMPORT, TF_CPP_MIN_LOG_LEVEL=level)
    assert done.stderr == NOISE


def test_errors_are_shown_by_default(run_code):
    code = IMPORT + "; import os; print(os.environ['TF_CPP_MIN_LOG_LEVEL'])"
    assert run_code(code).stdout == "2\n"
    assert run_code(code, TF_CPP_MIN_LOG_LEVEL="3").stdout == "3\n"


def test_a_failed_import_writes_all_lines_and_can_be_repeated(run_code):
    code = """
        import xgacmn_tf
        for _ in range(2):
            try:
                import tensorflow
            except ImportError as error:
                print(error)
    """
    done = run_code(code, end="raise ImportError('no such library')")
    assert done.stdout == "no such library\n" * 2
    assert done.stderr == NOISE * 2


def test_an_import_that_ends_the_process_shows_where(run_code):
    done = run_code(IMPORT, end="os.abort()")
    assert done.returncode < 0
    assert "Fatal Python error: Aborted" in done.stderr and "quiet_start.py" in done.stderr


def test_threads_import_it_once_and_lose_no_line(run_code):
    code = """
        import threading, xgacmn_tf

        def work(number):
            import tensorflow, os
            os.write(2, f"thread {number}\\n".encode())

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
    """
    done = run_code(code, more="once\n", end="import time; time.sleep(0.2)")
    lines = done.stderr.splitlines()
    assert lines[0] == "once" and sorted(lines[1:]) == [f"thread {n}" for n in range(4)]


def test_it_works_without_standard_error(run_code):
    code = "import os, sys; os.close(2); sys.stderr = None; " + IMPORT + "; print(1)"
    assert run_code(code, noise="").stdout == "1\n"


def test_a_replaced_standard_error_gets_the_other_lines(run_code):
    """As in a notebook, whose kernel reads file descriptor 2 through a pipe."""
    code = """
        import os, sys
        reading, writing = os.pipe()
        os.dup2(writing, 2)
        os.close(writing)
        import xgacmn_tf, tensorflow
        os.write(2, b"later\\n")
        print(os.read(reading, 10_000).decode(), end="")
    """
    assert run_code(code, more="kept\n").stdout == "kept\nlater\n"


def test_a_notebook_shows_the_other_lines_alone(tmp_path, monkeypatch):
    write_stand_in(tmp_path, NOISE + "kept\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    monkeypatch.delenv("PYTEST_CURRENT_TEST")  # With it, the kernel does not read descriptor 2.
    cells = ["import xgacmn_tf, tensorflow", "tensorflow.lines and print('done')"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    printed = {name: "".join(o.text for o in outputs if o.name == name) for name in STREAMS}
    assert printed == {"stdout": "done\n", "stderr": "kept\n"}


def test_the_module_keeps_its_own_loader(run_code):
    code = """
        import importlib.util, xgacmn_tf
        from importlib.machinery import SourceFileLoader
        found = importlib.util.find_spec("tensorflow")
        assert found.origin and found.loader.get_source("tensorflow")
        import tensorflow, sys
        assert type(tensorflow.__spec__.loader) is type(tensorflow.__loader__) is SourceFileLoader
        assert not [f for f in sys.meta_path if "xgacmn" in type(f).__module__]
        import importlib; importlib.reload(tensorflow)
    """
    done = run_code(code)
    assert done.returncode == 0, done.stderr
    assert done.stderr == NOISE  # Of the second time, which is the program's own wish.


def test_real_commands_and_workers_write_no_start_up_lines(tmp_path):
    """TensorFlow itself, in the process of a command and in the worker processes of `compare`."""
    code = textwrap.dedent(
        """
        import sys
        from xgacmn_tf.paper import experiments
        if __name__ == "__main__":
            print(list(experiments.in_workers(abs, [-1], 1)))
            from xgacmn_tf.commands import console
            console.main(["xgacmn", "doctor"])
            import tensorflow as tf
            print(tf.transpose(tf.ones((1, 1), tf.int64)))
        """
    )
    (tmp_path / "program.py").write_text(code)
    variables = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [sys.executable, tmp_path / "program.py"],
        env=variables | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "[(-1, 1)]" in done.stdout and "CPU cores" in done.stdout
    if "no GPU" in done.stdout:
        assert done.stderr == ""


def test_without_tensorflow_the_error_is_pythons_own(run_code):
    code = """
        import sys, xgacmn_tf
        sys.path = []
        try: import tensorflow
        except ModuleNotFoundError as error: print(error)
    """
    assert run_code(code).stdout == "No module named 'tensorflow'\n"
