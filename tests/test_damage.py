"""One bit flipped in anything that is kept: it is noticed and named, and nobody believes the rest. And disks that are full, read-only or gone."""
import json, os, random, shutil, struct, subprocess, sys, time, warnings, zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import numpy as np, pytest, torch
from torch import nn
from icd_nb.cache import cache_teacher
from icd_nb.checkpoint import claim, read_state
from icd_nb.core import read_json
from icd_nb.data.arrays import load_npz
from icd_nb.data.augment import Augment
from icd_nb.data.batches import toy_data
from icd_nb.data.storage import cached
from icd_nb.files import alone
from icd_nb.losses import objective
from icd_nb.models import create_model, load_weights
from icd_nb.recipe import Recipe
from icd_nb.results.lab import Lab
from icd_nb.results.ledger import Ledger
from icd_nb.results.run import Run
from icd_nb.speed import Speed
from icd_nb.student import Student
from icd_nb.trainer import fit, fit_many
from icd_nb.weights import read_weights, save_weights

FLIPS = 40 # per kind of file

class Tiny(nn.Sequential):
    "A network of a few hundred weights"
    def __init__(self, width=4):
        super().__init__(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5))

def data(): return toy_data(20, 10, size=8)

def student(folder, method='kd', **kw):
    torch.manual_seed(0)
    return Student(Tiny(), objective(method), recipe=Recipe(epochs=2, bs=10), folder=folder, **kw)

def teacher():
    torch.manual_seed(1)
    return Tiny(8).eval()

def train(folder, **kw): return fit(student(folder), data(), teacher(), device='cpu', speed=Speed.plain(), **kw)

def noticed(look):
    "Did `look()` raise an error in our words, or warn that something is damaged?"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        try: look()
        except (ValueError, FileNotFoundError) as e: return str(e)
    return ' '.join(str(w.message) for w in said if any(o in str(w.message) for o in ('damaged', 'began with other weights', 'not its own')))

FLIPPED = [] # what was tried, for 96_reliability

def every_flip_is_noticed(kind, path, look, restore=lambda: None, places=None, value=None):
    "Flip single bits of a file all over it, also in its first bytes, and `look`; a flip that leaves the `value` as it is does no harm"
    whole, dice = path.read_bytes(), random.Random(path.name)
    if places is None: places = list(range(8)) + [dice.randrange(len(whole)) for _ in range(FLIPS-8)]
    before, harmless = value and value(), 0
    for at in places:
        bits = bytearray(whole)
        bits[at] ^= 1 << dice.randrange(8)
        path.write_bytes(bits)
        said = noticed(look)
        if not said and value and value() == before:
            harmless += 1
            continue
        assert said, f'{path.name}: a flipped bit in byte {at} of {len(whole)} was not noticed'
        assert path.stem.split('-')[0] in said or path.parent.name in said, f'{path.name} is not named: {said}'
        restore()
    path.write_bytes(whole)
    assert not noticed(look) # and it is as good as before
    FLIPPED.append(dict(kind=kind, file=path.name, bytes=len(whole), places=places, noticed=len(places)-harmless, harmless=harmless))

def places_of_numbers(path):
    "Places in the parts of a zip file that hold numbers: the rest may be anything"
    whole, dice = path.read_bytes(), random.Random(0)
    with zipfile.ZipFile(path) as z: parts = [(o.header_offset, o.compress_size) for o in z.infolist() if o.file_size > 30]
    starts = [at + 30 + sum(struct.unpack_from('<HH', whole, at+26)) for at, _ in parts] # behind a name and an extra field
    return [at + dice.randrange(n) for at, (_, n) in dice.choices([*zip(starts, parts)], k=FLIPS)]

def test_checkpoints(tmp_path):
    fit_many([student(tmp_path/'a')], data(), teacher(), device='cpu', speed=Speed.plain(), deadline=0) # stopped at once
    folder = tmp_path/'a'
    shutil.copy(folder/'checkpoint.pt', folder/'checkpoint-before.pt')
    def aside(): (folder/'checkpoint-damaged.pt').unlink()
    every_flip_is_noticed('checkpoint', folder/'checkpoint.pt', lambda: read_state(folder), aside)
    (folder/'checkpoint-before.pt').unlink()
    (folder/'checkpoint.pt').write_bytes((folder/'checkpoint.pt').read_bytes()[:-1]) # cut, and no spare
    assert 'no checkpoint' in noticed(lambda: train(folder))

