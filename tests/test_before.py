"A training before the training: the same steps as a loop of its own, stopped anywhere, once, and written down"
import copy, json, time
import pytest, torch, torch.nn.functional as F
from torch import nn
from icd_nb.core import seed_of
from icd_nb.data import Augment, ImageData, train_batches
from icd_nb.features.before import AB, FT, Before, Paraphrase
from icd_nb.losses import CE, objective
from icd_nb.models import create_model
from icd_nb.recipe import Recipe
from icd_nb.results.lab import Lab
from icd_nb.results.run import Run
from icd_nb.speed import Speed
from icd_nb.trainer import Student, fit, fit_many

N, BS, EARLY, SEED = 24, 8, 2, 3
RECIPE = Recipe(2, BS, clip=None)

def images(n=N):
    g = torch.Generator().manual_seed(1)
    def some(n): return torch.randint(0, 256, (n, 32, 32, 3), generator=g, dtype=torch.uint8), torch.arange(n) % 5
    return ImageData('noise', *some(n), *some(10), [*'abcde'], Augment(32, 4))

def network(name, seed): return create_model(name, 5, seed=seed)

def student(method, model='resnet8', recipe=RECIPE, folder=None, **hyper):
    made = objective(method, before_epochs=EARLY, **hyper)
    return Student(network(model, 0), made, recipe=recipe, seed=SEED, name=method, folder=folder)

PLAIN = dict(seed=SEED, device='cpu', speed=Speed.plain())

def same(a, b): # two networks
    theirs = b.state_dict()
    return all(torch.equal(v, theirs[k]) for k, v in a.state_dict().items())

# The first stage as RepDistiller's code has it, written out for the ResNets of the zoo

def maps(net, x):
    "f₀, f₁, f₂, f₃ and the last three before their ReLU"
    x = net.relu(net.bn1(net.conv1(x)))
    after, before = [x], []
    for layer in (net.layer1, net.layer2, net.layer3):
        *blocks, last = layer
        for block in blocks: x = block(x)
        out = F.relu(last.bn1(last.conv1(x)))
        before.append(last.bn2(last.conv2(out)) + last.downsample(x))
        x = F.relu(before[-1])
        after.append(x)
    return after, before

def ab(s, t):
    total = 0.
    for i, (a, b) in enumerate(zip(s[1], t[1])):
        loss = (a+1)**2*((a > -1) & (b <= 0)).double() + (a-1)**2*((a <= 1) & (b > 0)).double()
        total = total + 2.**(i-2)*loss.sum()/len(a)/1000*3
    return total

def fsp(s, t):
    def flows(fs):
        for a, b in zip(fs, fs[1:]):
            a = F.adaptive_avg_pool2d(a, b.shape[2:])
            yield torch.einsum('bixy,bjxy->bij', a, b)/b.shape[2]/b.shape[3]
    return sum((a-b).pow(2).mean() for a, b in zip(flows(s[0]), flows(t[0])))

@pytest.mark.parametrize('name,loss', [('ab', ab), ('fsp', fsp)])
def test_the_first_stage_is_that_of_the_published_code(name, loss):
    "In double precision, on the same batches: SGD on what has a gradient, at one learning rate, the head untouched"
    data, teacher, st = images(), network('resnet14', 1).double().eval(), student(name)
    st.model.double()
    net = copy.deepcopy(st.model).train()
    head = copy.deepcopy(net.fc.state_dict())
    opt = torch.optim.SGD(net.parameters(), .05, .9, weight_decay=5e-4)
    for epoch in range(1, EARLY+1):
        for batch in train_batches(data, BS, seed_of(SEED, 'before'), epoch, device='cpu'):
            x = batch.x.double()
            with torch.no_grad(): t = maps(teacher, x)
            opt.zero_grad()
            loss(maps(net, x), t).backward()
            opt.step()
    after = {} # the weights with which the training itself begins
    def keep(*_): after.setdefault('net', copy.deepcopy(st.model))
    st.objective.terms['ce'].register_forward_pre_hook(keep)
    fit(st, data, teacher, **dict(PLAIN, speed=Speed.plain('fp64')))
    theirs = after['net'].state_dict()
    for k, v in net.state_dict().items():
        if 'running' in k or 'num_batches' in k: continue # the pass to be kept has moved them once more
        torch.testing.assert_close(theirs[k], v, rtol=1e-9, atol=1e-12)
    for k, v in head.items(): assert torch.equal(theirs[f'fc.{k}'], v)
    assert [e['lr'] for e in st.before.history] == [.05]*EARLY
    assert [e['terms'].keys() for e in st.history] == [{'ce', 'total'}]*2

