# What the recipes have in common: raw text → dataset → training → output → scores. A recipe's Makefile says what is its
# own, includes this file, and adds what only it can do:
#
#   SOURCE TARGET     endings of the two sides' files: train.src and train.tgt for src and tgt. ENDINGS := jsonl where
#                     one file has both sides; such a recipe says what REFERENCE is
#   INPUTS SIDES      flags of `s2s preprocess` that take the raw files, in their order, and what says the sides' languages;
#                     empty where PREPROCESS_FLAGS says it all
#   TRAIN_NAMES VALID_NAMES TEST_NAMES    names that a split's files may have before the ending
#   GENERATOR         script that writes the default data: GENERATOR --out DIR, and SIZES, or SIZES_name for other such
#                     data by that name; SIZES_smoke is for `smoke`
#   DEFAULT_FLAGS     flags of `s2s train` on the default data, as --max-update 800 where it is small
#   DEFAULT           folder of the default data, for a recipe that makes it otherwise, with rules of its own for the
#                     files; their names end in DEFAULT_SUFFIX
#   VOCAB_SIZE … SCORE_FLAGS    the settings below, each with the recipe's default (?=)
#   MODELS            names of models to compare; FLAGS_name are flags of `s2s train` that make the model what it is
#   TEXTS             what the model is given, where that is not the raw files: as many, in the same order
#   BASELINE BASELINES    script that answers without a model, BASELINE --train SOURCE TARGET --source FILE --out DIR, and
#                     the names of its outputs, NAME.txt; BASELINE_FROM, where it is called otherwise; BASELINE_FILES,
#                     where there is no script
#   ANSWERS           where a test line has several right answers, as in {"answers": ["one", "another"]}: the ending of
#                     the JSONL file with them, if there is one, and the field: answers.jsonl answers
#   SCORED REFERENCE  what is scored against what, where it is not the output and the test set's target as they are
#   AGAINST           how `s2s score` is told the references, where that is not --ref REFERENCE
#   EXPECTED          what `check` holds the scores to: bleu 30 ter 60, that is 30 or better and 60 or better
#   SMOKE_SETTINGS    settings that make a run short; SMOKE_GOALS: the targets that `smoke` makes, baseline and check
#                     unless given
#   SHOWN             settings of its own, for `make help`
#
# Each file is made once, and again when a setting that it depends on has changed. An interrupted make goes on where it
# was, training included: repeat the command.

DATA ?=
CONFIG ?= config.toml
ARCH ?=
MODEL ?=
VOCAB_SIZE ?= 8000
PREPROCESS_FLAGS ?=
TRAIN_FLAGS ?=
AVERAGE ?= 0
BEAM ?= 5
GENERATE_FLAGS ?=
SCORE_FLAGS ?=
SWEEP_FLAGS ?= --scheduler asha --max-trials 27
WORK ?= work/$(or $(notdir $(DATA)),default)
ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
S2S ?= $(ROOT)/.venv/bin/s2s
PYTHON ?= $(ROOT)/.venv/bin/python

TRAIN_NAMES ?= train
VALID_NAMES ?= valid
TEST_NAMES ?= test
SOURCE ?= src
TARGET ?= tgt
ENDINGS ?= $(SOURCE) $(TARGET)
GENERATED := work/generated
DEFAULT ?= $(GENERATED)/default
DEFAULT_SUFFIX ?=
SMOKE ?= work/smoke
SMOKE_GOALS ?= baseline check

# --- settings that cannot be