def test_the_spare_gives_the_same_training(tmp_path):
    whole = train(tmp_path/'whole')
    st = student(tmp_path/'a')
    fit_many([st], data(), teacher(), device='cpu', speed=Speed.plain(), deadline=0)
    shutil.copy(tmp_path/'a'/'checkpoint.pt', tmp_path/'a'/'checkpoint-before.pt')
    (tmp_path/'a'/'checkpoint.pt').write_bytes(b'half a che')
    with pytest.warns(UserWarning, match='the one before it is used'): again = train(tmp_path/'a')
    assert (tmp_path/'a'/'student.safetensors').read_bytes() == (tmp_path/'whole'/'student.safetensors').read_bytes()
    assert [e['test_loss'] for e in again.history] == [e['test_loss'] for e in whole.history]
    assert sorted(o.name for o in (tmp_path/'a').iterdir()) == ['checkpoint.pt', 'metrics.jsonl', 'settings.json', 'student.safetensors']

def test_weights(tmp_path):
    f = save_weights(Tiny(), tmp_path/'own.safetensors')
    every_flip_is_noticed('weights', f, lambda: load_weights(Tiny(), f))

def test_checkpoints_of_others(tmp_path):
    torch.save(Tiny().state_dict(), f := tmp_path/'other.pth')
    every_flip_is_noticed('weights of others', f, lambda: read_weights(f), places=places_of_numbers(f))

def test_tables_of_a_cached_teacher(tmp_path):
    few = toy_data(6, 5, size=8, augment=Augment(8, 0, True))
    def table(): return cache_teacher(teacher(), few, (1,2), tmp_path/'t.bin', 'cpu', torch.float32, Speed.plain())
    table()
    every_flip_is_noticed("teacher's table", tmp_path/'t.bin', table)
    every_flip_is_noticed('note of a table', tmp_path/'t.bin.json', table)

def test_cached_images(tmp_path):
    def images(): return cached(tmp_path/'images', 'source', lambda d: np.save(d/'x.npy', np.arange(300, dtype=np.uint8)))
    images()
    every_flip_is_noticed('cached images', tmp_path/'images'/'x.npy', images, images)

def test_images_of_a_person(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    for save in np.savez, np.savez_compressed:
        save(f := tmp_path/f'{save.__name__}.npz', x=x, y=np.arange(20) % 2)
        every_flip_is_noticed('.npz', f, lambda: load_npz(f), places=places_of_numbers(f), value=lambda: load_npz(f).fingerprint)

def test_a_run_that_is_not_in_the_ledger_yet(tmp_path):
    lab = Lab(toy_data(20, 10), tmp_path/'runs', 'cpu', Speed.plain(), teacher(), teacher_name='tiny')
    run = Run('toy', 'tiny', 'resnet8', 'kd', epochs=1, bs=10)
    lab.run([run])
    note = tmp_path/'runs'/lab.run_folder(run).name/'settings.json'
    about = read_json(note)
    first = about.pop('first_weights')
    every_flip_is_noticed('settings of a run', note, lambda: claim(note.parent, about, first), value=lambda: read_json(note))
    every_flip_is_noticed('result of a run', lab.run_folder(run)/'result.json', lambda: lab.result(run))

@pytest.fixture
def results(tmp_path):
    lab = Lab(data(), tmp_path/'runs', 'cpu', Speed.plain(), teacher(), teacher_name='tiny')
    run = Run('toy', 'tiny', 'resnet8', 'kd', epochs=1, bs=10)
    settings = lab.settings(run)
    history = [dict(epoch=1, test_top1=71.5, terms=dict(kd=1.25))]
    return Ledger(tmp_path/'results'), dict(method='kd', seed=0, top1_last=71.5, top1_best=71.5, top5_last=99., settings=settings, history=history)

def test_results(results):
    ledger, result = results
    ledger.add(result)
    file = ledger.file(result['settings'])
    every_flip_is_noticed('result', file, lambda: list(ledger))
    file.write_text(file.read_text().replace('71.5', '99.9', 1))
    assert 'a number was changed' in noticed(lambda: list(ledger))

def test_what_was_flipped(measured):
    "After the tests above"
    measured('flips', flips=FLIPPED)

def child(code, *args, **env):
    "A process of its own that runs `code` after the beginning of this file"
    begin = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_damage import *"
    return subprocess.run([sys.executable, '-c', f'{begin}\n{code}', *map(str, args)], env=os.environ | env, capture_output=True, text=True)

@pytest.mark.skipif(os.name != 'posix', reason='needs limits of processes')
def test_a_full_disk(tmp_path):
    "No file may be longer than a limit, which the system enforces as it does a full disk; the same command goes on once there is room"
    limited = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000)) # settings and metrics fit, a checkpoint does not
