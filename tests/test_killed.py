"A training that is killed, between any two of its writes or at any moment, ends after the same command with the same weights, result and files, bit for bit"
import json, os, random, signal, subprocess, sys, time
from pathlib import Path
import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')

FILES = 'settings.json', 'metrics.jsonl', 'student.safetensors', 'result.json'
SHORT = dict(methods='icd_kd,fitnet', n=20, every=0) # two students, 4 steps, kept after each
LONG = dict(methods='icd_kd,fitnet,crd', n=20, every=0) # one with an adapter, one with a memory
BY_TIME = LONG | dict(n=40, bs=4, every=.3) # 20 steps, kept when .3 seconds have passed

def diary(folder): return Path(f'{folder}.log') # what was done and when, over all processes

def note(folder, *what):
    with open(diary(folder), 'a') as f: f.write(json.dumps([*what, time.monotonic()]) + '\n')

def run(folder, dies_at=None, methods='', n=20, bs=10, every=0, precision='fp32'):
    "Students of two epochs; the process ends before write number `dies_at`. Returns how many writes there were"
    from icd_nb import checkpoint, trainer
    from icd_nb.data import load_data
    from icd_nb.models import create_model
    from icd_nb.results.lab import Lab
    from icd_nb.results.run import Run
    count, real, step = [0], os.replace, trainer.step_all
    def replace(a, b):
        count[0] += 1
        if count[0] == dies_at: os.kill(os.getpid(), signal.SIGKILL)
        real(a, b)
    def noted_step(students, batch, teacher, i):
        rows = step(students, batch, teacher, i)
        note(folder, students[0].epoch, i)
        return rows
    def keeper(deadline):
        note(folder, 'begin')
        return checkpoint.Keeper(deadline, every, share=float('inf'))
    os.replace, trainer.step_all, trainer.shared_keeper = replace, noted_step, keeper
    trainer.time = type('Clock', (), dict(monotonic=staticmethod(lambda: 0.))) # so that seconds are the same
    data = load_data('minibirds', n_train=n, n_test=20)
    lab = Lab(data, folder, 'cpu', trainer.Speed.plain(precision), teacher=create_model('resnet8', data.num_classes, seed=3))
    lab.run([Run(data.name, 'resnet8', 'resnet8', method, epochs=2, bs=bs) for method in methods.split(',')])
    return count[0]

def start(*args, **how)->tuple: # its number, and where it writes what `run` returns
    r, w = os.pipe()
    if not (pid := os.fork()):
        os.write(w, str(run(*args, **how)).encode())
        os._exit(0)
    os.close(w)
    return pid, r

