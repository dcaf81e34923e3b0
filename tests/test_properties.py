"""What holds for every shape, type, size of number and order: pooling, Gram structure, losses, hints, and the readers of what users write.

Hypothesis draws the cases, the same ones every time (`derandomize`), and shrinks what fails to the smallest case."""
import math
import numpy as np, pytest, torch, torch.nn.functional as F
from hypothesis import assume, given, settings, strategies as st
from icd_nb.core import parse_scales
from icd_nb.data import load_data
from icd_nb.data.arrays import as_images, as_labels, count_classes
from icd_nb.gram import gram_matrix, structure, structures
from icd_nb.hints import cluster_layers, linear_cka, r2_cca, rbf_cka
from icd_nb.hints.clusters import k_medoids
from icd_nb.losses import dkd_loss, icd_loss, kd_loss, nkd_loss, sdd_dkd_loss, sdd_kd_loss, sdd_nkd_loss
from icd_nb.params import PARAMETERS, check_parameter, seed_list, whole_number
from icd_nb.pooling import cell_boxes, cell_slices, multiscale_pool, n_cells, pool_matrix
from icd_nb.results.asked import RUN_PARAMETERS
from icd_nb.results.run import Run

settings.register_profile('same', derandomize=True, deadline=None, database=None, max_examples=40, print_blob=False)
settings.load_profile('same')

# What is drawn
numbers = st.integers(0, 2**31)
scales_of = st.lists(st.integers(1, 5), min_size=1, max_size=3, unique=True).map(tuple)
sizes = st.sampled_from([1e-6, 1e-3, 1., 30., 1e3])
temperatures = st.sampled_from([.25, 1., 2., 4., 20.])
anything = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
                        lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text(max_size=3), o, max_size=2), max_leaves=4)

def randn(*shape, seed=0, dtype=torch.float64): return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
def close(a, b, eps=1e-9): return torch.allclose(torch.as_tensor(a, dtype=torch.float64), torch.as_tensor(b, dtype=torch.float64), rtol=eps, atol=eps)

@st.composite
def maps(draw): return randn(*(draw(st.integers(1, 3)) for _ in 'BC'), *(draw(st.integers(1, 9)) for _ in 'HW'), seed=draw(numbers))*draw(sizes)

@st.composite
def pairs(draw, local=False): # scores of student and teacher, labels, scales
    B, K, scales = draw(st.integers(1, 4)), draw(st.integers(2, 7)), draw(scales_of)
    scales = (1, *(m for m in scales if m > 1))
    shape = (B, K, n_cells(scales)) if local else (B, K)
    s, t = (randn(*shape, seed=draw(numbers))*draw(sizes) for _ in 'st')
    return s, t, torch.tensor(draw(st.lists(st.integers(0, K-1), min_size=B, max_size=B))), scales

# Pooling
@given(maps(), scales_of, st.booleans())
def test_a_cell_is_the_mean_of_its_box(x, scales, chained):
    got = multiscale_pool(x, scales, chained)
    assert got.shape == (*x.shape[:2], n_cells(scales))
    assert (got <= x.amax((2, 3))[..., None] + 1e-9).all() and (got >= x.amin((2, 3))[..., None] - 1e-9).all()
    assert close(x.flatten(2) @ pool_matrix(tuple(x.shape[2:]), scales, chained).T, got)
    assert close(pool_matrix(tuple(x.shape[2:]), scales, chained).sum(1), torch.ones(n_cells(scales)))
    if chained: return
    means = [x[..., t:t+h, l:l+w].mean((2, 3)) for t, l, h, w in cell_boxes(scales, *x.shape[2:])]
    assert close(got, torch.stack(means, 2))

