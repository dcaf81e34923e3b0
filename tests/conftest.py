"What several tests need"
import json, os, subprocess, sys
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

@pytest.fixture(scope='session')
def homes(tmp_path_factory):
    "An environment whose data and runs are this test session's own"
    d = tmp_path_factory.mktemp('homes')
    return {k: v for k, v in os.environ.items() if k != 'IN_TEST'} | dict(ICD_NB_RUNS=str(d/'runs'), ICD_NB_DATA=str(d/'data'), PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")

TINY = dict(n_train=192, n_test=96, epochs=1, seeds=1, device='cpu', teacher='resnet8', student='resnet8', methods='kd,icd_kd')

@pytest.fixture
def reproduce(homes, tmp_path):
    "Run `papermill nbs/90_reproduce.ipynb` with small defaults and these parameters"
    def command(**params):
        given = {**TINY, 'out_dir': tmp_path/'out', **params}
        args = [str(a) for k, v in given.items() if v is not None for a in ('-p', k, v)]
        return [BIN/'papermill', 'nbs/90_reproduce.ipynb', tmp_path/'out.ipynb', *args]
    def run(**params):
        done = subprocess.run(command(**params), cwd=ROOT, env=homes, capture_output=True, text=True)
        report = tmp_path/'out'/'result.json'
        return done, json.loads(report.read_text()) if report.exists() else None
    run.command = command
    return run