override DATA := $(patsubst %/,%,$(DATA))
ifneq ($(words $(DATA)),$(if $(DATA),1,0))
$(error DATA=$(DATA): make cannot handle a path with a space; link the folder to one without)
endif
ifneq ($(DATA),$(filter /%,$(DATA)))
$(error DATA=$(DATA) is not an absolute path, as it must be)
endif
ifneq ($(DATA),$(patsubst %/.,%,$(wildcard $(DATA:%=%/.))))
$(error DATA=$(DATA): there is no such folder)
endif
ifneq ($(MODEL),$(filter $(MODEL),$(MODELS)))
$(error MODEL=$(MODEL) is not one of the recipe's models: $(or $(MODELS),it has none to choose from))
endif

# --- files

DATASET := $(WORK)/data
RUN = $(WORK)/run$(if $(MODEL),-$(MODEL))$(if $(ARCH),-$(ARCH))
CHECKPOINT = $(RUN)$(if $(filter-out 0,$(AVERAGE)),/checkpoint_average.safetensors)
OUTPUT = $(RUN).hyp.txt
SCORES = $(RUN).score.json
SCORED ?= $(OUTPUT)

# $(call raw,names a split may have,ending): its file in DATA, plain or .gz, or that of the default data.
raw = $(if $(DATA),$(firstword $(wildcard $(foreach name,$(1),$(DATA)/$(name).$(2) $(DATA)/$(name).$(2).gz))),$\
	$(DEFAULT)/$(firstword $(1)).$(2)$(DEFAULT_SUFFIX))
RAW := $(foreach names,TRAIN VALID TEST,$(foreach ending,$(ENDINGS),$(call raw,$($(names)_NAMES),$(ending))))
WANTED := $(foreach ending,$(ENDINGS),$(foreach names,TRAIN VALID TEST,$(lastword $($(names)_NAMES)).$(ending)))
INPUTS ?= $(if $(word 2,$(ENDINGS)),train-source train-target valid-source valid-target test-source test-target,$\
	train-file valid-file test-file)
SIDES ?= $(if $(word 2,$(ENDINGS)),--source-lang $(SOURCE) --target-lang $(TARGET))
LISTED := $(if $(ANSWERS),$(call raw,$(TEST_NAMES),$(firstword $(ANSWERS))))
BASELINE_FILES ?= $(foreach name,$(BASELINES),$(WORK)/baselines/$(name).txt)
BASELINE_FROM ?= --train $(word 1,$(RAW)) $(word 2,$(RAW)) --source $(word 5,$(RAW))
TEXTS ?= $(RAW)
AGAINST ?= --ref $(REFERENCE)
REFERENCE ?= $(if $(LISTED),$(WORK)/test.references.jsonl,$(word 6,$(RAW)))

.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help data prepare train generate score baseline check sweep smoke clean raw-files FORCE
.DEFAULT_GOAL := help

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' ../common.mk Makefile
	@echo
	@echo "$(foreach name,$(SHOWN) DATA $(if $(MODELS),MODEL) CONFIG WORK,$(name)=$(or $($(name)),$(default_$(name))))"

default_DATA ?= generated

data: $(RAW) raw-files ## the raw text: find it in DATA, or get the recipe's own
prepare: $(DATASET)/meta.json ## split the text into tokens: the dataset folder
train: $(RUN).done ## train the model
generate: $(SCORED) ## let the model answer the test set
score: $(SCORES) ## score its answers
	@$(call scores,$(SCORED))

baseline: $(BASELINE_FILES) $(REFERENCE) $(SCORED) ## score outputs that no model gives beside the model's
	@$(call scores,$(BASELINE_FILES) $(SCORED))

check: $(SCORES) ## fail unless the scores are as good as the settings EXPECT_… say
	@$(PYTHON) ../check.py $(SCORES) $(EXPECTED)

# A repeated command goes on, and so may others beside it.
sweep: space.toml $(DATASET)/meta.json ## search for settings as space.toml says, over those of CONFIG: SWEEP_FLAGS
	$(S2S) sweep space.toml $(DATASET) --train-config $(CONFIG) --save-dir $(WORK)/sweep $(SWEEP_FLAGS)
	$(S2S) plot $(WORK)/sweep

clean: ## delete the folder work, downloads and runs included
	rm -rf work

# --- parts of rules

# $(call remember,text): write the target only if its text is new, so that what depends on it is made again.
remember = @mkdir -p $(@D); printf '%s\n' $(call quote,$(1)) | cmp -s - $@ || printf '%s\n' $(call quote,$(1)) > $@
quote = '$(subst ','\'',$(1))'

# $(call anew,run,dataset,flags,config): put aside a run that began with other settings or data; the same one goes on.
define anew
@{ printf '%s\n' $(call quote,$(3)); cat $(4); cksum < $(2)/meta.json; } > $(1).now
@cmp -s $(1).now $(1).begun || { rm -rf $(1).before; [ ! -d $(1) ] || mv $(1) $(1).before; }
@mv $(1).now $(1).begun
endef

# $(call fetch,table,base URL,folder,names): download files that a table lists, unless they are there and right.
fetch = @$(PYTHON) ../fetch.py --table $(1) --base-url $(2) --out $(3) $(4)

# $(call scores,files): score the outputs of one or several systems.
scores = $(S2S) score $(AGAINST) --sys $(1) $(SCORE_FLAGS)

# $(again): this Makefile once more, with other goals and settings.
again = @$(MAKE) --no-print-directory

# $(compare): make the outputs of all MODELS, and score them side by side, and what no model gives.
define compare
@set -e; for model in $(MODELS); do $(MAKE) --no-print-directory generate MODEL=$$model; done
@$(call scores,$(COMPARED) $(BASELINE_FILES))
endef
COMPARED = $(foreach MODEL,$(MODELS),$(SCORED))