def in_child(folder, dies_at=None, after=None, **how)->int:
    "What `run` returns, or how the process ended, in a process of its own; it is killed `after` so many seconds"
    pid, r = start(folder, dies_at, **how)
    if after is not None:
        time.sleep(after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if status: note(folder, 'killed')
    with os.fdopen(r) as f: said = f.read()
    return int(said) if said else os.waitstatus_to_exitcode(status)

def lost(folder)->list: # for each kill within a training: seconds, steps, and the longest step in seconds
    "What was done again: from the step that the next process began with to the kill"
    found, done, killed = [], [], []
    for *what, at in map(json.loads, diary(folder).read_text().splitlines()):
        if what == ['begin']: done = [(what, at)]
        elif what == ['killed']: killed, done = (done + [(what, at)] if done else killed), []
        else:
            if killed:
                places, times = zip(*killed)
                again = places.index(what) if what in places else len(places)-1
                found.append((times[-1]-times[again-1], len(places)-1-again, max(b-a for a, b in zip(times, times[1:]))))
            killed = []
            done.append((what, at))
    return found

def contents(folder):
    runs = sorted(o for o in folder.iterdir() if o.is_dir())
    files = {f'{o.name}/{name}': (o/name).read_bytes() for o in runs for name in FILES}
    return files, sorted(p.name for o in runs for p in o.iterdir())

def whole(folder, **how)->tuple: # what it leaves, how many writes it takes, and how many seconds
    began = time.monotonic()
    writes = in_child(folder, **how)
    return contents(folder), writes, time.monotonic()-began

def aimed(folder, wanted, writes, **how)->list: # what went wrong
    "Kill one training before each of these writes, and let the same command finish it"
    bad = []
    for k in writes:
        if in_child(folder/str(k), k, **how) != -9: bad.append(f'write {k} was not reached')
        in_child(folder/str(k), **how)
        if contents(folder/str(k)) != wanted: bad.append(f'killed before write {k}: another end')
    return bad

def at_random(folder, wanted, kills, seconds, **how)->list:
    "Kill trainings at random moments, each until it has come to its end between two kills"
    dice, bad, n = random.Random(0), [], 0
    while kills > 0:
        n += 1
        while kills > 0 and in_child(folder/f'random{n}', after=dice.uniform(0, seconds), **how) == -9: kills -= 1
        in_child(folder/f'random{n}', **how)
        if contents(folder/f'random{n}') != wanted: bad.append(f'killed at random, {n}: another end')
    return bad

def short(folder):
    wanted, writes, _ = whole(folder/'whole', **SHORT)
    return dict(writes=writes, bad=aimed(folder, wanted, range(1, writes+1), **SHORT))

def long(folder, precision, n_aimed, n_random):
    "The figures of reliability: kills aimed at writes, and kills at any moment"
    at_writes, by_time = LONG | dict(precision=precision), BY_TIME | dict(precision=precision)
    wanted, writes, _ = whole(folder/'whole', **at_writes)
    chosen = random.Random(0).sample(range(1, writes+1), n_aimed)
    bad = aimed(folder, wanted, chosen, **at_writes)
    wanted, _, seconds = whole(folder/'by_time', **by_time)
    bad += at_random(folder, wanted, n_random, seconds, **by_time)
    cost = [o for log in sorted(folder.glob('random*.log')) for o in lost(log.with_suffix(''))]
    return dict(precision=precision, students=by_time['methods'].split(','), aimed=n_aimed, writes=writes, random=n_random, seed=0, other_ends=bad,
                seconds=seconds, interval=by_time['every'], lost=[[round(o, 3) for o in found] for found in cost])

def main(folder, *how):
    from icd_nb.data import load_data
    for n in (20, 40): load_data('minibirds', n_train=n, n_test=20) # drawn once
    said = long(Path(folder), how[0], *map(int, how[1:])) if how else short(Path(folder))
    print(json.dumps(said))

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
def test_killed_at_any_moment(tmp_path, precision, measured):
    "In each precision 20 kills aimed at a write and 50 at random moments; at most the interval between two checkpoints is lost, and the step under way"
    said = said_by(tmp_path, precision, 20, 50)
    assert said['other_ends'] == [] and len(said['lost']) > 10, said
    for seconds, _, longest_step in said['lost']: assert seconds < said['interval'] + 2*longest_step, said
    measured(f'killed-{precision}', **said)

if __name__ == '__main__': main(*sys.argv[1:])

SIGNALLED = '''
import sys, time
from icd_nb.data import load_data
from icd_nb.losses import CE
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit
class Slow(CE):
    def forward(self, *args):
        time.sleep(.05)
        return super().forward(*args)
if __name__ == '__main__':
    data = load_data(sys.argv[1], size=32, decode='lazy', decoders=2)
    model = create_model('resnet8', 2, seed=0)
    student = Student(model, Slow(), recipe=Recipe(4, bs=4), folder=sys.argv[2])
    fit(student, data, device='cpu', speed=Speed.plain(), on_epoch=lambda *_: print('epoch', flush=True))
'''

def in_a_group(script, *args): # a training in a process group of its own, in its second epoch
    training = subprocess.Popen([sys.executable, '-W', 'ignore', script, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert training.stdout.readline() == 'epoch\n', training.communicate()[1]
    time.sleep(.15)
    return training

def ended(group): # all of its processes, within seconds
    for _ in range(150):
        try: os.killpg(group, 0)
        except ProcessLookupError: return True
        time.sleep(.2)

def test_signals_reach_all_processes(tmp_path):
    "Ctrl-C, and a queue that ends a job, reach the processes that decode as well: the step is finished and the state kept"
    import numpy as np
    from PIL import Image
    for i in range(48):
        place = tmp_path/'photos'/('test' if i % 6 == 0 else 'train')/'ab'[i % 2 if i % 6 else i//6 % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(i).integers(0, 255, (40, 40, 3), np.uint8)).save(place/f'{i}.png')
    script = tmp_path/'signalled.py'
    script.write_text(SIGNALLED)
    photos, usual = str(tmp_path/'photos'), [sys.executable, '-W', 'ignore', script]
    def end(folder):
        subprocess.run([*usual, photos, folder], check=True, stdout=subprocess.DEVNULL)
        return (folder/'student.safetensors').read_bytes()
    wanted = end(tmp_path/'whole')
    for number in (signal.SIGTERM, signal.SIGINT):
        folder = tmp_path/number.name
        training, asked = in_a_group(script, photos, folder), time.time()
        os.killpg(training.pid, number)
        said = training.communicate(timeout=60)[1]
        assert training.returncode == -number, said
        assert (folder/'checkpoint.pt').stat().st_mtime > asked - .01, said
        assert 'decodes pictures has ended' not in said
        assert ended(training.pid) and end(folder) == wanted
    training = in_a_group(script, photos, tmp_path/'killed')
    training.kill()
    training.communicate()
    assert ended(training.pid)
