"The ledger and the table notebooks: their arithmetic, what is trained and what is not, and the published figures"
import hashlib, io, itertools, json, re, subprocess
from dataclasses import replace
import pandas as pd
import pytest
from conftest import BIN, ROOT
from icd_nb import checkpoint, files, trainer
from icd_nb.core import NUMBERS_VERSION
from icd_nb.data import DATASETS, load_data
from icd_nb.methods import methods_of
from icd_nb.models import create_model, load_weights
from icd_nb.results import fill as fill_room, lab as lab_room
from icd_nb.results.ablations import ablation_rows, ablation_table, ablations
from icd_nb.results.fill import fill, has_result, plan
from icd_nb.results.lab import Lab
from icd_nb.results.ledger import Ledger, file_name, stale, to_frame
from icd_nb.results.made_up import made_up_result, made_up_results
from icd_nb.results.overview import comparisons, comparisons_in_words, overview
from icd_nb.results.published import (
    is_full_recipe, paper_name, published_figures, published_run, recipe_title,
    same_pair)
from icd_nb.results.report import result_table, summary_rows
from icd_nb.results.requests import stale_note
from icd_nb.results.run import run_of
from icd_nb.results.tables import pair_methods, pair_table, split_contexts, table_row
from icd_nb.weights import model_fingerprint, save_weights

KD = published_run('cifar100', 'resnet32x4', 'ShuffleV1')

def three(method, values, **settings): return made_up_results(KD, {method: values}, **settings)

EMPTY = to_frame([])

# the arithmetic

def test_mean_spread_and_paired_interval():
    row = table_row(same_pair(KD, 'sd_kd'), to_frame(three('sd_kd', (71., 74., 77.)) + three('kd', (70., 72., 74.))), KD)
    assert (row['top1_last'], row['top1_last_std']) == (74., 3.) and row['n'] == row['pairs'] == 3
    assert row['difference'] == 2. and abs(row['difference_95'] - 4.302653/3**.5) < 1e-5 # differences 1, 2, 3; t with two degrees of freedom
    assert abs(row['gap'] - (74.5 - 76.30)) < 1e-9 # the published figure is of the best epoch, and so is ours here
    close = to_frame(three('sd_kd', (70., 70.1, 70.2)))
    assert row['differs'] is False and table_row(same_pair(KD, 'sd_kd'), close)['differs'] is True

def test_pairs_are_of_the_same_seed():
    "A base without the seed does not count"
    runs = three('sd_kd', (71., 74., 77.)) + [made_up_result(same_pair(KD, 'kd', s), v) for s, v in ((1, 72.), (2, 75.), (7, 0.))]
    row = table_row(same_pair(KD, 'sd_kd'), to_frame(runs), KD)
    assert (row['pairs'], row['difference']) == (2, 2.)

def test_what_was_not_run_says_so():
    text = pair_table(KD, to_frame(three('kd', (74., 75.))))
    assert text.count("| – | not run | not run |") == len(methods_of('logits')) + len(methods_of('features')) - 1
    assert 'Teacher ResNet32x4: weights t0, accuracy unknown, published 79.42' in text and 'Teacher ResNet32x4: not run, published 79.42' in pair_table(KD, EMPTY)
    assert overview([KD], EMPTY).count('not run') == len(methods_of('logits'))
    assert comparisons_in_words([KD], to_frame(three('icd_kd', (1., 2.)))) == 'No comparison has two seeds yet: nothing can be said.'

def test_the_words_say_where_icd_is_not_ahead():
    made = dict(sd_kd=(70., 71., 72.), icd_kd=(69., 70.1, 70.9), sd_dkd=(70., 71., 72.), icd_dkd=(70.5, 70.5, 72.))
    runs = to_frame(made_up_results(KD, made))
    assert [*comparisons([KD], runs).outcome] == ['behind', 'not told apart']
    assert 'ahead in 0, behind in 1, not told apart in 1' in comparisons_in_words([KD], runs)

# settings are never mixed

