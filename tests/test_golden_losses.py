"The losses equal the official implementations, loss and gradient, to 1e-9 relative in float64 (numbers only, made on made-up inputs)"
from pathlib import Path

import numpy as np
import pytest
import torch

from icd_nb.losses import dkd_loss, icd_loss, kd_loss, nkd_loss, sdd_dkd_loss, sdd_kd_loss, sdd_nkd_loss

GOLDEN = np.load(Path(__file__).parent/'golden'/'losses_public.npz')
SCALES = dict(m1=(1,), m12=(1,2), m14=(1,4), m124=(1,2,4))
LOSSES = {
    'kd':            lambda s, t, y, m: kd_loss(s[...,0], t[...,0], 4.),
    'dkd_a1_b8':     lambda s, t, y, m: dkd_loss(s[...,0], t[...,0], y, 1., 8., 4.),
    'dkd_a1_b2':     lambda s, t, y, m: dkd_loss(s[...,0], t[...,0], y, 1., 2., 4.),
    'nkd_t1_g1.5':   lambda s, t, y, m: nkd_loss(s[...,0], t[...,0], y, 1.5, 1.),
    'sdd_kd':        lambda s, t, y, m: sdd_kd_loss(s, t, y, 4.),
    'sdd_dkd_a1_b2': lambda s, t, y, m: sdd_dkd_loss(s, t, y, 1., 2., 4.),
    'sdd_dkd_a1_b6': lambda s, t, y, m: sdd_dkd_loss(s, t, y, 1., 6., 4.),
    'sdd_nkd_t4_g2': lambda s, t, y, m: sdd_nkd_loss(s, t, y, 2., 4.),
    'icd_g2':        lambda s, t, y, m: icd_loss(s, t, SCALES[m], 2.),
    'icd_g8':        lambda s, t, y, m: icd_loss(s, t, SCALES[m], 8.),
}
CASES = sorted({tuple(k.split('/')[:2]) for k in GOLDEN.files if k.endswith('/loss')})


def close(ours, theirs, tol=1e-9): return np.abs(ours - theirs).max() <= tol*max(np.abs(theirs).max(), 1e-12)


def test_all_are_known(): assert {n for _, n in CASES} == set(LOSSES)


@pytest.mark.parametrize('m,name', CASES)
def test_loss_and_gradient(m, name):
    s, t = (torch.tensor(GOLDEN[f'{m}/inputs/{o}']).double() for o in 'st')
    loss = LOSSES[name](s.requires_grad_(), t, torch.tensor(GOLDEN[f'{m}/inputs/y']), m)
    grad, = torch.autograd.grad(loss, s)
    assert close(loss.detach().numpy(), GOLDEN[f'{m}/{name}/loss'])
    assert close(grad.numpy(), GOLDEN[f'{m}/{name}/grad'])
