"Two views of each image: the same steps as a loop of its own, stopped anywhere, beside others, and refused where there are none"
import time
import pytest, torch, torch.nn.functional as F
from torch.utils.data import TensorDataset
from icd_nb.cache import cache_teacher
from icd_nb.data import Augment, ImageData, train_batches
from icd_nb.data.loaders import LoaderData
from icd_nb.data.strong import strong_crop, strong_draws
from icd_nb.levels import Strong
from icd_nb.losses import CE, objective
from icd_nb.models import create_model
from icd_nb.recipe import Recipe
from icd_nb.speed import Speed
from icd_nb.trainer import Student, fit, fit_many

N, BS, SEED = 20, 8, 3 # the last batch is short
RECIPE = Recipe(2, BS, .025, clip=None)
PLAIN = dict(seed=SEED, device='cpu', speed=Speed.plain())

def images(mapped=False):
    g = torch.Generator().manual_seed(1)
    def some(n): return torch.randint(0, 256, (n, 32, 32, 3), generator=g, dtype=torch.uint8), torch.arange(n) % 5
    return ImageData('noise', *some(N), *some(10), [*'abcde'], Augment(32, 4), mapped=mapped)

def teacher(): return create_model('resnet14', 5, seed=9)

def student(made='mlkd', folder=None, recipe=RECIPE):
    made, name = (objective(made), made) if isinstance(made, str) else (made, 'student')
    return Student(create_model('resnet8', 5, seed=0), made, recipe=recipe, seed=SEED, name=name, folder=folder)

def weights(st): return torch.cat([v.double().flatten() for v in st.model.state_dict().values()])

def levels(s, t, T):
    "KD, and the Gram matrices of images and of classes"
    p, q = (o.div(T).softmax(1) for o in (s, t))
    kd = T*T*F.kl_div(s.div(T).log_softmax(1), q, reduction='batchmean')
    def far(a, b): return (a - b).square().sum()/len(a)
    return kd, far(p @ p.T, q @ q.T), far(p.T @ p, q.T @ q)

def loss(sw, ss, tw, ts, y):
    p, total = tw.softmax(1), .1*(F.cross_entropy(sw, y) + F.cross_entropy(ss, y))
    half, half_classes = ((o <= o.quantile(.5)).double().mean() for o in (p.amax(1), p.sum(0)))
    for T in (4, 3, 5, 2, 6):
        kd, batch, of_class = levels(sw, tw, T)
        again = levels(ss, ts, T)[0] if T in (4, 3, 5) else kd
        total = total + .9*(half*kd + half*batch + half_classes*of_class + again)
    return total

def by_hand(data):
    "Every step, operation by operation, in double precision"
    net, t = create_model('resnet8', 5, seed=0).double(), teacher().double().eval()
    opt = torch.optim.SGD(net.parameters(), RECIPE.lr, .9, weight_decay=5e-4)
    for epoch in (1, 2):
        net.train()
        opt.param_groups[0]['lr'] = RECIPE.lr_at(epoch)
        for k, batch in enumerate(train_batches(data, BS, SEED, epoch, 'cpu')):
            draws = strong_draws(len(batch.y), data.augment, data.hw, SEED, epoch, k)
            views = batch.x.double(), strong_crop(data.train_x[batch.index], draws, data.augment).double()
            with torch.no_grad(): tw, ts = map(t, views)
            opt.zero_grad()
            loss(*map(net, views), tw, ts, batch.y).backward()
            opt.step()
    return torch.cat([v.double().flatten() for v in net.state_dict().values()])

@pytest.mark.parametrize('mapped', [False, True])
def test_mlkd_takes_the_steps_of_a_loop_written_out(mapped):
    data = images(mapped)
    st = fit(student(), data, teacher(), **PLAIN | dict(speed=Speed.plain('fp64')))
    torch.testing.assert_close(weights(st), by_hand(data), rtol=0, atol=1e-9)

@pytest.mark.parametrize('method', ['mlkd', 'mlkd_ls'])
def test_stopped_anywhere_it_ends_the_same(method, tmp_path):
    whole = fit(student(method), images(), teacher(), **PLAIN)
    for _ in range(20):
        st = fit(student(method, tmp_path), images(), teacher(), deadline=time.monotonic(), **PLAIN)
        if st.done: break
    assert st.done and torch.equal(weights(st), weights(whole))

def test_others_beside_it_do_not_notice():
    def many(*methods): return fit_many([student(m) for m in methods], images(), teacher(), **PLAIN)
    alone = {m: weights(many(m)[0]) for m in ('kd', 'mlkd')}
    for st in many('kd', 'mlkd'): assert torch.equal(weights(st), alone[st.name]), st.name

def test_any_term_can_look_at_the_strong_view():
    made = CE() + .5*Strong(objective('at').terms['at'])
    st = fit(student(made), images(), teacher(), **PLAIN)
    assert st.done and st.history[-1]['terms']['strong_at'] > 0
    alone = fit(student(CE() + Strong(CE())), images(), **PLAIN) # nothing of a teacher
    assert alone.done

def test_a_compiled_step_leaves_it_as_it_is():
    eager, compiled = (fit(student(), images(), teacher(), **PLAIN | dict(speed=speed))
                       for speed in (Speed('fp32'), Speed('fp32', compile='aot_eager')))
    torch.testing.assert_close(weights(compiled), weights(eager), rtol=1e-3, atol=1e-4)

def test_where_there_are_no_strong_views():
    data = images()
    with pytest.raises(ValueError, match='a cached teacher has no scores'):
        fit(student(), data, cache_teacher(teacher(), data, device='cpu'), **PLAIN)
    pairs = TensorDataset(torch.randn(N, 3, 32, 32), torch.arange(N) % 5)
    own = LoaderData(pairs, pairs, [*'abcde'])
    with pytest.raises(ValueError, match='this data makes its own batches'): fit(student(), own, teacher(), **PLAIN)
    fit(student('kd'), own, teacher(), **PLAIN)
