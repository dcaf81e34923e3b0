"Trains on the pretended device, operation by operation and by replays, and prints what happened as JSON"
import json, sys, tempfile, warnings
from collections import Counter
from dataclasses import replace
import torch
import matplotlib
import device
from device import Pretended
from icd_nb import cache, graph, trainer
from icd_nb.cache import cache_teacher
from icd_nb.cost.parts import COST_PARAMETERS
from icd_nb.cost.report import CostReport
from icd_nb.data import Augment, ImageData, test_batches
from icd_nb.devices import device_of
from icd_nb.evaluation import evaluate
from icd_nb.hints import select_hints
from icd_nb.interpret.image import plot_grams, plot_predictions, plot_score_maps
from icd_nb.interpret.outputs import outputs
from icd_nb.losses import CE, METHODS, Objective, Term, objective
import icd_nb.methods
from icd_nb.models import create_model
from icd_nb.params import check_parameters
from icd_nb.prediction import predict
from icd_nb.recipe import Recipe
from icd_nb.registry import hyper_defaults
from icd_nb.scales import choose_scales
from icd_nb.speed import Speed
from icd_nb.student import Student
from icd_nb.trainer import fit_many

matplotlib.use('Agg')
torch.manual_seed(0)
BS, N = 4, 10 # two whole batches and a short one
x, y = torch.randint(256, (N, 32, 32, 3), dtype=torch.uint8), torch.arange(N) % 5
data = ImageData('noise', x, y, x[:8], y[:8], [str(i) for i in range(5)], Augment(32, pad=1))
SMALL = Recipe(epochs=1, bs=BS, lr=2**-7, drops=()) # the same number in single precision, in which a recording reads it

def teacher(): return create_model('resnet8', 5, seed=0)

def student(name, term=None, epochs=1):
    "A student of a method, or of a term beside the labels"
    hyper = dict(hints=['layer1.0', 'layer2.0']) if name.endswith('hints') else {}
    if 'crd' in name or name == 'wcord': hyper['negatives'] = 4
    if term is None: hyper |= {k: v for k, v in dict(warmup=2, before_epochs=1).items() if k in hyper_defaults(name)}
    learns = objective(name, **hyper) if term is None else Objective(CE(), term)
    return Student(create_model('resnet8', 5, seed=1), learns, name=name, recipe=replace(SMALL, epochs=epochs))

class Watch:
    "Takes the place of a function that makes a step, and notes what waits when a batch of the same size has been before"
    seen, waited, calls = set(), Counter(), 0
    def __init__(self, step): self.step = step
    def __call__(self, students, batch, teacher, i, *streams):
        Watch.calls += 1
        size, before = (len(students), *batch.x.shape), len(device.waits)
        out = self.step(students, batch, teacher, i, *streams)
        if size in Watch.seen: Watch.waited.update(device.waits[before:])
        Watch.seen.add(size)
        return out

Graphs, step_all, reseed = trainer.Graphs, trainer.step_all, Student.reseed
trainer.Graphs = lambda step: Watch(Graphs(step))

def note_generator(self, i):
    reseed(self, i)
    device.own = self.draws
Student.reseed = note_generator

def train(students, card, speed, data=data, teacher=teacher, on_epoch=None):
    "The weights at the end, what waited, what was warned of, and how many recordings were made"
    Watch.seen, Watch.waited, Watch.calls, before = set(), Counter(), 0, len(device.waits)
    trainer.step_all = step_all if speed.graph else Watch(step_all)
    made, record = [], graph.StepGraph.record
    graph.StepGraph.record = lambda self, *args: (made.append(len(self.batch.x)), record(self, *args))
    try:
        with Pretended(), warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            fit_many(students, data, teacher(), device=card, speed=speed, on_epoch=on_epoch)
        ends = {st.name: torch.cat([v.cpu().double().flatten() for v in st.model.state_dict().values()]) for st in students}
    finally: graph.StepGraph.record = record
    about = dict(waits=Watch.waited, warnings=sorted({str(o.message).splitlines()[0] for o in said}), recorded=made, errors=[st.error for st in students if st.error])
    return ends, about

def compare(names, card, data=data, teacher=teacher, precision='fp32', epochs=1, on_epoch=None):
    "A training by replays beside the same one operation by operation"
    ends, about = zip(*[train([student(n, epochs=epochs) for n in names], card, Speed(precision, graph=graph), data, teacher, on_epoch) for graph in (True, False)])
    start = torch.cat([v.double().flatten() for v in student(names[0]).model.state_dict().values()])
    replayed, plain = about
    return dict(replayed, waits_plain=plain['waits'], plain_warnings=plain['warnings'],
                differ=[n for n in names if not torch.equal(ends[0][n], ends[1][n])],
                stayed=[n for n in names if torch.equal(ends[0][n], start)])

def cached(on_host):
    "A teacher whose scores lie on the device, or on the host because the device is full"
    real = cache.fits
    if on_host: cache.fits = lambda *args: False
    try:
        def make():
            given = teacher()
            t = cache_teacher(given, data, device='cuda:1', speed=Speed('fp32'))
            assert t.table.device.type == ('cpu' if on_host else 'cuda')
            assert str(device_of(given)) == 'cpu' and str(device_of(t.model)) == 'cuda:1' # terms look at the copy
            return t
        return compare(['icd_kd'], 'cuda:1', teacher=make)
    finally: cache.fits = real

def evaluation():
    "The same numbers as on the host, and what waits"
    here = evaluate(teacher(), data, 'cpu')
    with Pretended():
        model, images = teacher().to('cuda:1'), data.to('cuda:1')
        evaluate(model, images, 'cuda:1')
        before = len(device.waits)
        there = evaluate(model, images, 'cuda:1', bs=3, remark=False)
    return dict(same=all(abs(here[k]-there[k]) < 1e-4 for k in here), waits=Counter(device.waits[before:]))

