# The tasks of this project; `make` lists them. The commands of each check stand in .ci/run alone, which is what CI runs.

checks := $(shell sed -n 's/^if step \([a-z]*\) .*/\1/p' .ci/run)

.PHONY: help ci binary image $(checks)

help:
	@echo 'make ci            all of these checks, in this order'
	@sed -n 's/^if step \([a-z]*\) "\(.*\)"; then/make \1|\2/p' .ci/run | while IFS='|' read -r task title; do printf '%-18s %s\n' "$$task" "$$title"; done
	@echo 'make image         the container image'

ci:
	bash .ci/run

$(checks):
	bash .ci/run $@

# In .ci/run these come before; alone they are made first.
parity clients manifests: environments
clients manifests guide: binary

binary:
	cargo build --locked

image:
	docker build -t facequality-transformer .
