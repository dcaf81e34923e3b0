"Every notebook runs, as `nbdev_test` runs it"
from pathlib import Path
import pytest
from nbdev.test import test_nb as run_notebook

NBS = sorted((Path(__file__).parent.parent/'nbs').glob('*.ipynb'))

@pytest.mark.parametrize('nb', NBS, ids=lambda p: p.stem)
def test_notebook(nb, monkeypatch):
    monkeypatch.setenv('IN_TEST', '1')
    monkeypatch.chdir(nb.parent)
    ok, _ = run_notebook(nb, skip_flags=['slow', 'cuda'])
    assert ok, f'{nb.name}: see the traceback above'