$(ROOT)/.venv/bin/s2s $(ROOT)/.venv/bin/python:
	@$(MAKE) --no-print-directory -C $(ROOT) setup

TOOLS := $(filter $(ROOT)/.venv/bin/s2s $(ROOT)/.venv/bin/python,$(S2S) $(PYTHON))

# --- the pipeline

raw-files:
	@[ $(words $(RAW)) = $(words $(WANTED)) ] || { echo "error: DATA=$(DATA): wanted in that folder, plain or .gz:" \
		"$(WANTED); found: $(or $(notdir $(RAW)),none)" >&2; exit 1; }

$(WORK)/prepare.flags: FORCE
	$(call remember,$(TEXTS) $(VOCAB_SIZE) $(PREPROCESS_FLAGS))

$(DATASET)/meta.json: $(TEXTS) $(WORK)/prepare.flags | raw-files $(TOOLS)
	$(S2S) preprocess --destdir $(DATASET) \
		$(SIDES) \
		$(foreach n,1 2 3 4 5 6,$(if $(word $n,$(INPUTS)),--$(word $n,$(INPUTS)) $(word $n,$(TEXTS)))) \
		$(if $(VOCAB_SIZE),--vocab-size $(VOCAB_SIZE)) --workers 2 $(PREPROCESS_FLAGS)

FLAGS = $(strip $(if $(DATA),,$(DEFAULT_FLAGS)) $(FLAGS_$(MODEL)) $(TRAIN_FLAGS))

$(RUN).flags: FORCE
	$(call remember,$(CONFIG) $(FLAGS))

$(RUN).done: $(DATASET)/meta.json $(CONFIG) $(RUN).flags | $(TOOLS)
	$(call anew,$(RUN),$(DATASET),$(FLAGS),$(CONFIG))
	$(S2S) train $(DATASET) --config $(CONFIG) --save-dir $(RUN) $(if $(ARCH),--arch $(ARCH)) \
		$(if $(filter-out 0,$(AVERAGE)),--keep-last-epochs $(AVERAGE)) $(FLAGS)
	@touch $@

$(RUN).average.flags: FORCE
	$(call remember,$(AVERAGE))

$(RUN)/checkpoint_average.safetensors: $(RUN).done $(RUN).average.flags
	$(S2S) average --inputs $(RUN) --num-epoch-checkpoints $(AVERAGE) --output $@

$(OUTPUT).flags: FORCE
	$(call remember,$(AVERAGE) $(BEAM) $(GENERATE_FLAGS))

$(OUTPUT): $(RUN).done $(if $(filter $(RUN),$(CHECKPOINT)),,$(CHECKPOINT)) $(OUTPUT).flags
	$(S2S) generate $(DATASET) --path $(CHECKPOINT) --gen-subset test --beam $(BEAM) $(GENERATE_FLAGS) > $@

$(SCORES).flags: FORCE
	$(call remember,$(SCORE_FLAGS))

$(WORK)/test.references.jsonl: $(LISTED) ../references.py | $(TOOLS)
	@mkdir -p $(@D)
	@$(PYTHON) ../references.py $< $(lastword $(ANSWERS)) > $@

$(SCORES): $(SCORED) $(REFERENCE) $(SCORES).flags
	@$(call scores,$(SCORED)) --format json > $@

$(WORK)/baselines/%.txt: $(WORK)/baselines.done ;

$(WORK)/baselines.done: $(RAW) $(WORK)/prepare.flags $(BASELINE) | raw-files $(TOOLS)
	$(PYTHON) $(BASELINE) $(BASELINE_FROM) --out $(WORK)/baselines
	@touch $@

# --- generated data

# Written to another folder, which gets its name when it is whole.
$(GENERATED)/%.made: $(GENERATOR) | $(TOOLS)
	@rm -rf $(GENERATED)/$* $(GENERATED)/$*.part
	$(PYTHON) $(GENERATOR) --out $(GENERATED)/$*.part $(or $(SIZES_$*),$(SIZES))
	@mv $(GENERATED)/$*.part $(GENERATED)/$* && touch $@

.PRECIOUS: $(GENERATED)/%.made

$(GENERATED)/default/%: $(GENERATED)/default.made ;

smoke: $(GENERATED)/smoke.made | $(TOOLS) ## run everything on a few generated examples, in under 2 minutes
	rm -rf $(SMOKE)
	$(again) $(SMOKE_GOALS) WORK=$(SMOKE) DATA=$(CURDIR)/$(GENERATED)/smoke $(SMOKE_SETTINGS)