def streams():
    "In the last recording of two students: how many wait for the teacher's stream, and whether that one waits for what was before"
    teachers, waited, aside, wait = [], [], trainer.aside, torch.cuda.Stream.wait_stream
    def note_wait(self, other):
        waited.append((self.cuda_stream, other.cuda_stream))
        return wait(self, other)
    def note_teacher(job, stream=None):
        if stream:
            teachers.append(stream.cuda_stream)
            waited.clear()
        return aside(job, stream)
    trainer.aside, torch.cuda.Stream.wait_stream = note_teacher, note_wait
    try: train([student('kd'), student('icd_kd')], 'cuda:1', Speed('fp32'), replace(data, train_x=x[:2*BS], train_y=y[:2*BS]))
    finally: trainer.aside, torch.cuda.Stream.wait_stream = aside, wait
    mine = teachers[-1]
    return dict(students=len({a for a, b in waited if b == mine}), teacher=sum(a == mine for a, b in waited), recordings=len(teachers))

def hints():
    "The layers that are chosen on the host are chosen on the device"
    chosen = []
    for card in ('cpu', 'cuda:1'):
        with Pretended(): chosen.append(select_hints(create_model('resnet14', 5, seed=0).to(card), data, 3, 'linear_cka', n=8))
    return [o.names for o in chosen]

def moved(st, log):
    "Between two epochs the network's numbers come to lie elsewhere, as when it was asked on another device and put back"
    for v in st.model.state_dict(keep_vars=True).values(): v.host = v.host.clone()

def looks():
    "Where networks lie after they were asked on a device, or trained there, and plots of one that lies on it"
    with Pretended():
        there, home, st = teacher().to('cuda:1'), teacher(), student('kd')
        evaluate(home, data, 'cuda:1')
        outputs(home, data, device='cuda:1')
        predict(home, [0], data, device='cuda:1')
        choose_scales(home, data, device='cuda:1', batches=1)
        fit_many([st], data, teacher(), device='cuda:1', speed=Speed('fp32'))
        image = next(test_batches(data, 1, 'cpu')).x
        plot_predictions({'there': there, 'home': home}, image, 0, data.augment, data.classes, scales=(1,2))
        plot_score_maps({'there': there, 'home': home}, image, 0, data.augment, data.classes)
        plot_grams({'there': there, 'home': home}, image, scales=(2,))
    return [str(device_of(m)) for m in (there, home, st.model)]

def costs():
    "What report 95 says of one student at a time and of a recording, and what was warned of"
    asked = dict(pairs='resnet14:resnet8', method='icd_kd', counts='[2]', table='ce,icd_kd', rounds=2, seconds=1, bs=8, compiled='none', cub=False, device='cuda:1')
    with Pretended(), warnings.catch_warnings(record=True) as said:
        report = CostReport(check_parameters(dict.fromkeys(COST_PARAMETERS) | asked, COST_PARAMETERS))
        text = report.methods() + report.graphs()
    return dict(text=text, warnings=[str(o.message) for o in said])

# What has to be caught

class Reads(Term):
    name = 'reads'
    def forward(self, s, t, y): return s.logits.mean()*s.logits.detach().abs().max().item()
class Mixes(Term):
    name = 'mixes'
    def forward(self, s, t, y): return (s.logits*torch.arange(5)).mean()
class Masks(Term):
    name = 'masks'
    def forward(self, s, t, y): return s.logits[y < 3].mean()
class Sends(Term):
    name = 'sends'
    def forward(self, s, t, y): return (s.logits*torch.tensor([1., 2, 3, 4, 5], device=s.logits.device)).mean()
class Draws(Term):
    name = 'draws'
    def forward(self, s, t, y): return s.logits.mean()*torch.rand(()).to(s.logits.device, non_blocking=True)

def refused(term=None, before=lambda: None):
    "The error of a training that must not go on"
    before()
    try: train([student('kd') if term is None else student(term.name, term)], 'cuda:1', Speed('fp32'))
    except Exception as e: return f'{type(e).__name__}: {e}'
    return 'nothing was said'

def empty_graph():
    "The error of a recording that holds nothing"
    real, device.compute_again = device.compute_again, lambda operations: None
    try: return refused()
    finally: device.compute_again = real

if __name__ == '__main__':
    mapped = replace(data, mapped=True)
    whole = replace(data, train_x=x[:2*BS], train_y=y[:2*BS]) # the short batch is the others' business: 41 methods take their time
    jobs = dict(
        all=lambda: compare([*METHODS], 'cuda:1', whole),
        one=lambda: compare(['mgd'], 'cuda:0', mapped, precision='bf16'),
        several=lambda: compare(['kd', 'icd_dkd', 'mgd', 'ft', 'mlkd'], 'cuda:1', mapped, precision='bf16', epochs=2),
        moved=lambda: compare(['kd'], 'cuda:1', whole, epochs=2, on_epoch=moved), looks=looks,
        labels_alone=lambda: compare(['ce'], 'cuda:0'), no_teacher=lambda: compare(['ce'], 'cuda:1', teacher=lambda: None),
        cached=lambda: cached(False), cached_on_host=lambda: cached(True), evaluation=evaluation, hints=hints, streams=streams, costs=costs,
        controls=lambda: {**{t.name: refused(t) for t in (Reads(), Mixes(), Masks(), Sends(), Draws())}, 'empty': empty_graph()})
    names = sys.argv[1:] or [*jobs]
    for name in names: print(json.dumps({name: jobs[name]()}), flush=True)
