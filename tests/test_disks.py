"""Disks that are full or read-only, at every entrance that writes: one sentence, nothing overwritten, and the same command goes on once there is room.

The disks are real ones, small and in memory, which only root can make."""
import os, shutil, subprocess
import pytest, torch
from PIL import Image
from icd_nb.bundle import copy_notebooks
from icd_nb.cache import cache_teacher
from icd_nb.core import write_json
from icd_nb.data import load_data
from icd_nb.data.batches import toy_data
from icd_nb.export import export_model
from icd_nb.hints import _save_picture
from icd_nb.hints.points import HintPoints
from icd_nb.hub import write_hub_folder
from icd_nb.results.lab import Lab
from icd_nb.results.ledger import Ledger
from icd_nb.results.run import Run
from icd_nb.speed import Speed
from icd_nb.student import Student
from icd_nb.trainer import Recipe, fit
from icd_nb.watch import TensorBoard
from icd_nb.weights import save_weights
from test_damage import Tiny, data, teacher, train

MB = 2**20
HINTS = HintPoints(['a', 'b', 'c'], [0, 2], [0, 0, 1], [[1, .9, .2], [.9, 1, .3], [.2, .3, 1]])
RUN, IMAGES = Run('toy', 'tiny', 'resnet8', 'kd', epochs=1, bs=10), toy_data(20, 10, size=32)

class Disk:
    "A disk of eight megabytes"
    def __init__(self, path): self.path, self.rest = path, path/'what else there is'
    def fill(self, free): self.rest.write_bytes(bytes(max(0, os.statvfs(self.path).f_bavail*os.statvfs(self.path).f_bsize - free)))
    def clear(self): self.rest.unlink()
    def remount(self, how): subprocess.run(['mount', '-o', f'remount,{how}', self.path], check=True)
    def files(self): return {str(p.relative_to(self.path)): p.read_bytes() for p in self.path.rglob('*') if p.is_file() and p != self.rest}

@pytest.fixture
def disk(tmp_path):
    (place := tmp_path/'disk').mkdir()
    try: subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', place], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError): pytest.skip('only root can make disks, and not on every machine')
    try: yield Disk(place)
    finally: subprocess.run(['umount', '-l', place], check=True)

def lab(place): return Lab(IMAGES, place/'runs', 'cpu', Speed.plain(), teacher(), teacher_name='tiny')

def watched(place):
    st = Student(Tiny(), recipe=Recipe(1, bs=10), name='watched')
    return fit(st, data(), device='cpu', speed=Speed.plain(), on_epoch=TensorBoard(place))

def add(place):
    epoch = dict(epoch=1, test_top1=71.5, terms={f'term {i}': 1.25 for i in range(400)})
    return Ledger(place).add(dict(method='kd', seed=0, top1_last=71.5, top1_best=71.5, top5_last=99., settings=lab(place).settings(RUN), history=[epoch]))

def table(place): return cache_teacher(teacher(), toy_data(60, 5, size=8), (1, 2), place/'t.bin', 'cpu', torch.float32, Speed.plain())

def photos(place):
    for part in ('train', 'test'):
        for c in 'ab':
            (place.parent/'photos'/part/c).mkdir(parents=True, exist_ok=True)
            for i in range(2): Image.new('RGB', (40, 40), (99*i, 0, 0)).save(place.parent/'photos'/part/c/f'{i}.png')
    return load_data(place.parent/'photos', size=40, decode='memory') # else they are decoded on demand

BIG = Tiny(400) # some 45 kB
ENTRANCES = dict(
    training=lambda d: train(d/'a'), runs=lambda d: lab(d).run([RUN]), results=add, watching=watched, table=table,
    drawn=lambda d: load_data('minibirds', n_train=20, n_test=20), photos=photos, hints=lambda d: HINTS.save(d/'new'/'hints.json'),
    picture=lambda d: _save_picture(HINTS.plot(), d/'hints.png'), weights=lambda d: save_weights(BIG, d/'new'/'w.safetensors'), folder=lambda d: write_hub_folder(BIG, d/'new'/'hub'),
    safetensors=lambda d: export_model(BIG, d/'new'/'e.safetensors'), torch=lambda d: export_model(BIG, d/'new'/'e.pt2'),
    notebooks=lambda d: copy_notebooks(d/'new'/'nbs'), numbers=lambda d: write_json(d/'x.json', [*range(9999)]))

SAID = [] # entrances that stood the test

def answer(call, place):
    "What is said when it cannot write; in words of this library"
    with pytest.raises((OSError, ValueError)) as e: call(place)
    said = str(e.value)
    assert ('cannot be written: the disk is' in said or 'there is no room for' in said or 'larger disk' in said) and 'Errno' not in said, said
    return said

@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning') # TensorBoard writes in a thread of its own
@pytest.mark.parametrize('name', ENTRANCES)
def test_every_entrance_that_writes(disk, monkeypatch, name):
    call = ENTRANCES[name]
    monkeypatch.setenv('ICD_NB_DATA', str(disk.path/'home'))
    disk.remount('ro')
    assert 'read-only' in answer(call, disk.path)
    disk.remount('rw')
    disk.fill(0)
    answer(call, disk.path)
    assert not [o for o in disk.files() if '/.' in o and not o.endswith('.lock')], 'a leftover'
    disk.clear()
    call(disk.path)
    SAID.append(name)

def test_any_room_that_there_is(disk, tmp_path, measured):
    "With 0, 4, 8 … kilobytes of room each write in turn is the one that fails"
    train(tmp_path/'whole')
    wanted, failed = (tmp_path/'whole'/'student.safetensors').read_bytes(), set()
    for free in range(0, MB, 4096):
        disk.fill(free)
        try: train(disk.path/str(free))
        except OSError as e: failed.add(str(e).split(' cannot be written: the disk is full')[0].rpartition('/')[2])
        else: break
        finally: disk.clear()
        train(disk.path/str(free))
        assert (disk.path/str(free)/'student.safetensors').read_bytes() == wanted
        shutil.rmtree(disk.path/str(free))
    assert {'settings.json', 'student.safetensors', 'metrics.jsonl', 'checkpoint.pt'} <= failed, failed
    measured('rooms', failed=sorted(failed), sizes=free//4096)

def test_what_was_there_stays(disk):
    "A file that is there is as it was when a new one did not fit"
    save_weights(Tiny(), f := disk.path/'w.safetensors')
    before = disk.files()
    disk.fill(0)
    with pytest.raises(OSError, match='Nothing was overwritten'): save_weights(BIG, f)
    assert disk.files() == before

def test_what_was_tried(disk, measured):
    if len(SAID) == len(ENTRANCES): measured('disks', entrances=SAID)
