"Checkpoints as other tools write them: what fits is read, what was left out is said, what cannot be opened says how to convert it"
import argparse, collections, enum, re, warnings
from pathlib import Path
import numpy as np, pytest, torch
from torch import nn
from icd_nb.models import create_model, load_weights
from icd_nb.weights import model_fingerprint, read_weights

NET, OTHER = create_model('resnet8', 4, seed=1), create_model('resnet14', 4, seed=2)
SD, DEEPER, AGAIN = NET.state_dict(), OTHER.state_dict(), create_model('resnet8', 4, seed=3).state_dict()

def behind(prefix, state=SD): return {prefix+k: v for k, v in state.items()}
def inside(word): return {re.sub(r'^layer(\d)\.', rf'layer\1.{word}.', k): v for k, v in SD.items()}
def averaged(): return torch.optim.swa_utils.AveragedModel(create_model('resnet8', 4, seed=1)).state_dict()

FORMS = dict(
    repdistiller=dict(epoch=240, accuracy=72.5, model=SD, optimizer=dict(state={0: dict(momentum_buffer=torch.ones(3))}, param_groups=[dict(lr=.05)])),
    repdistiller_best=dict(epoch=200, best_acc=np.float64(72.5), model=SD),
    sdd=dict(epoch=1, model=behind('student.'), optimizer=dict(state={}), best_acc=torch.tensor(72.5)),
    mdistiller=dict(model=behind('module.student.') | behind('module.teacher.', DEEPER)),
    mdistiller_teacher=dict(model=behind('teacher.') | behind('student.', DEEPER)),
    lightning={'state_dict': behind('model.'), 'pytorch-lightning_version': '2.4', 'hyper_parameters': dict(lr=.1, path=Path('/x')), 'callbacks': {}},
    lightning_and_loss={'state_dict': behind('model.') | {'criterion.weight': torch.ones(4), 'metric.total': torch.tensor(3)}},
    lightning_teacher={'state_dict': behind('net.backbone.') | behind('ema.module.', DEEPER)},
    ddp=behind('module.'), compiled=behind('_orig_mod.'), both=behind('module._orig_mod.'), other_order=behind('_orig_mod.module.'),
    compiled_blocks=inside('_orig_mod'), fsdp=inside('_fsdp_wrapped_module'), checkpointed=inside('_checkpoint_wrapped_module'), averaged=averaged(),
    timm=dict(arch='resnet8', epoch=3, args=argparse.Namespace(lr=.1), state_dict=SD, state_dict_ema=SD, metric=72.5),
    moco=dict(state_dict=behind('module.encoder_q.') | behind('module.encoder_k.', AGAIN) | {'module.queue': torch.zeros(3, 3)}),
    dino=dict(student=behind('module.backbone.'), teacher=behind('backbone.', AGAIN), epoch=3), best_and_last=dict(best=SD, last=AGAIN), several=[SD, AGAIN],
    arrays={k: v.numpy() for k, v in SD.items()}, arrays_inside=dict(params={k: v.numpy() for k, v in SD.items()}, epoch=3),
    parameters={k: nn.Parameter(v) if v.is_floating_point() else v for k, v in SD.items()}, double={k: v.double() if v.is_floating_point() else v for k, v in SD.items()},
    ema_alone=dict(ema_state_dict=dict(module=SD), step=3), thop=SD | dict(total_ops=torch.zeros(1), total_params=torch.zeros(1)),
    thop_layers=SD | {f'{k[:-7]}.total_ops': torch.zeros(1) for k in SD if k.endswith('.weight')},
    without_first={'model': {k: v for k, v in behind('net.').items()}, 'config': {'net.conv1.weight': 'no tensor'}},
    a_list=[dict(lr=.1), SD], a_pair=(SD, 240), ordered=collections.OrderedDict(net=collections.OrderedDict(SD)), deep={'a': {'b': {'c': {'weights': SD}}}},
    config_first=dict(model=dict(kind='resnet8', classes=4), state_dict=SD), no_counters={k: v for k, v in SD.items() if 'num_batches' not in k}, half={k: v.half() if v.is_floating_point() else v for k, v in SD.items()})

@pytest.mark.parametrize('form', FORMS)
def test_it_is_read(tmp_path, form):
    torch.save(FORMS[form], tmp_path/'c.pth')
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter('always')
        got = load_weights(create_model('resnet8', 4, seed=9), tmp_path/'c.pth')
    if form != 'half': assert model_fingerprint(got) == model_fingerprint(NET)
    told = ' '.join(str(w.message) for w in said)
    more = form.startswith(('mdistiller', 'thop', 'averaged', 'lightning_', 'moco')) # there is something beside the weights
    assert ('would fit too' in told) == (form in ('dino', 'best_and_last', 'several')), told # other weights
    assert ('left out' in told) == more and ('state_dict_ema' in told) == (form == 'timm'), told

def test_what_does_not_fit_names_the_layers(tmp_path):
    for state, named in ((behind('model.', DEEPER), "create_model('resnet14', num_classes=4"), (behind('model.', create_model('resnet8', 7).state_dict()), 'fc.weight [7, 64] in the file, [4, 64] here'),
                         ({f'body.{i}.w': v for i, v in enumerate(SD.values())}, 'conv1.weight'), ({k: v for k, v in behind('model.').items() if 'conv1' not in k}, 'missing: conv1.weight')):
        torch.save(state, tmp_path/'c.pth')
        with pytest.raises(ValueError, match='do not fit this model') as e: load_weights(create_model('resnet8', 4), tmp_path/'c.pth')
        assert named in str(e.value)

def test_nan_is_refused(tmp_path):
    torch.save({**SD, 'fc.bias': SD['fc.bias']*float('nan')}, tmp_path/'c.pth')
    with pytest.raises(ValueError, match='not finite .fc.bias'): load_weights(create_model('resnet8', 4), tmp_path/'c.pth')

class Config: # of somebody's own
    lr = .1
class Kind(enum.Enum): A = 1

@pytest.mark.parametrize('obj', [dict(model=SD, cfg=Config()), dict(model=SD, kind=Kind.A), NET, dict(ema=None, model=nn.Sequential(OTHER.conv1), best=NET)], ids=['config', 'enum', 'network', 'networks'])
def test_what_cannot_be_opened_says_how_to_convert_it(tmp_path, monkeypatch, obj):
    torch.save(obj, tmp_path/'c.pth')
    with pytest.raises(ValueError, match='could run code') as e: read_weights(tmp_path/'c.pth')
    monkeypatch.chdir(tmp_path)
    exec(re.search(r'python -c "(.*)"', str(e.value))[1])
    assert model_fingerprint(load_weights(create_model('resnet8', 4), tmp_path/'weights.pth')) == model_fingerprint(NET)
