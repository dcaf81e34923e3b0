"One training shared by two processes: the numbers of one, whatever the loss; a process that dies ends the other; it goes on with another number"
import multiprocessing, os, signal, socket, time, traceback
from pathlib import Path
import pytest

PAIRS = ('sd_dkd', 'icd_kd', 'dist', 'rkd+sp+pkt', 'crd', 'semckd', 'mgd', 'fitnet', 'reviewkd', 'vid', 'ab', 'ft', 'mlkd') # methods: terms per image, across images, with adapters and draws, with a training before theirs, on two views

METHOD = ['icd_kd'] # where one is enough

def given(): # images whose last batch is shared unevenly, and a teacher
    from icd_nb.data.batches import toy_data
    from icd_nb.features.layers import tiny_cnn
    return toy_data(27, 11, 16), tiny_cnn(6, 8, 8, seed=1)

def students(folder=None, methods=PAIRS, epochs=2, **recipe):
    from icd_nb.features.layers import tiny_cnn
    from icd_nb.losses import objective
    from icd_nb.methods import hyper_defaults
    from icd_nb.trainer import Recipe, Student
    def one(m):
        few = {k: v for k, v in dict(negatives=8, before_epochs=1).items() if k in hyper_defaults(m)}
        return Student(tiny_cnn(4, 6, 8), objective(m, **few), recipe=Recipe(epochs, bs=8, **recipe), name=m, folder=folder and Path(folder)/m)
    return [one(m) for m in methods]

def train(sts, device='cpu', **kw): # in double precision, where nothing but the order of additions differs
    from icd_nb.trainer import Speed, fit_many
    data, teacher = given()
    return fit_many(sts, data, teacher, device=device, speed=Speed('fp64', graph=False), **kw)

def logs(sts): return {st.name: [{k: v for k, v in o.items() if k != 'seconds'} for o in (st.before.history if st.before else []) + st.history] for st in sts}

def numbers(o): # all in an order
    if isinstance(o, (dict, list)): return [n for p in (o.values() if isinstance(o, dict) else o) for n in numbers(p)]
    return [o]

def far(a, b): return max(abs(p-q)/max(1, abs(q)) for p, q in zip(numbers(a), numbers(b), strict=True))

@pytest.fixture(scope='module')
def alone(): return logs(train(students()))

# What a process does: it gets its rank

def trains(rank, *args): return logs(train(students(*args)))

def trains_in_a_group_of_its_own(rank): # a script that has met the others already
    import torch.distributed as dist
    dist.init_process_group('gloo')
    said = trains(rank, None, METHOD)
    assert dist.is_initialized() # what is theirs stays
    dist.destroy_process_group()
    return said

def stops(rank, folder): # rank 1 is out of time, rank 0 is not
    sts = train(students(folder, METHOD), deadline=time.monotonic() if rank else None)
    return [(st.epoch, len(st.rows)) for st in sts]

def differs(rank): train(students(methods=METHOD, lr=.1*(1+rank)))

def starts(rank): # with numbers of its own, of which a checkpoint holds some
    import torch
    from types import SimpleNamespace
    from torch import nn
    from icd_nb.processes import together
    from icd_nb.shares import same_start
    torch.manual_seed(rank)
    model, objective = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), nn.Linear(2, 2)
    model.register_buffer('kept', torch.randn(4))
    model.register_buffer('codes', torch.randn(4), persistent=False)
    model.register_buffer('wide', torch.randn(2, 1).expand(2, 5), persistent=False) # a number has several places
    objective.register_buffer('places', torch.randperm(50), persistent=False)
    with together(16, 8, 2): same_start(SimpleNamespace(model=model, objective=objective))
    return {k: v.tolist() for m in (model, objective) for k, v in (*m.named_parameters(), *m.named_buffers())}

def sees_nan(rank): # in the part of one process alone
    import torch
    from torch.utils.data import TensorDataset
    from icd_nb.data.loaders import LoaderData
    from icd_nb.trainer import Speed, fit_many
    x, y = torch.arange(16.*768).view(16, 3, 16, 16).sin(), torch.arange(16) % 5
    x[3,0,0,0] = float('nan')
    data = LoaderData(TensorDataset(x, y), TensorDataset(x[4:], y[4:]))
    st, = fit_many(students(None, ['ce'], 1), data, device='cpu', speed=Speed('fp64', graph=False))
    return st.error

