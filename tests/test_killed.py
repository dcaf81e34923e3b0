"A training that is killed between any two of its writes ends, after the same command, with the same weights, result and files, bit for bit"
import json, os, subprocess, sys
from pathlib import Path

FILES = 'settings.json', 'metrics.jsonl', 'student.safetensors', 'result.json'

def run(folder, dies_at=None):
    "Two students of two epochs, kept after every step; the process ends before write number `dies_at`. Returns how many writes there were"
    from icd_nb import checkpoint, trainer
    from icd_nb.data import load_data
    from icd_nb.models import create_model
    from icd_nb.results.lab import Lab
    from icd_nb.results.run import Run
    count, real = [0], os.replace
    def replace(a, b):
        count[0] += 1
        if count[0] == dies_at: os._exit(9)
        real(a, b)
    os.replace = replace
    trainer.time = checkpoint.time = type('Clock', (), dict(monotonic=staticmethod(lambda: 0.))) # so that seconds are the same
    checkpoint.Keeper.due = lambda self, within=False: True
    data = load_data('minibirds', n_train=20, n_test=20)
    lab = Lab(data, folder, 'cpu', trainer.Speed.plain(), teacher=create_model('resnet8', data.num_classes, seed=3))
    runs = [Run(data.name, 'resnet8', 'resnet8', method, epochs=2, bs=10) for method in ('icd_kd', 'fitnet')]
    lab.run(runs)
    return count[0]

def in_child(*args)->int:
    "What `run` returns, or how the process ended, in a process of its own"
    r, w = os.pipe()
    if not (pid := os.fork()):
        os.write(w, str(run(*args)).encode())
        os._exit(0)
    os.close(w)
    _, status = os.waitpid(pid, 0)
    with os.fdopen(r) as f: said = f.read()
    return int(said) if said else -os.waitstatus_to_exitcode(status)

def contents(folder):
    from icd_nb.checkpoint import read_state
    runs = sorted(o for o in folder.iterdir() if o.is_dir())
    files = {f'{o.name}/{name}': (o/name).read_bytes() for o in runs for name in FILES}
    states = {o.name: [v.tolist() for v in read_state(o)['model'].values()] for o in runs}
    return files, states, sorted(p.name for o in runs for p in o.iterdir() if not p.name.startswith('.'))

def main(folder):
    from icd_nb.data import load_data
    folder = Path(folder)
    load_data('minibirds', n_train=20, n_test=20) # drawn once
    n, wanted, bad = in_child(folder/'whole'), contents(folder/'whole'), []
    for k in range(1, n+1):
        if in_child(folder/str(k), k) != -9: bad.append(f'write {k} was not reached')
        in_child(folder/str(k))
        if contents(folder/str(k)) != wanted: bad.append(f'killed before write {k}: another end')
    print(json.dumps(dict(writes=n, bad=bad)))

def test_killed_between_any_two_writes(tmp_path):
    env = os.environ | dict(OMP_NUM_THREADS='1', TQDM_DISABLE='1')
    done = subprocess.run([sys.executable, __file__, tmp_path], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said['writes'] > 20 and said['bad'] == [], said

if __name__ == '__main__': main(sys.argv[1])
