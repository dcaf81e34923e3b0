"What a data set or a file is called is what it is"
import hashlib, os
from dataclasses import replace
import numpy as np, pytest, torch
from icd_nb.cache import TableFile
from icd_nb.core import fingerprint, read_json, write_json
from icd_nb.data import DATASETS, load_cifar100, load_data, load_minibirds, minibirds

PARTS = ('train_x', 'train_y', 'test_x', 'test_y')

@pytest.fixture(scope='module')
def home(tmp_path_factory):
    "A data home of these tests' own, empty at the start"
    with pytest.MonkeyPatch.context() as m:
        m.setenv('ICD_NB_DATA', str(d := tmp_path_factory.mktemp('data')))
        yield d

@pytest.fixture(scope='module')
def birds(home): return load_minibirds()

def arrays(data): return {k: getattr(data, k).numpy() for k in PARTS}

def draws(monkeypatch, parts):
    "From now on these are drawn, at no cost"
    monkeypatch.setattr(minibirds, 'draw_set', lambda **kw: parts)

def flip_bit(path, at):
    "Change one bit of a file"
    with open(path, 'r+b') as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1]))

def test_drawing_is_pinned(birds):
    "Every byte of 4,000 pictures and labels, without a tolerance"
    assert fingerprint(*[getattr(birds, k) for k in PARTS]) == '41aeff2e'
    assert birds.fingerprint == DATASETS['minibirds'].fingerprint == '5606bbd6'
    assert load_data('minibirds').fingerprint == birds.fingerprint

def test_cifar100_is_pinned():
    folder = os.environ.get('ICD_NB_CIFAR100')
    if not folder: pytest.skip('ICD_NB_CIFAR100 names no folder that holds cifar-100-python')
    assert load_cifar100(folder).fingerprint == DATASETS['cifar100'].fingerprint == 'c501773b'

@pytest.mark.parametrize('part', PARTS)
def test_one_bit_more_is_another_set(birds, part):
    o = getattr(birds, part).clone()
    o.view(-1)[-1] ^= 1
    assert replace(birds, **{part: o}).fingerprint != birds.fingerprint

@pytest.mark.parametrize('change', [dict(size=31), dict(pad=3), dict(flip=False),
                                    dict(mean=(.5,.5,.5)), dict(std=(.25,.25,.25))])
def test_another_recipe_is_another_set(birds, change):
    other = replace(birds, augment=replace(birds.augment, **change))
    assert other.fingerprint != birds.fingerprint

def test_mapped_strided_and_renamed_sets_are_the_same(birds, tmp_path):
    np.save(tmp_path/'x.npy', birds.train_x.numpy())
    mapped = torch.from_numpy(np.load(tmp_path/'x.npy', mmap_mode='c'))
    strided = birds.train_x.permute(0,3,1,2).contiguous().permute(0,2,3,1)
    for x in (mapped, strided):
        assert replace(birds, train_x=x, name='other', mapped=True).fingerprint == birds.fingerprint

@pytest.mark.parametrize('part', PARTS)
def test_a_flipped_bit_in_the_cache_is_noticed(birds, home, part, monkeypatch):
    draws(monkeypatch, arrays(birds))
    file, = home.glob(f'minibirds/*/{part}.npy')
    size = file.stat().st_size
    for at in (10, 70, 128, size//2, size-1):                  # in the header and in the array
        flip_bit(file, at)
        assert load_minibirds().fingerprint == birds.fingerprint
    assert [o.name[0] != '.' for o in (home/'minibirds').iterdir()] == [True], 'a leftover'

def test_a_cache_is_not_believed_for_its_note(birds, home, monkeypatch):
    "Other pictures, and a note that vouches for them"
    draws(monkeypatch, arrays(birds))
    file, = home.glob('minibirds/*/train_x.npy')
    flip_bit(file, file.stat().st_size-1)
    note = read_json(file.parent/'meta.json')
    note['sha256']['train_x'] = hashlib.sha256(file.read_bytes()).hexdigest()
    write_json(file.parent/'meta.json', note)
    assert load_minibirds().fingerprint == birds.fingerprint

def test_another_drawing_is_an_error(birds, tmp_path, monkeypatch):
    monkeypatch.setenv('ICD_NB_DATA', str(tmp_path))
    draws(monkeypatch, dict(arrays(birds), train_x=255 - birds.train_x.numpy()))
    with pytest.raises(ValueError, match='the drawing has changed.*make all results again'):
        load_minibirds()

def dies_at(moment, f)->bool:
    "Whether a process that does `f` ends at a moment: before or after a call that makes files"
    pid, n = os.fork(), -1
    if pid: return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    def tick():
        nonlocal n
        n += 1
        if n == moment: os._exit(9)
    def around(call):
        def g(*args, **kw): tick(); call(*args, **kw); tick()
        return g
    for name in ('replace', 'fsync', 'posix_fallocate'):
        if hasattr(os, name): setattr(os, name, around(getattr(os, name)))
    try: f()
    finally: os._exit(0)

def table(d):
    about = dict(data='1', teacher='2', keep=[2], precision='fp32')
    return TableFile(d/'t.bin', (3, 4, 5, 6), torch.bfloat16, **about)

def fill(d):
    t = table(d)
    for v in t.todo: t.write(v, torch.full((4, 5, 6), v+1, dtype=torch.bfloat16))
    return t

@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
def test_a_table_that_was_killed_at_any_moment_is_filled(tmp_path, recwarn):
    "What the note says is there is there, and the next run makes the rest"
    want, moment = fill(tmp_path/'whole').table, 0
    while dies_at(moment, lambda: fill(tmp_path/str(moment))):
        recwarn.clear()
        assert torch.equal(fill(tmp_path/str(moment)).table, want), moment
        assert not recwarn, [str(o.message) for o in recwarn]             # no view is damaged
        moment += 1
    assert moment > 20, 'too few moments to mean anything'

@pytest.mark.parametrize('v', range(3))
def test_a_flipped_bit_in_a_table_is_noticed(tmp_path, v):
    t = fill(tmp_path)
    for at in (0, t.block//2, t.block-1):
        flip_bit(t.path, v*t.block + at)
        with pytest.warns(UserWarning, match='1 of 3 views are damaged'):
            assert table(tmp_path).todo == [v]
        flip_bit(t.path, v*t.block + at)
        assert table(tmp_path).todo == []
