"What Weights & Biases has written, read back"
import struct
import pytest
from icd_nb.data.batches import toy_data
from icd_nb.models import create_model
from icd_nb.trainer import Recipe, Speed, Student, fit_many
from icd_nb.watch import WandB, flat_record

def blocks(data):
    "The records of a LevelDB log, which is what an offline run is: pieces in blocks of 32 KiB"
    at, record = 7, b''
    while at + 7 <= len(data):
        if (left := 2**15 - at % 2**15) < 7:
            at += left
            continue
        size, kind = struct.unpack_from('<HB', data, at+4) # behind a checksum
        record, at = record + data[at+7:at+7+size], at+7+size
        if kind in (1, 4): # whole, or the last piece
            yield record
            record = b''

def read_back(path):
    "The name and the logged numbers of an offline run"
    from wandb.proto.wandb_internal_pb2 import Record
    name, rows = '', []
    for data in blocks(path.read_bytes()):
        record = Record.FromString(data)
        if record.WhichOneof('record_type') == 'run': name = record.run.display_name
        if record.WhichOneof('record_type') != 'history': continue
        values = {o.key or '/'.join(o.nested_key): float(o.value_json) for o in record.history.item}
        rows.append({k: v for k, v in values.items() if k[0] != '_'} | dict(step=record.history.step.num))
    return name, rows

def test_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    monkeypatch.setenv('WANDB_SILENT', 'true')
    students = [Student(create_model('resnet8', 5, seed=s), recipe=Recipe(2, bs=50), seed=s, name=f'seed {s}')
                for s in (0, 1)]
    fit_many(students, toy_data(100, 30), device='cpu', speed=Speed.plain(), on_epoch=WandB(folder=tmp_path))
    wandb.teardown() # waits for the process that writes
    found = dict(read_back(path) for path in tmp_path.rglob('*.wandb'))
    assert {*found} == {'seed 0', 'seed 1'}
    for st in students:
        want = [flat_record(epoch) | dict(step=epoch['epoch']) for epoch in st.history]
        assert found[st.name] == [pytest.approx(o) for o in want]