@given(maps(), scales_of, numbers)
def test_pooling_is_linear_and_keeps_orders(x, scales, seed):
    y = randn(*x.shape, seed=seed)
    assert close(multiscale_pool(2*x - 3*y + 1, scales), 2*multiscale_pool(x, scales) - 3*multiscale_pool(y, scales) + 1)
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(seed))
    assert torch.equal(multiscale_pool(x[:, order], scales), multiscale_pool(x, scales)[:, order])
    back = scales[::-1]
    one, other = multiscale_pool(x, scales), multiscale_pool(x, back)
    for m in scales: assert torch.equal(one[..., cell_slices(scales)[m]], other[..., cell_slices(back)[m]])

@given(maps(), scales_of, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
def test_pooling_keeps_the_type(x, scales, dtype):
    got = multiscale_pool(x.to(dtype), scales)
    assert got.dtype == dtype and close(got, multiscale_pool(x, scales), 2e-2*max(1, x.abs().max()))

# Gram structure
@st.composite
def cells(draw): return randn(draw(st.integers(1, 3)), draw(st.integers(1, 6)), draw(st.integers(1, 6)), seed=draw(numbers))*draw(sizes)

@given(cells(), numbers)
def test_gram_is_a_table_of_cosines(z, seed):
    G = gram_matrix(z)
    assert close(G, G.mT) and G.abs().max() <= 1 + 1e-9
    assert close(G.diagonal(dim1=1, dim2=2), torch.ones(z.shape[:2]))
    assert close(G, F.normalize(z, dim=2) @ F.normalize(z, dim=2).mT)
    g = torch.Generator().manual_seed(seed)
    cells, classes = torch.randperm(z.shape[1], generator=g), torch.randperm(z.shape[2], generator=g)
    assert close(gram_matrix(z[..., classes]), G) and close(gram_matrix(z[:, cells]), G[:, cells][:, :, cells])
    assert close(gram_matrix(z*torch.rand(z.shape[1], 1, generator=g, dtype=z.dtype).add(.1)), G)

@given(cells(), temperatures)
def test_structure_is_probabilities(z, T):
    p = structure(z, T).exp()
    assert close(p.sum(2), torch.ones(z.shape[:2])) and (p >= 0).all()

@given(pairs(local=True), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_structures_of_half_precision(pair, dtype):
    s, _, _, scales = pair
    assume(s.abs().max() < 1e3)
    for a, b in zip(structures(s.mT, scales), structures(s.to(dtype).mT, scales)): assert b.isfinite().all() and close(a, b, .1)

# Losses
ONE = dict(kd=lambda s, t, y, T: kd_loss(s, t, T), dkd=lambda s, t, y, T: dkd_loss(s, t, y, T=T), nkd=lambda s, t, y, T: nkd_loss(s, t, y, T=T),
           nkd_paper=lambda s, t, y, T: nkd_loss(s, t, y, T=T, drop_target=True))
ALL = dict(sd_kd=lambda s, t, y, T: sdd_kd_loss(s, t, y, T), sd_dkd=lambda s, t, y, T: sdd_dkd_loss(s, t, y, T=T), sd_nkd=lambda s, t, y, T: sdd_nkd_loss(s, t, y, T=T))

def check_loss(f, s, t, y, T):
    "Finite with its gradient, not moved by a constant, by the order of classes or of images; the teacher gets no gradient"
    s, t = s.clone().requires_grad_(), t.clone().requires_grad_()
    loss = f(s, t, y, T)
    loss.backward()
    assert loss.shape == () and loss.isfinite() and s.grad.isfinite().all() and t.grad is None
    s, t, loss = s.detach(), t.detach(), loss.detach()
    size = max(1., s.abs().max().item(), t.abs().max().item())*T
    def same(other): return close(other, loss, 1e-9*size)
    assert same(f(s + 7., t - 3., y, T))
    K, back = s.shape[1], torch.arange(len(s)).flip(0)
    order = torch.arange(K).roll(1)
    assert same(f(s[:, order], t[:, order], order.argsort()[y], T)) and same(f(s[back], t[back], y[back], T))
    return loss

@given(pairs(), temperatures, st.sampled_from([*ONE]))
def test_losses_of_images(pair, T, name):
    s, t, y, _ = pair
    loss = check_loss(ONE[name], s, t, y, T)
    if name == 'kd':
        ref = T**2*F.kl_div((s/T).log_softmax(1), (t/T).log_softmax(1), log_target=True, reduction='batchmean')
        assert close(loss, ref, 1e-7) and loss >= -1e-9
    if name in ('kd', 'dkd'): assert close(ONE[name](t, t, y, T), 0)

@given(pairs(local=True), temperatures, st.sampled_from([*ALL]))
def test_losses_of_cells(pair, T, name):
    s, t, y, _ = pair
    loss = check_loss(ALL[name], s, t, y, T)
    if name == 'sd_kd': assert loss >= -1e-9
    if name != 'sd_nkd': assert close(ALL[name](t, t, y, T), 0)

@given(pairs(), temperatures, st.integers(1, 5))
def test_equal_cells_are_one_image(pair, T, P):
    s, t, y, _ = pair
    def cells(z): return z[..., None].expand(-1, -1, P)
    assert close(sdd_kd_loss(cells(s), cells(t), y, T), kd_loss(s, t, T))
    assert close(sdd_dkd_loss(cells(s), cells(t), y, T=T), dkd_loss(s, t, y, T=T))
    assert close(sdd_nkd_loss(cells(s), cells(t), y, gamma=1.5, T=T), nkd_loss(s, t, y, T=T))

@given(pairs(), temperatures, st.sampled_from([*ONE]))
def test_classes_that_a_teacher_does_not_know(pair, T, name):
    s, t, y, _ = pair
    assume(s.shape[1] > 2 and max(s.abs().max(), t.abs().max()) < 100)
    t = t.where(torch.arange(t.shape[1]) != (y[:, None]+1) % t.shape[1], -math.inf)
    s = s.requires_grad_()
    loss = ONE[name](s, t, y, T)
    assert loss.isfinite() and torch.autograd.grad(loss, s)[0].isfinite().all()

@given(pairs(local=True), st.sampled_from([.5, 2., 8.]), st.sampled_from([1., 2.]))
def test_the_structural_loss(pair, T, gamma):
    s, t, _, scales = pair
    def f(s, t, y=None, _=None): return icd_loss(s, t, scales, gamma, T=T)
    s = s.requires_grad_()
    loss = f(s, t)
    grad, = torch.autograd.grad(loss, s)
    s, loss = s.detach(), loss.detach()
    assert loss.isfinite() and loss >= -1e-9 and grad.isfinite().all() and close(f(t, t), 0)
    assert close(f(.5*s, .1*t), loss, 1e-8) and close(f(s.flip(0), t.flip(0)), loss) and close(f(s.flip(1), t.flip(1)), loss)
    parts = zip(structures(s.mT, scales, T), structures(t.mT, scales, T), scales)
    by_hand = sum((1+math.log2(m))*(q.exp()*(q-p)).sum()/len(s) for p, q, m in parts)/sum(1+math.log2(m) for m in scales)
    assert close(loss, gamma*by_hand, 1e-8)

@given(pairs(local=True), st.sampled_from([*ALL]), st.sampled_from([torch.bfloat16, torch.float16]))
def test_half_precision_costs_the_rounding_of_the_scores(pair, name, dtype):
    s, t, y, _ = pair
    assume(max(s.abs().max(), t.abs().max()) < 1e3)
    s, t = s.to(dtype), t.to(dtype)
    assert close(ALL[name](s, t, y, 4.), ALL[name](s.double(), t.double(), y, 4.), 1e-3*max(1, s.abs().max().item()))

# Hints
@st.composite
def layers(draw): # features of two layers, and a seed
    N = draw(st.integers(12, 20))
    return *(randn(N, draw(st.integers(1, 4)), seed=draw(numbers)+i)*draw(sizes) for i in range(2)), draw(numbers)

METRICS = dict(linear=linear_cka, rbf=rbf_cka, r2=r2_cca)

@pytest.mark.filterwarnings('ignore')
@settings(max_examples=30)
@given(layers(), st.sampled_from([*METRICS]))
def test_similarities(pair, name):
    X, Y, seed = pair
    f = METRICS[name]
    S = f(X, Y)
    assert 0 <= S <= 1 and close(S, f(Y, X), 1e-7) and (close(f(X, X), 1, 1e-6) or X.shape[1] > Y.shape[1])
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(seed))
    Q = torch.linalg.qr(randn(Y.shape[1], Y.shape[1], seed=seed))[0]
    assert close(f(X[order], Y[order]), S, 1e-6) and close(f(X, 3*Y@Q + 1*Y.abs().max()), S, 1e-5)
    if name == 'r2': assert close(f(X, Y@(Q + 2*torch.eye(len(Q), dtype=Q.dtype))), S, 1e-4)

@given(st.integers(2, 9), numbers, st.data())
def test_clusters(L, seed, data):
    D = randn(L, L, seed=seed).abs()
    D = (D + D.T).fill_diagonal_(0)
    k = data.draw(st.integers(1, L))
    for cluster in (cluster_layers, k_medoids):
        labels, centres = cluster(D, k)
        assert labels.shape == (L,) and centres.shape == (k,) and [*centres] == sorted({*centres})
        assert sorted({*labels.tolist()}) == [*range(k)] and labels[centres].tolist() == [*range(k)]
        again = cluster(3*D, k)
        assert (again.labels == labels).all() and (again.centres == centres).all()

# Readers
@given(scales_of)
def test_scales_in_every_spelling(scales):
    spelt = [str(scales), str([*scales]), ', '.join(map(str, scales)), [*scales], np.array(scales), torch.tensor(scales), [float(m) for m in scales], [str(m) for m in scales]]
    for o in spelt: assert parse_scales(o) == scales

@given(st.lists(st.integers(0, 2**53), min_size=1, max_size=4, unique=True))
def test_seeds_in_every_spelling(seeds):
    for o in (seeds, tuple(seeds), str(seeds)): assert seed_list(o) == seeds

@given(st.integers(1, 10**9))
def test_whole_numbers_in_every_spelling(n):
    for o in (n, float(n), str(n), f' {n} ', f'{n}.0', np.int64(n), np.float64(n)): assert whole_number()(o) == n

@settings(max_examples=200)
@given(st.sampled_from(sorted(PARAMETERS | RUN_PARAMETERS)), anything)
def test_any_parameter_is_read_or_answered(name, value):
    try: check_parameter(name, value, PARAMETERS | RUN_PARAMETERS)
    except ValueError as e: assert str(e).startswith(f'parameter {name} = ')

@settings(max_examples=200)
@given(st.sampled_from([*Run.__dataclass_fields__]), anything)
def test_any_field_of_a_run_is_read_or_answered(name, value):
    try: Run(**{name: value})
    except ValueError as e: assert str(e).startswith(f'Run({name}=')

@settings(max_examples=100)
@given(st.text(max_size=12))
def test_any_name_of_data_is_found_or_answered(name):
    assume(name not in ('minibirds', 'cifar100', 'cub200'))
    with pytest.raises(ValueError): load_data(name, n_train=20, n_test=20)

@settings(max_examples=150)
@given(st.lists(st.integers(0, 4), min_size=0, max_size=5).map(tuple), st.sampled_from(['u1', 'i1', 'i8', 'u2', 'f4', 'f8', '?', 'S2', 'U2', 'O', 'c8', 'M8[s]']), st.integers(-2, 9))
def test_any_array_is_taken_or_answered(shape, dtype, fill):
    x = np.full(shape, fill, 'i8').astype(dtype)
    for read in (as_images, as_labels):
        try: got = read(x, 'here')
        except ValueError as e: assert str(e).startswith('here: ')
        else:
            if read is as_images: assert got.dtype == torch.uint8 and got.ndim == 4 and got.shape[3] == 3 and len(got) == len(x)
            elif len(got):
                try: assert count_classes(got, 'here') <= len(got)
                except ValueError as e: assert str(e).startswith('here: ')
