"What several tests need"
import json, os, shutil, subprocess, sys, tempfile
from datetime import datetime
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

# Nothing that lies on a machine may make a test pass: data, runs and caches begin empty, for subprocesses too
EMPTY = Path(tempfile.mkdtemp(prefix='icd_nb_tests_'))
OWN = dict(ICD_NB_DATA='data', ICD_NB_RUNS='runs', XDG_CACHE_HOME='cache', TORCHINDUCTOR_CACHE_DIR='inductor', MPLCONFIGDIR='matplotlib')
os.environ.update({k: str(EMPTY/v) for k, v in OWN.items()}, PATH=f"{BIN}{os.pathsep}{os.environ['PATH']}")
if 'PYTEST_XDIST_WORKER' in os.environ: os.environ['OMP_NUM_THREADS'] = '1' # several tests at a time, each on a core of its own

def pytest_sessionfinish(): shutil.rmtree(EMPTY, ignore_errors=True)

def pytest_addoption(parser):
    parser.addoption('--record', action='store_true', help='write what tests of reliability measure into results/reliability/')

def pytest_configure(config):
    if sys.platform == 'win32' and not sys.flags.utf8_mode: raise pytest.UsageError('set PYTHONUTF8=1: tests read and write texts in UTF-8')
    if 'cuda' not in config.getoption('-m'): os.environ['CUDA_VISIBLE_DEVICES'] = '' # tests say the same on every machine
    config.addinivalue_line('filterwarnings', 'ignore:THE TEACHER KNOWS NEXT TO NOTHING') # most teachers of tests were never trained
    config.addinivalue_line('markers', 'cuda: what only a real card can show')
    config.addinivalue_line('markers', 'slow: the long form of a test, left out unless asked for with -m slow')

def pytest_collection_modifyitems(config, items):
    if 'slow' in config.getoption('-m'): return
    config.hook.pytest_deselected(items=[o for o in items if o.get_closest_marker('slow')])
    items[:] = [o for o in items if not o.get_closest_marker('slow')]

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    "Each test, with its fixtures, draws the same numbers whichever tests ran before it"
    import random, numpy, torch # behind what is set above
    for seed in (random.seed, numpy.random.seed, torch.manual_seed): seed(0)

def known(method, **hyper):
    "Those of the hyper-parameters that a method has"
    from icd_nb.methods import hyper_defaults # behind what is set above
    return {k: v for k, v in hyper.items() if k in hyper_defaults(method)}

@pytest.fixture
def measured(request):
    "Keep what a test has measured, with how it was measured, where 96_reliability reads it; only with `--record`"
    def keep(name, **figures):
        if not request.config.getoption('--record'): return
        from icd_nb.core import atomic_write
        from icd_nb.devices import versions
        from icd_nb.results.ledger import json_lines
        from icd_nb.results.seal import sealed
        import torch
        slow = '-m slow ' if request.node.get_closest_marker('slow') else ''
        command = f'OMP_NUM_THREADS={torch.get_num_threads()} pytest {slow}tests/{request.path.name} --record'
        about = dict(command=command, date=f'{datetime.now():%Y-%m-%d}', versions=versions(torch.device('cpu')))
        with atomic_write(ROOT/'results'/'reliability'/f'{name}.json') as tmp:
            tmp.write_text(json_lines(sealed(about | figures)), encoding='utf-8', newline='\n')
    return keep

@pytest.fixture(scope='session')
def homes():
    "The environment of a subprocess: this session's own data and runs, and notebooks that do not shrink themselves"
    return {k: v for k, v in os.environ.items() if k != 'IN_TEST'}

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
