"A training that is killed, between any two of its writes or at any moment, ends after the same command with the same weights, result and files, bit for bit"
import json, os, random, signal, subprocess, sys, time
from pathlib import Path
import pytest

FILES = 'settings.json', 'metrics.jsonl', 'student.safetensors', 'result.json'

def run(folder, dies_at=None, precision='fp32', methods='icd_kd,fitnet'):
    "Students of two epochs, kept after every step; the process ends before write number `dies_at`. Returns how many writes there were"
    from icd_nb import checkpoint, trainer
    from icd_nb.data import load_data
    from icd_nb.models import create_model
    from icd_nb.results.lab import Lab
    from icd_nb.results.run import Run
    count, real = [0], os.replace
    def replace(a, b):
        count[0] += 1
        if count[0] == dies_at: os.kill(os.getpid(), signal.SIGKILL)
        real(a, b)
    os.replace = replace
    trainer.time = checkpoint.time = type('Clock', (), dict(monotonic=staticmethod(lambda: 0.))) # so that seconds are the same
    checkpoint.Keeper.due = lambda self, within=False: True
    data = load_data('minibirds', n_train=20, n_test=20)
    lab = Lab(data, folder, 'cpu', trainer.Speed.plain(precision), teacher=create_model('resnet8', data.num_classes, seed=3))
    lab.run([Run(data.name, 'resnet8', 'resnet8', method, epochs=2, bs=10) for method in methods.split(',')])
    return count[0]

def start(*args)->tuple: # its number, and where it writes what `run` returns
    r, w = os.pipe()
    if not (pid := os.fork()):
        os.write(w, str(run(*args)).encode())
        os._exit(0)
    os.close(w)
    return pid, r

def in_child(*args, after=None)->int:
    "What `run` returns, or how the process ended, in a process of its own; it is killed `after` so many seconds"
    pid, r = start(*args)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(r) as f: said = f.read()
    return int(said) if said else os.waitstatus_to_exitcode(status)

def contents(folder):
    runs = sorted(o for o in folder.iterdir() if o.is_dir())
    files = {f'{o.name}/{name}': (o/name).read_bytes() for o in runs for name in FILES}
    return files, sorted(p.name for o in runs for p in o.iterdir())

def aimed(folder, writes, *how)->list: # what went wrong
    "Kill one training before each of these writes, and let the same command finish it"
    bad, wanted = [], contents(folder/'whole')
    for k in writes:
        if in_child(folder/str(k), k, *how) != -9: bad.append(f'write {k} was not reached')
        in_child(folder/str(k), None, *how)
        if contents(folder/str(k)) != wanted: bad.append(f'killed before write {k}: another end')
    return bad

def at_random(folder, kills, seconds, *how)->list:
    "Kill trainings at random moments, each until it has come to its end between two kills"
    dice, bad, n = random.Random(0), [], 0
    while kills > 0:
        n += 1
        while in_child(folder/f'random{n}', None, *how, after=dice.uniform(0, seconds)) == -9 and kills > 0: kills -= 1
        in_child(folder/f'random{n}', None, *how)
        if contents(folder/f'random{n}') != contents(folder/'whole'): bad.append(f'killed at random, {n}: another end')
    return bad

def main(folder, long=False, precision='fp32'):
    from icd_nb.data import load_data
    folder, how = Path(folder), (precision, 'icd_kd,fitnet,crd' if long else 'icd_kd,fitnet')
    load_data('minibirds', n_train=20, n_test=20) # drawn once
    began = time.time()
    n = in_child(folder/'whole', None, *how)
    seconds = time.time()-began
    writes = random.Random(0).sample(range(1, n+1), 10) if long else range(1, n+1)
    bad = aimed(folder, writes, *how) + (at_random(folder, 25, seconds, *how) if long else [])
    print(json.dumps(dict(writes=n, bad=bad)))

def said_by(*args):
    env = os.environ | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    done = subprocess.run([sys.executable, __file__, *map(str, args)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])

def test_killed_between_any_two_writes(tmp_path):
    said = said_by(tmp_path)
    assert said['writes'] > 20 and said['bad'] == [], said

@pytest.mark.slow
@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_killed_at_any_moment(tmp_path, precision):
    "In each precision 25 kills at random moments and 10 aimed at a write; three students, one with an adapter, one with a memory"
    said = said_by(tmp_path, True, precision)
    assert said['bad'] == [], said

if __name__ == '__main__': main(*sys.argv[1:])
