# SPDX-License-Identifier: Apache-2.0
# vmdebootstrap: bootable Debian images without root. `make help` lists what can be made.

# Go's own archives are unpacked to /usr/local/go; an older go command downloads the version that go.mod names.
GO    ?= $(firstword $(wildcard /usr/local/go/bin/go) go)
BIN   := vmdebootstrap
IMAGE ?= debian.img
SIZE  ?= 2G

# openpgp in Go instead of gpgme, and no storage drivers that need C headers: one static binary, no C compiler.
# Tests are built with the same flags, so that nothing is compiled twice.
TAGS    := containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_devicemapper
GOFLAGS := -trimpath
export CGO_ENABLED := 0
export GOFLAGS
export GOTOOLCHAIN ?= auto

# For releases; otherwise the version comes from Git's tags.
VERSION ?=

# Everything that needs a Debian mirror or boots a machine has a tag of its own.
TEST_TAGS := $(TAGS) mirror boot
TEST_ARGS ?= ./...
# How long each target of `make fuzz` runs.
FUZZTIME ?= 10s

# Prints failures, skips and a summary: "DONE 1234 tests, 2 skipped in 5m". go.mod names its version.
GOTEST := $(GO) tool gotestsum --format standard-quiet --raw-command -- $(GO) test -json

# For bench-disk, see contrib/bench/main.go: -work DIRECTORY, -rounds 5, ...; for bench-build, contrib/bench/build: -r 5
BENCH_ARGS ?=

PREFIX  ?= /usr/local
DESTDIR ?=
# The program to install, and one that runs here: another if it is for another architecture.
PROGRAM ?= $(BIN)
RUN     ?= ./$(BIN)

# Below PREFIX. Debian's zsh looks for those of packages in share/zsh/vendor-completions.
BASH_COMPLETIONS ?= share/bash-completion/completions
FISH_COMPLETIONS ?= share/fish/vendor_completions.d
ZSH_COMPLETIONS  ?= share/zsh/site-functions

.PHONY: help build image test test-upgrade test-matrix test-faults test-rebuild test-same-files isolation-tests check vet lint fuzz bench bench-disk \
	bench-build bench-cache bench-images install install-files deb release clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z.%-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build ./vmdebootstrap, one static binary
	$(GO) build -tags "$(TAGS)" -ldflags "-s -w -X main.release=$(VERSION)" -o $(BIN) ./cmd/vmdebootstrap

image: build ## make a bootable image, $(IMAGE)
	./$(BIN) --verbose --image $(IMAGE) --size $(SIZE)

test: ## run all tests, those that use the mirror and boot images included
	$(GOTEST) -timeout 85m -tags "$(TEST_TAGS)" $(TEST_ARGS)

test-upgrade: ## upgrade kernel and boot loader in booted images, and boot them again
	$(GOTEST) -timeout 85m -tags "$(TEST_TAGS) upgrade" -run Upgrades ./cmd/vmdebootstrap

test-matrix: ## boot what CI has no time for: file systems, loaders, firmware, encryption, TPMs, live media, boards: three hours
	$(GOTEST) -timeout 4h -v -tags "$(TEST_TAGS) matrix" -run 'TestMatrix|TestUBootStarts|TestUpdateStarts|TestTPMUnlocks' ./cmd/vmdebootstrap

test-faults: ## damage images thousands of times, and build through mirrors with faults
	$(GOTEST) -timeout 85m -tags "$(TAGS) faults" -run Faulty ./diskimage/... ./cmd/vmdebootstrap

test-rebuild: build ## make images again as another user in another environment, as root: USERS="alice bob"
	contrib/ci/test-rebuild ./$(BIN) $(USERS)

test-same-files: ## compare our unpacking of packages with dpkg's, for all suites: an hour
	VMDEBOOTSTRAP_TEST_SAME_FILES=1 $(GOTEST) -timeout 3h -tags "$(TEST_TAGS)" -run TestUnpackingIsDpkgs ./cmd/vmdebootstrap