try: train(Path(sys.argv[1]))
except OSError as e: print(e)
"""
    fit_many([student(tmp_path/'a')], data(), teacher(), device='cpu', speed=Speed.plain(), deadline=0)
    before = (tmp_path/'a'/'checkpoint.pt').read_bytes()
    said = child(limited, tmp_path/'a')
    assert 'checkpoint.pt cannot be written: no file may be so large. Nothing was overwritten' in said.stdout, said
    assert (tmp_path/'a'/'checkpoint.pt').read_bytes() == before
    assert not [o for o in (tmp_path/'a').iterdir() if o.name.startswith('.')]
    assert train(tmp_path/'a').done

def test_a_folder_that_was_taken_away(tmp_path):
    st = student(tmp_path/'a')
    end = st.end
    def end_of_epoch(*args):
        shutil.rmtree(tmp_path/'a')
        end(*args)
    st.end = end_of_epoch
    with pytest.raises(FileNotFoundError, match='is gone, so that nothing more can be kept'): fit(st, data(), teacher(), device='cpu', speed=Speed.plain())
    assert not (tmp_path/'a').exists() and train(tmp_path/'a').done

def test_two_processes_do_it_once(tmp_path, measured):
    code = """
from icd_nb import trainer
steps, real = [], Student.step
def step(*args):
    steps.append(1)
    return real(*args)
Student.step = step
train(Path(sys.argv[1]))
print(len(steps))
"""
    with ThreadPoolExecutor(2) as pool: both = list(pool.map(lambda _: child(code, tmp_path/'a'), range(2)))
    steps = sorted(int(o.stdout.split()[-1]) for o in both)
    assert steps == [0, 4], both
    assert sorted(o.name for o in (tmp_path/'a').iterdir()) == ['checkpoint.pt', 'metrics.jsonl', 'settings.json', 'student.safetensors']
    measured('two_processes', steps=steps)

def test_locks_of_the_dead(tmp_path, measured):
    "A process that is killed while it holds a lock holds nobody up"
    code = 'import sys, time; from icd_nb.files import alone\nwith alone(sys.argv[1]): print(1, flush=True); time.sleep(60)'
    waited = []
    for i in range(20):
        holder = subprocess.Popen([sys.executable, '-c', code, tmp_path/'work'], stdout=subprocess.PIPE)
        holder.stdout.readline() # it has the lock
        holder.kill()
        holder.wait()
        began = time.monotonic()
        with alone(tmp_path/'work', deadline=began+5): waited.append(time.monotonic()-began)
    assert max(waited) < 1 and not [*tmp_path.iterdir()]
    measured('locks', killed=len(waited), longest_wait=max(waited))

def test_a_shipped_teacher(tmp_path):
    from conftest import ROOT
    f = shutil.copy(ROOT/'teachers'/'minibirds-resnet14.safetensors', tmp_path)
    bits = bytearray(Path(f).read_bytes())
    bits[len(bits)//2] ^= 1
    Path(f).write_bytes(bits)
    with pytest.raises(ValueError, match='is damaged'): load_weights(create_model('resnet14', 20), f)

@pytest.mark.parametrize('keep', ['weights', 'all'])
def test_the_weights_of_a_finished_training(tmp_path, keep):
    folders = [tmp_path/o for o in ('a', 'other')]
    for folder, seed in zip(folders, (0, 1)):
        torch.manual_seed(seed)
        fit(Student(Tiny(), objective('kd'), recipe=Recipe(epochs=2, bs=10), folder=folder, keep=keep), data(), teacher(), device='cpu', speed=Speed.plain())
    mine, theirs = (o/'student.safetensors' for o in folders)
    whole, aside = mine.read_bytes(), folders[0]/'student-damaged.safetensors'
    def again(): fit(student(folders[0], keep=keep), data(), teacher(), device='cpu', speed=Speed.plain())
    def right():
        assert mine.read_bytes() == whole # from the checkpoint, or trained again
        aside.unlink()
    mine.write_bytes(theirs.read_bytes())
    assert 'are not its own' in noticed(again)
    right()
    every_flip_is_noticed('weights of a student', mine, again, right, places=[*range(8), *range(8, len(whole), len(whole)//12)])