@pytest.mark.parametrize('other', [dict(data='d1'), dict(precision='bf16'), dict(teacher_weights='t1'), dict(code=1)])
def test_contexts_have_tables_of_their_own(other):
    runs = to_frame(three('kd', (74., 75.)) + three('kd', (10., 20.), **other))
    assert [len(o) for o in split_contexts(runs).values()] == [2, 2]
    text = pair_table(KD, runs, ['kd'])
    assert '74.50 ± 0.71' in text and '15.00 ± 7.07' in text

@pytest.mark.parametrize('other', [dict(epochs=5), dict(scales=(1,4)), dict(gamma=8.), dict(lr=.1), dict(bs=128), dict(n_train=100), dict(hyper=(('beta', 4.),)), dict(clip=5.)])
def test_another_setting_is_another_run(other):
    run = same_pair(KD, 'icd_kd')
    odd = [made_up_result(replace(run, seed=s, **other), 10.) for s in (0, 1)]
    row = table_row(run, to_frame([made_up_result(replace(run, seed=s), 76.) for s in (0, 1)] + odd))
    assert (row['n'], row['top1_last'], row['top1_last_std']) == (2, 76., 0.)

def test_short_runs_and_parts_bear_it_in_their_names():
    full = dict(made_up_result(KD, 1.)['settings'])
    assert recipe_title(full) == 'CIFAR-100' and is_full_recipe(full)
    for other in (dict(epochs=5), dict(dataset='cifar100-1000+500-seed0'), dict(dataset='cub50'), dict(bs=128), dict(lr=1.)):
        assert recipe_title({**full, **other}) != 'CIFAR-100' and not is_full_recipe({**full, **other})
        assert '74.07' not in pair_table(replace(KD, **other), EMPTY, ['kd'])

# the ledger

def test_merge(tmp_path):
    here, there = Ledger(tmp_path/'a'), Ledger(tmp_path/'b')
    for o in three('kd', (70., 71.)): here.add(o)
    for o in three('kd', (70., 99., 72.)): there.add(o)
    said = here.merge(there)
    assert [len(said[k]) for k in ('added', 'same', 'differs')] == [1, 1, 1] and '-s1-' in said['differs'][0]
    assert [o['top1_last'] for o in here] == [70., 71., 72.] # what was here stays
    assert here.merge(there)['added'] == [] and len(here) == 3

def test_files_are_readable_and_small(tmp_path):
    long = made_up_result(KD, 70.) | dict(history=[dict(epoch=e, lr=.05, seconds=1/3, terms=dict(ce=1/e, kd=2/e, total=3/e), train_top1=1/7, test_top1=1/3, test_top5=2/3, test_loss=1/e) for e in range(1, 241)])
    book = Ledger(tmp_path)
    book.add(long)
    file, = tmp_path.iterdir()
    assert file.name.startswith('cifar100-e240-resnet32x4-ShuffleV1-kd-s0-') and file.stat().st_size < 20_000
    back, = book
    assert back['history'][9]['terms'] == dict(ce=.1, kd=.2, total=.3) and back['label'] == 'CIFAR-100' and back['settings'] == long['settings']

def test_a_file_changed_by_hand_is_found(tmp_path):
    book = Ledger(tmp_path)
    book.add(made_up_result(KD, 70.))
    file, = tmp_path.iterdir()
    changed = file.read_text().replace('"epochs": 240', '"epochs": 24')
    file.write_text(changed)
    with pytest.raises(ValueError, match='what stands there is not what was written'): list(book)
    file.write_text(without_sum(changed))
    with pytest.raises(ValueError, match='its settings are not those of its name'): list(book)

def without_sum(text):
    "A result as it was written before results had a checksum"
    return json.dumps({k: v for k, v in json.loads(text).items() if k != 'sum'}, indent=1)