def test_a_resting_network_stays_and_its_paraphraser_learns():
    data, teacher, st = images(), network('resnet14', 1), student('ft')
    begin, seen = copy.deepcopy(st.model), []
    def look(*_):
        if not seen: seen.append((copy.deepcopy(st.model), copy.deepcopy(st.objective.terms['ft'].paraphrase.state_dict())))
    st.objective.terms['ce'].register_forward_pre_hook(look)
    fit(st, data, teacher, **PLAIN)
    losses = [e['terms']['paraphrase'] for e in st.before.history]
    (rested, told), = seen
    assert not same(st.model, begin) and losses[1] < losses[0]
    for k, v in st.objective.terms['ft'].paraphrase.state_dict().items(): assert torch.equal(v, told[k])
    assert all(m.training for m in st.model.modules()) and [e['lr'] for e in st.before.history] == [.01]*EARLY
    weights = dict(rested.named_parameters()) # in the first step of the training that follows
    assert all(torch.equal(p, weights[k]) for k, p in begin.named_parameters())
    assert rested.bn1.num_batches_tracked == 1

def test_nothing_is_said_of_what_does_not_learn_first(recwarn):
    for method in ('ab', 'ft', 'fsp', 'fitnet_before'): fit(student(method), images(), network('resnet14', 1), **PLAIN)
    assert not [o for o in recwarn.list if 'NEXT TO NOTHING' not in str(o.message)]

@pytest.mark.parametrize('method', ['ab', 'ft'])
def test_stopped_anywhere_it_ends_the_same(method, tmp_path):
    data, teacher = images(), network('resnet14', 1)
    whole = fit(student(method), data, teacher, **PLAIN)
    stops = 0
    while True:
        st = student(method, folder=tmp_path/method)
        fit(st, data, teacher, deadline=time.monotonic() if stops < 7 else None, **PLAIN) # one step, then it is over
        if st.done: break
        stops += 1
    assert stops == 7 and same(st.model, whole.model)
    def curve(o): return [(e['terms'], e['test_top1']) for e in o.history]
    assert curve(st) == curve(whole) and curve(st.before) == curve(whole.before)
    again = fit(student(method, folder=tmp_path/method), data, teacher, **PLAIN) # it is done, and comes from its files
    assert same(again.model, whole.model) and curve(again) == curve(whole)

def test_another_first_training_is_another_training(tmp_path):
    data, teacher = images(), network('resnet14', 1)
    fit(student('ab', folder=tmp_path/'a'), data, teacher, **PLAIN)
    other = Student(network('resnet8', 0), CE() + Before(AB(margin=2.), EARLY), recipe=RECIPE, seed=SEED, folder=tmp_path/'a')
    with pytest.raises(ValueError, match='margin'): fit(other, data, teacher, **PLAIN)

def test_side_by_side_it_is_as_alone():
    data, teacher = images(), network('resnet14', 1)
    names = 'kd', 'ab', 'ft'
    together = fit_many([student(o) if o != 'kd' else Student(network('resnet8', 0), objective('kd'), recipe=RECIPE, seed=SEED, name='kd')
                         for o in names], data, teacher, **PLAIN)
    for name, st in zip(names[1:], together[1:]): assert same(st.model, fit(student(name), data, teacher, **PLAIN).model), name

def test_its_error_is_the_students():
    recipe = Recipe(2, BS, lr=1e9, clip=None)
    st, = fit_many([student('ab', recipe=recipe)], images(), network('resnet14', 1), **PLAIN)
    assert st.done and 'ab, before' in st.error and 'epoch 1' in st.error and not st.history

def test_without_a_teacher_it_says_so():
    with pytest.raises(ValueError, match='compares with a teacher, and there is none'): fit(student('ab'), images(), **PLAIN)

def test_a_cached_teacher_cannot_show_layers():
    from icd_nb.cache import cache_teacher
    data, teacher = images(), network('resnet14', 1)
    cached = cache_teacher(teacher, data, device='cpu')
    with pytest.raises(ValueError, match='layer'): fit(student('ab'), data, cached, **PLAIN)

def test_a_run_of_a_lab(tmp_path):
    "Epochs in proportion, a result that says what came before, and nothing is trained twice"
    data = images()
    lab = Lab(data, tmp_path, 'cpu', Speed.plain(), teacher=network('resnet14', 1), teacher_name='resnet14')
    runs = [Run('noise', method='ab', epochs=2, bs=BS), Run('noise', method='ft', epochs=2, bs=BS, hyper=dict(before_lr=.001))]
    epochs = [Run('noise', method='ab', epochs=n).objective.terms['before'].epochs for n in (1, 16, 80, 240)]
    assert epochs == [5, 5, 10, 30]
    results = lab.run(runs)
    for run, result in zip(runs, results):
        assert result['before']['epochs'] == 5 and result['before']['seconds'] > 0
        assert len(result['history']) == 2 and (lab.run_folder(run)/'before'/'metrics.jsonl').exists()
    files = {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()}
    assert json.dumps(lab.run(runs)) == json.dumps(results)
    assert files == {p: p.stat().st_mtime_ns for p in tmp_path.rglob('*') if p.is_file()}

def test_a_term_around_it_is_refused():
    from icd_nb.terms import Warmup
    st = Student(network('resnet8', 0), CE() + Warmup(Before(AB())), recipe=RECIPE)
    with pytest.raises(ValueError, match='a training of its own and no loss'): fit(st, images(), network('resnet14', 1), **PLAIN)
