"Several processes on one ledger, of any kind, one of them killed or all of them stopped: every run once, and the ledger that one process makes"
import ast, json, multiprocessing, os, signal, subprocess, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import pytest

ROOT = Path(__file__).resolve().parent.parent

P = dict(dataset='minibirds', data_dir=None, n_train=40, n_test=40, precision='fp32', compile=False, graph=False, device='cpu',
         minutes=10, teacher_epochs=1, checkpoints=None, workers=None)

def wanted(epochs=2, methods=('ce', 'kd')):
    from icd_nb.results.published import published_run
    one = published_run('minibirds', 'resnet8', 'resnet8', epochs=epochs, n_train=40, n_test=40)
    return [replace(one, method=m, seed=s) for s in (0, 1) for m in methods]

def lab_in(folder):
    from icd_nb.results.report import make_lab
    lab = make_lab(P, folder/'runs')
    lab.teachers = folder/'runs'
    return lab

def go(folder, workers=None, runs=None)->bool:
    "Fill the ledger of a folder as a table notebook does"
    from icd_nb.results.fill import fill
    from icd_nb.results.ledger import Ledger
    from icd_nb.results.parallel import fill_shared
    from icd_nb.results.workers import open_workers
    ledger, lab, runs = Ledger(folder/'results'), lab_in(folder), runs or wanted()
    if not workers: return fill(ledger, runs, lab, P['minutes'], P['teacher_epochs'])
    with open_workers(workers, 'cpu', folder) as (executor, n): return fill_shared(ledger, runs, lab, P, executor, n)

def untimed(o):
    "A result without what differs from time to time"
    if isinstance(o, dict): return {k: untimed(v) for k, v in o.items() if k not in ('seconds', 'versions', 'sum', 'compile_seconds')}
    return [*map(untimed, o)] if isinstance(o, list) else o

def contents(folder)->dict: # every file of the ledger, hidden ones too
    return {o.name: untimed(json.loads(o.read_text())) for o in (folder/'results').iterdir()}

@pytest.fixture(scope='module', autouse=True)
def one_thread():
    "Here and in every process that is started: sums over other numbers of threads are rounded otherwise"
    import torch
    before, said = torch.get_num_threads(), os.environ.get('OMP_NUM_THREADS')
    torch.set_num_threads(1)
    os.environ['OMP_NUM_THREADS'] = '1'
    yield
    torch.set_num_threads(before)
    if said is None: del os.environ['OMP_NUM_THREADS']
    else: os.environ['OMP_NUM_THREADS'] = said

@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp('alone')
    assert go(folder)
    made = contents(folder)
    assert len(made) == 5
    return made

def in_the_middle(folder, seconds=300)->bool:
    "Wait until a student has its first checkpoint"
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if [*(folder/'runs').glob('*/checkpoint.pt')] and any((folder/'results').glob('*.json')): return True
        time.sleep(.01)
    return False

class Killer(threading.Thread):
    "Kills one of some processes when a student is in the middle of its training"
    def __init__(self, folder, pids):
        super().__init__(daemon=True)
        self.folder, self.pids, self.killed = folder, pids, False
        self.start()
    def run(self):
        if in_the_middle(self.folder): os.kill(self.pids()[0], getattr(signal, 'SIGKILL', signal.SIGTERM)); self.killed = True

def test_local_processes_of_which_one_is_killed(alone, tmp_path, capsys):
    others = {o.pid for o in multiprocessing.active_children()} # a DataLoader's, of an earlier test
    killer = Killer(tmp_path, lambda: [o.pid for o in multiprocessing.active_children() if o.pid not in others])
    assert go(tmp_path, 2)
    assert killer.killed and 'died (BrokenProcessPool): another goes on from its last checkpoint' in capsys.readouterr().out
    assert contents(tmp_path) == alone
    assert not [*(tmp_path/'runs').glob('.workers-*')]

def test_a_dask_cluster_of_which_one_worker_is_killed(alone, tmp_path):
    distributed = pytest.importorskip('distributed')
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=None, local_directory=tmp_path/'dask') as cluster:
        killer = Killer(tmp_path, lambda: [o.pid for o in cluster.workers.values()])
        assert go(tmp_path, f'dask:{cluster.scheduler_address}')
    assert killer.killed and contents(tmp_path) == alone

def test_submitit(alone, tmp_path):
    pytest.importorskip('submitit')
    from icd_nb.results.ledger import Ledger
    from icd_nb.results.parallel import fill_shared
    from icd_nb.results.workers import _slurm
    with _slurm('partition=gpu,jobs=2', tmp_path, cluster='local') as (executor, n):
        assert n == 2 and fill_shared(Ledger(tmp_path/'results'), wanted(methods=['ce']), lab_in(tmp_path), P, executor, n)
    assert contents(tmp_path) == {k: v for k, v in alone.items() if v['method'] == 'ce'}