def test_files_of_schema_1_are_read(tmp_path):
    "As an earlier version wrote them: no key `schema`, terms that are called `loss.…`; name and settings stay"
    book = Ledger(tmp_path)
    book.add(made_up_result(KD, 70.))
    file, = tmp_path.iterdir()
    text = without_sum(file.read_text())
    assert '"schema": 2' in text and '"weighted.ce"' in text
    file.write_text(text.replace(' "schema": 2,\n', '').replace('weighted.', 'loss.'))
    old, = book
    assert (old['schema'], old['history'][0]['terms'], old['top1_last']) == (2, dict(ce=2., total=2.5), 70.)
    assert file_name(old['settings']) == file.name and book.add(old) == 'same'
    file.write_text(text.replace('"schema": 2', '"schema": 9'))
    with pytest.raises(ValueError, match='is of schema 9, and this version reads up to 2: update icd_nb'): list(book)

# the exports

ODD = 'my|birds_*x*'

@pytest.mark.parametrize('format', ['markdown', 'latex', 'csv'])
def test_every_table_in_every_format(format):
    "The same mean in each of them, and a table that LaTeX and pandas can read"
    runs = three('kd', (74., 75.5))
    frame = to_frame(runs)
    made = dict(pair=pair_table(KD, frame, ['ce', 'kd'], format), overview=overview([KD], frame, ['ce', 'kd'], format),
                ablation=ablation_table('β of DKD', ablation_rows('β of DKD', ablations(KD)['β of DKD'], frame), format),
                report=result_table(runs, 'kd', format))
    for name, text in made.items():
        if name != 'ablation': assert '74.75' in text, name
        if format == 'latex': assert text.count(r'\begin{tabular}') == text.count(r'\bottomrule') == 1 and '±' not in text
        if format == 'csv': assert len(pd.read_csv(io.StringIO(text))) >= 1

def test_names_are_escaped(tmp_path):
    "A folder of images can be called anything"
    runs = [made_up_result(replace(KD, dataset=ODD, seed=s), 70.) for s in (0, 1)]
    text = pair_table(replace(KD, dataset=ODD), to_frame(runs), ['kd'])
    assert text.startswith(r'### my\|birds\_\*x\*') and '| kd | SDD | 2 | 70.00 ± 0.00 |' in text
    assert r'my|birds\_*x*' in pair_table(replace(KD, dataset=ODD), to_frame(runs), ['kd'], 'latex')

def test_a_short_run_stands_beside_no_published_figure():
    full, short = (made_up_results(replace(KD, epochs=e), dict(kd=[74., 74.])) for e in (240, 5))
    assert [o['published'] for o in summary_rows(full) + summary_rows(short)] == [74.07, None]
    assert '74.07' in result_table(full) and 'published' not in result_table(short)

# the published figures

def columns(text): return [[c.strip() for c in line.strip('| ').split(' | ')] for line in text.splitlines() if line.startswith('| ') and not line.startswith(('| ---', '| method'))]

@pytest.mark.parametrize('dataset, teacher, student', [(d, *p) for d in ('cifar100', 'cub200') for p in DATASETS[d].pairs])
def test_published_figures_are_those_of_the_file(dataset, teacher, student):
    where = dict(dataset=paper_name(dataset), teacher=paper_name(teacher), student=paper_name(student))
    known = [o for o in published_figures() if all(o.get(k) == v for k, v in where.items())]
    pair = published_run(dataset, teacher, student)
    rows = columns(pair_table(pair, EMPTY))
    assert [r[0] for r in rows] == pair_methods(pair, EMPTY) and pair_methods(pair, EMPTY)[:25] == methods_of('logits') + methods_of('features')
    for method, *_, figure, gap, differs, source in rows:
        mine = {f"{o['top1']:.2f}" for o in known if o['method'] == paper_name(method) and 'top1' in o}
        if method == 'ce': mine = {f"{o['student_top1']:.2f}" for o in published_figures() if o['dataset'] == where['dataset'] and o.get('student') == where['student'] and 'student_top1' in o}
        assert (figure.split(' ')[0] in mine) if mine and figure != '–' else figure == '–', (method, figure, mine)
        if dataset == 'cub200' and method in methods_of('logits'): assert figure != '–'
        assert gap == differs == '–'