def dies(rank, folder):
    st, = students(folder, METHOD)
    begin = st.begin
    def mortal(epoch):
        if rank == 1 and epoch == 2: os.kill(os.getpid(), getattr(signal, 'SIGKILL', signal.SIGTERM))
        begin(epoch)
    st.begin = mortal
    train([st])

def _one(job, rank, size, port, args, answers):
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    import torch
    torch.set_num_threads(1)
    try: answers.put((rank, job(rank, *args)))
    except Exception as e: answers.put((rank, e if isinstance(e, (ValueError, ConnectionError)) else traceback.format_exc()))

def crew(job, *args, size=2, answering=None)->list:
    "What each rank answers, None for those that were killed"
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    forks = multiprocessing.get_context('forkserver') # PyTorch is imported once for all
    forks.set_forkserver_preload(['icd_nb.trainer', 'icd_nb.methods'])
    answers = forks.Queue()
    members = [forks.Process(target=_one, args=(job, rank, size, port, args, answers), daemon=True) for rank in range(size)]
    for o in members: o.start()
    said = dict(answers.get(timeout=120) for _ in range(size if answering is None else answering))
    for o in members: o.join(20)
    assert not any(o.is_alive() for o in members)
    return [said.get(rank) for rank in range(size)]

def test_two_processes_compute_what_one_computes(alone):
    a, b = crew(trains)
    assert a == b and far(a, alone) < 1e-9, {m: far(a[m], alone[m]) for m in alone}

def test_all_begin_with_the_same_numbers():
    a, b = crew(starts)
    assert {*a} > {'0.weight', '1.running_mean', 'kept', 'codes', 'wide', 'places'} and a == b

def test_a_script_that_has_met_the_others_already(alone):
    a, b = crew(trains_in_a_group_of_its_own)
    assert a == b and far(a, {m: alone[m] for m in METHOD}) < 1e-9

def test_two_processes_stop_and_one_goes_on(alone, tmp_path):
    assert crew(stops, tmp_path) == [[(0, 1)]]*2
    assert far(logs(train(students(tmp_path, METHOD))), {m: alone[m] for m in METHOD}) < 1e-9

def test_one_stops_and_two_go_on(alone, tmp_path):
    train(students(tmp_path, METHOD), deadline=time.monotonic())
    a, b = crew(trains, tmp_path, METHOD)
    assert a == b and far(a, {m: alone[m] for m in METHOD}) < 1e-9
    assert {o.name for o in (tmp_path/'icd_kd').iterdir()} == {'settings.json', 'metrics.jsonl', 'checkpoint.pt', 'student.safetensors'}

def test_a_process_that_is_killed_ends_the_other(alone, tmp_path):
    began = time.monotonic()
    said, nothing = crew(dies, tmp_path, answering=1)
    assert nothing is None and isinstance(said, ConnectionError) and time.monotonic()-began < 60
    assert 'rank 0 of 2 processes: another one has ended' in str(said)
    assert far(logs(train(students(tmp_path, METHOD))), {m: alone[m] for m in METHOD}) < 1e-9

def test_images_with_nan_are_named_by_all():
    for said in crew(sees_nan): assert 'The cause is the images: 1 of the 8 in this batch hold NaN' in said, said

def test_different_trainings_are_refused():
    for said in crew(differs):
        assert isinstance(said, ValueError) and 'rank 0 and rank 1 would train different things (icd_kd.recipe.lr: 0.1 there, 0.2 here' in str(said), said

def on_cards(rank, methods=('icd_kd', 'rkd')): return logs(train(students(methods=methods), device='cuda'))

@pytest.mark.cuda
def test_two_cards_compute_what_one_computes():
    import torch
    if torch.cuda.device_count() < 2: pytest.skip('there are no two cards here')
    a, b = crew(on_cards)
    assert a == b and far(a, on_cards(0)) < 1e-9
