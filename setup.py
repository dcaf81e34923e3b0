"Packaging: everything is read from settings.ini"
import re, shlex
from configparser import ConfigParser
from pathlib import Path
from setuptools import find_packages, setup

here = Path(__file__).parent
ini = ConfigParser(delimiters=['='])
ini.read(here/'settings.ini', encoding='utf-8')
cfg = ini['DEFAULT']

# The package index has no files beside the README: its links and pictures lead to the repository
readme = (here/'README.md').read_text(encoding='utf-8')
readme = re.sub(r'!\[(.*?)\]\((?!\w+:)', rf"![\1]({cfg['git_url']}/raw/{cfg['branch']}/", readme)
readme = re.sub(r'\]\((?!\w+:|#)', f"]({cfg['git_url']}/blob/{cfg['branch']}/", readme)

# Folders beside the package that come with it: `icd_nb.bundle` looks for them there
bundled = {f'icd_nb._files.{folder}': folder for folder in ('nbs', 'teachers', 'results')}
extras = {k.removesuffix('_requirements'): shlex.split(v) for k, v in cfg.items() if k.endswith('_requirements')}

setup(name=cfg['lib_name'], version=cfg['version'], description=cfg['description'], keywords=cfg['keywords'],
      long_description=readme, long_description_content_type='text/markdown',
      author=cfg['author'], author_email=cfg['author_email'], url=cfg['git_url'], license='Apache-2.0',
      classifiers=['Development Status :: 3 - Alpha', 'Intended Audience :: Science/Research',
                   'Programming Language :: Python :: 3', 'Topic :: Scientific/Engineering :: Artificial Intelligence'],
      packages=find_packages(include=['icd_nb', 'icd_nb.*']) + [*bundled], package_dir=bundled,
      package_data={'icd_nb': ['*.json'], 'icd_nb._files.nbs': ['*.ipynb', 'images/*'],
                    'icd_nb._files.teachers': ['*.safetensors'], 'icd_nb._files.results': ['*.json', 'reliability/*.json']},
      python_requires=f">={cfg['min_python']}",
      install_requires=shlex.split(cfg['requirements']), extras_require=extras,
      entry_points={'console_scripts': shlex.split(cfg['console_scripts']), 'nbdev': ['icd_nb=icd_nb._modidx:d']},
      zip_safe=False)