# Test binaries that root runs in their directories: only the account has the modules and a build cache.
isolation-tests: ## build the tests that only root can run, see .ci/run
	$(GO) test -c -o oci/oci.test -tags "$(TEST_TAGS)" ./oci
	$(GO) test -c -o cmd/vmdebootstrap/vmdebootstrap.test -tags "$(TEST_TAGS)" ./cmd/vmdebootstrap

check: vet ## run the tests that need no network
	$(GOTEST) -tags "$(TAGS)" $(TEST_ARGS)

vet: ## gofmt and go vet
	@test -z "$$(gofmt -l *.go cmd builder oci diskimage hooks contrib)" || \
		{ gofmt -d *.go cmd builder oci diskimage hooks contrib; exit 1; }
	$(GO) vet -tags "$(TEST_TAGS) upgrade matrix faults" ./...

lint: ## golangci-lint, which also checks the import rules
	$(GO) run github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.5.0 run --build-tags "$(TAGS)"

fuzz: ## run each fuzz target for FUZZTIME (10s); FUZZ=REGEXP selects targets
	contrib/ci/fuzz $(FUZZTIME) $(GO) test -tags "$(TAGS)"

bench: ## run the Go benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -tags "$(TAGS)" ./diskimage/... ./builder/...

bench-disk: build ## compare our disk writers with mke2fs, qemu-img and dd, on a Debian root file system
	$(GO) build -tags "$(TAGS)" -o bench-disk ./contrib/bench
	./bench-disk $(BENCH_ARGS)

bench-build: build ## compare cold builds with mmdebstrap
	contrib/bench/build $(BENCH_ARGS) -p ./$(BIN)

bench-cache: build ## time builds: cold, nothing changed, another last hook, with --cache-from
	contrib/bench/cache ./$(BIN)

bench-images: build ## time ten images in one call, and in ten calls
	contrib/bench/images ./$(BIN)

install: build install-files ## install program, manual, completions, examples and AppArmor profile into $(PREFIX)

# The program prints its own manual and completions.
install-files:
	install -D -m 0755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/$(BIN)
	$(RUN) man --directory $(DESTDIR)$(PREFIX)/share/man
	install -d $(addprefix $(DESTDIR)$(PREFIX)/,$(BASH_COMPLETIONS) $(FISH_COMPLETIONS) $(ZSH_COMPLETIONS))
	$(RUN) completion bash > $(DESTDIR)$(PREFIX)/$(BASH_COMPLETIONS)/$(BIN)
	$(RUN) completion fish > $(DESTDIR)$(PREFIX)/$(FISH_COMPLETIONS)/$(BIN).fish
	$(RUN) completion zsh > $(DESTDIR)$(PREFIX)/$(ZSH_COMPLETIONS)/_$(BIN)
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/$(BIN)/common hooks/customise.lib
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/share/$(BIN)/examples $(wildcard contrib/examples/*.sh)
	install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/$(BIN)/examples contrib/examples/u-boot.lib \
		contrib/examples/cloud.yaml contrib/examples/images.yaml contrib/examples/lava-job.yaml
	install -D -m 0755 -t $(DESTDIR)$(PREFIX)/share/$(BIN) contrib/qemu-wrapper.sh
	install -D -m 0644 -t $(DESTDIR)/etc/apparmor.d contrib/apparmor/$(BIN)

deb: build ## build a Debian package, dist/vmdebootstrap_VERSION_ARCH.deb, without network
	GO=$(GO) contrib/ci/deb dist

release: ## build static programs for amd64 and arm64 with checksums and bills of materials, in dist
	GO=$(GO) VERSION=$(VERSION) TAGS="$(TAGS)" contrib/ci/release dist

clean: ## remove what was built
	rm -rf $(BIN) $(IMAGE) bench-disk dist
