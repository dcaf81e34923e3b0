"A method is one record in one place: one file adds one, and everything that lists methods finds it"
import json, subprocess, sys
import pytest, torch
from conftest import ROOT
from icd_nb import features
from icd_nb.core import load_rooms
from icd_nb.levels import asks_strong
from icd_nb.losses import METHODS, objective
from icd_nb.methods import as_published, hyper_defaults, methods_of, record_of
from icd_nb.models import create_model
from icd_nb.speed import loss_and_gradients

MINE = '''
from icd_nb.losses import CE, KD, method
from icd_nb.records import published

def by_pair(dataset, teacher, student): return dict(my_weight=3.) if student == 'vgg8' else {}

@method('mine')
@published('Mine', follows='MyPaper', table='features', clip=None, by_pair=by_pair)
def mine(scales, gamma, my_weight=2., warmup=5, **hyper):
    "arXiv 0000.00000"
    return CE() + my_weight*KD(T=2.)
'''

@pytest.fixture
def mine(tmp_path, monkeypatch):
    "The method of a new room of `features`, gone again afterwards"
    (tmp_path/'mine.py').write_text(MINE)
    monkeypatch.setattr(features, '__path__', [*features.__path__, str(tmp_path)])
    load_rooms('icd_nb.features')
    yield 'mine'
    del METHODS['mine'], sys.modules['icd_nb.features.mine']
    as_published.cache_clear()

def test_a_method_is_added_in_one_file(mine):
    before = len(methods_of('features'))
    assert mine in METHODS and methods_of('features')[before-1] == mine and mine not in methods_of('logits')
    assert repr(objective('mine')) == 'CE() + 2*KD(T=2)'
    assert (record_of('mine').paper_name, record_of('mine').base) == ('Mine', 'kd')
    assert hyper_defaults('mine')['my_weight'] == 2.
    known = as_published('mine', 'cifar100', 'vgg13', 'vgg8')
    assert (known.follows, known.hyper, known.clip) == ('MyPaper', {'my_weight': 3.}, None)
    assert as_published('mine', 'cifar100', 'vgg13', 'MobileNetV2').hyper == {}

@pytest.mark.parametrize('first', ['features.before', 'features.contrast', 'features.review', 'temperature', 'hints.terms'])
def test_rows_of_a_table_do_not_depend_on_what_was_imported_first(first):
    code = f"import icd_nb.{first}; from icd_nb.methods import methods_of; print(*methods_of('logits', 'features', 'other'))"
    said = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    assert said == methods_of('logits', 'features', 'other') and said[10:14] == ['fitnet', 'at', 'nst', 'sp'] and said[-1] == 'fitnet_before'

def test_it_goes_into_a_sum(mine):
    assert list(objective('icd_kd+mine').terms) == ['ce', 'sd_kd', 'structure', 'kd']
    assert record_of('icd_kd+mine').paper_name == 'iCD (SD-KD)'

def test_without_a_record():
    METHODS['bare'] = lambda scales, gamma, **hyper: METHODS['kd'](scales, gamma)
    try: assert (record_of('bare').follows, record_of('bare').table, record_of('bare').clip) == ('own', None, 40.)
    finally: del METHODS['bare']

def test_cells_of_the_tutorial_run_again(monkeypatch):
    "After all cells of 22, the one that trains is run once more with other seeds: its method is still known"
    cells = json.loads((ROOT/'nbs'/'22_a_method_of_your_own.ipynb').read_text())['cells']
    code = {c['id']: ''.join(c['source']) for c in cells if c['cell_type'] == 'code'}
    monkeypatch.delenv('IN_TEST', raising=False)
    known, names = dict(METHODS), dict(__name__='__main__')
    try:
        for name in ('own-import', 'own-term', 'own-name', 'own-away'): exec(code[name], names)
        exec("objective('sure_kd')", names)
    finally:
        METHODS.clear()
        METHODS.update(known)

def test_losses_of_scores_are_traced_as_one_graph():
    "All terms that look at scores alone: a piece that falls out is computed operation by operation, and compiling then costs more than it gives"
    def made(seed): return torch.randn(4, 10, generator=torch.Generator().manual_seed(seed)), torch.randn(4, 10, 21, generator=torch.Generator().manual_seed(seed))
    s, t, y, traced = made(0), made(1), torch.arange(4), []
    hints = dict(hints=['layer1.0', 'layer2.0'])
    for m in METHODS:
        o = objective(m, **(hints if m.endswith('hints') else {}))
        o.bind(*(create_model('resnet8', 10, seed=i).eval() for i in (1, 0)), torch.randn(2, 3, 32, 32), y)
        if o.student_layers or o.teacher_layers or asks_strong(o) or [*o.parameters()]: continue
        n = 2 if o.needs_local else 1
        torch.compiler.reset()
        f = torch.compile(loss_and_gradients(o, (1,2,4)), backend='eager', fullgraph=True)
        f(s[:n], t[:n] if o.needs_teacher else None, y, torch.tensor(3.))
        traced.append(m)
    assert {*methods_of('logits'), 'dist', 'icd_dist', 'icd_kd_ls'} <= {*traced}
