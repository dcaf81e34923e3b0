"The path of a GPU on a machine without one: PyTorch's own allocator, streams, autograd and graph capture over a runtime that only keeps books"
import glob, json, os, shutil, subprocess, sys, sysconfig
import pytest, torch
from conftest import ROOT

HERE = ROOT/'tests'/'pretended_cuda'

def headers():
    "The folder of the CUDA runtime's header, which comes with a CUDA build of PyTorch"
    found = sorted(glob.glob(sysconfig.get_path('purelib') + '/nvidia/*/include/cuda_runtime_api.h'))
    return os.path.dirname(found[0]) if found else None

MISSING = [what for what, there in {'gcc': shutil.which('gcc'), 'a CUDA build of torch': torch.version.cuda and headers(), 'Linux': sys.platform == 'linux'}.items() if not there]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"a pretended GPU needs {', '.join(MISSING)}")

@pytest.fixture(scope='module')
def said(tmp_path_factory, homes):
    "What `check.py` prints: one process, because loading PyTorch takes the longest"
    d = tmp_path_factory.mktemp('pretended')
    for source, library in (('runtime.c', 'runtime.so'), ('driver.c', 'libcuda.so.1')):
        subprocess.run(['gcc', '-shared', '-fPIC', '-O1', '-w', '-fvisibility=hidden' if source == 'runtime.c' else '-O1', f'-I{HERE}', f'-I{headers()}', HERE/source, '-o', d/library], check=True)
    env = dict(homes, LD_PRELOAD=str(d/'runtime.so'), LD_LIBRARY_PATH=str(d), PRETENDED_RUNTIME=str(d/'runtime.so'), PYTHONPATH=f'{ROOT}{os.pathsep}{HERE}',
               OMP_NUM_THREADS='1', IN_TEST='1', CUDA_VISIBLE_DEVICES='0,1')
    done = subprocess.run([sys.executable, HERE/'check.py'], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = {}
    for line in done.stdout.splitlines():
        if line.startswith('{'): found |= json.loads(line)
    return found

TRAININGS = 'all', 'one', 'several', 'labels_alone', 'no_teacher', 'cached', 'cached_on_host'

@pytest.mark.parametrize('name', TRAININGS)
def test_a_training_by_replays_is_the_one_operation_by_operation(said, name):
    "Every method, two epochs, on the first device and on the second, resident and mapped images, live and looked-up teachers: the same bits at the end"
    o = said[name]
    assert o['differ'] == o['stayed'] == o['errors'] == []
    of_each = [4] if name == 'all' else [4, 2] # whole batches, and the short one; all students at once
    first = name in ('all', 'several') # those with a training before theirs are recorded in it, too
    assert o['recorded'] == of_each*(1 + first)

@pytest.mark.parametrize('name', TRAININGS)
def test_no_step_waits_and_nothing_is_warned_of(said, name):
    o = said[name]
    assert (o['waits'], o['waits_plain']) == ({}, {})
    assert (o['warnings'], o['plain_warnings']) == ([], [])

def test_students_wait_for_the_teacher_only_before_the_loss(said):
    "Its pass begins with theirs, on a stream of its own; a student that did not wait would learn from the scores of the batch before"
    assert said['streams'] == dict(students=2, teacher=1, recordings=2) # one observed step, and the recording

def test_evaluation_reads_once(said):
    "However many batches there are: their order is sent before the first, and the counts are read after the last"
    assert said['evaluation']['same']
    assert said['evaluation']['waits'] == {'aten._to_copy.default from cpu to cuda:1': 2, 'tolist': 1}

def test_networks_come_back_to_where_they_lay(said):
    "And what lies on a card can be plotted, with an image of the host"
    assert said['looks'] == ['cuda:1', 'cpu', 'cpu']

def test_a_network_that_moved_between_two_epochs_is_recorded_again(said):
    o = said['moved']
    assert o['differ'] == o['stayed'] == o['errors'] == [] and o['recorded'] == [4, 4]

def test_the_report_on_costs_trains_its_students(said):
    "Each alone, one of labels alone too, and with a recording beside one without"
    o = said['costs']
    assert all(f'\n| {name} | ' in o['text'] for name in ('student', 'iCD (SD-KD)', 'AT', 'ResNet14 → ResNet8 | plain', 'ResNet14 → ResNet8 | graph')), o['text']
    assert o['warnings'] == []

def test_hints_are_those_of_the_host(said):
    here, there = said['hints']
    assert here == there and len(here) == 3

@pytest.mark.parametrize('name, error', dict(reads='it waits for the GPU', mixes='same device', masks='it waits for the GPU', sends='it waits for the GPU (check.py',
                                             draws='draws random numbers on the CPU', empty='kd: the recorded step changes none of its weights').items())
def test_what_has_to_be_caught_is_caught(said, name, error):
    "A number that is read, two devices in one operation, a mask as an index, a constant that is sent, a draw on the CPU, and a recording that holds nothing"
    assert error in said['controls'][name]
