"One network of each family of torchvision and timm: whose cells can be scored, and how"
import json
import pytest, torch
from conftest import ROOT
from icd_nb.architectures import Architecture, architectures, how_scored

timm = pytest.importorskip('timm')
QUICK, ALL = architectures(), architectures(more=True)
LONG = [o for o in ALL if o not in QUICK]

def saved_table():
    "What stands in the documentation: network → how its cells are scored"
    cells = json.loads((ROOT/'nbs/04a_architectures.ipynb').read_text())['cells']
    texts = [''.join(o['data']['text/markdown']) for c in cells for o in c.get('outputs', []) if 'text/markdown' in o.get('data', {})]
    rows = [[part.strip() for part in line.strip('| ').split(' | ')] for line in '\n'.join(texts).splitlines()[2:]]
    return {row[0]: row[2] for row in rows}

SAVED = saved_table()

def check(arch):
    model, x = arch.make(), arch.images()
    found = how_scored(model, x, arch.head)
    assert found['how'] == SAVED[arch.name], found
    if found['how'] == 'refused': assert found['why']
    else: assert found['off'] <= 1e-5, found
    with torch.no_grad(): assert found['how'] == 'refused' or model(x).std() > 0

@pytest.mark.parametrize('arch', QUICK, ids=lambda o: o.name)
def test_quick(arch): check(arch)

@pytest.mark.slow
@pytest.mark.parametrize('arch', LONG, ids=lambda o: o.name)
def test_long(arch): check(arch)

def test_enough_work():
    assert len(QUICK) >= 60 and {o.name for o in ALL} <= SAVED.keys()
    assert sum(SAVED[o.name] != 'refused' for o in QUICK) >= 45
    assert {SAVED[o.name] for o in QUICK} == {'exact', 'by token grid', 'by explicit head', 'refused'}
