"Over thousands of steps a training takes no more memory, files, threads and figures than over the first hundreds"
import os
from pathlib import Path
import matplotlib.pyplot as plt, pytest
from icd_nb.data.batches import toy_data
from icd_nb.losses import objective
from icd_nb.speed import Speed
from icd_nb.student import Student
from icd_nb.trainer import Recipe, fit_many, plot_history
from test_damage import Tiny

pytestmark = pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='only Linux says what a process holds')
METHODS = ('icd_kd', 'fitnet', 'crd') # one method with an adapter, one with a memory

def held()->dict:
    "What this process holds: memory in MB, open files, threads, figures"
    status = dict(line.split(':\t', 1) for line in Path('/proc/self/status').read_text().splitlines() if ':\t' in line)
    return dict(memory=int(status['VmRSS'].split()[0])/1e3, files=len(os.listdir('/proc/self/fd')), threads=int(status['Threads']), figures=len(plt.get_fignums()))

class Map(Tiny): # a map of 8×8, for three scales
    def __init__(self, width=4):
        super().__init__(width)
        self[0].padding = (1, 1)

def students(folder, epochs):
    recipe = Recipe(epochs=epochs, bs=4)
    return [Student(Map(), objective(m), recipe=recipe, name=m, folder=folder/m) for m in METHODS]

def flat(folder, steps)->list: # what was held, every 40 steps
    data, group, seen = toy_data(80, 20, size=8), students(folder, steps//20), []
    def look(student, record):
        if student is not group[-1] or record['epoch'] % 2: return
        if record['epoch'] % 20 == 0: plt.close(plot_history(group))
        seen.append(dict(step=record['epoch']*20, **held()))
    fit_many(group, data, Map(8).eval(), device='cpu', speed=Speed.plain(), on_epoch=look)
    begun, ended = seen[len(seen)//4], seen[-1]
    assert ended['step'] == steps
    assert ended['memory'] < begun['memory'] + 8, seen # MB
    for what in ('files', 'threads', 'figures'): assert ended[what] <= begun[what], (what, seen)
    return seen

def test_hundreds_of_steps(tmp_path): flat(tmp_path, 400)

@pytest.mark.slow
def test_thousands_of_steps(tmp_path, measured):
    measured('flat', methods=METHODS, steps=2000, seed=0, held=flat(tmp_path, 2000))
