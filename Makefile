# Everything happens in .venv, which is made and filled when it is first needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

# What the clinical tests compare with; each test skips without its program.
CLINICAL := dicom3tools dcmtk dcm2niix nifti-bin orthanc orthanc-dicomweb orthanc-webviewer chromium chromium-driver

.PHONY: help install demo test test-slow test-clinical clinical-tools lint format docs notebooks wheel docs-pictures lock sbom clean
.DEFAULT_GOAL := help

help:
	@echo "make demo           simulate a scan, reconstruct it, say where the pictures are"
	@echo "make test           style, types and tests: what must pass before a commit"
	@echo "make test-slow      the tests that take minutes"
	@echo "make test-clinical  install DICOM programs, a PACS and a browser (Debian, root), test with them"
	@echo "make lint           style and types only"
	@echo "make format         put the code in the project's format"
	@echo "make docs           the pages of docs/ and the API as a site, in build/site"
	@echo "make notebooks      run the notebooks of docs/ and store what they print and draw"
	@echo "make wheel          build the wheel, install it in build/wheel, reconstruct a scan with it"
	@echo "make docs-pictures  the pictures of README and docs, from the demo"
	@echo "make lock           write .ci/requirements.lock, the versions that continuous integration takes"
	@echo "make sbom           write sbom.json, the bill of materials (CycloneDX) of .venv"
	@echo "make clean          remove .venv and what the demo wrote"

install: $(INSTALLED)

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "mrunfold needs Python 3.10 or later: make PYTHON=/path/to/python3 …" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ echo "no venv module: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }
	@echo "Installing into $(VENV): PyTorch and the rest, minutes and gigabytes the first time."
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(INSTALLED)
	mkdir -p demo
	rm -f demo/sample.h5
	$(BIN)/mrunfold sample demo/sample.h5
	$(BIN)/mrunfold recon demo/sample.h5 --mask poisson --accel 8 --target combined --out demo/recon --overwrite
	@echo
	@echo "The scan (simulated):  $(CURDIR)/demo/sample.h5"
	@echo "Its reconstruction:    $(CURDIR)/demo/recon"
	@echo "Look first at:         $(CURDIR)/demo/recon/preview.png"

lint: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# A process a core, eight at most: each file of tests runs in one process.
PARALLEL := -n auto --maxprocesses 8 --dist loadfile

test: lint
	$(BIN)/pytest $(PARALLEL)

test-slow: $(INSTALLED)
	$(BIN)/pytest -m slow

clinical-tools: $(INSTALLED)
	apt-get update
	apt-get install -y --no-install-recommends $(CLINICAL)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev,clinical,study]' bids-validator-deno

test-clinical: clinical-tools
	$(BIN)/pytest -m clinical -rs

format: $(INSTALLED)
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(INSTALLED)
	$(BIN)/python -m sphinx -E -q -W --keep-going -c docs/site docs build/site
	@echo "The site:  $(CURDIR)/build/site/index.html"

notebooks: $(INSTALLED)
	$(BIN)/python docs/site/notebooks.py docs/notebooks/*.ipynb

# TORCH: what pip is given for PyTorch, such as a version whose build for the CPU pip finds.
TORCH ?= torch
wheel: $(INSTALLED)
	rm -rf build/wheel dist
	$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	$(BIN)/mrunfold sample build/wheel/sample.h5
	cd build/wheel && bin/mrunfold recon sample.h5 --mask poisson --accel 8 --target combined --out recon
	@du -sh dist/*.whl build/wheel

docs-pictures: demo
	mkdir -p docs/pictures
	cp demo/recon/preview.png docs/pictures/demo.png

lock: $(INSTALLED)
	$(BIN)/python .ci/lock.py > .ci/requirements.lock.part
	mv .ci/requirements.lock.part .ci/requirements.lock

sbom: $(INSTALLED)
	$(BIN)/python -m pip install --disable-pip-version-check -q -c .ci/requirements.lock cyclonedx-bom
	$(BIN)/python -m cyclonedx_py environment --pyproject pyproject.toml --output-reproducible -o sbom.json $(BIN)/python

clean:
	rm -rf $(VENV) demo
