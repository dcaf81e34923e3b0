"A device `mps` on a machine without one: tensors that lie in host memory, say that they are on it, and refuse what the GPUs of Apple refuse"
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from unittest import mock
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

MPS = torch.device('mps:0')
DOUBLE = "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64. Please use float32 instead."

class Tensor(torch.Tensor):
    "A tensor in host memory that says it is on `mps`"
    def __new__(cls, held):
        if held.dtype in (torch.float64, torch.complex128): raise TypeError(DOUBLE)
        kw = dict(strides=held.stride(), storage_offset=held.storage_offset(), dtype=held.dtype, device='meta') # autograd knows that one everywhere
        new = torch.Tensor._make_wrapper_subclass(cls, held.size(), **kw)
        new.held = held
        return new
    device, is_meta = property(lambda self: MPS), False
    def tolist(self): return self.held.tolist()
    def __repr__(self): return f'mps {self.held}'
    __torch_function__ = torch._C._disabled_torch_function_impl
    @classmethod
    def __torch_dispatch__(cls, op, types, args=(), kwargs=None): return computed(op, args, kwargs or {})

def is_mps(o): return isinstance(o, Tensor)

TAKE_BOTH = {'copy_', '_to_copy', 'index', 'index_put', 'index_put_', '_index_put_impl_', '_unsafe_index'} # kinds of tensors
MISSING = {'_adaptive_avg_pool3d', '_linalg_eigh', '_linalg_svd', 'linalg_eig', 'linalg_lstsq'}

def refuse(op, name, args, kwargs):
    "An error for what the device lacks in one of the versions of PyTorch that are supported, or gets wrong"
    if name in MISSING: raise NotImplementedError(f"The operator '{op}' is not currently implemented for the MPS device")
    if name == '_adaptive_avg_pool2d' and any(max(o) % min(o) for o in zip(args[0].shape[-2:], args[1])):
        raise RuntimeError('Adaptive pool MPS: input sizes must be divisible by output sizes') # before 2.11
    if 'batch_norm' in name and (x := args['backward' in name]).ndim > 2 and not x.is_contiguous():
        raise RuntimeError(f'{name}: the gradients of channels_last are wrong') # pytorch/pytorch#175189
    if kwargs.get('non_blocking') or name == 'copy_' and len(args) > 2 and args[2]:
        raise RuntimeError('non_blocking: what is read may be gone') # pytorch/pytorch#139550
    if (g := kwargs.get('generator')) is not None: raise RuntimeError(f"Expected a 'mps' device type for generator but found '{g.device}'")
    if kwargs.get('dtype') in (torch.float64, torch.complex128): raise TypeError(DOUBLE)

def computed(op, args, kwargs):
    "An operation, computed in host memory"
    name, flat, asked = op.overloadpacket.__name__, tree_flatten((args, kwargs))[0], kwargs.get('device')
    here = any(map(is_mps, flat))
    stays = here if asked is None else torch.device(asked).type in ('mps', 'meta')
    if name == 'copy_': stays = is_mps(args[0])
    if stays: refuse(op, name, args, kwargs)
    if here and name not in TAKE_BOTH and any(isinstance(o, torch.Tensor) and not is_mps(o) and o.ndim for o in flat):
        raise RuntimeError(f'Expected all tensors to be on the same device, but found at least two devices, mps:0 and cpu! ({name})')
    known = {id(o.held): o for o in flat if is_mps(o)}
    args, kwargs = tree_map(lambda o: o.held if is_mps(o) else o, (args, kwargs))
    if asked is not None: kwargs['device'] = torch.device('cpu')
    with _disable_current_modes(): out = op(*args, **kwargs)
    def shown(o): return (known[id(o)] if id(o) in known else Tensor(o)) if isinstance(o, torch.Tensor) and not is_mps(o) else o
    return tree_map(shown, out) if stays else out

class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, op, types, args=(), kwargs=None): return computed(op, args, kwargs or {})

class _Calls(TorchFunctionMode): # what PyTorch would look for in C++
    def __torch_function__(self, f, types, args=(), kwargs=None):
        def numbered(o): return MPS if isinstance(o, (str, torch.device)) and str(o) == 'mps' else o
        args, kwargs = tree_map(numbered, (args, kwargs or {})) if f is torch.Tensor.to else (args, dict(kwargs or {}))
        if f not in (torch.tensor, torch.as_tensor): return f(*args, **kwargs)
        device = kwargs.pop('device', None)
        return f(*args, **kwargs) if device is None else f(*args, **kwargs).to(numbered(device))

class _AtOnce: # in the place of threads, which do not know the device
    def __init__(self, *_): pass
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def submit(self, f, *args):
        done = Future()
        done.set_result(f(*args))
        return done

@contextmanager
def pretended(macos14=False):
    "Inside the block there is such a device"
    with ExitStack() as stack:
        stack.enter_context(mock.patch('icd_nb.data.batches.ThreadPoolExecutor', _AtOnce))
        stack.enter_context(mock.patch('torch.mps.manual_seed'))
        stack.enter_context(mock.patch('torch.backends.mps.is_macos_or_newer', lambda *_: macos14))
        stack.enter_context(_Calls())
        stack.enter_context(_Operations())
        yield