def test_figures_that_everybody_knows():
    "From the papers' tables, typed here by hand"
    for pair, row in ((published_run('cifar100', 'resnet56', 'resnet20'),
                       dict(ce=69.06, kd=70.66, fitnet=69.21, at=70.55, sp=69.67, vid=70.38, rkd=69.61, pkt=70.34, crd=71.16, dkd=71.97, nst=69.60, kd_ls=71.43, dkd_ls=72.32, ctkd=71.19, ctkd_ls=71.34, cc=69.63, ab=69.47, ft=69.84, fsp=69.95)),
                      (published_run('cifar100', 'resnet32x4', 'ShuffleV1'), dict(ce=70.50, kd=74.07, dkd=76.45, sd_kd=76.30, sd_dkd=77.30, icd_kd=76.56, icd_dkd=76.76, crd=75.11, reviewkd=77.45)),
                      (published_run('cub200', 'resnet32x4', 'MobileNetV2'), dict(ce=40.23, kd=56.09, sd_kd=60.51, icd_kd=61.17, sd_nkd=62.69))):
        shown = {r[0]: r[6].split(' ')[0] for r in columns(pair_table(pair, EMPTY))}
        assert {k: shown[k] for k in row} == {k: f'{v:.2f}' for k, v in row.items()}

@pytest.mark.parametrize('dataset, teacher, student, sdd, icd', [
    ('cifar100', 'resnet32x4', 'ShuffleV1', 8, 2), ('cifar100', 'vgg13', 'MobileNetV2', 6, 6), ('cifar100', 'wrn_40_2', 'MobileNetV2', 6, 6),
    ('cifar100', 'vgg13', 'vgg8', 6, 2), ('cifar100', 'wrn_40_2', 'wrn_16_2', 6, 2), ('cifar100', 'resnet56', 'resnet20', 2, 2),
    ('cub200', 'vgg13', 'vgg8', 6, 6), ('cub200', 'resnet32x4', 'MobileNetV2', 8, 2), ('minibirds', 'resnet14', 'resnet8', 2, 2)])
def test_beta_of_dkd_is_that_of_the_method_s_own_runs(dataset, teacher, student, sdd, icd):
    pair = published_run(dataset, teacher, student)
    for method in ('dkd', 'sd_dkd', 'sd_nkd', 'icd_dkd', 'icd_nkd'):
        want = icd if method.startswith('icd') else sdd
        run = same_pair(pair, method)
        assert run.settings['hyper'] == dict(dkd_beta=want) and f'β {want} |' in pair_table(pair, EMPTY, [method])
        assert f'beta={want}' in repr(run.objective) or f'gamma={want}' in repr(run.objective)

def test_only_sdd_and_icd_clip():
    clip = {m: same_pair(KD, m).used['clip'] for m in methods_of('logits', 'features')}
    assert {m for m, o in clip.items() if o == 40} == {*methods_of('logits')} - {'ce'} and set(clip.values()) == {0, 40}

def test_the_ledger_of_the_project():
    results = [*Ledger(ROOT/'results')]
    assert results and all(o['label'] == recipe_title(o['settings']) for o in results)
    data, ours = load_data('minibirds'), {}
    for path in (ROOT/'teachers').glob('minibirds-*.safetensors'):
        name = path.stem.removeprefix('minibirds-')
        ours[name] = model_fingerprint(load_weights(create_model(name, data.num_classes), path))
    for o in results:
        told = o['settings']
        if told['dataset'] != 'minibirds': continue
        name = told['student'] if o['method'] == 'teacher' else told.get('teacher')
        today = told.get('code', 1) == NUMBERS_VERSION and told['data'] == data.fingerprint and (name is None or told['teacher_weights'] == ours[name])
        assert (stale(o) == '') == today, o['label']

# what is stale