def asked(notebook, known, **given)->dict:
    "The checked parameters of a notebook: its defaults, and what is given"
    from icd_nb.bundle import notebook_parameters
    from icd_nb.params import check_parameters
    usual = {o.name: ast.literal_eval(o.default) for o in notebook_parameters(ROOT/'nbs'/f'{notebook}.ipynb')}
    return check_parameters(usual | {k: P[k] for k in ('dataset', 'n_train', 'n_test', 'precision', 'graph', 'device')} | given, known)

@pytest.fixture
def threads(monkeypatch):
    "Workers that are threads of this process; says what was asked for"
    from icd_nb.results import requests, study
    wanted = []
    @contextmanager
    def opened(workers, device, folder):
        wanted.append(workers)
        with ThreadPoolExecutor(2) as executor: yield executor, 2
    for room in (requests, study): monkeypatch.setattr(room, 'open_workers', opened)
    return wanted

def test_a_table_asks_for_workers(alone, threads, tmp_path, monkeypatch):
    from icd_nb.results.ledger import Ledger
    from icd_nb.results.requests import TABLE_PARAMETERS, fill_or_plan, fill_table_parameters
    monkeypatch.setenv('ICD_NB_RUNS', str(tmp_path/'runs'))
    p = asked('91_cifar100', TABLE_PARAMETERS, run='true', pairs='resnet8:resnet8', methods='ce,kd', seeds=2, epochs=2, teacher_epochs=1,
              ledger=tmp_path/'results', workers='dask:somewhere')
    assert fill_or_plan(Ledger(p['ledger']), fill_table_parameters(p), '91_cifar100') == 'Nothing is missing.'
    assert threads == ['dask:somewhere'] and contents(tmp_path) == alone

def test_a_study_asks_for_workers(alone, threads, tmp_path, monkeypatch):
    from icd_nb.results.study import RUN_PARAMETERS, Study
    monkeypatch.setenv('ICD_NB_RUNS', str(tmp_path/'runs'))
    given = asked('90_reproduce', RUN_PARAMETERS, teacher='resnet8', student='resnet8', methods='ce,kd', seeds=2, epochs=2, teacher_epochs=1,
                  out_dir=tmp_path/'out', workers=2)
    found = Study(given).results
    kept = ('method', 'seed', 'top1_last', 'top1_best')
    ours, theirs = ([tuple(o[k] for k in kept) for o in results] for results in (found, alone.values()))
    assert threads == [2, 2] and sorted(ours) == sorted(o for o in theirs if o[0] != 'teacher') # for the teacher, and for the students
    assert (tmp_path/'out'/'result.json').exists()

def start(folder, *args, copies=1):
    "A program that fills the ledger of a folder, several times at once if so asked; PyTorch is imported once for all"
    environ = os.environ | dict(TQDM_DISABLE='1', COPIES=str(copies))
    return subprocess.Popen([sys.executable, __file__, str(folder), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)

def gone(pid, seconds=20)->bool:
    "Does a process end soon?"
    until = time.monotonic() + seconds
    while Path(f'/proc/{pid}').exists() and time.monotonic() < until: time.sleep(.1)
    return not Path(f'/proc/{pid}').exists()

@pytest.mark.skipif(not Path('/proc').is_dir(), reason='asks /proc about processes')
def test_ctrl_c_and_then_four_processes_by_hand(alone, tmp_path):
    first = start(tmp_path, '2')
    assert in_the_middle(tmp_path)
    children = [pid for o in Path('/proc').glob(f'{first.pid}/task/*/children') for pid in o.read_text().split()]
    os.kill(first.pid, signal.SIGINT)
    _, said = first.communicate(timeout=60)
    assert first.returncode and said.rstrip().endswith('KeyboardInterrupt'), said
    assert all(map(gone, children))
    assert [*(tmp_path/'runs').glob('*/checkpoint.pt')] and not [*(tmp_path/'runs').glob('.workers-*')]
    four = start(tmp_path, copies=4)
    said, errors = four.communicate(timeout=400)
    assert four.returncode == 0 and said.count('all done') == 4, (said, errors)
    assert contents(tmp_path) == alone
    begun = [line for line in said.splitlines() if ', seed ' in line]
    assert len(begun) <= 2 and not [o for o in begun if begun.count(o) > 1], said # no work twice

def copies(n:int):
    "Let `n` processes go on from here, which know nothing of each other; the first ends with an error if one of the others does"
    children = []
    for _ in range(n-1):
        if not (pid := os.fork()): return []
        children.append(pid)
    return children

if __name__ == '__main__':
    import icd_nb.results.parallel # before the copies
    others = copies(int(os.environ['COPIES']))
    done = go(Path(sys.argv[1]), *sys.argv[2:])
    print('all done' if done else 'not all done', flush=True)
    sys.exit(not done or any(os.waitpid(pid, 0)[1] for pid in others))