def test_a_stale_result_stands_in_no_table(homes, tmp_path):
    "Old code, other images and another teacher than the shipped one: left out, counted, and the command is named"
    bird = same_pair(published_run('minibirds', *DATASETS['minibirds'].pairs[0]), 'kd')
    ours = model_fingerprint(load_weights(create_model('resnet14', 20), ROOT/'teachers'/'minibirds-resnet14.safetensors'))
    seed = lambda s: replace(bird, seed=s)
    made = [made_up_result(seed(0), 51.23, teacher_weights=ours), made_up_result(seed(1), 11., teacher_weights=ours, code=1), made_up_result(seed(2), 12., teacher_weights=ours, data='56cd2045'), made_up_result(seed(3), 13.)]
    for o in made: Ledger(tmp_path/'results').add(o)
    assert [bool(stale(o)) for o in made] == [False, True, True, True]
    note = stale_note(to_frame(made), '91_cifar100', ('minibirds',))
    assert note.startswith('**3 stale results are left out**: 1 made by version 1') and 'made on images 56cd2045' in note and f'the one in teachers/ is {ours}' in note
    done = papermill('91_cifar100', homes, tmp_path/'out.ipynb', ledger=tmp_path/'results')
    assert done.returncode == 0, done.stderr[-3000:]
    text = shown(tmp_path/'out.ipynb')
    assert note in text and '| kd | SDD | 1 | 51.23 |' in text and not any(f'{o}.00' in text for o in (11, 12, 13))

def test_a_run_of_other_code_is_not_taken_over(lab, monkeypatch):
    run = small_runs(methods=('ce',), seeds=1)[0]
    before = lab.run_folder(run)
    monkeypatch.setattr('icd_nb.results.lab.NUMBERS_VERSION', NUMBERS_VERSION+1)
    assert lab.run_folder(run) != before

# what is trained

@pytest.fixture
def lab(tmp_path):
    return Lab(load_data('minibirds').subset(160, 80, seed=0), tmp_path/'runs', 'cpu', trainer.Speed.plain(), teachers=tmp_path/'teachers')

def small_runs(epochs=1, methods=('ce', 'kd', 'icd_kd'), seeds=2):
    pair = published_run('minibirds', 'resnet8', 'resnet8', epochs=epochs, n_train=160, n_test=80)
    return [same_pair(pair, m, s) for s in range(seeds) for m in methods]

def trained(monkeypatch):
    "The names of the students that are trained from here on"
    names, real = [], Lab.run
    def run(self, todo, deadline=None):
        names.extend(f'{o.method} s{o.seed}' for g in self.todo(todo) for o in g)
        return real(self, todo, deadline)
    monkeypatch.setattr(Lab, 'run', run)
    return names

def test_a_deleted_run_is_trained_again_and_nothing_else(lab, tmp_path, monkeypatch):
    book = Ledger(tmp_path/'results')
    assert fill(book, small_runs(), lab, 10)
    assert len(book) == 7 # and the teacher's accuracy
    names, before = trained(monkeypatch), {o.name: (o.stat().st_mtime_ns, json.loads(o.read_text())) for o in book.path.iterdir()}
    assert fill(book, small_runs(), lab, 10) and names == []
    gone, = book.path.glob('*icd_kd-s1-*')
    gone.unlink()
    assert fill(book, small_runs(), lab, 10) and names == ['icd_kd s1']
    after = {o.name: (o.stat().st_mtime_ns, json.loads(o.read_text())) for o in book.path.iterdir()}
    assert [k for k in before if before[k][0] != after[k][0]] == [gone.name]
    assert before[gone.name][1]['top1_last'] == after[gone.name][1]['top1_last']

class Clock:
    "A clock that moves on by a second whenever it is asked"
    def __init__(self): self.now = itertools.count()
    def monotonic(self): return float(next(self.now))

def test_a_run_stopped_by_its_minutes_goes_on(lab, tmp_path, monkeypatch):
    todo = small_runs(epochs=4, methods=('kd', 'icd_kd'), seeds=1)
    at_once = Ledger(tmp_path/'at once')
    fill(at_once, todo, Lab(lab.data, tmp_path/'other', 'cpu', lab.speed, teachers=tmp_path/'teachers'), 10, teacher_epochs=1)
    book = Ledger(tmp_path/'results')
    with monkeypatch.context() as m:
        m.setattr(trainer, 'time', Clock())
        for module in (fill_room, lab_room, checkpoint, files): m.setattr(module, 'time', trainer.time)
        assert not fill(book, todo, lab, 50/60, teacher_epochs=1)
    lines = [len(o.read_text().splitlines()) for o in lab.folder.glob('*/metrics.jsonl')]
    assert len(lines) == 2 and 1 <= lines[0] == lines[1] < 4, lines
    assert all(o['method'] == 'teacher' for o in book)
    assert fill(book, todo, lab, 10, teacher_epochs=1)
    numbers = lambda book: [(o['method'], o['top1_last'], [h['test_loss'] for h in o['history']]) for o in book if o['method'] != 'teacher']
    assert numbers(book) == numbers(at_once) and len(numbers(book)) == 2

def test_too_little_time_begins_nothing(lab, tmp_path, capsys):
    assert not fill(Ledger(tmp_path/'results'), small_runs(), lab, 1e-9) # 60 ns: over before it begins
    assert 'the time is up' in capsys.readouterr().out and not (tmp_path/'results').exists()

def test_plan_is_cheapest_first_and_knows_the_ledger():
    todo = [same_pair(published_run('cifar100', *p), m, s) for p in DATASETS['cifar100'].pairs for m in ('kd', 'sd_kd') for s in (0, 1)]
    groups = plan(todo, has_result(to_frame(three('kd', (70., 71.)))))
    assert sum(map(len, groups)) == len(todo) - 2
    assert groups[0][0].teacher == 'vgg13' and groups[0][0].student == 'MobileNetV2' and groups[0][0].seed == 0 and groups[1][0].seed == 1
    teachers = [k for k, _ in itertools.groupby(g[0].teacher for g in groups)]
    assert len(teachers) == len(set(teachers)) == 5

# the notebooks

def papermill(nb, homes, out, **params):
    args = [str(a) for k, v in params.items() for a in ('-p', k, v)]
    return subprocess.run([BIN/'papermill', f'nbs/{nb}.ipynb', out, *args], cwd=ROOT, env=homes, capture_output=True, text=True)

def shown(path): return '\n'.join(''.join(o.get('data', {}).get('text/markdown', o.get('text', ''))) for c in json.loads(path.read_text())['cells'] for o in c.get('outputs', []))

@pytest.mark.parametrize('nb', ['91_cifar100', '92_cub200', '93_ablations'])
def test_a_table_notebook_only_reads_and_is_quick(nb, homes, tmp_path):
    "No run is begun, and its tables take not many times what its imports take, on a machine of any speed"
    runs = tmp_path/'runs'
    done = papermill(nb, homes | dict(ICD_NB_RUNS=str(runs)), tmp_path/'out.ipynb', ledger=tmp_path/'empty')
    assert done.returncode == 0 and not [*runs.rglob('settings.json')], done.stderr[-3000:]
    cells = [c for c in json.loads((tmp_path/'out.ipynb').read_text())['cells'] if c['cell_type'] == 'code']
    imports = next(c for c in cells if 'from icd_nb import style' in ''.join(c['source']))
    took = lambda c: c['metadata']['papermill']['duration']
    assert sum(map(took, cells)) - took(imports) < 5*took(imports)
    text = shown(tmp_path/'out.ipynb')
    assert 'not run' in text and f'papermill nbs/{nb}.ipynb out.ipynb -p run true' in text and not (tmp_path/'empty').exists()

def test_a_checkpoint_that_was_asked_for(lab, tmp_path, capsys):
    "Found under the data set's own name, named in the results with its hash and accuracy, remarked on if it knows nothing; missing, it stops everything"
    own = tmp_path/'teachers of mine'
    save_weights(create_model('resnet8', 20, seed=0), own/'minibirds-resnet8.safetensors')
    sha256 = hashlib.sha256((own/'minibirds-resnet8.safetensors').read_bytes()).hexdigest()[:8]
    book = Ledger(tmp_path/'results')
    assert fill(book, small_runs(methods=('kd',), seeds=1), lab, 10, checkpoints=own)
    said = capsys.readouterr().out
    assert f'minibirds-resnet8.safetensors, sha256 {sha256}' in said and 'THE TEACHER KNOWS NEXT TO NOTHING' in said
    student, teacher = sorted(book, key=lambda o: o['method'])
    assert student['teacher']['sha256'] == teacher['sha256'] == sha256 and student['teacher']['top1'] == teacher['top1_last']
    text = pair_table(run_of(student['settings']), to_frame([student, teacher]), ['kd'])
    assert f"{teacher['top1_last']:.2f} (minibirds-resnet8.safetensors, sha256 {sha256})" in text and 'NEXT TO NOTHING' in text
    other = replace(small_runs(methods=('kd',), seeds=1)[0], teacher='resnet14')
    before = len(book)
    with pytest.raises(ValueError, match='has no weights of the teacher resnet14: name the file one of minibirds-160.80-seed0-resnet14.safetensors'):
        fill(book, [*small_runs(methods=('sd_kd',), seeds=1), other], lab, 10, checkpoints=own)
    assert len(book) == before

TRIAL = dict(run='true', minutes=5, dataset='minibirds', pairs='resnet8:resnet8', seeds=2, epochs=1, n_train=160, n_test=80, device='cpu', precision='fp32')

def test_a_table_notebook_trains_its_runs(homes, tmp_path):
    homes = homes | dict(ICD_NB_RUNS=str(tmp_path/'runs'))
    params = TRIAL | dict(methods='sd_kd,icd_kd', scales='auto', ledger=tmp_path/'results')
    done = papermill('91_cifar100', homes, tmp_path/'out.ipynb', **params)
    assert done.returncode == 0, done.stderr[-3000:]
    text, files = shown(tmp_path/'out.ipynb'), sorted((tmp_path/'results').iterdir())
    assert 'Nothing is missing.' in text and 'Of 1 comparison at' in text and 'MiniBirds-160+80-seed0, 1 of ' in text
    assert len(files) == 5 and not [o.name for o in files if str(tmp_path) in o.read_text() or str(ROOT) in o.read_text()]
    assert 'resnet8: scales [1, 2, 4], chosen by detail on 64 images' in text and '-p scales auto' in text
    assert [json.loads(o.read_text()).get('scales_chosen', {}).get('scales') for o in files] == [[1, 2, 4]]*4 + [None] # the teacher's comes last
    files[1].unlink()
    papermill('91_cifar100', homes, tmp_path/'out.ipynb', **params)
    assert sorted((tmp_path/'results').iterdir()) == files and 'seed 1: icd_kd' in shown(tmp_path/'out.ipynb')

def test_the_ablations_fill_theirs(homes, tmp_path):
    homes = homes | dict(ICD_NB_RUNS=str(tmp_path/'runs'))
    done = papermill('93_ablations', homes, tmp_path/'out.ipynb', **TRIAL | dict(ablations='cells of SDD; weights of the scales', ledger=tmp_path/'results'))
    assert done.returncode == 0, done.stderr[-3000:]
    text = shown(tmp_path/'out.ipynb')
    assert 'Nothing is missing.' in text and re.search(r'\| equal \| 2 \| [\d.]+ ± ', text) and re.search(r'\| adaptive \| 2 \| [\d.]+ ± ', text) and re.search(r'\| complementary \| 2 \|.*± .* \| – \|', text)

@pytest.mark.parametrize('wrong, says', [(dict(mintues=3), "Did you mean 'minutes'?"), (dict(pairs='resnet32x4'), 'write pairs like'), (dict(run='maybe'), 'true or false'), (dict(methods='icd_kb'), "Did you mean 'icd_kd'?")])
def test_bad_parameters_stop(wrong, says, homes, tmp_path):
    done = papermill('91_cifar100', homes, tmp_path/'out.ipynb', **wrong)
    assert done.returncode != 0 and says in done.stderr
